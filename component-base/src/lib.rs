//! What components show of themselves, and to whom (upstream `component-base`, and the delegating half of its `apiserver`).
//!
//! ```text
//!  secure_port: TLS ──► access: who, and may they? ──► health, metrics
//!                          │ trust: the authorities that the cluster publishes
//!                          └ reviews: TokenReview, SubjectAccessReview
//! ```

pub mod access;
pub mod health;
pub mod leader;
pub mod metrics;
pub mod ports;
pub mod query;
pub mod ranges;
pub mod reviews;
pub mod secure_port;
pub mod trust;
