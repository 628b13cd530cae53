//! The node agent.

pub mod streaming;
