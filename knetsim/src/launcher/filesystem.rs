//! The sandbox's view of the file system: the host's, with everything that nodes write to put on top of it.
//!
//! Nothing of the host is written to but the data folder: /run is new, and /etc, /var and /opt are overlays whose upper
//! layers end with the sandbox. So nodes can have an /etc/cni and an /opt/cni without anyone being root.
//!
//! The kernel gives a user namespace no overlay of a folder that somebody else has mounted something below: what such a
//! mount hides must stay hidden. Containers (/etc/hosts) and machines that run them (/var/lib/docker) are full of such
//! mounts. There the folder is put together anew, of overlays of the folders in it that have none.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::Context;
use nix::mount::{MntFlags, MsFlags, mount, umount2};

use crate::layout::Layout;

/// Where the distribution and others keep CNI plugins; the first that has one wins.
const PLUGIN_FOLDERS: [&str; 2] = ["/opt/cni/bin", "/usr/lib/cni"];

/// Folders of which each node has its own, made here so that there is something to mount on.
pub const NODE_FOLDERS: [&str; 5] =
    ["/etc/cni/net.d", "/etc/kubernetes", "/var/lib/kubelet", "/var/lib/cni", "/var/log"];

/// Files of which each node has its own. On the host they may be links that lead out of /etc; here they are plain files.
pub const NODE_FILES: [&str; 4] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/machine-id"];

/// Mounts all of it; of the machine's control groups only those in `groups` can be written to. The caller is PID 1 in fresh
/// namespaces and has one thread.
///
/// # Errors
/// The first mount that failed, by name.
pub fn mount_all(layout: &Layout, groups: &[PathBuf]) -> anyhow::Result<()> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making / private")?;
    mount(Some("proc"), "/proc", Some("proc"), MsFlags::empty(), none).context("mounting /proc")?;
    // Staged outside of what is about to be covered; /mnt is the FHS's place for a temporary mount.
    let stage = Path::new("/mnt");
    tmpfs(stage, "mode=0755")?;
    for name in ["data", "run", "cgroup"] {
        fs::create_dir(stage.join(name))?;
    }
    bind(layout.root(), &stage.join("data"))?;
    let cgroups = Path::new("/sys/fs/cgroup");
    bind(cgroups, &stage.join("cgroup"))?;
    let own: Vec<PathBuf> = groups
        .iter()
        .filter_map(|folder| Some(stage.join("cgroup").join(folder.strip_prefix(cgroups).ok()?)))
        .collect();
    // A mount of its own stays writable when the one around it does not.
    own.iter().try_for_each(|folder| bind(folder, folder))?;
    protect_cgroups(&stage.join("cgroup"), &own)?;
    if mount(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty(), none).is_ok() {
        bind(&stage.join("cgroup"), Path::new("/sys/fs/cgroup"))?;
    }
    tmpfs(Path::new("/run"), "mode=0755")?;
    for name in ["netns", "knetsim", "lock"] {
        fs::create_dir_all(Path::new("/run").join(name))?;
    }
    // Where nodes, which cover /sys and /run with their own, find the control groups.
    fs::create_dir("/run/knetsim/cgroup")?;
    bind(&stage.join("cgroup"), Path::new("/run/knetsim/cgroup"))?;
    mount(Some("/run/netns"), "/run/netns", none, MsFlags::MS_BIND, none).context("mounting /run/netns")?;
    mount(none, "/run/netns", none, MsFlags::MS_SHARED, none).context("sharing /run/netns")?;
    let mounts = mount_points()?;
    for folder in ["/etc", "/var", "/opt"] {
        cover(Path::new(folder), &mounts)?;
    }
    fs::create_dir_all(layout.root()).with_context(|| format!("finding {}", layout.root().display()))?;
    bind(&stage.join("data"), layout.root())?;
    umount2(stage, MntFlags::MNT_DETACH).context("unmounting the stage")?;
    install_plugins()
}

/// Makes the machine's control groups read-only, except `own`: a group made in them would outlive the sandbox.
fn protect_cgroups(root: &Path, own: &[PathBuf]) -> anyhow::Result<()> {
    for path in mount_points()?.iter().filter(|path| path.starts_with(root) && !own.contains(path)) {
        // The flags that a mount has already may be locked, and must then be given again.
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | kernel::mount_flags::of(path)?;
        mount(None::<&str>, path, None::<&str>, flags, None::<&str>)
            .with_context(|| format!("making {} read-only", path.display()))?;
    }
    Ok(())
}

/// /opt/cni/bin with the distribution's plugins and our own, as links.
fn install_plugins() -> anyhow::Result<()> {
    let bin = Path::new(PLUGIN_FOLDERS[0]);
    for folder in &PLUGIN_FOLDERS[1..] {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let link = bin.join(entry.file_name());
            if fs::symlink_metadata(&link).is_err() {
                symlink(entry.path(), link)?;
            }
        }
    }
    let own = std::env::current_exe()?;
    for plugin in crate::CNI_PLUGINS {
        let link = bin.join(plugin);
        let _ = fs::remove_file(&link);
        symlink(&own, link)?;
    }
    Ok(())
}

/// A tmpfs at `path`.
///
/// # Errors
/// When the kernel refuses.
pub fn tmpfs(path: &Path, options: &str) -> anyhow::Result<()> {
    mount(Some("tmpfs"), path, Some("tmpfs"), MsFlags::MS_NOSUID | MsFlags::MS_NODEV, Some(options))
        .with_context(|| format!("mounting a tmpfs at {}", path.display()))
}

