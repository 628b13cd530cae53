//! Custom resources: from `openAPIV3Schema` to a [`Schema`], and value validation against it.
//!
//! A structural schema (KEP-1002) splits in two: the skeleton, which becomes [`Node`]s like those of built-in kinds (so
//! that pruning, defaulting and apply know no difference), and value validation, compiled to a [`Validator`].

mod declared;
mod defaults;
pub mod embedded;
pub mod format;
pub mod regexp;
pub(crate) mod structural;
mod validator;

use std::sync::Arc;

use serde_json::Value;

use self::validator::{Place, validate_changed_at, validate_lists};
pub use self::{defaults::each as each_default, format::matches as matches_format, validator::Validator};
use crate::{
    Schema, facts,
    field::{self, ErrorList, Path},
    model::{AnyKind, Field, ListKind, Node, PatchFacts, Presence, Scalar, Shape, Struct, StructRef, Unknown},
};

/// What is wrong with a schema in a definition, in upstream's order; its rules are the CEL crate's to judge, and only if the
/// schema itself [is sound](Defined::sound).
#[must_use]
pub fn define(path: &Path, open_api_v3_schema: &Value) -> Defined {
    let declared = declared::check(path, open_api_v3_schema);
    let mut errors = ErrorList::new();
    let mut sound = declared.is_empty();
    match structural::unsupported(open_api_v3_schema) {
        Some(detail) if declared.is_empty() => {
            sound = false;
            errors.push(field::Error::invalid(path, "", detail));
        }
        Some(_) => {}
        None => {
            errors = structural::check(path, open_api_v3_schema);
            sound &= errors.is_empty();
            if errors.is_empty() {
                errors = defaults::check(path, open_api_v3_schema);
            }
        }
    }
    errors.extend(declared);
    Defined { errors, sound }
}

/// What [`define`] finds.
#[derive(Debug)]
pub struct Defined {
    pub errors: ErrorList,
    /// The schema has a structural form, whatever is to be said of its defaults.
    pub sound: bool,
}

/// Why a schema is not structural, in upstream's order.
///
/// # Errors
/// It says what has no structural form at all, so that the rest cannot be judged.
pub fn violations(path: &Path, open_api_v3_schema: &Value) -> Result<ErrorList, String> {
    match structural::unsupported(open_api_v3_schema) {
        Some(why) => Err(why),
        None => Ok(structural::check(path, open_api_v3_schema)),
    }
}

/// What is wrong with a schema that need not be structural, because what it replaces was not either.
#[must_use]
pub fn define_loosely(path: &Path, open_api_v3_schema: &Value) -> Defined {
    Defined { errors: declared::check(path, open_api_v3_schema), sound: false }
}

/// The model of `spec.versions[*].schema.openAPIV3Schema`, or what is wrong with it, `path` being the place of the schema
/// in the CustomResourceDefinition.
///
/// `preserve_unknown` is the definition's `spec.preserveUnknownFields`: nothing is ever pruned then, at no level, and so the
/// schema need not be structural. Such definitions were made through v1beta1 of their API.
pub fn structural(path: &Path, open_api_v3_schema: &Value, preserve_unknown: bool) -> Result<Schema, ErrorList> {
    let bones = if preserve_unknown {
        let opaque = structural::unsupported(open_api_v3_schema).is_some();
        if opaque { Node::new(Shape::Any(AnyKind::Custom)) } else { node(open_api_v3_schema, Unlisted::Kept) }
    } else {
        let defined = define(path, open_api_v3_schema);
        if !defined.errors.is_empty() {
            return Err(defined.errors);
        }
        node(open_api_v3_schema, Unlisted::AsSaid)
    };
    let root = with_type_meta(bones, preserve_unknown);
    let validator = Validator::compile(open_api_v3_schema, Place::Root);
    Ok(Schema { root: Arc::new(root), validator: Some(Arc::new(validator)) })
}

/// A custom resource without a schema (`x-kubernetes-preserve-unknown-fields` at the root): everything is kept.
#[must_use]
pub fn schemaless() -> Schema {
    let root = with_type_meta(Node::new(Shape::Any(AnyKind::Custom)), true);
    let validator = Validator::compile(&Value::Object(serde_json::Map::new()), Place::Root);
    Schema { root: Arc::new(root), validator: Some(Arc::new(validator)) }
}

/// Structural (OpenAPI) validation in upstream's messages. Built-in kinds have none beyond decoding.
#[must_use]
pub fn validate(schema: &Schema, value: &Value) -> ErrorList {
    validate_update(schema, value, None)
}

/// The same on an update: what is as invalid as it was in `old` is tolerated.
#[must_use]
pub fn validate_update(schema: &Schema, value: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(validator) = schema.validator() {
        validate_changed_at(validator, value, old, &Path::default(), &mut errors);
        errors.extend(new_lists(validator, value, old));
    }
    errors
}

/// The same of an update of the status, which is looked at by itself: names in messages begin below it.
#[must_use]
pub fn validate_status(schema: &Schema, value: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(validator) = schema.validator() else { return errors };
    if let (Some(below), Some(status)) = (validator.below("status"), value.get("status")) {
        validate_changed_at(below, status, old.get("status"), &Path::new("status"), &mut errors);
    }
    errors.extend(new_lists(validator, value, Some(old)));
    errors
}

