//! The store: etcd's semantics behind a narrow trait, the two backends that have them, and the watch cache before it.
//!
//! Keys are upstream's (`/registry/pods/default/web`), values are the objects as JSON. One *revision* counts all writes of
//! the whole store; every write gives the key that *mod revision*, which is the object's `resourceVersion`.
//!
//! ```text
//!   registry ── get, list, watch ──> cache::WatchCache (one a prefix) ── range, watch ──> Store
//!      └──────── put, delete ──────────────────────────────────────────────────────────────┤
//!                                                                                embedded ─┴─ etcd
//! ```
//!
//! Between those who ask and the two there may be layers that are stores themselves: values are encrypted ([`encrypt`]), and
//! keys are elsewhere ([`relocated`]).

pub mod cache;
pub mod embedded;
pub mod encrypt;
pub mod etcd;
mod hub;
pub mod relocated;
pub mod splice;
mod types;

pub use types::*;
