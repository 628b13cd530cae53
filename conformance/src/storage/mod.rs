//! sig-storage.

pub mod attachments;
pub mod classes;
pub mod csi;
pub mod downward;
pub mod empty_dir;
pub mod files;
pub mod persistent_volumes;
pub mod subpath;
