//! A file that is replaced now and then, followed by inotify on its folder (a rename, and the symlink swap of a
//! ConfigMap volume, both show there).
//!
//! The blocking read has a thread of its own: tokio's way to wait for a descriptor of ours needs `unsafe`.

use std::io;
use std::path::{Path, PathBuf};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::sync::watch;

pub struct File {
    path: PathBuf,
    changes: watch::Receiver<u64>,
}

impl File {
    /// Watches from now on; the file itself need not be there yet, its folder must.
    ///
    /// # Errors
    /// When the folder is missing or inotify has no place left.
    pub fn new(path: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let events = AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(folder, events)?;
        let (sender, changes) = watch::channel(0);
        // It ends with the process, or at the first change after the receiver is gone.
        std::thread::Builder::new().name("inotify".to_owned()).spawn(move || {
            while inotify.read_events().is_ok() && !sender.is_closed() {
                sender.send_modify(|count| *count += 1);
            }
        })?;
        Ok(Self { path: path.to_owned(), changes })
    }

    /// The text, or none while there is no file.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Resolves after something in the folder has changed; all that has happened so far counts as one.
    ///
    /// # Errors
    /// When inotify has failed.
    pub async fn changed(&mut self) -> io::Result<()> {
        self.changes.changed().await.map_err(|_| io::Error::other("inotify has failed"))
    }
}
