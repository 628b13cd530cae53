use serde_json::Value;
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    #[error("no kind {kind:?} is registered for {api_version:?} in protobuf")]
    UnknownKind { api_version: String, kind: String },
    #[error("{0}")]
    Malformed(String),
}
/// Whether the kind has a protobuf form (custom resources and Table have none: answer 406).
#[must_use]
pub fn supports(_api_version: &str, _kind: &str) -> bool { todo!() }
/// Whole body: magic `k8s\0` and runtime.Unknown around the message.
pub fn encode(_api_version: &str, _kind: &str, _value: &Value) -> Result<Vec<u8>, ProtoError> { todo!() }
/// The bare message, to be kept as an item's cached form for [`encode_list`].
pub fn encode_message(_api_version: &str, _kind: &str, _value: &Value) -> Result<Vec<u8>, ProtoError> { todo!() }
/// The envelope around a bare message.
#[must_use]
pub fn envelope(_api_version: &str, _kind: &str, _message: &[u8]) -> Vec<u8> { todo!() }
/// A list body from its metadata and its items' bare messages.
pub fn encode_list<'a>(_api_version: &str, _list_kind: &str, _metadata: &Value, _items: impl Iterator<Item = &'a [u8]>) -> Result<Vec<u8>, ProtoError> { todo!() }
/// A frame of a watch stream (4 bytes big-endian length, then metav1.WatchEvent); `object` is an enveloped body.
#[must_use]
pub fn watch_frame(_event_type: &str, _object: &[u8]) -> Vec<u8> { todo!() }
/// (apiVersion, kind, object as JSON)
pub fn decode(_body: &[u8]) -> Result<(String, String, Value), ProtoError> { todo!() }
