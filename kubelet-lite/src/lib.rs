//! knetsim-kubelet-lite
pub mod cni;
pub mod files;
pub mod flags;
pub mod images;
pub mod node;
pub mod oci_runtime;
pub mod pause;
