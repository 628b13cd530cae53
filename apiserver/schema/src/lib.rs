//! One model of fields for every kind, built in or custom; from it follow decoding, pruning, defaulting, validation,
//! strategic merge, server-side apply, protobuf and OpenAPI.
//!
//! ```text
//! facts/types.txt ─ facts ─┐                 ┌─ decode · prune · defaults      (what comes in)
//!                          ├─ model::Schema ─┼─ patch · apply                  (how two values merge)
//! CRD schema ──────── crd ─┘                 └─ validate · protobuf · openapi  (what goes out)
//! ```
//! Objects are `serde_json::Value` everywhere; a [`Schema`] is walked next to them.

pub mod apply;
pub mod crd;
pub mod decode;
mod defaults;
mod facts;
pub mod field;
pub mod go;
pub mod json;
pub mod model;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod protobuf;
mod prune;
pub mod quantity;
pub mod selector;
pub mod time;

pub use crd::{validate, validate_status, validate_update};
pub use decode::FieldValidation;
pub use defaults::{apply_defaults, forget_empty, normalize, stored, written};
pub use model::{Schema, builtin, go_types};
pub use prune::{drop_nulls, prune};
