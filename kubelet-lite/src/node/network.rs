//! Network readiness: the CNI folder, watched by inotify, so that a node is Ready the moment its network is configured.

use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::watch;

use cni::libcni::Cni;

/// Starts watching; the value is the reason why the network is not ready, or `None` when it is.
///
/// # Errors
/// When the folder can neither be made nor watched.
pub fn watch_readiness(cni: Cni) -> std::io::Result<watch::Receiver<Option<String>>> {
    std::fs::create_dir_all(&cni.conf_dir)?;
    let inotify = watch_folder(&cni.conf_dir)?;
    let (sender, receiver) = watch::channel(reason(&cni));
    // A thread of its own: it sleeps in read(2) for nearly all of its life.
    std::thread::Builder::new().name("cni-watch".into()).spawn(move || {
        while inotify.read_events().is_ok() && !sender.is_closed() {
            let now = reason(&cni);
            sender.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
        }
    })?;
    Ok(receiver)
}

fn watch_folder(dir: &Path) -> std::io::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE;
    inotify.add_watch(dir, changes)?;
    Ok(inotify)
}

fn reason(cni: &Cni) -> Option<String> {
    cni.network().err().map(|error| {
        format!(
            "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin \
             returns error: {error}"
        )
    })
}
