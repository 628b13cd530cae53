//! HTTP: listeners and TLS, what a request is about, which representation it wants, and the paths that are no resources.

pub mod answer;
pub mod backend;
mod component_status;
pub mod discovery;
mod drive;
mod eviction;
pub mod forward;
pub mod health;
pub mod idle;
pub mod kubelet;
mod kubelet_words;
mod log_options;
pub mod metrics;
pub mod negotiate;
pub mod openapi;
mod pieces;
mod pretty;
pub mod proxy;
pub mod request_info;
pub mod route;
pub mod server;
pub mod socket;
pub mod status;
pub mod subresource;
mod warnings;
pub mod websocket;
pub mod witness;
