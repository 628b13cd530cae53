//! Nodes: their pod ranges, their health, what happens to their pods.

pub mod eviction;
pub mod health;
pub mod ipam;
pub mod podgc;
pub mod taints;
