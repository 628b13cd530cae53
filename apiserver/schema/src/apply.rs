use serde_json::Value;

use crate::Schema;
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation { Apply, Update }
/// Who writes. `time` is RFC 3339 in whole seconds; `subresource` is empty for the main resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager { pub name: String, pub operation: Operation, pub api_version: String, pub subresource: String, pub time: String }
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// As in a Status cause of reason FieldManagerConflict: `conflict with "kubectl" using apps/v1`.
    pub message: String,
    /// `.spec.replicas`
    pub field: String,
}
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ApplyError {
    /// 409 Conflict; causes are the conflicts.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// 400 or 422: what was sent does not fit the schema.
    #[error("{0}")]
    Invalid(String),
}
fn conflict_message(_c: &[Conflict]) -> String { todo!() }
/// Server-side apply: the merged object with its new `metadata.managedFields`. Run `apply_defaults` on the result,
/// then admission, then [`track_update`]-free storing.
pub fn apply(_schema: &Schema, _live: Option<&Value>, _config: &Value, _manager: &Manager, _force: bool) -> Result<Value, ApplyError> { todo!() }
/// Every other write (create, update, patch, status): sets `metadata.managedFields` of `new`. Never fails.
pub fn track_update(_schema: &Schema, _live: Option<&Value>, _new: &mut Value, _manager: &Manager) { todo!() }
