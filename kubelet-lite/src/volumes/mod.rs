//! A pod's volumes: one folder each below `pods/<uid>/volumes`, made before its sandbox and kept up to date after.
//!
//! Volumes with content from the API ([`payload`]) are written by [`atomic`] as upstream does it, so that a container sees
//! all of an update or nothing.

pub mod atomic;
mod claim;
pub mod host_path;
pub mod image;
pub mod owner;
pub mod payload;

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{Node, Pod, Volume};
use kube::ResourceExt;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use scheduler::core::volumes::used;

use crate::container::fields::Known;
use crate::container::resources;
use crate::objects::Followed;
use crate::sources::{self, Sources};
use owner::Owner;
pub use payload::Tokens;

/// Volume name to its folder (or file, for some hostPaths).
pub type Volumes = HashMap<String, PathBuf>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("MountVolume.SetUp failed for volume \"{volume}\" : {message}")]
    SetUp { volume: String, message: String },
    #[error("MountVolume.NewMounter initialization failed for volume \"{volume}\" : {message}")]
    Mounter { volume: String, message: String },
    #[error("MountVolume.NodeAffinity check failed for volume \"{volume}\" : no matching NodeSelectorTerms")]
    Affinity { volume: String },
    /// It is not even known yet what the volume is.
    #[error(
        "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], failed to process \
         volumes=[{volume}]: {message}"
    )]
    Processing { volume: String, message: String },
}

/// What a look at a pod's volumes found out.
#[derive(Debug)]
pub struct Prepared {
    pub volumes: Volumes,
    /// The tokens in them.
    pub tokens: Tokens,
    /// What they mirror of the API.
    pub followed: Vec<Followed>,
}

/// What [`prepare`] needs besides the pod.
pub struct Context<'a> {
    pub pod: &'a Pod,
    pub known: &'a Known,
    pub client: &'a kube::Client,
    /// The node, as it was seen last.
    pub node: &'a Node,
    /// Tokens that are in the volumes already.
    pub tokens: &'a Tokens,
    /// The pod's folder.
    pub dir: &'a Path,
}

/// Makes all volumes, or brings them up to date; not those of images, which come with the containers ([`image`]).
///
/// # Errors
/// With the first volume that cannot be made, in upstream's words.
pub async fn prepare(context: &Context<'_>, mut sources: Sources<'_>) -> Result<Prepared, Error> {
    let pod = context.pod.name_any();
    let mut prepared = Prepared { volumes: Volumes::new(), tokens: Tokens::new(), followed: Vec::new() };
    for volume in context.pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
        if volume.image.is_some() {
            continue;
        }
        let (path, tokens) = match used::behind(&pod, volume) {
            Some(used) => (claim::set_up(context, volume, &used).await?, Tokens::new()),
            None => one(context, volume, &mut sources)
                .await
                .map_err(|message| Error::SetUp { volume: volume.name.clone(), message })?,
        };
        prepared.volumes.insert(volume.name.clone(), path);
        prepared.tokens.extend(tokens);
    }
    prepared.followed = sources.followed();
    Ok(prepared)
}

async fn one(context: &Context<'_>, volume: &Volume, sources: &mut Sources<'_>) -> Result<(PathBuf, Tokens), String> {
    let folder = |plugin: &str| context.dir.join("volumes").join(format!("kubernetes.io~{plugin}")).join(&volume.name);
    let words = |error: std::io::Error| error.to_string();
    let owner = Owner::of(context.pod.spec.as_ref());
    if let Some(host) = &volume.host_path {
        let path = PathBuf::from(&host.path);
        host_path::check(&path, host.type_.as_deref().unwrap_or_default())?;
        return Ok((path, Tokens::new()));
    }
    if let Some(empty) = &volume.empty_dir {
        let path = folder("empty-dir");
        let fresh = !path.exists();
        std::fs::create_dir_all(&path).map_err(words)?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).map_err(words)?;
        if fresh && empty.medium.as_deref() == Some("Memory") {
            let size = empty.size_limit.as_ref().and_then(resources::units);
            let options = size.map_or("mode=0777".to_owned(), |size| format!("mode=0777,size={size}"));
            mount(Some("tmpfs"), &path, Some("tmpfs"), MsFlags::empty(), Some(options.as_str()))
                .map_err(|error| error.to_string())?;
        }
        owner.take(&path, false).map_err(words)?;
        return Ok((path, Tokens::new()));
    }
    if let Some((plugin, found)) = payload::collect(context, volume, sources).await? {
        let path = folder(plugin);
        std::fs::create_dir_all(&path).map_err(words)?;
        atomic::write(&path, &found.files, owner).map_err(words)?;
        return Ok((path, found.tokens));
    }
    let kind = serde_json::to_value(volume)
        .ok()
        .and_then(|value| value.as_object().and_then(|map| map.keys().find(|key| *key != "name").cloned()));
    Err(format!("volume type {} is not supported by knetsim", kind.unwrap_or_else(|| "unknown".to_owned())))
}

/// Deletes a pod's folder, unmounting what was mounted in it.
pub fn remove(dir: &Path) {
    for kind in std::fs::read_dir(dir.join("volumes/kubernetes.io~empty-dir")).into_iter().flatten().flatten() {
        // Most are no mount points; the kernel says so and that is all.
        let _ = umount2(&kind.path(), MntFlags::MNT_DETACH);
    }
    if let Err(error) = std::fs::remove_dir_all(dir)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(path = %dir.display(), %error, "a pod's folder stays behind");
    }
}

impl From<sources::Error> for String {
    fn from(error: sources::Error) -> Self {
        error.to_string()
    }
}
