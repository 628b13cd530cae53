//! What the server counts, and tells at `/metrics`: upstream's families under upstream's names.
//!
//! [`families`] is the table. Some of them are counted as things happen, each a field of [`Metrics`]; the others are looked up
//! when somebody asks ([`crate::http::metrics`]).

pub mod families;
mod family;
mod inflight;
mod process;
pub mod requests;
pub mod storage;

pub use families::Metrics;
pub use family::{About, Family, Page, Stability};
pub use process::{Process, started};
