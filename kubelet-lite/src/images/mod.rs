//! Images: what a container's root filesystem is made of and what it runs by default.
//!
//! ```text
//! name ──▶ store (D/images, `knetsim image load`) ──▶ catalogue (the host's own files) ──▶ ErrImagePull
//! ```
//!
//! [`catalogue`] names the stand-ins, [`store`] holds what was loaded, [`pull`] has either by a policy, [`rootfs`] mounts it
//! for one container.

pub mod catalogue;
pub mod pull;
pub mod reference;
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
        "failed to pull image \"{0}\": it is neither in the image store nor in the catalogue, and knetsim does not pull \
         from registries: add it with `knetsim image load ARCHIVE`"
    )]
    Unknown(String),
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

/// Resolves names for one node.
#[derive(Clone, Debug)]
pub struct Images {
    store: PathBuf,
    /// Where the catalogue's small layers are written.
    scratch: PathBuf,
}

impl Images {
    #[must_use]
    pub fn new(store: &Path, scratch: &Path) -> Self {
        Self { store: store.to_owned(), scratch: scratch.to_owned() }
    }

    /// Finds `name`; blocking (it may unpack a layer on first use).
    ///
    /// # Errors
    /// [`Error::Unknown`] when neither the store nor the catalogue has it.
    pub fn resolve(&self, name: &str) -> Result<Image, Error> {
        let reference = reference::Reference::parse(name).ok_or_else(|| Error::InvalidName(name.to_owned()))?;
        if let Some(image) = store::find(&self.store, &reference)? {
            return Ok(image);
        }
        match catalogue::find(&reference) {
            Some(entry) => skeleton::prepare(entry, &reference, &self.scratch),
            None => Err(Error::Unknown(reference.to_string())),
        }
    }
}
