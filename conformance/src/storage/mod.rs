//! sig-storage: what needs no running pods.

pub mod attachments;
pub mod classes;
pub mod csi;
pub mod persistent_volumes;
