//! Whether a schema is structural (`apiextensions-apiserver/pkg/apiserver/schema` and its CRD validation): a type
//! everywhere, no construct that pruning and defaulting could not follow.

use serde_json::Value;

use super::validator::{compile_pattern, go_number};
use super::{
    Place, Validator,
    field::{Error, ErrorList, Path},
    flag, text, validate_at,
};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
/// What `allOf`, `anyOf`, `oneOf` and `not` may not say: they only restrict what the skeleton has.
const SKELETON_ONLY: &[(&str, &str)] = &[
    ("type", "must be empty to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("default", "must be undefined to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
];

pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if !schema.is_object() {
        errors.push(Error::required(path, "schemas are required"));
        return errors;
    }
    match text(schema, "type") {
        "object" => {}
        "" => errors.push(Error::required(&path.child("type"), "must not be empty at the root")),
        other => errors.push(Error::invalid(&path.child("type"), other, "must be object at the root")),
    }
    if flag(schema, "nullable") {
        errors.push(Error::forbidden(&path.child("nullable"), "nullable cannot be true at the root"));
    }
    level(path, schema, Role::Root, &mut errors);
    errors
}

#[derive(Clone, Copy, PartialEq)]
enum Role {
    Root,
    Field,
    Item,
}

fn level(path: &Path, schema: &Value, role: Role, errors: &mut ErrorList) {
    let Some(map) = schema.as_object() else {
        errors.push(Error::invalid(path, schema.clone(), "must be a schema object"));
        return;
    };
    let ty = text(schema, "type");
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    if ty.is_empty() && !int_or_string && !preserve {
        match role {
            Role::Root => {}
            Role::Field => {
                errors.push(Error::required(&path.child("type"), "must not be empty for specified object fields"))
            }
            Role::Item => {
                errors.push(Error::required(&path.child("type"), "must not be empty for specified array items"))
            }
        }
    } else if !ty.is_empty() && !TYPES.contains(&ty) {
        errors.push(Error::not_supported(&path.child("type"), ty, TYPES));
    }
    if int_or_string && !ty.is_empty() {
        errors.push(Error::invalid(&path.child("type"), ty, "must be empty if x-kubernetes-int-or-string is true"));
    }
    if flag(schema, "x-kubernetes-embedded-resource") && ty != "object" {
        errors.push(Error::invalid(
            &path.child("type"),
            ty,
            "must be object if x-kubernetes-embedded-resource is true",
        ));
    }
    for (name, detail) in [
        ("$ref", "$ref is not supported"),
        ("definitions", "definitions is not supported"),
        ("dependencies", "dependencies is not supported"),
        ("patternProperties", "patternProperties is not supported"),
        ("id", "id is not supported"),
        ("additionalItems", "additionalItems is not supported"),
    ] {
        if map.contains_key(name) {
            errors.push(Error::forbidden(&path.child(name), detail));
        }
    }
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), detail));
    }
    value_rules(path, schema, errors);
    list(path, schema, ty, errors);
    properties(path, schema, errors);
    match map.get("additionalProperties") {
        Some(Value::Bool(false)) => {
            errors.push(Error::forbidden(
                &path.child("additionalProperties"),
                "additionalProperties cannot be set to false",
            ));
        }
        Some(values @ Value::Object(_)) => {
            if map.get("properties").and_then(Value::as_object).is_some_and(|properties| !properties.is_empty()) {
                let detail = "additionalProperties and properties are mutual exclusive";
                errors.push(Error::forbidden(&path.child("additionalProperties"), detail));
            }
            level(&path.child("additionalProperties"), values, Role::Field, errors);
        }
        _ => {}
    }
    for (at, name, branch) in branches(path, schema) {
        junctor(&at, branch, name, int_or_string, errors);
    }
}

fn branches<'a>(path: &Path, schema: &'a Value) -> Vec<(Path, &'static str, &'a Value)> {
    let mut out = Vec::new();
    for name in ["allOf", "anyOf", "oneOf"] {
        for (index, branch) in schema.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            out.push((path.child(name).index(index), name, branch));
        }
    }
    if let Some(branch) = schema.get("not") {
        out.push((path.child("not"), "not", branch));
    }
    out
}

fn properties(path: &Path, schema: &Value, errors: &mut ErrorList) {
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        level(&path.child("properties").key(name), property, Role::Field, errors);
    }
}

