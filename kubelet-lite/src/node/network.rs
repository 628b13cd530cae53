//! Network readiness: the CNI folder, watched by inotify, so that a node is Ready the moment its network is configured.

use std::path::Path;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use crate::cni::Cni;

/// Starts watching; the value is the reason why the network is not ready, or `None` when it is.
///
/// # Errors
/// When the folder can neither be made nor watched.
pub fn watch_readiness(cni: Cni) -> std::io::Result<watch::Receiver<Option<String>>> {
    std::fs::create_dir_all(&cni.conf_dir)?;
    let inotify = AsyncFd::new(watch_folder(&cni.conf_dir)?)?;
    let (sender, receiver) = watch::channel(reason(&cni));
    tokio::spawn(async move {
        while let Ok(mut ready) = inotify.readable().await {
            let _ = inotify.get_ref().read_events();
            ready.clear_ready();
            let now = reason(&cni);
            sender.send_if_modified(|old| std::mem::replace(old, now.clone()) != now);
            if sender.is_closed() {
                return;
            }
        }
    });
    Ok(receiver)
}

fn watch_folder(dir: &Path) -> std::io::Result<Inotify> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_CREATE;
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
