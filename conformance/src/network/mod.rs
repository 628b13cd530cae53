//! sig-network.

pub mod api_server;
pub mod dns;
pub mod endpoint_slices;
pub mod endpoints;
pub mod ingress;
pub mod proxy;
pub mod service_cidr;
pub mod services;
pub mod traffic;
