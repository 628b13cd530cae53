//! Nodes: their pod ranges, their health, what happens to their pods.

pub mod health;
pub mod ipam;
pub mod taints;
