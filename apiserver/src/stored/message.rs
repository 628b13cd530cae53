//! Values in protobuf, which is how upstream's kube-apiserver stores the built-in kinds.
//!
//! Of other versions than those that are served, such are read whose fields are all among those of the version that is stored:
//! nobody has told how the others are converted, or nobody remembers it.

use schema::{FieldValidation, protobuf};
use serde_json::Value;

/// What such a value begins with.
const MAGIC: &[u8] = b"k8s\0";

pub fn is_one(stored: &[u8]) -> bool {
    stored.starts_with(MAGIC)
}

/// The object as it would be stored today.
///
/// # Errors
/// It is of a kind or version that is not known, or is no message of it.
pub fn read(stored: &[u8]) -> Result<Value, String> {
    let (api_version, name, value) = protobuf::decode(stored).map_err(|error| error.to_string())?;
    // What is no resource, such as the allocators', has but one form.
    let Some(kind) = super::kind(&api_version, &name) else { return Ok(value) };
    let storage = kind.storage_api_version();
    let known = api_version == storage || kind.versions.iter().any(|version| kind.api_version(version) == api_version);
    let value = if known { value } else { renamed(value, &storage, &name)? };
    Ok(super::settle(kind, value))
}

/// The same object under another version that has its fields.
fn renamed(mut value: Value, to: &str, kind: &str) -> Result<Value, String> {
    let from = std::mem::replace(&mut value["apiVersion"], to.into());
    let schema =
        schema::builtin(to, kind).ok_or_else(|| format!("no kind {kind:?} is registered for version {to:?}"))?;
    let decoded = schema::decode::value(value, &schema, FieldValidation::Strict);
    Ok(decoded.map_err(|why| format!("{kind} of {from} is no {kind} of {to}: {why}"))?.value)
}
