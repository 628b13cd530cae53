//! CPU time and memory of processes, by /proc/PID/stat (proc(5)).

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;

use super::Usage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    /// Its own, and that of the children it has waited for.
    ticks: u64,
    pages: u64,
}

/// All the processes there are, once.
#[derive(Debug, Default)]
pub struct Processes {
    by_pid: HashMap<i32, Process>,
    children: HashMap<i32, Vec<i32>>,
    nanos_per_tick: u64,
    page: u64,
}

impl Processes {
    #[must_use]
    pub fn read(proc: &Path) -> Self {
        let setting = |name| nix::unistd::sysconf(name).ok().flatten().and_then(|value| u64::try_from(value).ok());
        let mut all = Self {
            nanos_per_tick: 1_000_000_000
                / setting(nix::unistd::SysconfVar::CLK_TCK).filter(|ticks| *ticks > 0).unwrap_or(100),
            page: setting(nix::unistd::SysconfVar::PAGE_SIZE).unwrap_or(4096),
            ..Self::default()
        };
        for entry in fs::read_dir(proc).into_iter().flatten().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            // A process that has ended meanwhile is none.
            let stat = fs::read_to_string(entry.path().join("stat")).ok();
            let Some(process) = stat.and_then(|stat| parse(&stat)) else { continue };
            all.by_pid.insert(pid, process);
            all.children.entry(process.parent).or_default().push(pid);
        }
        all
    }

    fn of(&self, process: &Process) -> Usage {
        Usage {
            cpu_nanos: process.ticks.saturating_mul(self.nanos_per_tick),
            memory: process.pages.saturating_mul(self.page),
        }
    }

    /// A process with all that descend from it, but for those already in `counted`.
    pub fn tree(&self, root: i32, counted: &mut HashSet<i32>) -> Usage {
        let mut total = Usage::default();
        let mut next = vec![root];
        while let Some(pid) = next.pop() {
            let Some(process) = self.by_pid.get(&pid) else { continue };
            if counted.insert(pid) {
                total += self.of(process);
                next.extend(self.children.get(&pid).into_iter().flatten());
            }
        }
        total
    }

    /// All that see the same mounts as this process: those are the node's own, for containers have mounts of theirs.
    #[must_use]
    pub fn sharing_mounts(&self, proc: &Path) -> Usage {
        let mounts = |pid: &str| fs::read_link(proc.join(pid).join("ns/mnt")).ok();
        let mut total = Usage::default();
        let Some(own) = mounts("self") else { return total };
        for (pid, process) in &self.by_pid {
            if mounts(&pid.to_string()).is_some_and(|other| other == own) {
                total += self.of(process);
            }
        }
        total
    }
}

/// The fields after the name, which is in parentheses and may hold anything.
fn parse(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    // Numbered from 3 in proc(5): the parent is 4, CPU times are 14 to 17, the resident set is 24.
    let number = |at: usize| fields.get(at - 3)?.parse::<i64>().ok();
    let ticks = (14..=17).map(number).sum::<Option<i64>>()?;
    Some(Process {
        parent: i32::try_from(number(4)?).ok()?,
        ticks: u64::try_from(ticks).unwrap_or(0),
        pages: u64::try_from(number(24)?).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, parent: i32, ticks: [u64; 4], pages: u64) -> String {
        let [user, system, waited_user, waited_system] = ticks;
        format!(
            "7 ({name}) S {parent} 1 1 0 -1 4194304 100 0 0 0 {user} {system} {waited_user} {waited_system} 20 0 1 0 5 \
             1000 {pages} 18446744073709551615 0"
        )
    }

    #[test]
    fn a_name_may_hold_anything() {
        let process = Process { parent: 4, ticks: 10, pages: 25 };
        assert_eq!(parse(&stat("a) b (c", 4, [1, 2, 3, 4], 25)), Some(process));
        assert_eq!(parse("7 (short) S 1"), None);
    }

    #[test]
    fn a_tree_is_counted_once() {
        let dir = tempfile::tempdir().expect("a folder");
        for (pid, parent, ticks) in [(1, 0, 1000), (10, 1, 1), (11, 10, 2), (12, 11, 4), (20, 1, 8)] {
            let folder = dir.path().join(pid.to_string());
            fs::create_dir(&folder).expect("made");
            fs::write(folder.join("stat"), stat("x", parent, [ticks, 0, 0, 0], 1)).expect("written");
        }
        let all = Processes::read(dir.path());
        let mut counted = HashSet::new();
        let usage = all.tree(10, &mut counted);
        assert_eq!((usage.cpu_nanos / all.nanos_per_tick, usage.memory / all.page), (7, 3));
        assert_eq!(all.tree(11, &mut counted), Usage::default(), "a part of it was counted with the whole");
        assert_eq!(all.tree(99, &mut counted), Usage::default());
    }

    #[test]
    fn this_process_shares_its_own_mounts() {
        let all = Processes::read(Path::new("/proc"));
        assert!(all.sharing_mounts(Path::new("/proc")).memory > 0);
    }
}
