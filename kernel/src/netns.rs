//! Named network namespaces, as `ip netns` makes them: a bind mount of the namespace's file under /run/netns.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};

/// Where namespaces are named (iproute2's default).
pub const NETNS_DIR: &str = "/run/netns";

/// An open network namespace. Dropping it closes the descriptor only; [`Netns::remove`] takes the name away.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: OwnedFd,
}

impl Netns {
    /// Makes a new namespace, named `name` below /run/netns. Its `lo` is down, as the kernel makes it.
    ///
    /// # Errors
    /// When the name is taken, or the kernel refuses.
    pub fn create(name: &str) -> io::Result<Self> {
        fs::create_dir_all(NETNS_DIR)?;
        let path = path_of(name);
        File::options().write(true).create_new(true).open(&path)?;
        let target = path.clone();
        let made = in_thread(move || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some("/proc/thread-self/ns/net"), &target, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
            Ok(())
        });
        if let Err(error) = made {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Self::open(name)
    }

    /// Opens the namespace named `name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(name: &str) -> io::Result<Self> {
        Ok(Self { name: name.to_owned(), file: File::open(path_of(name))?.into() })
    }

    /// The namespace this thread is in.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn current() -> io::Result<Self> {
        Ok(Self { name: String::new(), file: File::open("/proc/thread-self/ns/net")?.into() })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `body` on a thread of its own that has entered this namespace; sockets it opens stay in it.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what `body` returns.
    pub fn run<T: Send>(&self, body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_thread(|| {
            setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET)?;
            body()
        })
    }

    /// Takes the name away; the namespace itself ends with its last user.
    ///
    /// # Errors
    /// When the name is gone already or busy.
    pub fn remove(name: &str) -> io::Result<()> {
        let path = path_of(name);
        umount2(&path, MntFlags::MNT_DETACH)?;
        fs::remove_file(path)
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// /run/netns/`name`.
#[must_use]
pub fn path_of(name: &str) -> PathBuf {
    Path::new(NETNS_DIR).join(name)
}

/// Namespaces are a property of the thread: whatever changes them runs on one that ends afterwards.
fn in_thread<T: Send>(body: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    std::thread::scope(|scope| scope.spawn(body).join())
        .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_entered_and_removed() {
        crate::testing::in_namespace("netns::tests::made_entered_and_removed", || {
            let outer = fs::read_link("/proc/thread-self/ns/net").unwrap();
            let ns = Netns::create("texas").unwrap();
            let inner = ns.run(|| fs::read_link("/proc/thread-self/ns/net")).unwrap();
            assert_ne!(outer, inner);
            assert_eq!(fs::read_link("/proc/thread-self/ns/net").unwrap(), outer, "the caller stays where it was");
            assert!(Netns::create("texas").is_err(), "a name is taken once");
            Netns::remove("texas").unwrap();
            assert!(Netns::open("texas").is_err());
            assert!(!path_of("texas").exists());
        });
    }
}
