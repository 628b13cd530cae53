//! Resources within resources (`x-kubernetes-embedded-resource`; `apiserver/schema/objectmeta/validation.go`).

use serde_json::{Map, Value};

use super::{
    field::{Error, ErrorList, Path},
    flag,
};
use crate::names;

/// What is wrong with a resource's metadata, which stands at a path.
pub type Metadata<'m> = &'m dyn Fn(&Path, &Value) -> ErrorList;

/// What is wrong with apiVersion, kind and metadata of all resources embedded in a value of `schema`; `root` if the value is one
/// itself.
#[must_use]
pub fn check(path: &Path, value: &Value, schema: &Value, root: bool, metadata: Metadata<'_>) -> ErrorList {
    let mut errors = ErrorList::new();
    level(path, value, schema, (root, metadata), &mut errors);
    errors
}

fn level(path: &Path, value: &Value, schema: &Value, (root, metadata): (bool, Metadata<'_>), errors: &mut ErrorList) {
    match value {
        Value::Object(map) => {
            if root || flag(schema, "x-kubernetes-embedded-resource") {
                type_meta(path, map, errors);
                if let Some(meta) = map.get("metadata") {
                    errors.extend(metadata(&path.child("metadata"), meta));
                }
            }
            for (key, value) in map {
                if let Some(property) = schema.get("properties").and_then(|all| all.get(key)) {
                    level(&path.child(key), value, property, (false, metadata), errors);
                } else if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
                    level(&path.key(key), value, values, (false, metadata), errors);
                }
            }
        }
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                if let Some(items) = schema.get("items") {
                    level(&path.index(at), item, items, (false, metadata), errors);
                }
            }
        }
        _ => {}
    }
}

fn type_meta(path: &Path, resource: &Map<String, Value>, errors: &mut ErrorList) {
    for name in ["apiVersion", "kind"] {
        let at = path.child(name);
        match resource.get(name) {
            None => errors.push(Error::required(&at, "")),
            Some(Value::String(text)) if text.is_empty() => errors.push(Error::invalid(&at, "", "must not be empty")),
            Some(Value::String(text)) => {
                if let Some(detail) = if name == "kind" { wrong_kind(text) } else { wrong_version(text) } {
                    errors.push(Error::invalid(&at, text.as_str(), detail));
                }
            }
            Some(other) => errors.push(Error::invalid(&at, other.clone(), "must be a string")),
        }
    }
}

fn wrong_kind(kind: &str) -> Option<String> {
    let wrong = names::dns1035_label(&kind.to_lowercase());
    (!wrong.is_empty()).then(|| format!("may have mixed case, but should otherwise match: {}", wrong.join(",")))
}

fn wrong_version(version: &str) -> Option<String> {
    (version.matches('/').count() > 1).then(|| format!("unexpected GroupVersion string: {version}"))
}
