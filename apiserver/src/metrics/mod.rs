//! What the server counts, and tells at `/metrics`: upstream's families under upstream's names.
//!
//! [`families`] is the table. Some of them are counted as things happen, each a field of [`Metrics`]; the others are looked up
//! when somebody asks ([`crate::http::metrics`]).

pub mod families;
mod inflight;
pub mod requests;
pub mod storage;

pub use component_base::metrics::{About, Family, Page, Process, STARTED, Stability, started};
pub use families::Metrics;
