//! A container's root: an overlay of the image's layers with a writable layer of its own.
//!
//! In a user namespace overlayfs needs `userxattr`. Where the writable layer's own filesystem cannot carry an overlay
//! (another overlay, as in a container), it goes to the tmpfs at /run instead; that is decided once ([`Writable::probe`]).

use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Error, Image};

/// The folder of a bundle with the images that are volumes.
const VOLUMES: &str = "volumes";

/// Where containers' writable layers are kept.
#[derive(Clone, Debug)]
pub struct Writable {
    home: PathBuf,
    /// Why it is not the disk.
    pub note: Option<String>,
}

impl Writable {
    /// Uses `disk` if an overlay can be mounted over it, else `memory`.
    ///
    /// # Errors
    /// When neither works; the kernel's reason is in it.
    pub fn probe(disk: &Path, memory: &Path) -> Result<Self, Error> {
        match try_overlay(disk) {
            Ok(()) => Ok(Self { home: disk.to_owned(), note: None }),
            Err(reason) => {
                try_overlay(memory).map_err(Error::io(memory))?;
                let note = format!("no overlay on {} ({reason}): containers write to memory", disk.display());
                Ok(Self { home: memory.to_owned(), note: Some(note) })
            }
        }
    }

    fn of(&self, id: &str) -> PathBuf {
        self.home.join(id)
    }
}

fn try_overlay(home: &Path) -> std::io::Result<()> {
    let base = home.join(format!(".probe-{}", uuid::Uuid::new_v4().simple()));
    for part in ["lower", "upper", "work", "merged"] {
        std::fs::create_dir_all(base.join(part))?;
    }
    let options = overlay_options(&[base.join("lower")], &base.join("upper"), &base.join("work"));
    let merged = base.join("merged");
    let mounted = mount(Some("overlay"), &merged, Some("overlay"), MsFlags::empty(), Some(options.as_str()));
    let tried = match mounted {
        Ok(()) => std::fs::write(merged.join("file"), "x"),
        Err(error) => Err(error.into()),
    };
    let _ = umount2(&merged, MntFlags::MNT_DETACH);
    let _ = std::fs::remove_dir_all(&base);
    tried
}

fn overlay_options(lower: &[PathBuf], upper: &Path, work: &Path) -> String {
    let lower: Vec<String> = lower.iter().map(|path| path.display().to_string()).collect();
    format!("lowerdir={},upperdir={},workdir={},userxattr", lower.join(":"), upper.display(), work.display())
}

/// A mounted root and the further mount the runtime has to make in it.
#[derive(Debug)]
pub struct Rootfs {
    pub path: PathBuf,
    /// Options of an overlay to be mounted on /usr.
    pub usr: Option<String>,
}

/// Mounts `image` at `<bundle>/rootfs` for the container `id`.
///
/// # Errors
/// When the folders cannot be made or the kernel refuses the mount; nothing stays mounted then.
pub fn mount_root(image: &Image, bundle: &Path, id: &str, writable: &Writable) -> Result<Rootfs, Error> {
    let (path, home) = (bundle.join("rootfs"), writable.of(id));
    for folder in [path.clone(), home.join("upper"), home.join("work"), home.join("usr"), home.join("usr-work")] {
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
    }
    let options = overlay_options(&image.layers, &home.join("upper"), &home.join("work"));
    mount(Some("overlay"), &path, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .map_err(|error| Error::io(&path)(error.into()))?;
    let usr = (!image.usr.is_empty()).then(|| overlay_options(&image.usr, &home.join("usr"), &home.join("usr-work")));
    Ok(Rootfs { path, usr })
}

/// Shows the files of `image` read-only below `bundle`, under the name `volume`, and gives the folder. What is bound into
/// containers of the image besides its layers is not part of it.
///
/// # Errors
/// When the folder cannot be made or the kernel refuses the mount.
pub fn show(image: &Image, bundle: &Path, volume: &str) -> Result<PathBuf, Error> {
    if let ([only], []) = (&*image.layers, &*image.usr) {
        return Ok(only.clone());
    }
    let path = bundle.join(VOLUMES).join(volume);
    std::fs::create_dir_all(&path).map_err(Error::io(&path))?;
    stack(&image.layers, &path)?;
    if !image.usr.is_empty() {
        stack(&image.usr, &path.join("usr"))?;
    }
    Ok(path)
}

/// Mounts folders over each other; nobody can write to them through it.
fn stack(layers: &[PathBuf], path: &Path) -> Result<(), Error> {
    let words = |error: nix::Error| Error::io(path)(error.into());
    if let [only] = layers {
        return mount(Some(only), path, None::<&str>, MsFlags::MS_BIND, None::<&str>).map_err(words);
    }
    let lower: Vec<String> = layers.iter().map(|path| path.display().to_string()).collect();
    let options = format!("lowerdir={},userxattr", lower.join(":"));
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOEXEC;
    mount(Some("overlay"), path, Some("overlay"), flags, Some(options.as_str())).map_err(words)
}

/// Unmounts and deletes what [`mount_root`] and [`show`] made; what is already gone is fine.
pub fn unmount_root(bundle: &Path, id: &str, writable: &Writable) {
    let path = bundle.join("rootfs");
    if path.exists() {
        let _ = umount2(&path, MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(&path);
    }
    for volume in std::fs::read_dir(bundle.join(VOLUMES)).into_iter().flatten().flatten() {
        // With all that is mounted in it.
        let _ = umount2(&volume.path(), MntFlags::MNT_DETACH);
        let _ = std::fs::remove_dir(volume.path());
    }
    remove_layer(&writable.of(id));
}

/// overlayfs leaves its work folder without permissions, which stops an ordinary user from deleting it.
fn remove_layer(home: &Path) {
    use std::os::unix::fs::PermissionsExt;
    for work in ["work/work", "usr-work/work"] {
        let _ = std::fs::set_permissions(home.join(work), PermissionsExt::from_mode(0o700));
    }
    if let Err(error) = std::fs::remove_dir_all(home)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %home.display(), %error, "a container's layer stays behind");
    }
}
