//! The store: etcd's semantics behind a narrow trait, and the two backends that have them.
//!
//! Keys are upstream's (`/registry/pods/default/web`), values are the objects as JSON. One *revision* counts all writes of
//! the whole store; every write gives the key that *mod revision*, which is the object's `resourceVersion`.

mod types;

pub use types::*;