/// `from`, with what is mounted below it, seen at `to` as well.
///
/// # Errors
/// When the kernel refuses.
pub fn bind(from: &Path, to: &Path) -> anyhow::Result<()> {
    mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
        .with_context(|| format!("binding {} to {}", from.display(), to.display()))
}

/// Where something is mounted.
fn mount_points() -> anyhow::Result<Vec<PathBuf>> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    Ok(mounts.lines().filter_map(|line| line.split(' ').nth(1)).map(|path| unescaped(path).into()).collect())
}

/// A path as the kernel writes it in tables: spaces and the like by their octal numbers.
fn unescaped(path: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(path.to_owned(), |path, (written, meant)| path.replace(written, meant))
}

/// So many levels of folders are put together anew; what has mounts further down is left empty. It is the machinery of
/// somebody else (/var/lib/docker), with as many folders as they have layers.
const LEVELS: usize = 2;
/// The largest file that is copied.
const LONGEST: u64 = 1 << 20;

/// Makes `folder` one that can be written to, with what the host has there.
fn cover(folder: &Path, mounts: &[PathBuf]) -> anyhow::Result<()> {
    anyhow::ensure!(folder.exists(), "{} is not there", folder.display());
    if !has_mounts(folder, mounts) {
        return overlay(folder, folder);
    }
    let whole = Path::new("/run/knetsim/whole").join(folder.strip_prefix("/").unwrap_or(folder));
    assemble(folder, &whole, mounts, LEVELS)?;
    for (own, folder_of_ours) in own_within(folder) {
        let own = whole.join(own);
        if folder_of_ours { fs::create_dir_all(own)? } else { fs::write(own, "")? }
    }
    bind(&whole, folder)
}

fn has_mounts(folder: &Path, mounts: &[PathBuf]) -> bool {
    mounts.iter().any(|path| path != folder && path.starts_with(folder))
}

/// Puts `folder` together anew at `place`: overlays of its folders, and copies of its files.
fn assemble(folder: &Path, place: &Path, mounts: &[PathBuf], levels: usize) -> anyhow::Result<()> {
    fs::create_dir_all(place)?;
    fs::set_permissions(place, fs::metadata(folder)?.permissions())?;
    if levels == 0 {
        return Ok(());
    }
    // What one may not look into, or is gone again, is not there.
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (from, to) = (entry.path(), place.join(entry.file_name()));
        let Ok(metadata) = entry.metadata() else { continue };
        if metadata.is_symlink() {
            symlink(fs::read_link(&from)?, &to)?;
        } else if metadata.is_dir() && has_mounts(&from, mounts) {
            assemble(&from, &to, mounts, levels - 1)?;
        } else if metadata.is_dir() {
            fs::create_dir(&to)?;
            if let Err(error) = overlay(&from, &to) {
                tracing::warn!("{} is empty in here: {error:#}", from.display());
            }
        } else if metadata.is_file() && metadata.len() <= LONGEST {
            let _ = fs::copy(&from, &to);
        }
    }
    Ok(())
}

/// What must be ours below `folder`, as paths from there, and whether it is a folder.
fn own_within(folder: &Path) -> impl Iterator<Item = (&'static Path, bool)> {
    let folders = NODE_FOLDERS.into_iter().chain([PLUGIN_FOLDERS[0]]).map(|own| (own, true));
    let all = folders.chain(NODE_FILES.into_iter().map(|own| (own, false)));
    all.filter_map(move |(own, is_folder)| Some((Path::new(own).strip_prefix(folder).ok()?, is_folder)))
}

/// Mounts an overlay of the host's `folder` at `place`. What must be ours to write to is made in the upper layer beforehand:
/// a merged folder has the upper one's owner, and the lower ones belong to a user that does not even exist in here.
fn overlay(folder: &Path, place: &Path) -> anyhow::Result<()> {
    let layers = Path::new("/run/knetsim/overlay").join(folder.strip_prefix("/").unwrap_or(folder));
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    fs::create_dir_all(&work)?;
    fs::create_dir_all(&upper)?;
    fs::set_permissions(&upper, fs::metadata(folder)?.permissions())?;
    for (own, is_folder) in own_within(folder) {
        let own = upper.join(own);
        if is_folder { fs::create_dir_all(own)? } else { fs::write(own, "")? }
    }
    let [lower, upper, work] = [folder, &upper, &work].map(|path| as_option(&path.to_string_lossy()));
    let options = format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr");
    mount(Some("overlay"), place, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("mounting an overlay at {}", folder.display()))
}

/// A path in a mount's options, where commas and, between layers, colons have a meaning.
fn as_option(path: &str) -> String {
    path.replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below() {
        let mounts = ["/", "/var/lib/docker/x y", "/etc/hosts", "/optical"].map(PathBuf::from);
        let found =
            ["/etc", "/var", "/var/lib", "/var/lib/docker/x y", "/opt"].map(|f| has_mounts(Path::new(f), &mounts));
        assert_eq!(found, [true, true, true, false, false]);
        assert_eq!(unescaped(r"/a\040b\134c"), r"/a b\c");
        let own: Vec<_> = own_within(Path::new("/var/lib")).collect();
        assert_eq!(own, [(Path::new("kubelet"), true), (Path::new("cni"), true)]);
        assert!(own_within(Path::new("/etc")).any(|own| own == (Path::new("hosts"), false)));
    }
}
