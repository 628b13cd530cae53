//! The emulator's part of the machine's control groups: one group in every hierarchy, named after the data folder, below
//! which the kubelets make one for each container.
//!
//! They lie beside or below the group that `knetsim up` was started in, so that whatever limits that one has hold for the
//! emulator, too. Made on the host before the sandbox is entered, they are the only groups that can be written to inside,
//! and they would outlive it: a guardian outside of the sandbox watches PID 1 and removes them when it has ended, however
//! it ended. Should somebody end the guardian as well, the next `up` with the same data folder begins by removing them.
//!
//! Version 1 (a hierarchy a controller) and version 2 (one for all) are both understood. The places are those where runc
//! puts a container whose `cgroupsPath` is relative.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::layout::Layout;

/// What limits are made of.
const CONTROLLERS: [&str; 4] = ["memory", "cpu", "pids", "cpuset"];

/// The emulator's groups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// The group's name, relative to where runc looks.
    pub name: String,
    /// Its folder in every hierarchy.
    pub folders: Vec<PathBuf>,
}

/// Makes the groups, after removing those that an emulator with this data folder may have left.
///
/// # Errors
/// Why there are none on this machine, in words for its user.
pub fn claim(layout: &Layout) -> Result<Groups, String> {
    let data = fs::metadata(layout.root()).map_err(|error| error.to_string())?;
    let name = format!("knetsim-{:x}-{:x}", data.dev(), data.ino());
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let folders = folders(&name, &read("/proc/self/mountinfo")?, &read("/proc/self/cgroup")?);
    if folders.is_empty() {
        return Err("no control groups are mounted".to_owned());
    }
    let groups = Groups { name, folders };
    remove_all(&groups.folders)
        .map_err(|error| format!("the groups of an earlier emulator are still in use ({error})"))?;
    let made = groups.folders.iter().try_for_each(|folder| make(folder));
    let made = made.map_err(|error| format!("this user may not create control groups ({error})"));
    let limited =
        |folder: &PathBuf| ["memory.max", "memory.limit_in_bytes"].iter().any(|file| folder.join(file).exists());
    let outcome = match made {
        Ok(()) if groups.folders.iter().any(limited) => return Ok(groups),
        Ok(()) => "the memory controller is not delegated to this user".to_owned(),
        Err(error) => error,
    };
    let _ = remove_all(&groups.folders);
    Err(outcome)
}

fn make(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().unwrap_or(Path::new("/"));
    fs::create_dir(folder)?;
    // Version 2 only: what a parent does not pass on, its children cannot limit. Refusals show in what is missing then.
    for group in [parent, folder] {
        let switch = group.join("cgroup.subtree_control");
        if switch.exists() {
            for controller in CONTROLLERS {
                let _ = fs::write(&switch, format!("+{controller}"));
            }
        }
    }
    Ok(())
}

/// Where the groups go: by this process's mounts and groups (proc(5), cgroups(7)).
fn folders(name: &str, mountinfo: &str, own: &str) -> Vec<PathBuf> {
    let own: Vec<(&str, &str)> = own
        .lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            Some((fields.nth(1)?, fields.next()?))
        })
        .collect();
    let mut found: Vec<PathBuf> = Vec::new();
    for mount in mountinfo.lines().filter_map(Mount::parse) {
        let group = match mount.kind {
            "cgroup" => {
                let ours = |controllers: &str| controllers.split(',').any(|one| mount.options.contains(&one));
                own.iter()
                    .find(|(controllers, _)| !controllers.is_empty() && ours(controllers))
                    .map(|(_, path)| Path::new(*path))
            }
            // A group with processes cannot pass controllers on, so ours is a sibling. Beside version 1 it has none.
            "cgroup2" if mount.point == Path::new("/sys/fs/cgroup") => {
                own.iter().find(|(controllers, _)| controllers.is_empty()).map(|(_, path)| {
                    let path = Path::new(*path);
                    path.parent().unwrap_or(path)
                })
            }
            _ => None,
        };
        let Some(inside) = group.and_then(|group| group.strip_prefix(mount.root).ok()) else { continue };
        let folder = mount.point.join(inside).join(name);
        if !found.contains(&folder) {
            found.push(folder);
        }
    }
    found
}

/// A line of mountinfo.
struct Mount<'a> {
    root: &'a Path,
    point: &'a Path,
    kind: &'a str,
    options: Vec<&'a str>,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (Path::new(mount.next()?), Path::new(mount.next()?));
        let mut system = system.split(' ');
        let kind = system.next()?;
        Some(Self { root, point, kind, options: system.nth(1)?.split(',').collect() })
    }
}

/// Removes groups with all below them; those that are not there are fine. Goes on at an error, and gives the first.
///
/// # Errors
/// When there is still a process in one of them.
pub fn remove_all(folders: &[PathBuf]) -> io::Result<()> {
    let mut first = Ok(());
    for folder in folders {
        if let Err(error) = remove(folder) {
            first = first.and(Err(error));
        }
    }
    first
}

fn remove(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove(&entry.path())?;
    }
    // The files in a group are the kernel's, and go with it.
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &str = "\
30 24 0:26 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:27 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
32 30 0:28 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
33 30 0:29 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
34 30 0:30 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";
    const V2: &str = "30 24 0:26 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";

    fn at(mountinfo: &str, own: &str) -> Vec<String> {
        folders("k", mountinfo, own).iter().map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_hierarchy_a_controller() {
        let own = "4:memory:/jobs/7\n3:cpu,cpuacct:/\n2:name=systemd:/\n0::/";
        let wanted = ["/sys/fs/cgroup/cpu,cpuacct/k", "/sys/fs/cgroup/memory/jobs/7/k", "/sys/fs/cgroup/systemd/k"];
        assert_eq!(at(V1, own), wanted);
        // In a container that sees only its own part of the hierarchy.
        let inner = "32 30 0:28 /docker/a /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(at(inner, "4:memory:/docker/a/b"), ["/sys/fs/cgroup/memory/b/k"]);
        assert_eq!(at(inner, "4:memory:/elsewhere"), [""; 0]);
    }

    #[test]
    fn one_for_all() {
        let own = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-1.scope";
        assert_eq!(at(V2, own), ["/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/k"]);
        assert_eq!(at(V2, "0::/"), ["/sys/fs/cgroup/k"]);
        assert_eq!(at("", own), [""; 0]);
    }

    #[test]
    fn all_below_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("k");
        fs::create_dir_all(folder.join("a/b")).unwrap();
        remove_all(&[folder.clone(), dir.path().join("never-made")]).unwrap();
        assert!(!folder.exists());
    }
}
