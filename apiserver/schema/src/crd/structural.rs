//! Whether a schema is structural (`apiextensions-apiserver/pkg/apiserver/schema/validation.go`): a type everywhere, nothing in
//! junctors but restrictions, and no restriction of what the skeleton does not have.

use serde_json::Value;

use super::declared::is_empty_map;
use super::validator::compile_pattern;
use super::{
    field::{Error, ErrorList, Path},
    flag, text,
};

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
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
];
/// What has no structural form at all.
const UNSUPPORTED: &[(&str, &str)] = &[
    ("id", "id"),
    ("$schema", "schema"),
    ("$ref", "$ref"),
    ("additionalItems", "additionalItems"),
    ("patternProperties", "patternProperties"),
    ("dependencies", "dependencies"),
    ("definitions", "definitions"),
];

#[derive(Clone, Copy, PartialEq)]
enum Level {
    Root,
    Field,
    Item,
}

/// What no structural schema can say, wherever it stands.
pub(super) fn unsupported(schema: &Value) -> Option<String> {
    let map = schema.as_object()?;
    if let Some((_, name)) =
        UNSUPPORTED.iter().find(|(field, _)| map.get(*field).is_some_and(|value| !is_empty_map(value)))
    {
        return Some(format!("OpenAPIV3Schema '{name}' is not supported"));
    }
    if map.get("items").is_some_and(Value::is_array) {
        return Some("OpenAPIV3Schema 'items' must be a schema object and not an array".to_owned());
    }
    let single = ["items", "additionalProperties", "not"].into_iter().filter_map(|name| map.get(name));
    let several = ["allOf", "anyOf", "oneOf"].into_iter().filter_map(|name| map.get(name)?.as_array()).flatten();
    let properties = map.get("properties").and_then(Value::as_object).into_iter().flat_map(|all| all.values());
    single.chain(several).chain(properties).find_map(unsupported)
}

/// All that is not structural, sorted as upstream sorts it.
pub(super) fn check(path: &Path, schema: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    invariants(path, schema, Level::Root, &mut errors);
    complete(path, schema, path, schema, &mut errors);
    errors.sort_by_cached_key(ToString::to_string);
    errors
}

fn below<'a>(schema: &'a Value, name: &str) -> Option<&'a Value> {
    schema.get(name).filter(|below| below.is_object())
}

fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

fn invariants(path: &Path, schema: &Value, level: Level, errors: &mut ErrorList) {
    let ty = text(schema, "type");
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let preserve = flag(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let items = below(schema, "items");
    if ty == "array" && items.is_none() {
        errors.push(Error::required(&path.child("items"), "must be specified"));
    }
    if let Some(items) = items {
        invariants(&path.child("items"), items, Level::Item, errors);
    }
    for (name, property) in properties(schema) {
        invariants(&path.child("properties").key(name), property, Level::Field, errors);
    }
    let additional = path.child("additionalProperties");
    if let Some(values) = below(schema, "additionalProperties") {
        invariants(&additional, values, Level::Field, errors);
    }
    let exclusive = [("x-kubernetes-preserve-unknown-fields", preserve), ("x-kubernetes-embedded-resource", embedded)];
    for (name, _) in exclusive.into_iter().filter(|(_, set)| int_or_string && *set) {
        let detail = "must be false if x-kubernetes-int-or-string is true";
        errors.push(Error::invalid(&path.child(name), true, detail));
    }
    value_validation(path, schema, is_int_or_string(schema), starts_with_int_or_string(schema), errors);

    let at = path.child("type");
    if embedded && ty != "object" {
        let detail = "must be object if x-kubernetes-embedded-resource is true";
        errors.push(if ty.is_empty() { Error::required(&at, detail) } else { Error::invalid(&at, ty, detail) });
    } else if ty.is_empty() && !int_or_string && !preserve {
        errors.push(Error::required(
            &at,
            match level {
                Level::Root => "must not be empty at the root",
                Level::Field => "must not be empty for specified object fields",
                Level::Item => "must not be empty for specified array items",
            },
        ));
    }
    let has_additional = schema.get("additionalProperties").is_some();
    if embedded && has_additional {
        let detail = "must not be used if x-kubernetes-embedded-resource is set";
        errors.push(Error::forbidden(&additional, detail));
    }
    if level == Level::Root && !ty.is_empty() && ty != "object" {
        errors.push(Error::invalid(&at, ty, "must be object at the root"));
    }
    if level == Level::Root && has_additional {
        errors.push(Error::forbidden(&additional, "must not be used at the root"));
    }
    if level == Level::Root || embedded {
        type_meta(path, schema, level, errors);
    }
    if embedded && !preserve && properties(schema).next().is_none() {
        let detail = "must not be empty if x-kubernetes-embedded-resource is true without \
                      x-kubernetes-preserve-unknown-fields";
        errors.push(Error::required(&path.child("properties"), detail));
    }
}

/// What a resource may say of its apiVersion, kind and metadata.
fn type_meta(path: &Path, schema: &Value, level: Level, errors: &mut ErrorList) {
    for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
        let Some(property) = schema.get("properties").and_then(|all| all.get(name)) else { continue };
        let at = path.child("properties").key(name);
        let ty = text(property, "type");
        if ty != wanted {
            errors.push(Error::invalid(&at.child("type"), ty, format!("must be {wanted}")));
        }
        let restricts = || {
            let says = property.as_object().into_iter().flatten();
            let mut others = says.filter(|(field, value)| {
                !matches!(field.as_str(), "type" | "default" | "properties") && *value != &Value::Bool(false)
            });
            others.next().is_some() || properties(property).any(|(name, _)| name != "name" && name != "generateName")
        };
        if name == "metadata" && level == Level::Root && restricts() {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            errors.push(Error::forbidden(&at, detail));
        }
    }
}

