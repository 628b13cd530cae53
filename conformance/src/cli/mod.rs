//! sig-cli, with the real kubectl.

pub mod basic;
pub mod proxy;
pub mod workloads;