/// What is wrong with sets and maps among the lists; where one was wrong before, none is looked at.
fn new_lists(validator: &Validator, value: &Value, old: Option<&Value>) -> ErrorList {
    let wrong = |value: &Value| {
        let mut errors = ErrorList::new();
        validate_lists(validator, value, &Path::default(), &mut errors);
        errors
    };
    if old.is_some_and(|old| !wrong(old).is_empty()) { ErrorList::new() } else { wrong(value) }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name).and_then(Value::as_bool).unwrap_or_default()
}

fn text<'a>(schema: &'a Value, name: &str) -> &'a str {
    schema.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// What becomes of fields that a schema does not list.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unlisted {
    /// They go, but where `x-kubernetes-preserve-unknown-fields` stands.
    AsSaid,
    /// They stay everywhere.
    Kept,
}

/// The skeleton of a schema.
fn node(schema: &Value, unlisted: Unlisted) -> Node {
    let int_or_string = flag(schema, "x-kubernetes-int-or-string");
    let shape = if int_or_string { Shape::Scalar(Scalar::IntOrString) } else { shape(schema, unlisted) };
    let default = schema.get("default").cloned().map(Arc::new);
    Node { default, nullable: flag(schema, "nullable"), ..Node::new(shape) }
}

fn shape(schema: &Value, unlisted: Unlisted) -> Shape {
    match text(schema, "type") {
        "object" => object(schema, unlisted),
        "array" => {
            let any = || Node::new(Shape::Any(AnyKind::Custom));
            let items = schema.get("items").map_or_else(any, |items| node(items, unlisted));
            let kind = match text(schema, "x-kubernetes-list-type") {
                "set" => ListKind::Set,
                "map" => {
                    let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                    ListKind::Map(keys.into_iter().flatten().filter_map(Value::as_str).map(Into::into).collect())
                }
                _ => ListKind::Atomic,
            };
            Shape::List { items: Arc::new(items), kind, wrapped: false }
        }
        "string" => Shape::Scalar(Scalar::String),
        "boolean" => Shape::Scalar(Scalar::Bool),
        "integer" => Shape::Scalar(Scalar::Int64),
        "number" => Shape::Scalar(Scalar::Double),
        _ => Shape::Any(AnyKind::Custom),
    }
}

fn object(schema: &Value, unlisted: Unlisted) -> Shape {
    let atomic = text(schema, "x-kubernetes-map-type") == "atomic";
    let preserve = unlisted == Unlisted::Kept || flag(schema, "x-kubernetes-preserve-unknown-fields");
    let embedded = flag(schema, "x-kubernetes-embedded-resource");
    let properties = schema.get("properties").and_then(Value::as_object).filter(|properties| !properties.is_empty());
    match (schema.get("additionalProperties"), properties) {
        (Some(Value::Bool(true)), None) => {
            return Shape::Map { values: Arc::new(Node::new(Shape::Any(AnyKind::Custom))), atomic };
        }
        (Some(values @ Value::Object(_)), None) => {
            return Shape::Map { values: Arc::new(node(values, unlisted)), atomic };
        }
        (_, None) if preserve && !embedded && !atomic => return Shape::Any(AnyKind::Custom),
        _ => {}
    }
    let mut fields: Vec<Field> =
        properties.into_iter().flatten().map(|(name, schema)| field(name, node(schema, unlisted))).collect();
    if embedded {
        add_type_meta(&mut fields);
    }
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    let unknown = if preserve { Unknown::Keep } else { Unknown::Drop };
    Shape::Struct { of: StructRef::Custom(Arc::new(Struct { fields, unknown, embedded, ..Struct::default() })), atomic }
}

fn field(name: &str, node: Node) -> Field {
    let (presence, patch) = (Presence::Free, PatchFacts::default());
    Field { name: name.into(), node, required: false, empty_default: false, presence, patch, order: 0 }
}

/// apiVersion, kind and metadata are typed in every resource, whatever its schema says of them.
fn add_type_meta(fields: &mut Vec<Field>) {
    fields.retain(|field| !matches!(&*field.name, "apiVersion" | "kind" | "metadata"));
    fields.push(field("apiVersion", Node::new(Shape::Scalar(Scalar::String))));
    fields.push(field("kind", Node::new(Shape::Scalar(Scalar::String))));
    fields.push(field("metadata", Node::new(Shape::Struct { of: facts::object_meta(), atomic: false })));
}

fn with_type_meta(root: Node, preserve_unknown: bool) -> Node {
    let (mut fields, mut unknown, atomic) = match root.shape {
        Shape::Struct { of: StructRef::Custom(of), atomic } => {
            let keep = matches!(of.unknown, Unknown::Keep);
            let fields = Arc::into_inner(of).map(|of| of.fields).unwrap_or_default();
            (fields, if keep { Unknown::Keep } else { Unknown::Drop }, atomic)
        }
        Shape::Any(_) => (Vec::new(), Unknown::Keep, false),
        _ => (Vec::new(), Unknown::Drop, false),
    };
    if preserve_unknown {
        unknown = Unknown::Keep;
    }
    add_type_meta(&mut fields);
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    let of = StructRef::Custom(Arc::new(Struct { fields, unknown, embedded: true, ..Struct::default() }));
    Node { default: root.default, ..Node::new(Shape::Struct { of, atomic }) }
}

#[cfg(test)]
mod tests;
