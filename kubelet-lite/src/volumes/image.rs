//! image volumes (KEP-4639): the files of an image as a read-only folder of a container.
//!
//! They are not made with the other volumes before the sandbox: as upstream, their images are had whenever a container is
//! about to start, as its own image is, and one that cannot be had holds up those containers alone that mount it.

use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Container, Pod};
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use crate::images::credentials::Credentials;
use crate::images::pull::{Had, Refused};
use crate::images::{Image, Images, rootfs};

/// A volume's image, or why there is none.
#[derive(Clone, Debug)]
pub struct Found {
    pub volume: String,
    /// The name as it was given.
    pub reference: String,
    pub image: Result<Had, Refused>,
}

/// Has the images of all image volumes of a pod; blocking. `pulling` is called with each that has to come from a registry.
#[must_use]
pub fn find(images: &Images, pod: &Pod, credentials: &Credentials, pulling: impl Fn(&str)) -> Vec<Found> {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let of = volumes.filter_map(|volume| Some((volume, volume.image.as_ref()?)));
    of.map(|(volume, source)| {
        let reference = source.reference.clone().unwrap_or_default();
        let policy = source.pull_policy.as_deref().unwrap_or_default();
        let image = images.pull(&reference, policy, credentials, || pulling(&reference));
        Found { volume: volume.name.clone(), reference, image }
    })
    .collect()
}

/// Whether a container has all that it mounts.
///
/// # Errors
/// With the last one that is not there, as upstream's `toKubeContainerImageVolumes`.
pub fn check(container: &Container, found: &[Found]) -> Result<(), Refused> {
    let mounts = container.volume_mounts.iter().flatten();
    let mounted = mounts.filter_map(|mount| found.iter().find(|one| one.volume == mount.name));
    mounted.filter_map(|one| one.image.as_ref().err()).next_back().map_or(Ok(()), |refused| Err(refused.clone()))
}

/// Shows an image below a container's `bundle`, and gives the folder (or file) to mount: all of it, or `sub` in it.
///
/// # Errors
/// When the kernel refuses, or the image has no `sub`.
pub fn show(image: &Image, volume: &str, sub: Option<&str>, bundle: &Path) -> Result<PathBuf, String> {
    let words = |why: String| format!("ImageVolumeMountFailed: image volume \"{volume}\": {why}");
    let root = rootfs::show(image, bundle, volume).map_err(|error| words(error.to_string()))?;
    let Some(sub) = sub else { return Ok(root) };
    inside(&root, sub).map_err(|error| words(format!("subPath \"{sub}\": {error}")))
}

/// A path below `root`, its links followed as if that were all there is.
fn inside(root: &Path, sub: &str) -> nix::Result<PathBuf> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let base = nix::fcntl::open(root, flags | OFlag::O_DIRECTORY, nix::sys::stat::Mode::empty())?;
    let file = openat2(base, sub, OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT))?;
    let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    nix::fcntl::readlink(link.as_str()).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    #[test]
    fn links_do_not_lead_out_of_the_image() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().join("root");
        std::fs::create_dir_all(root.join("etc/inner")).expect("made");
        std::fs::write(root.join("etc/file"), "x").expect("written");
        std::fs::create_dir(dir.path().join("secret")).expect("made");
        symlink("/etc", root.join("absolute")).expect("linked");
        symlink("../secret", root.join("up")).expect("linked");
        let cases = [
            ("etc", Ok(root.join("etc"))),
            ("etc/inner", Ok(root.join("etc/inner"))),
            ("etc/file", Ok(root.join("etc/file"))),
            ("absolute/inner", Ok(root.join("etc/inner"))),
            ("up", Err(nix::errno::Errno::ENOENT)),
            ("none", Err(nix::errno::Errno::ENOENT)),
        ];
        for (sub, wanted) in cases {
            assert_eq!(inside(&root, sub), wanted, "{sub}");
        }
    }

    #[test]
    fn only_what_is_mounted_holds_a_container_up() {
        let dir = tempfile::tempdir().expect("a folder");
        let images = Images::new(dir.path(), &dir.path().join("catalogue"), None);
        let volume =
            |name: &str, image: &str| json!({ "name": name, "image": { "reference": image, "pullPolicy": "Never" } });
        let mounts = |names: &[&str]| {
            let list: Vec<_> =
                names.iter().map(|name| json!({ "name": name, "mountPath": format!("/{name}") })).collect();
            json!({ "name": "c", "volumeMounts": list })
        };
        let pod: Pod = serde_json::from_value(json!({ "spec": {
            "volumes": [volume("a", "example.com/a:1"), volume("b", "example.com/b:1"), { "name": "e", "emptyDir": {} }],
            "containers": [mounts(&[]), mounts(&["e"]), mounts(&["a"]), mounts(&["a", "b"]), mounts(&["b", "a"])],
        } }))
        .expect("a pod");
        let found = find(&images, &pod, &Credentials::default(), |_| {});
        assert_eq!(found.iter().map(|one| &*one.volume).collect::<Vec<_>>(), ["a", "b"]);
        let held: Vec<_> = pod
            .spec
            .expect("a spec")
            .containers
            .iter()
            .map(|container| check(container, &found).err().map(|refused| refused.image))
            .collect();
        let names = |name: &str| Some(format!("example.com/{name}:1"));
        assert_eq!(held, [None, None, names("a"), names("b"), names("a")]);
    }
}
