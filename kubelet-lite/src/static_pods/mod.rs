//! Static pods: those of the files in a folder of the node, which run whether there is an API server or not (upstream
//! `pkg/kubelet/config`, `--pod-manifest-path`).
//!
//! ```text
//!  folder ─inotify─► file::read ─► manager ─► an actor a pod, as for pods of the API
//!                                               └─ status ─► mirror ─► a pod in the API that shows it
//! ```
//!
//! A changed file is another pod: its UID is made of what the file says. The one before ends first.

mod defaults;
pub mod file;
pub mod mirror;

use std::path::Path;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::watch;

/// On every pod of a kubelet's own sources, and on its mirror: the UID made of the source's content.
pub const HASH: &str = "kubernetes.io/config.hash";
/// Where the pod is from.
pub const SOURCE: &str = "kubernetes.io/config.source";
/// When it was first seen there.
pub const SEEN: &str = "kubernetes.io/config.seen";
/// On a mirror pod: the hash of the pod it shows.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// The pods of a folder, as they are now.
pub type Wanted = Arc<Vec<Arc<Pod>>>;

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(name).map(String::as_str)
}

/// Whether the pod is from a file.
#[must_use]
pub fn is_static(pod: &Pod) -> bool {
    annotation(pod, SOURCE) == Some("file") && !is_mirror(pod)
}

/// Whether the pod only shows a static one.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

/// Reads a folder, or a single file, and follows it. Without a path there are no static pods.
///
/// # Errors
/// When the folder can neither be made nor watched.
pub fn follow(path: Option<&Path>, node: &str) -> std::io::Result<watch::Receiver<Wanted>> {
    let (sender, receiver) = watch::channel(Wanted::default());
    let Some(path) = path.map(Path::to_owned) else { return Ok(receiver) };
    let node = node.to_owned();
    let folder = if path.is_file() { path.parent().unwrap_or(Path::new("/")).to_owned() } else { path.clone() };
    let mut inotify = watched(&folder)?;
    sender.send_replace(Arc::new(file::read(&path, &node, &[])));
    // A thread of its own: it sleeps in read(2) for nearly all of its life.
    std::thread::Builder::new().name("static-pods".into()).spawn(move || {
        while let Ok(events) = inotify.read_events() {
            if sender.is_closed() {
                return;
            }
            if events.iter().any(|event| event.mask.contains(AddWatchFlags::IN_IGNORED)) {
                // The folder itself is gone.
                match watched(&folder) {
                    Ok(anew) => inotify = anew,
                    Err(error) => {
                        tracing::error!(%error, path = %folder.display(), "static pods are no longer followed");
                        return;
                    }
                }
            }
            let now = file::read(&path, &node, &sender.borrow());
            sender.send_if_modified(|known| {
                let changed = **known != now;
                *known = Arc::new(now);
                changed
            });
        }
    })?;
    Ok(receiver)
}

fn watched(folder: &Path) -> std::io::Result<Inotify> {
    std::fs::create_dir_all(folder)?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
    let changes = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE;
    inotify.add_watch(folder, changes)?;
    Ok(inotify)
}
