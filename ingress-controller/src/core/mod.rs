//! The pure part: watched objects in, the whole desired nginx configuration out.
//!
//! ```text
//! Ingress ──class──> ours? ──annotations──> Options ┐
//!    │ rules, tls                                   ├─> model::Config ──render──> nginx.conf + certificate files
//!    └─> Service ──port──> EndpointSlices ──────────┘            └─> Problems (one Warning Event each)
//! ```
//!
//! Nothing here does I/O. Whatever a user wrote is either parsed into a type that cannot hold nginx syntax (numbers,
//! networks, host names) or kept as text that [`render`] quotes; there is no way to pass a snippet through.

pub mod annotations;
pub mod backend;
pub mod build;
pub mod class;
pub mod model;
pub mod pace;
pub mod paths;
pub mod render;
pub mod tls;
