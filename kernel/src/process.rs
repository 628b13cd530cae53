//! Starting programs in other namespaces.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::sched::CloneFlags;

/// Open namespaces of one place (a node, the sandbox), entered together.
#[derive(Debug)]
pub struct Namespaces {
    /// In the order they must be entered: the user namespace first, for it gives the right to enter the others.
    entries: Vec<(OwnedFd, CloneFlags)>,
}

impl Namespaces {
    /// The namespaces in `dir` (a `/proc/<pid>/ns`) named by `kinds` (`user`, `mnt`, `net`, `pid`, `uts`, `ipc`).
    ///
    /// # Errors
    /// When one of them cannot be opened.
    ///
    /// # Panics
    /// When a kind is none of the six.
    pub fn open(dir: &Path, kinds: &[&str]) -> io::Result<Self> {
        let open = |kind: &&str| Ok((File::open(dir.join(kind))?.into(), flag_of(kind)));
        Ok(Self { entries: kinds.iter().map(open).collect::<io::Result<_>>()? })
    }

    /// Adds one more, entered last.
    #[must_use]
    pub fn with(mut self, fd: OwnedFd, kind: &str) -> Self {
        self.entries.push((fd, flag_of(kind)));
        self
    }

    /// The descriptor numbers, for others that may look at `/proc/<our pid>/fd`.
    pub fn descriptors(&self) -> impl Iterator<Item = RawFd> + '_ {
        self.entries.iter().map(|(fd, _)| fd.as_raw_fd())
    }

    /// Makes `command` start inside these namespaces. A PID namespace holds for the children of the started program only,
    /// so give it with a program that forks.
    ///
    /// # Errors
    /// When a descriptor cannot be duplicated.
    pub fn apply(&self, command: &mut Command) -> io::Result<()> {
        let entries = self
            .entries
            .iter()
            .map(|(fd, flag)| Ok((fd.as_fd().try_clone_to_owned()?, *flag)))
            .collect::<io::Result<Vec<_>>>()?;
        // SAFETY: between fork and exec only setns is called, which is async-signal-safe and allocates nothing.
        unsafe {
            command.pre_exec(move || {
                for (fd, flag) in &entries {
                    nix::sched::setns(fd.as_fd(), *flag)?;
                }
                Ok(())
            });
        }
        Ok(())
    }

    /// Enters them all with the calling process, which must have one thread.
    ///
    /// # Errors
    /// When the kernel refuses one of them.
    pub fn enter(&self) -> io::Result<()> {
        for (fd, flag) in &self.entries {
            nix::sched::setns(fd.as_fd(), *flag)?;
        }
        Ok(())
    }
}

fn flag_of(kind: &str) -> CloneFlags {
    match kind {
        "user" => CloneFlags::CLONE_NEWUSER,
        "mnt" => CloneFlags::CLONE_NEWNS,
        "net" => CloneFlags::CLONE_NEWNET,
        "pid" => CloneFlags::CLONE_NEWPID,
        "uts" => CloneFlags::CLONE_NEWUTS,
        "ipc" => CloneFlags::CLONE_NEWIPC,
        other => panic!("{other} is no kind of namespace"),
    }
}

/// Forks: `child` runs in the new process, which ends with the code it returns.
///
/// # Errors
/// When no process can be made.
pub fn fork_with(child: impl FnOnce() -> i32) -> io::Result<nix::unistd::Pid> {
    // SAFETY: callers have one thread (the CLI before any runtime, the launcher's node set-up), so the child may do
    // anything that a process may.
    match unsafe { nix::unistd::fork() }? {
        nix::unistd::ForkResult::Parent { child } => Ok(child),
        nix::unistd::ForkResult::Child => std::process::exit(child()),
    }
}

/// Takes over a descriptor that the parent process handed down.
///
/// # Errors
/// When it is not open.
pub fn inherited(fd: RawFd) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: F_GETFD has no effect; it only tells whether the number is open.
    if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and by the contract of the flag that names it nobody else in this process owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Lets the descriptors `keep` of this process be open in `command`'s process, under the same numbers, and none else but the
/// standard streams: one that this process was handed (a lock that a script holds, say) would stay open with the child.
pub fn keep_in_child(command: &mut Command, keep: Vec<RawFd>) {
    only_standard_streams(command);
    // SAFETY: between fork and exec only fcntl is called, which is async-signal-safe and allocates nothing.
    unsafe {
        command.pre_exec(move || {
            for fd in &keep {
                if libc::fcntl(*fd, libc::F_SETFD, 0) < 0 {
                    return Err(io::Error::last_os_error());
                }
            }
            Ok(())
        });
    }
}

/// Keeps every descriptor but the three standard streams from `command`'s process, whatever this one was handed.
pub fn only_standard_streams(command: &mut Command) {
    // SAFETY: between fork and exec only close_range is called, which is async-signal-safe and takes no pointers. It marks
    // and does not close: the standard library still needs a pipe until the exec.
    unsafe {
        command.pre_exec(|| match libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        });
    }
}

/// A descriptor of process `pid`, readable when that process has ended (pidfd_open(2)).
///
/// # Errors
/// When there is no such process.
pub fn pidfd(pid: i32) -> io::Result<OwnedFd> {
    use std::os::fd::FromRawFd;
    // SAFETY: pidfd_open takes no pointers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor for us; it fits in an int by its contract.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as RawFd) })
}

/// Lets this process end quietly when its reader has gone, as `knetsim status | head` expects of a command.
pub fn end_with_the_pipe() {
    // SAFETY: setting a signal to its default action runs no code of ours.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_child_has_what_it_is_to_keep_and_nothing_else() {
        let file = || {
            let file = std::fs::File::open("/dev/null").expect("it is there");
            nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty())).expect("set");
            file
        };
        let (handed, kept) = (file(), file());
        let open = |keep: &[RawFd]| {
            let mut command = Command::new("ls");
            command.arg("/proc/self/fd");
            keep_in_child(&mut command, keep.to_vec());
            let output = command.output().expect("ls runs");
            let list = String::from_utf8(output.stdout).expect("numbers");
            list.lines().map(|line| line.parse::<RawFd>().expect("a number")).collect::<Vec<_>>()
        };
        for keep in [&[][..], &[kept.as_raw_fd()][..]] {
            let found = open(keep);
            assert_eq!(found.contains(&kept.as_raw_fd()), !keep.is_empty(), "{found:?}");
            // The number may be that of the folder which ls itself has opened.
            let many = found.len();
            assert_eq!(many, 4 + keep.len(), "{found:?}, beside {}", handed.as_raw_fd());
        }
    }
}
