//! Control groups: whether we may make any, and whether one has seen the kernel's out-of-memory killer.
//!
//! Each limited container has a group of its own right below the root of every hierarchy, so that deleting the container
//! leaves no folder. Version 1 (a hierarchy a controller) and version 2 (one for all) are both understood.

use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// The group of a container, as the runtime's `cgroupsPath`.
#[must_use]
pub fn path(id: &str) -> String {
    format!("/knetsim-{}", &id[..id.len().min(32)])
}

fn memory_dir(root: &Path, group: &str) -> PathBuf {
    let v1 = root.join("memory");
    let base = if v1.is_dir() { v1 } else { root.to_owned() };
    base.join(group.trim_start_matches('/'))
}

/// Makes a group and removes it again.
///
/// # Errors
/// Why limits cannot be set here.
pub fn probe() -> Result<(), String> {
    probe_in(Path::new(ROOT))
}

fn probe_in(root: &Path) -> Result<(), String> {
    if !root.join("memory").is_dir() && !root.join("cgroup.controllers").exists() {
        return Err("no control groups are mounted".to_owned());
    }
    let dir = memory_dir(root, &format!("knetsim-probe-{}", uuid::Uuid::new_v4().simple()));
    std::fs::create_dir(&dir).map_err(|error| format!("this user may not create control groups ({error})"))?;
    let limited = ["memory.max", "memory.limit_in_bytes"].iter().any(|file| dir.join(file).exists());
    let _ = std::fs::remove_dir(&dir);
    if limited { Ok(()) } else { Err("the memory controller is not delegated to this user".to_owned()) }
}

/// Whether a process of the container's group was killed for want of memory. Ask before the container is deleted.
#[must_use]
pub fn oom_killed(id: &str) -> bool {
    let dir = memory_dir(Path::new(ROOT), &path(id));
    ["memory.events", "memory.oom_control"].iter().any(|file| {
        let text = std::fs::read_to_string(dir.join(file)).unwrap_or_default();
        counts_a_kill(&text)
    })
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
    fn without_control_groups_the_reason_says_so() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(probe_in(dir.path()), Err("no control groups are mounted".to_owned()));
    }
}
