//! What a schema in a definition may say (`apiextensions/validation`, `ValidateCustomResourceDefinitionOpenAPISchema`), structural
//! or not.

use serde_json::Value;

use super::{
    field::{Error, ErrorList, Path},
    flag, text,
};

const TYPES: &[&str] = &["array", "boolean", "integer", "number", "object", "string"];
const UNSUPPORTED: &[&str] = &["id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref"];

/// What is said of every resource, and why there are no defaults for it at the root.
const TYPE_META: [(&str, &str); 3] =
    [("metadata", "in top-level metadata"), ("apiVersion", "in top-level apiVersion"), ("kind", "in top-level kind")];

/// Where a schema stands.
#[derive(Clone, Copy, Default)]
struct Place {
    root: bool,
    /// Below the metadata, apiVersion or kind of a resource.
    in_metadata: bool,
    /// Why no defaults may stand here.
    forbids_defaults: Option<&'static str>,
}

pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    level(path, schema, Place { root: true, ..Place::default() }, &mut errors);
    errors
}

fn level(path: &Path, schema: &Value, place: Place, errors: &mut ErrorList) {
    let Some(map) = schema.as_object() else {
        errors.push(Error::invalid(path, schema.clone(), "must be a schema object"));
        return;
    };
    own(path, schema, place, errors);
    if flag(schema, "uniqueItems") {
        let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
        errors.push(Error::forbidden(&path.child("uniqueItems"), detail));
    }
    let below = Place { root: false, ..place };
    let properties = map.get("properties").and_then(Value::as_object);
    if let Some(additional) = map.get("additionalProperties") {
        let at = path.child("additionalProperties");
        if properties.is_some_and(|properties| !properties.is_empty()) && *additional != true {
            errors.push(Error::forbidden(&at, "additionalProperties and properties are mutual exclusive"));
        }
        if additional.is_object() {
            // Pruning could not tell which entries a default stands for.
            let reason = place.in_metadata.then_some("inside additionalProperties applying to object metadata");
            let place = Place { forbids_defaults: reason.or(place.forbids_defaults), ..below };
            level(&at, additional, place, errors);
        }
    }
    for (name, property) in properties.into_iter().flatten() {
        let mut below = below;
        let of_resource = TYPE_META.iter().find(|(field, _)| field == name);
        if let (Some((_, reason)), true) = (of_resource, place.root || flag(schema, "x-kubernetes-embedded-resource")) {
            below.in_metadata = true;
            if place.root {
                below.forbids_defaults = Some(reason);
            }
        }
        level(&path.child("properties").key(name), property, below, errors);
    }
    if let Some(branch) = map.get("not") {
        level(&path.child("not"), branch, below, errors);
    }
    for name in ["allOf", "oneOf", "anyOf"] {
        for (at, branch) in map.get(name).and_then(Value::as_array).into_iter().flatten().enumerate() {
            level(&path.child(name).index(at), branch, below, errors);
        }
    }
    if let Some(items) = map.get("items").filter(|items| items.is_object()) {
        level(&path.child("items"), items, below, errors);
    }
    extensions(path, schema, errors);
}

/// What may be said nowhere, or not here.
fn own(path: &Path, schema: &Value, place: Place, errors: &mut ErrorList) {
    let ty = text(schema, "type");
    if !ty.is_empty() && !TYPES.contains(&ty) {
        errors.push(Error::not_supported(&path.child("type"), ty, TYPES));
    }
    if let Some(reason) = place.forbids_defaults
        && schema.get("default").is_some()
    {
        errors.push(Error::forbidden(&path.child("default"), format!("must not be set {reason}")));
    }
    // Of these one is said even by an empty map.
    let said = |name: &str| schema.get(name).filter(|value| name == "dependencies" || !is_empty_map(value)).is_some();
    for name in UNSUPPORTED.iter().filter(|name| said(name)) {
        errors.push(Error::forbidden(&path.child(name), format!("{name} is not supported")));
    }
    if ty == "null" {
        let detail = "type cannot be set to null, use nullable as an alternative";
        errors.push(Error::forbidden(&path.child("type"), detail));
    }
    if schema.get("items").is_some_and(Value::is_array) {
        errors.push(Error::forbidden(&path.child("items"), "items must be a schema object and not an array"));
    }
    if place.in_metadata && flag(schema, "x-kubernetes-embedded-resource") {
        let at = path.child("x-kubernetes-embedded-resource");
        errors.push(Error::forbidden(&at, "must not be used inside of resource meta"));
    }
}

pub(super) fn is_empty_map(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty)
}

