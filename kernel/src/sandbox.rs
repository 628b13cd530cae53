//! Entering the sandbox: private user, mount, network, PID, UTS and IPC namespaces whose first process is us.
//!
//! [`enter`] must be called while the process has one thread. It returns twice, like fork: as [`Role::Outer`] in the
//! process that was called, and as [`Role::Init`] in PID 1 of the new namespaces, which has uid 0 there. When PID 1 ends,
//! for whatever reason, the kernel ends every process inside and with them go all namespaces, links, rules and mounts.

use std::fs;
use std::io::{self, Read, Write};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Gid, Pid, Uid, User, fork, getpid, pipe};

/// Who returned from [`enter`].
#[derive(Debug)]
pub enum Role {
    /// The caller, now outside but for its user namespace; `init` is PID 1's id as the host sees it.
    Outer { init: Pid },
    /// PID 1 inside.
    Init,
}

/// One line of a uid or gid map: ids from `inside` on stand for ids from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// How ids inside stand for ids outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdMap {
    /// We are root: every id we have stands for itself.
    Identity { uids: Vec<IdRange>, gids: Vec<IdRange> },
    /// An ordinary user with a range of its own in /etc/subuid: written by newuidmap and newgidmap (package uidmap).
    Subordinate { uids: Vec<IdRange>, gids: Vec<IdRange> },
    /// An ordinary user: it is uid 0, and there is no other id.
    Single { uid: u32, gid: u32 },
}

impl IdMap {
    /// The widest map this process may have.
    ///
    /// # Errors
    /// When /proc cannot be read.
    pub fn widest() -> io::Result<Self> {
        let (uid, gid) = (Uid::effective(), Gid::effective());
        if uid.is_root() {
            let uids = identity(&fs::read_to_string("/proc/self/uid_map")?);
            let gids = identity(&fs::read_to_string("/proc/self/gid_map")?);
            return Ok(Self::Identity { uids, gids });
        }
        let single = Self::Single { uid: uid.as_raw(), gid: gid.as_raw() };
        let tools = ["newuidmap", "newgidmap"].iter().all(|tool| Command::new(tool).output().is_ok());
        let Some(user) = User::from_uid(uid).ok().flatten().filter(|_| tools) else { return Ok(single) };
        let range = |file: &str| subordinate(&fs::read_to_string(file).unwrap_or_default(), &user.name, uid.as_raw());
        Ok(match (range("/etc/subuid"), range("/etc/subgid")) {
            (Some(uids), Some(gids)) => {
                let own = |outside| IdRange { inside: 0, outside, count: 1 };
                Self::Subordinate { uids: vec![own(uid.as_raw()), uids], gids: vec![own(gid.as_raw()), gids] }
            }
            _ => single,
        })
    }
}

/// The ranges of a uid_map file, each id standing for itself.
///
/// A map of all ids is how programs recognise the machine's first user namespace (runc does, and would then do what only
/// the first may): the last id, which nobody has, is left out.
fn identity(map: &str) -> Vec<IdRange> {
    let range = |line: &str| {
        let mut numbers = line.split_whitespace().map(|n| n.parse::<u32>().ok());
        let (inside, count) = (numbers.next()??, numbers.nth(1)??);
        Some(IdRange { inside, outside: inside, count: count.min(u32::MAX - 1) })
    };
    map.lines().filter_map(range).collect()
}

/// The first range of `user` in a subuid file (subuid(5)), as ids 1 to 65535.
fn subordinate(file: &str, user: &str, uid: u32) -> Option<IdRange> {
    let uid = uid.to_string();
    file.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let (start, count) = (fields.next()?.parse().ok()?, fields.next()?.parse::<u32>().ok()?);
        (owner == user || owner == uid).then_some(IdRange { inside: 1, outside: start, count: count.min(65535) })
    })
}