/// `anyOf: [{type: integer}, {type: string}]`, which may stand with `x-kubernetes-int-or-string`.
pub(crate) fn is_int_or_string(schema: &Value) -> bool {
    let types = serde_json::json!([{ "type": "integer" }, { "type": "string" }]);
    schema.get("anyOf") == Some(&types)
}

pub(crate) fn starts_with_int_or_string(schema: &Value) -> bool {
    schema.get("allOf").and_then(Value::as_array).and_then(|all| all.first()).is_some_and(is_int_or_string)
}

fn junctors(schema: &Value) -> impl Iterator<Item = (&'static str, usize, &Value)> {
    ["allOf", "anyOf", "oneOf"].into_iter().flat_map(move |name| {
        let branches = schema.get(name).and_then(Value::as_array).into_iter().flatten();
        branches.enumerate().map(move |(at, branch)| (name, at, branch))
    })
}

fn value_validation(path: &Path, schema: &Value, skip_any: bool, skip_first_any: bool, errors: &mut ErrorList) {
    for (name, at, branch) in junctors(schema) {
        if name == "anyOf" && skip_any {
            continue;
        }
        nested(&path.child(name).index(at), branch, name == "allOf" && at == 0 && skip_first_any, errors);
    }
    if let Some(branch) = schema.get("not") {
        nested(&path.child("not"), branch, false, errors);
    }
    if let Some(Value::String(pattern)) = schema.get("pattern")
        && let Err(error) = compile_pattern(pattern)
    {
        let detail = format!("must be a valid regular expression, but isn't: {error}");
        errors.push(Error::invalid(&path.child("pattern"), pattern.as_str(), detail));
    }
}

/// Inside a junctor only value validation may stand.
fn nested(path: &Path, schema: &Value, skip_any: bool, errors: &mut ErrorList) {
    value_validation(path, schema, skip_any, false, errors);
    if let Some(items) = below(schema, "items") {
        nested(&path.child("items"), items, false, errors);
    }
    for (name, property) in properties(schema) {
        nested(&path.child("properties").key(name), property, false, errors);
    }
    let empty = |value: &Value| match value {
        Value::Array(list) => list.is_empty(),
        other => *other == false || *other == "",
    };
    for (name, detail) in SKELETON_ONLY {
        if schema.get(*name).is_some_and(|value| !empty(value)) {
            errors.push(Error::forbidden(&path.child(name), *detail));
        }
    }
    if schema.get("properties").is_some_and(|all| all.get("metadata").is_some()) {
        let at = path.child("properties").key("metadata");
        errors.push(Error::forbidden(&at, "must not be specified in a nested context"));
    }
}

/// Everything the junctors of the root restrict must be in the skeleton; upstream asks no more of those below.
fn complete(path: &Path, skeleton: &Value, place: &Path, schema: &Value, errors: &mut ErrorList) {
    let mut branches: Vec<(Path, &Value)> =
        junctors(schema).map(|(name, at, branch)| (place.child(name).index(at), branch)).collect();
    branches.extend(schema.get("not").map(|branch| (place.child("not"), branch)));
    for (at, branch) in branches {
        complete_nested(path, skeleton, &at, branch, errors);
    }
}

fn complete_nested(path: &Path, skeleton: &Value, place: &Path, schema: &Value, errors: &mut ErrorList) {
    complete(path, skeleton, place, schema, errors);
    let mut step = |path: Path, bones: Option<&Value>, place: Path, says: &Value| match bones {
        Some(bones) => complete_nested(&path, bones, &place, says, errors),
        None => errors.push(Error::required(&path, format!("because it is defined in {place}"))),
    };
    if let Some(items) = below(schema, "items") {
        step(path.child("items"), below(skeleton, "items"), place.child("items"), items);
    }
    for (name, property) in properties(schema) {
        let bones = skeleton.get("properties").and_then(|all| all.get(name));
        let at = |path: &Path| path.child("properties").key(name);
        step(at(path), bones, at(place), property);
    }
}
