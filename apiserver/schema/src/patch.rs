use serde_json::Value;

use crate::Schema;
/// Display is upstream's text; `code` the HTTP status (400, 413, 422).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatchError { pub code: u16, pub message: String }
/// RFC 6902; `patch` is the parsed body.
pub fn json_patch(_original: &Value, _patch: &Value) -> Result<Value, PatchError> { todo!() }
/// RFC 7386.
pub fn merge_patch(_original: &Value, _patch: &Value) -> Result<Value, PatchError> { todo!() }
pub fn strategic_merge(_schema: &Schema, _original: &Value, _patch: &Value) -> Result<Value, PatchError> { todo!() }
