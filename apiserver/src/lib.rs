//! The Kubernetes API server.

pub mod kinds;
