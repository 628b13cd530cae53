//! An object as a webhook or a policy has patched it, read as the kind it is (`mutating/dispatcher.go`, `mutating/patch`).

use schema::{FieldValidation, Schema, decode};
use serde_json::{Map, Value, json};

use super::matching::Seen;
use super::{Attributes, Gvk};
use crate::http::answer::to_json;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::custom::Custom;
use crate::registry::{body, conversion, create};

/// Reads what a patch made: unknown fields go, or are an error, but for custom resources, which lose them when they are written;
/// defaults come.
///
/// # Errors
/// It is of another kind, or cannot be read.
pub fn read(a: &Attributes<'_>, seen: &Seen, value: Value, validation: FieldValidation) -> ApiResult<Value> {
    match seen.resource.custom().filter(|_| is_own(seen)) {
        Some(custom) => read_custom(a, seen, custom, value),
        None => read_typed(seen, value, validation).map_err(ApiError::internal),
    }
}

/// The object in the version of the request again.
///
/// # Errors
/// It cannot be converted.
pub async fn back(a: &Attributes<'_>, seen: &Seen, value: Value) -> ApiResult<Value> {
    let wanted = a.kind.api_version();
    if value["apiVersion"] == wanted.as_str() {
        return Ok(value);
    }
    conversion::convert(a.app(), &seen.resource, value, &wanted).await
}

/// Whether what is seen is the resource's own kind, not a subresource's.
fn is_own(seen: &Seen) -> bool {
    seen.kind.kind == seen.resource.kind && seen.kind.api_version() == seen.resource.api_version()
}

/// The model of the kind a request is seen as.
pub fn schema_of(seen: &Seen) -> Option<Schema> {
    if is_own(seen) { seen.resource.schema() } else { schema::builtin(&seen.kind.api_version(), &seen.kind.kind) }
}

/// An object of the request as it is written for somebody outside.
#[must_use]
pub fn written(a: &Attributes<'_>, object: &Value) -> Value {
    let own = a.kind.kind == a.resource().kind;
    let schema = if own { a.resource().schema() } else { schema::builtin(&a.kind.api_version(), &a.kind.kind) };
    schema.map_or_else(|| object.clone(), |schema| schema::written(&schema, object).into_owned())
}

fn read_typed(seen: &Seen, mut value: Value, validation: FieldValidation) -> Result<Value, String> {
    let Gvk { kind, .. } = &seen.kind;
    let api_version = seen.kind.api_version();
    let Some(schema) = schema_of(seen) else { return Ok(value) };
    // Where it does not say what it is, it is what it was.
    for (field, word) in [("apiVersion", api_version.as_str()), ("kind", kind.as_str())] {
        if let Some(map) = value.as_object_mut().filter(|map| map.get(field).is_none_or(|said| said == "")) {
            map.insert(field.to_owned(), word.into());
        }
    }
    let said = Gvk::of(&value);
    if said != seen.kind {
        let known = schema::builtin(&said.api_version(), &said.kind).is_some();
        let (kind, version) = (&said.kind, said.api_version());
        return Err(if known {
            format!("the patched object is {said} and no longer {}", seen.kind)
        } else {
            format!(
                "no kind {kind:?} is registered for version {version:?} in scheme \"pkg/api/legacyscheme/scheme.go:30\""
            )
        });
    }
    let mut value = decode::value(value, &schema, validation).map_err(|e| e.to_string())?.value;
    schema::apply_defaults(&schema, &mut value);
    if is_own(seen) {
        create::fill_as(&seen.resource, &mut value);
    }
    Ok(value)
}

/// A custom object says what it is, be it in another version; beyond that it is a map, of which no field is looked at before its
/// validation.
fn read_custom(a: &Attributes<'_>, seen: &Seen, custom: &Custom, mut value: Value) -> ApiResult<Value> {
    let (api_version, kind) = decode::interpret(&value).map_err(ApiError::internal)?;
    if kind.is_empty() {
        let text = to_json(&value);
        return Err(ApiError::internal(format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(&text))));
    }
    let said = Gvk::of(&value);
    let Some(version) = custom.version(&said.version).filter(|_| said.group == seen.kind.group) else {
        let wanted = a.kind.api_version();
        let why = format!("{said} is unstructured and is not suitable for converting to {wanted:?}");
        return Err(ApiError::new(500, "", why));
    };
    body::other_custom_kind(&value, kind, api_version, &seen.kind.kind)?;
    let schema = &version.schema;
    let mut known = json!({ "apiVersion": value["apiVersion"], "kind": value["kind"], "metadata": value["metadata"] });
    if decode::in_place(&mut known, schema, FieldValidation::Ignore).is_err() {
        drop_unreadable(&mut known, schema);
        decode::in_place(&mut known, schema, FieldValidation::Ignore).map_err(ApiError::internal)?;
    }
    value["metadata"] = known["metadata"].take();
    schema::apply_defaults(schema, &mut value);
    Ok(value)
}

/// Removes those fields of the metadata that are of other types than they should be: nobody reads them.
fn drop_unreadable(value: &mut Value, schema: &Schema) {
    if let Some(Value::Object(metadata)) = value.get_mut("metadata") {
        metadata.retain(|field, content| {
            let mut alone = Map::new();
            alone.insert(field.clone(), content.clone());
            let alone = json!({ "metadata": alone });
            decode::value(alone, schema, FieldValidation::Ignore).is_ok()
        });
    }
}
