use serde_json::Value;

use crate::{Schema, field};
/// The model of `spec.versions[*].schema.openAPIV3Schema`, or what is wrong with it (paths relative to `path`).
pub fn structural(_path: &field::Path, _open_api_v3_schema: &Value, _preserve_unknown: bool) -> Result<Schema, field::ErrorList> { todo!() }
#[derive(Debug)]
pub struct Validator;
#[must_use]
pub fn validate(_schema: &Schema, _value: &Value) -> field::ErrorList {
    todo!()
}