/// Enters new namespaces. See the module's documentation.
///
/// # Errors
/// What the kernel refused, in words that say what to do about it.
pub fn enter(map: &IdMap) -> io::Result<Role> {
    let (go_read, go_write) = pipe()?;
    let (done_read, done_write) = pipe()?;
    let target = getpid();
    // SAFETY: the process has one thread (the caller's promise), so the child may do anything that a process may.
    let mapper = match unsafe { fork() }? {
        ForkResult::Child => {
            drop((go_write, done_read));
            let mut byte = [0];
            let ready = fs::File::from(go_read).read_exact(&mut byte);
            let result = ready.and_then(|()| write_maps(map, target));
            if let Err(error) = &result {
                let _ = fs::File::from(done_write).write_all(error.to_string().as_bytes());
            }
            std::process::exit(i32::from(result.is_err()));
        }
        ForkResult::Parent { child } => child,
    };
    drop((go_read, done_write));
    let own = unshare(CloneFlags::CLONE_NEWUSER);
    if own.is_ok() {
        fs::File::from(go_write).write_all(&[1])?;
    } else {
        drop(go_write);
    }
    let mut why = String::new();
    fs::File::from(done_read).read_to_string(&mut why)?;
    let mapped = waitpid(mapper, None)?;
    own.map_err(|errno| {
        io::Error::other(format!(
            "cannot make a user namespace: {errno} (see sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone \
             and kernel.apparmor_restrict_unprivileged_userns)"
        ))
    })?;
    if mapped != WaitStatus::Exited(mapper, 0) {
        return Err(io::Error::other(format!("cannot map user ids: {why}")));
    }
    nix::unistd::setresgid(Gid::from_raw(0), Gid::from_raw(0), Gid::from_raw(0))?;
    nix::unistd::setresuid(Uid::from_raw(0), Uid::from_raw(0), Uid::from_raw(0))?;
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWNET
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWIPC,
    )?;
    // SAFETY: still one thread; see above.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Role::Outer { init: child }),
        ForkResult::Child => Ok(Role::Init),
    }
}

fn write_maps(map: &IdMap, target: Pid) -> io::Result<()> {
    let text = |ranges: &[IdRange]| -> String {
        ranges.iter().map(|r| format!("{} {} {}\n", r.inside, r.outside, r.count)).collect()
    };
    match map {
        IdMap::Identity { uids, gids } => {
            fs::write(format!("/proc/{target}/uid_map"), text(uids))?;
            fs::write(format!("/proc/{target}/gid_map"), text(gids))
        }
        IdMap::Single { uid, gid } => {
            fs::write(format!("/proc/{target}/setgroups"), "deny")?;
            fs::write(format!("/proc/{target}/uid_map"), format!("0 {uid} 1\n"))?;
            fs::write(format!("/proc/{target}/gid_map"), format!("0 {gid} 1\n"))
        }
        IdMap::Subordinate { uids, gids } => {
            run_mapper("newuidmap", target, uids)?;
            run_mapper("newgidmap", target, gids)
        }
    }
}

fn run_mapper(tool: &str, target: Pid, ranges: &[IdRange]) -> io::Result<()> {
    let numbers = ranges.iter().flat_map(|r| [r.inside, r.outside, r.count]).map(|n| n.to_string());
    let output = Command::new(tool).arg(target.to_string()).args(numbers).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{tool}: {}", String::from_utf8_lossy(&output.stderr).trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(
            identity("         0          0 4294967295\n"),
            [IdRange { inside: 0, outside: 0, count: u32::MAX - 1 }]
        );
        assert_eq!(
            identity("0 1000 1\n1 100000 65536\n"),
            [IdRange { inside: 0, outside: 0, count: 1 }, IdRange { inside: 1, outside: 1, count: 65536 }]
        );
        let file = "root:1:2\nann:100000:65536\n1001:200000:10\n";
        assert_eq!(subordinate(file, "ann", 1000), Some(IdRange { inside: 1, outside: 100_000, count: 65535 }));
        assert_eq!(subordinate(file, "bob", 1001), Some(IdRange { inside: 1, outside: 200_000, count: 10 }));
        assert_eq!(subordinate(file, "eve", 1002), None);
    }
}
