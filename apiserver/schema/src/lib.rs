//! One model of fields for every kind, built in or custom; from it follow decoding, pruning, defaulting, validation,
//! strategic merge, server-side apply, protobuf and OpenAPI.

pub mod apply;
pub mod crd;
pub mod decode;
pub mod field;
pub mod model;
pub mod names;
pub mod openapi;
pub mod patch;
pub mod protobuf;
pub mod quantity;
pub mod selector;

pub use decode::FieldValidation;
pub use model::{Schema, builtin};
use serde_json::Value;

/// Fills what upstream's decoding always fills: defaults and, for built-in kinds, the zero values Go prints.
pub fn apply_defaults(_schema: &Schema, _value: &mut Value) {
    todo!()
}
/// Removes fields the schema does not know; returns their paths.
pub fn prune(_schema: &Schema, _value: &mut Value) -> Vec<String> {
    todo!()
}
/// Structural (OpenAPI) validation.
#[must_use]
pub fn validate(_schema: &Schema, _value: &Value) -> field::ErrorList {
    todo!()
}
