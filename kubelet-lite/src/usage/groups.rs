//! A control group's counters, of version 1 or 2.

use std::fs;
use std::path::Path;

/// What the group's folder tells; nothing where there is no such file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub cpu_nanos: Option<u64>,
    pub memory: Option<u64>,
}

/// Reads a group. In version 1 the folder is the memory controller's, which knows nothing of the CPU.
pub fn read(folder: &Path) -> Counters {
    let text = |file: &str| fs::read_to_string(folder.join(file)).ok();
    let number = |file: &str| text(file)?.trim().parse::<u64>().ok();
    let stat = text("memory.stat").unwrap_or_default();
    // What has not been used of files for long goes at once, and is not counted (cAdvisor does so).
    let inactive =
        ["total_inactive_file", "inactive_file"].into_iter().find_map(|name| field(&stat, name)).unwrap_or(0);
    let used = number("memory.current").or_else(|| number("memory.usage_in_bytes"));
    let cpu = text("cpu.stat").and_then(|stat| field(&stat, "usage_usec"));
    Counters {
        cpu_nanos: cpu.map(|micros| micros.saturating_mul(1000)),
        memory: used.map(|used| used.saturating_sub(inactive)),
    }
}

/// The value of a line `name value`.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(read(dir.path()), Counters::default());
        let write = |file: &str, text: &str| fs::write(dir.path().join(file), text).expect("written");
        write("memory.usage_in_bytes", "5000\n");
        write("memory.stat", "inactive_file 7\ntotal_inactive_file 1000\n");
        assert_eq!(read(dir.path()), Counters { cpu_nanos: None, memory: Some(4000) });
        write("memory.current", "9000\n");
        write("memory.stat", "anon 1\ninactive_file 500\n");
        write("cpu.stat", "usage_usec 1234\nuser_usec 1000\n");
        assert_eq!(read(dir.path()), Counters { cpu_nanos: Some(1_234_000), memory: Some(8500) });
    }
}
