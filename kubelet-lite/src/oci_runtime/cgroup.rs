//! Control groups: where containers get theirs, and whether one has seen the kernel's out-of-memory killer.
//!
//! Every container has a group of its own below the one the kubelet was given (`--cgroup-root`); the runtime makes and
//! removes it. Version 1 (a hierarchy a controller) and version 2 (one for all) are both understood.

use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// The group below which containers get theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    /// As the runtime's relative `cgroupsPath`.
    name: String,
    /// Its folder in the hierarchy of the memory controller.
    memory: PathBuf,
    /// Whether the kernel counts swap, too.
    pub limits_swap: bool,
}

impl Cgroup {
    /// Finds the group `name`, which is relative as the runtime takes it: below the own group in version 1, beside it in
    /// version 2.
    ///
    /// # Errors
    /// Why limits cannot be set there.
    pub fn below(name: &str) -> Result<Self, String> {
        let own = std::fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
        Self::find(Path::new(ROOT), &own, name)
    }

    fn find(root: &Path, own: &str, name: &str) -> Result<Self, String> {
        let of = |controller: &str| {
            own.lines().find_map(|line| {
                let mut fields = line.splitn(3, ':').skip(1);
                let named = fields.next()?.split(',').any(|one| one == controller);
                Some(fields.next()?.trim_start_matches('/')).filter(|_| named)
            })
        };
        let (base, group) = match of("memory") {
            Some(group) => (root.join("memory"), Path::new(group)),
            None => {
                let group = Path::new(of("").ok_or("no control groups are mounted")?);
                (root.to_owned(), group.parent().unwrap_or(group))
            }
        };
        let memory = base.join(group).join(name);
        if !["memory.max", "memory.limit_in_bytes"].iter().any(|file| memory.join(file).exists()) {
            return Err(format!("{} limits no memory", memory.display()));
        }
        let limits_swap =
            ["memory.swap.max", "memory.memsw.limit_in_bytes"].iter().any(|file| memory.join(file).exists());
        Ok(Self { name: name.to_owned(), memory, limits_swap })
    }

    /// The group of a container, as the runtime's `cgroupsPath`.
    #[must_use]
    pub fn of(&self, id: &str) -> String {
        format!("{}/{}", self.name, short(id))
    }

    /// What the container's group uses now, bytes; `None` when there is no such group.
    #[must_use]
    pub fn memory_usage(&self, id: &str) -> Option<i64> {
        let dir = self.folder(id);
        let text = |file: &str| std::fs::read_to_string(dir.join(file)).ok();
        text("memory.current").or_else(|| text("memory.usage_in_bytes"))?.trim().parse().ok()
    }

    /// The folder of a container's group, in version 1 the memory controller's.
    #[must_use]
    pub fn folder(&self, id: &str) -> PathBuf {
        self.memory.join(short(id))
    }

    /// Whether a process of the container's group was killed for want of memory. Ask before the container is deleted.
    #[must_use]
    pub fn oom_killed(&self, id: &str) -> bool {
        let dir = self.folder(id);
        ["memory.events", "memory.oom_control"].iter().any(|file| {
            let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
            counts_a_kill(&text)
        })
    }
}

fn short(id: &str) -> &str {
    &id[..id.len().min(32)]
}

fn counts_a_kill(text: &str) -> bool {
    text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_is_found_in_both_versions_files() {
        assert!(counts_a_kill("low 0\noom 1\noom_kill 1\n"));
        assert!(counts_a_kill("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"));
        assert!(!counts_a_kill("oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"));
    }

    #[test]
    fn the_group_is_found_in_both_versions() {
        let dir = tempfile::tempdir().expect("a folder");
        let v1 = dir.path().join("v1");
        std::fs::create_dir_all(v1.join("memory/jobs/7/k")).expect("made");
        std::fs::write(v1.join("memory/jobs/7/k/memory.limit_in_bytes"), "").expect("made");
        let found = Cgroup::find(&v1, "4:memory:/jobs/7\n0::/", "k").expect("a group");
        assert_eq!((found.of("0123"), found.limits_swap), ("k/0123".to_owned(), false));
        let v2 = dir.path().join("v2");
        std::fs::create_dir_all(v2.join("app.slice/k")).expect("made");
        for file in ["memory.max", "memory.swap.max"] {
            std::fs::write(v2.join("app.slice/k").join(file), "").expect("made");
        }
        assert!(Cgroup::find(&v2, "0::/app.slice/run-1.scope", "k").expect("a group").limits_swap);
        assert!(Cgroup::find(&v2, "0::/other.slice/a.scope", "k").expect_err("none").contains("limits no memory"));
        assert_eq!(Cgroup::find(&v2, "", "k"), Err("no control groups are mounted".to_owned()));
    }
}
