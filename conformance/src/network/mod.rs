//! sig-network.

pub mod api_server;
pub mod endpoint_slices;
pub mod endpoints;
pub mod ingress;
pub mod service_cidr;
pub mod services;
