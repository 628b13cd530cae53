//! What a mount restricts. Whoever changes a mount that another user namespace has made must name its restrictions again,
//! for the kernel refuses to lift them (mount_namespaces(7)).

use std::path::Path;

use nix::mount::MsFlags;
use nix::sys::statvfs::{FsFlags, statvfs};

/// As statvfs(2) tells it, as mount(2) takes it, and as an option's name.
const RESTRICTIONS: [(FsFlags, MsFlags, &str); 3] = [
    (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID, "nosuid"),
    (FsFlags::ST_NODEV, MsFlags::MS_NODEV, "nodev"),
    (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC, "noexec"),
];
/// When times of access are written; it must stay as it is, too, but a change that says nothing of it leaves it.
const TIMES: [(FsFlags, MsFlags); 2] =
    [(FsFlags::ST_RELATIME, MsFlags::MS_RELATIME), (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME)];

/// The flags that a change of the mount at `path` has to repeat.
///
/// # Errors
/// There is nothing at `path`.
pub fn of(path: &Path) -> nix::Result<MsFlags> {
    let has = statvfs(path)?.flags();
    let restrictions = RESTRICTIONS.iter().map(|(seen, flag, _)| (*seen, *flag));
    Ok(restrictions.chain(TIMES).filter(|(seen, _)| has.contains(*seen)).map(|(_, flag)| flag).collect())
}

/// The restrictions of the mount at `path`, as options; none where nothing is.
#[must_use]
pub fn restrictions(path: &Path) -> Vec<&'static str> {
    let Ok(flags) = of(path) else { return Vec::new() };
    RESTRICTIONS.iter().filter(|(_, flag, _)| flags.contains(*flag)).map(|(_, _, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_kernels_own_table_says() {
        let table = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let mut seen = 0;
        for path in ["/", "/proc", "/sys", "/dev"] {
            // The last mount at a path is the one to be seen.
            let last =
                table.lines().rev().map(|line| line.split(' ').collect::<Vec<_>>()).find(|words| words[1] == path);
            let Some(words) = last else { continue };
            let named = |name: &&str| words[3].split(',').any(|option| option == *name);
            let expected: Vec<&str> = ["nosuid", "nodev", "noexec"].into_iter().filter(named).collect();
            assert_eq!(restrictions(Path::new(path)), expected, "{path}");
            seen += 1;
        }
        assert!(seen > 0, "no mount is known");
        assert!(restrictions(Path::new("/nowhere")).is_empty() && of(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn names_and_flags_are_those_of_one_restriction() {
        for (seen, flag, name) in RESTRICTIONS {
            for written in [format!("{seen:?}"), format!("{flag:?}")] {
                assert!(written.to_lowercase().contains(name), "{written} is not {name}");
            }
        }
    }
}