fn list(path: &Path, schema: &Value, ty: &str, errors: &mut ErrorList) {
    match schema.get("items") {
        Some(Value::Array(_)) => {
            errors.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
        }
        Some(items) => level(&path.child("items"), items, Role::Item, errors),
        None if ty == "array" => errors.push(Error::required(&path.child("items"), "must be specified")),
        None => {}
    }
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).cloned().unwrap_or_default();
    let kind = text(schema, "x-kubernetes-list-type");
    match kind {
        "" | "atomic" | "set" | "map" => {}
        other => {
            errors.push(Error::not_supported(&path.child("x-kubernetes-list-type"), other, &["atomic", "map", "set"]))
        }
    }
    if !kind.is_empty() && ty != "array" {
        errors.push(Error::invalid(&path.child("type"), ty, "must be array if x-kubernetes-list-type is specified"));
    }
    let at = path.child("x-kubernetes-list-map-keys");
    if kind == "map" && keys.is_empty() {
        errors.push(Error::required(&at, "must not be empty if x-kubernetes-list-type is map"));
    }
    if kind != "map" && !keys.is_empty() {
        errors.push(Error::invalid(
            &path.child("x-kubernetes-list-type"),
            kind,
            "must be map if x-kubernetes-list-map-keys is non-empty",
        ));
    }
    let items = schema.get("items").unwrap_or(&Value::Null);
    for (index, key) in keys.iter().filter_map(Value::as_str).enumerate() {
        let Some(property) = items.get("properties").and_then(|properties| properties.get(key)) else {
            let detail = "entries must all be names of item properties";
            errors.push(Error::invalid(&at.index(index), key, detail));
            continue;
        };
        let required =
            items.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|name| name == key));
        if !required && property.get("default").is_none() {
            let at = path.child("items").child("properties").key(key).child("default");
            errors.push(Error::required(
                &at,
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
            ));
        }
    }
    match text(schema, "x-kubernetes-map-type") {
        "" | "atomic" | "granular" => {}
        other => {
            errors.push(Error::not_supported(&path.child("x-kubernetes-map-type"), other, &["atomic", "granular"]))
        }
    }
}

fn value_rules(path: &Path, schema: &Value, errors: &mut ErrorList) {
    if let Some(Value::String(pattern)) = schema.get("pattern")
        && let Err(error) = compile_pattern(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(Error::invalid(&path.child("pattern"), pattern.as_str(), detail));
    }
    for name in ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"] {
        if let Some(number) = schema.get(name).and_then(Value::as_i64).filter(|number| *number < 0) {
            errors.push(Error::invalid(&path.child(name), number, "must be greater than or equal to 0"));
        }
    }
    if let (Some(min), Some(max)) =
        (schema.get("minimum").and_then(Value::as_f64), schema.get("maximum").and_then(Value::as_f64))
        && min > max
    {
        let detail = format!("minimum must be less than or equal to maximum {}", go_number(max));
        errors.push(Error::invalid(&path.child("minimum"), min, detail));
    }
}

/// Inside a junctor only value validation may stand; `int-or-string` has one allowed exception.
fn junctor(path: &Path, schema: &Value, name: &str, int_or_string: bool, errors: &mut ErrorList) {
    let Some(map) = schema.as_object() else { return };
    let int_or_string_pattern =
        int_or_string && matches!(name, "anyOf" | "allOf") && matches!(text(schema, "type"), "integer" | "string");
    for (forbidden, detail) in SKELETON_ONLY {
        let set = map.get(*forbidden).is_some_and(|value| value != &Value::Bool(false) && value != "");
        if set && !(*forbidden == "type" && int_or_string_pattern) {
            errors.push(Error::forbidden(&path.child(forbidden), *detail));
        }
    }
    value_rules(path, schema, errors);
    for (name, property) in map.get("properties").and_then(Value::as_object).into_iter().flatten() {
        junctor(&path.child("properties").key(name), property, "properties", false, errors);
    }
    if let Some(items) = map.get("items") {
        junctor(&path.child("items"), items, "items", false, errors);
    }
    for (at, inner, branch) in branches(path, schema) {
        junctor(&at, branch, inner, int_or_string, errors);
    }
}

/// Every default must itself pass the schema it stands in.
pub(super) fn check_defaults(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    defaults(path, schema, &mut errors);
    errors
}

fn defaults(path: &Path, schema: &Value, errors: &mut ErrorList) {
    if let Some(default) = schema.get("default") {
        let mut found = ErrorList::new();
        validate_at(&Validator::compile(schema, Place::Below), default, &path.child("default"), &mut found);
        errors.extend(found);
    }
    for (name, property) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        defaults(&path.child("properties").key(name), property, errors);
    }
    for name in ["items", "additionalProperties"] {
        if let Some(below @ Value::Object(_)) = schema.get(name) {
            defaults(&path.child(name), below, errors);
        }
    }
}
