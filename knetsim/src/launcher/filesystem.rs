//! The sandbox's view of the file system: the host's, with everything that nodes write to put on top of it.
//!
//! Nothing of the host is written to but the data folder: /run is new, and /etc, /var and /opt are overlays whose upper
//! layers end with the sandbox. So nodes can have an /etc/cni and an /opt/cni without anyone being root.

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
pub const NODE_FILES: [&str; 3] = ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"];

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
    for folder in ["/etc", "/var", "/opt"] {
        overlay(Path::new(folder))?;
    }
    fs::create_dir_all(layout.root()).with_context(|| format!("finding {}", layout.root().display()))?;
    bind(&stage.join("data"), layout.root())?;
    umount2(stage, MntFlags::MNT_DETACH).context("unmounting the stage")?;
    install_plugins()
}

/// Makes the machine's control groups read-only, except `own`: a group made in them would outlive the sandbox.
fn protect_cgroups(root: &Path, own: &[PathBuf]) -> anyhow::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let below = mounts.lines().filter_map(|line| line.split(' ').nth(1).map(Path::new));
    for path in below.filter(|path| path.starts_with(root) && !own.iter().any(|folder| folder == path)) {
        // The flags that a mount has already may be locked, and must then be given again.
        let has = nix::sys::statvfs::statvfs(path)?.flags();
        let mut flags = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
        for (seen, flag) in [
            (nix::sys::statvfs::FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
            (nix::sys::statvfs::FsFlags::ST_NODEV, MsFlags::MS_NODEV),
            (nix::sys::statvfs::FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
            (nix::sys::statvfs::FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
            (nix::sys::statvfs::FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        ] {
            if has.contains(seen) {
                flags |= flag;
            }
        }
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

/// Covers `folder` with an overlay. What must be ours to write to is made in the upper layer beforehand: a merged folder
/// has the upper one's owner, and the lower ones belong to a user that does not even exist in here.
fn overlay(folder: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(folder.exists(), "{} is not there", folder.display());
    let name = folder.file_name().expect("the folders above have names").to_string_lossy();
    let layers = Path::new("/run/knetsim/overlay").join(name.as_ref());
    let (upper, work) = (layers.join("upper"), layers.join("work"));
    fs::create_dir_all(&work)?;
    fs::create_dir_all(&upper)?;
    for own in NODE_FOLDERS.into_iter().chain([PLUGIN_FOLDERS[0]]) {
        if let Ok(inside) = Path::new(own).strip_prefix(folder) {
            fs::create_dir_all(upper.join(inside))?;
        }
    }
    for own in NODE_FILES {
        if let Ok(inside) = Path::new(own).strip_prefix(folder) {
            fs::write(upper.join(inside), "")?;
        }
    }
    let options =
        format!("lowerdir={},upperdir={},workdir={},userxattr", folder.display(), upper.display(), work.display());
    mount(Some("overlay"), folder, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .with_context(|| format!("mounting an overlay at {}", folder.display()))
}
