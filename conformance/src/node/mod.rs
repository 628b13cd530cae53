//! sig-node: what needs no running pods.

pub mod config_maps;
pub mod dra;
pub mod leases;
pub mod nodes;
pub mod pod_templates;
pub mod pods;
pub mod secrets;
