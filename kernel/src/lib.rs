//! The Linux side: namespaces, links, addresses, routes, nft transactions and sysctls.
//!
//! This is the only crate in which `unsafe` is allowed (clone, setns between fork and exec, descriptor passing); every
//! use of it says why it is sound. Nothing here knows Kubernetes.

pub mod link;
pub mod memory;
pub mod mount_flags;
pub mod netns;
pub mod nft;
pub mod pod;
pub mod process;
pub mod sandbox;
pub mod seccomp;
pub mod testing;
pub mod trace;
