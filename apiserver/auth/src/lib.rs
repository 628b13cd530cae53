//! Who a request is from, and whether it may do what it wants.
//!
//! Everything here is pure: no store, no network, no clock. Whatever must be looked up comes through traits or indexes that
//! the API server feeds.
//!
//! ```text
//!   certificate ── x509 ──────────┐
//!   bearer token ─ serviceaccount ┼─> UserInfo ── impersonation ──> Attributes ──> node ──> rbac, abac ──> Decision
//!   nothing ────── anonymous ─────┘
//! ```

pub mod abac;
pub mod bootstrap;
pub mod bootstrap_token;
pub mod csr;
pub mod impersonation;
pub mod jose;
pub mod key_pair;
pub mod node;
pub mod rbac;
pub mod request;
pub mod request_header;
pub mod serviceaccount;
pub mod trust;
pub mod user;
pub mod x509;

pub use request::{Attributes, Decision, Resource, Target};
pub use user::UserInfo;
