//! sig-cli, with the real kubectl.

pub mod basic;
pub mod guestbook;
pub mod proxy;
pub mod workloads;
