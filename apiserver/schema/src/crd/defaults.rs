//! Defaults must themselves fit the schema they stand in (`apiserver/schema/defaulting/validation.go`): nothing would be pruned of
//! them, embedded resources are well formed, and values are valid. What rules say of them is asked of the CEL crate.

use serde_json::Value;

use super::{
    Validator, embedded,
    field::{Error, ErrorList, Path},
    node,
    validator::{Place, validate_at},
};
use crate::{Schema, prune};

/// `schema` is structural; a default of the root would have to be a whole resource.
pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    level(path, schema, true, &mut errors);
    errors
}

/// Calls `visit` with the place of each default, the schema that it is one of, and the default.
pub fn each(path: &Path, schema: &Value, visit: &mut impl FnMut(&Path, &Value, &Value)) {
    if let Some(default) = schema.get("default") {
        visit(&path.child("default"), schema, default);
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        each(&path.child("properties").key(name), property, visit);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below @ Value::Object(_)) = schema.get(name) {
            each(&path.child(name), below, visit);
        }
    }
}

fn level(path: &Path, schema: &Value, root: bool, errors: &mut ErrorList) {
    if let Some(default) = schema.get("default").filter(|default| !default.is_null()) {
        let at = path.child("default");
        let mut pruned = default.clone();
        let shape = Schema { root: std::sync::Arc::new(node(schema, super::Unlisted::AsSaid)), validator: None };
        prune(&shape, &mut pruned);
        if root || super::flag(schema, "x-kubernetes-embedded-resource") {
            // What is said of every resource is not pruned by the schema.
            for name in ["apiVersion", "kind", "metadata"] {
                if let (Some(kept), Some(pruned)) = (default.get(name), pruned.as_object_mut()) {
                    pruned.insert(name.to_owned(), kept.clone());
                }
            }
        }
        if pruned != *default {
            errors.push(Error::invalid(&at, default.clone(), "must not have unknown fields"));
        }
        let found = embedded::check(&at, default, schema, root, &|_, _| ErrorList::new());
        if found.is_empty() {
            validate_at(&Validator::compile_default(schema), default, &at, errors);
        }
        errors.extend(found);
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        level(&path.child("properties").key(name), property, false, errors);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below @ Value::Object(_)) = schema.get(name) {
            level(&path.child(name), below, false, errors);
        }
    }
}

impl Validator {
    /// As [`Validator::compile`], but that int-or-strings have no type: their default may be anything.
    fn compile_default(schema: &Value) -> Self {
        let mut validator = Self::compile(schema, Place::Below);
        validator.untype();
        validator
    }
}
