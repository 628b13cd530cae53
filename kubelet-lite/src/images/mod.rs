//! Images: what a container's root filesystem is made of and what it runs by default.
//!
//! ```text
//! name ──▶ store (D/images, `knetsim image load`) ──▶ registry, if allowed ──▶ catalogue (the host's own files) ──▶ ErrImagePull
//! ```
//!
//! [`catalogue`] names the stand-ins, [`store`] holds what was loaded or pulled, [`registry`] fetches what [`puller`] is asked
//! for, [`pull`] has an image by a policy, [`rootfs`] mounts it for one container.

pub mod catalogue;
pub mod credentials;
pub mod pull;
pub mod puller;
pub mod reference;
pub mod registry;
pub mod rootfs;
pub mod skeleton;
pub mod store;

use std::path::{Path, PathBuf};

pub use store::load;

/// A resolved image, ready to be mounted.
#[derive(Clone, Debug, PartialEq)]
pub struct Image {
    /// The name as given, with its registry and tag spelt out.
    pub name: String,
    /// `sha256:…` of the configuration for stored images; a name for the catalogue's.
    pub id: String,
    pub size: u64,
    /// Directories stacked into the root, the topmost first.
    pub layers: Vec<PathBuf>,
    /// Directories stacked onto /usr, the topmost first; empty where the layers hold it.
    pub usr: Vec<PathBuf>,
    /// Host files shown in the container, read-only: (on the host, in the container).
    pub binds: Vec<(PathBuf, PathBuf)>,
    pub config: Config,
    /// Why this is not the image that was asked for.
    pub stand_in: Option<String>,
}

/// What an image says about running it (the OCI image configuration's `config`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    pub working_dir: String,
    pub stop_signal: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("couldn't parse image name \"{0}\": invalid reference format")]
    InvalidName(String),
    /// Neither stored nor in the catalogue.
    #[error(
        "failed to pull image \"{0}\": it is neither in the image store nor in the catalogue, and registries are asked only \
         after `knetsim up --pull`: add it with `knetsim image pull` or `knetsim image load`"
    )]
    Unknown(String),
    /// The registry's answer, for an image that is nowhere else either.
    #[error("failed to pull image \"{0}\": {1}")]
    NotPulled(String, String),
    #[error("Container image \"{0}\" is not present with pull policy of Never")]
    NeverPull(String),
    #[error("image store: {0}")]
    Store(#[from] store::Error),
    #[error("preparing {path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// Brings an image from its registry into the store, with the user's own credentials; gives its full name. Blocking.
///
/// # Errors
/// When `name` is none, or the image is not to be had.
pub fn fetch(store: &Path, name: &str) -> Result<String, Error> {
    let reference = reference::Reference::parse(name).ok_or_else(|| Error::InvalidName(name.to_owned()))?;
    let failed = |error: registry::Error| Error::NotPulled(reference.to_string(), error.to_string());
    registry::fetch(store, &reference, None).map_err(failed)?;
    Ok(reference.to_string())
}

/// Resolves names for one node.
#[derive(Clone, Debug)]
pub struct Images {
    store: PathBuf,
    /// Where the catalogue's small layers are written.
    scratch: PathBuf,
    /// Whom to ask for images of registries; `None` when they are not to be asked.
    puller: Option<PathBuf>,
}

impl Images {
    #[must_use]
    pub fn new(store: &Path, scratch: &Path, puller: Option<PathBuf>) -> Self {
        Self { store: store.to_owned(), scratch: scratch.to_owned(), puller }
    }

    /// Whether registries are asked.
    #[must_use]
    pub fn asks_registries(&self) -> bool {
        self.puller.is_some()
    }
}
