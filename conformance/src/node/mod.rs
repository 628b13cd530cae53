//! sig-node.

pub mod config_maps;
pub mod containers;
pub mod dra;
pub mod environment;
pub mod image_volumes;
pub mod leases;
pub mod nodes;
pub mod pod_lifecycle;
pub mod pod_templates;
pub mod pods;
pub mod probes;
pub mod resize;
pub mod runtime_classes;
pub mod secrets;
pub mod taints;
pub mod websockets;