fn extensions(path: &Path, schema: &Value, errors: &mut ErrorList) {
    let ty = text(schema, "type");
    let wrong_type = |wanted: &str, name: &str| {
        let (at, detail) = (path.child("type"), format!("must be {wanted} if {name} is specified"));
        if ty.is_empty() { Error::required(&at, detail) } else { Error::invalid(&at, ty, detail) }
    };
    let word = |name: &str| schema.get(name).and_then(Value::as_str);
    if schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(false)) {
        let at = path.child("x-kubernetes-preserve-unknown-fields");
        errors.push(Error::invalid(&at, false, "must be true or undefined"));
    }
    if let Some(kind) = word("x-kubernetes-map-type") {
        const KINDS: &[&str] = &["atomic", "granular"];
        if ty != "object" {
            errors.push(wrong_type("object", "x-kubernetes-map-type"));
        }
        if !KINDS.contains(&kind) {
            errors.push(Error::not_supported(&path.child("x-kubernetes-map-type"), kind, KINDS));
        }
    }
    let kind = word("x-kubernetes-list-type");
    let at = path.child("x-kubernetes-list-type");
    if let Some(kind) = kind {
        const KINDS: &[&str] = &["atomic", "set", "map"];
        if ty != "array" {
            errors.push(wrong_type("array", "x-kubernetes-list-type"));
        } else if !KINDS.contains(&kind) {
            errors.push(Error::not_supported(&at, kind, KINDS));
        }
    }
    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    if !keys.is_empty() && kind != Some("map") {
        let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
        errors.push(match kind {
            None => Error::required(&at, detail),
            Some(kind) => Error::invalid(&at, kind, detail),
        });
    }
    let items = schema.get("items");
    match (kind, items) {
        (Some("map"), items) => map_list(path, keys, items, errors),
        (Some("set"), Some(items)) => set_list(path, items, errors),
        _ => {}
    }
}

fn map_list(path: &Path, keys: &[Value], items: Option<&Value>, errors: &mut ErrorList) {
    let at = path.child("x-kubernetes-list-map-keys");
    if keys.is_empty() {
        errors.push(Error::required(&at, "must not be empty if x-kubernetes-list-type is map"));
    }
    let below = path.child("items");
    let Some(items) = items else {
        errors.push(Error::required(&below, "must have a schema if x-kubernetes-list-type is map"));
        return;
    };
    let ty = text(items, "type");
    let property = |key: &Value| items.get("properties").and_then(|all| all.get(key.as_str()?));
    if ty == "object" {
        for (i, key) in keys.iter().enumerate() {
            match property(key) {
                None => {
                    let detail = "entries must all be names of item properties";
                    errors.push(Error::invalid(&at, keys.to_vec(), detail));
                }
                Some(property) if matches!(text(property, "type"), "array" | "object") => {
                    let at = below.child("properties").key(key.as_str().unwrap_or_default()).child("type");
                    let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                    errors.push(Error::invalid(&at, ty, detail));
                }
                Some(_) => {}
            }
            if keys[..i].contains(key) {
                errors.push(Error::invalid(&at, keys.to_vec(), "must not contain duplicate entries"));
            }
        }
    } else {
        let detail = "must be object if parent array's x-kubernetes-list-type is map";
        errors.push(Error::invalid(&below.child("type"), ty, detail));
    }
    not_nullable(&below, items, "map", errors);
    for key in keys {
        let (Some(property), Some(key)) = (property(key), key.as_str()) else { continue };
        let at = below.child("properties").key(key);
        let required =
            items.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|name| name == key));
        if !required && property.get("default").is_none() {
            let detail =
                "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
            errors.push(Error::required(&at.child("default"), detail));
        }
        if flag(property, "nullable") {
            let detail = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable";
            errors.push(Error::forbidden(&at.child("nullable"), detail));
        }
    }
}

fn set_list(path: &Path, items: &Value, errors: &mut ErrorList) {
    let below = path.child("items");
    not_nullable(&below, items, "set", errors);
    let detail = "must be atomic as item of a list with x-kubernetes-list-type=set";
    let kind = |name: &str| items.get(name).cloned().unwrap_or_default();
    match text(items, "type") {
        "object" if kind("x-kubernetes-map-type") != "atomic" => {
            let name = "x-kubernetes-map-type";
            errors.push(Error::invalid(&below.child(name), kind(name), detail));
        }
        "array" if !kind("x-kubernetes-list-type").is_null() && kind("x-kubernetes-list-type") != "atomic" => {
            let name = "x-kubernetes-list-type";
            errors.push(Error::invalid(&below.child(name), kind(name), detail));
        }
        _ => {}
    }
}

fn not_nullable(path: &Path, items: &Value, kind: &str, errors: &mut ErrorList) {
    if flag(items, "nullable") {
        let detail = format!("cannot be nullable when x-kubernetes-list-type is {kind}");
        errors.push(Error::forbidden(&path.child("nullable"), detail));
    }
}
