//! What a structural schema means to CEL: a type for the checker, sizes for the cost estimate, and how to read values
//! (`apiserver/pkg/cel/common/schemas.go`).

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value as Json;

use crate::{escape::escape, types::Type};

/// The largest request body (`MaxRequestSizeBytes`), the bound on everything a schema leaves unbounded.
const MAX_REQUEST: i64 = 3 * 1024 * 1024;

/// A schema, ready to read values with.
#[derive(Clone, Debug)]
pub struct Schema {
    pub(crate) kind: Kind,
    pub(crate) nullable: bool,
    /// `None` if CEL does not see values of this schema.
    pub(crate) decl: Option<Arc<Decl>>,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Object {
        properties: BTreeMap<String, Schema>,
    },
    Map {
        values: Box<Schema>,
    },
    List {
        items: Option<Box<Schema>>,
        kind: ListType,
    },
    String {
        format: String,
    },
    Number,
    Integer,
    Boolean,
    IntOrString,
    /// `x-kubernetes-preserve-unknown-fields` without a type.
    Preserved,
    Unknown,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    Atomic,
    Set,
    Map(Vec<String>),
}

/// A declared type with its bounds (`DeclType`).
#[derive(Debug)]
pub struct Decl {
    pub(crate) ty: DeclKind,
    /// The fewest bytes of JSON a value takes.
    pub(crate) min_size: i64,
    /// The most characters, bytes or elements; 0 where size has no meaning.
    pub(crate) max_elements: i64,
}

#[derive(Debug)]
pub(crate) enum DeclKind {
    Simple(Type),
    List(Arc<Decl>),
    Map(Arc<Decl>),
    Object(BTreeMap<String, Arc<Decl>>),
    /// A map whose keys have a bound. `named`: `map.key` is known to be a value of it, too.
    Keyed {
        keys: i64,
        values: Arc<Decl>,
        named: bool,
    },
}

impl Decl {
    /// A type of no particular size.
    #[must_use]
    pub fn simple(ty: Type, min_size: i64, max_elements: i64) -> Arc<Self> {
        Arc::new(Self { ty: DeclKind::Simple(ty), min_size, max_elements })
    }

    /// The checker's type; objects are named after the path to them, beginning with `name`.
    #[must_use]
    pub fn to_type(&self, name: &str) -> Type {
        match &self.ty {
            DeclKind::Simple(ty) => ty.clone(),
            DeclKind::List(of) => Type::list(of.to_type(&format!("{name}.@idx"))),
            DeclKind::Map(of) | DeclKind::Keyed { values: of, .. } => {
                Type::map(Type::String, of.to_type(&format!("{name}.@elem")))
            }
            DeclKind::Object(fields) => Type::object(
                name,
                fields.iter().map(|(field, decl)| (field.clone(), decl.to_type(&format!("{name}.{field}")))),
            ),
        }
    }

    /// The declaration at the end of a path of fields, `@items`, `@values` and `@keys`.
    pub(crate) fn at(&self, path: &[Arc<str>]) -> Option<Size> {
        let Some((step, rest)) = path.split_first() else { return Some(Size(self.max_elements)) };
        let below = match (&self.ty, &**step) {
            (DeclKind::List(of), "@items" | "@values") | (DeclKind::Map(of), "@items" | "@values") => of,
            // Keys are declared as strings of no bound, which upstream counts as nothing.
            (DeclKind::Map(_), "@keys") => return rest.is_empty().then_some(Size(0)),
            (DeclKind::Keyed { keys, .. }, "@keys") => return rest.is_empty().then_some(Size(*keys)),
            (DeclKind::Keyed { values, .. }, "@items" | "@values")
            | (DeclKind::Keyed { values, named: true, .. }, _) => values,
            (DeclKind::Object(fields), name) => fields.get(name)?,
            _ => return None,
        };
        below.at(rest)
    }

    /// How often a value of this schema may occur in one request.
    #[must_use]
    pub fn max_cardinality(&self) -> u64 {
        u64::try_from(MAX_REQUEST / (self.min_size + 1)).unwrap_or_default()
    }
}

/// The most elements of what a path leads to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size(pub i64);

fn flag(schema: &Json, name: &str) -> bool {
    schema.get(name).and_then(Json::as_bool).unwrap_or(false)
}

fn text<'a>(schema: &'a Json, name: &str) -> &'a str {
    schema.get(name).and_then(Json::as_str).unwrap_or_default()
}

/// A bound of the schema; negative ones count as zero.
fn bound(schema: &Json, name: &str) -> Option<i64> {
    schema.get(name).and_then(Json::as_i64).map(|bound| bound.max(0))
}

impl Schema {
    /// Reads an OpenAPI v3 schema. `root`: it is a resource's (or embedded resource's), so that `apiVersion`, `kind`,
    /// `metadata.name` and `metadata.generateName` are there even if the schema does not say so.
    #[must_use]
    pub fn new(schema: &Json, root: bool) -> Self {
        let kind = kind(schema, root);
        let decl = decl(schema, &kind);
        Self { kind, nullable: flag(schema, "nullable"), decl }
    }

    /// The declaration; `None` if CEL does not see values of this schema.
    #[must_use]
    pub fn decl(&self) -> Option<&Arc<Decl>> {
        self.decl.as_ref()
    }

    /// The schema of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Object { properties } => properties.get(name),
            _ => None,
        }
    }

    /// The schema of items, or of values of a map.
    #[must_use]
    pub fn element(&self) -> Option<&Self> {
        match &self.kind {
            Kind::List { items, .. } => items.as_deref(),
            Kind::Map { values } => Some(values),
            _ => None,
        }
    }

    /// How elements of a list are told apart; `None` if it is no list.
    #[must_use]
    pub fn list_type(&self) -> Option<&ListType> {
        match &self.kind {
            Kind::List { kind, .. } => Some(kind),
            _ => None,
        }
    }
}

fn plain_string() -> Schema {
    Schema::new(&serde_json::json!({"type": "string"}), false)
}

fn kind(schema: &Json, root: bool) -> Kind {
    if flag(schema, "x-kubernetes-int-or-string") {
        return Kind::IntOrString;
    }
    let embedded = |schema: &Json| flag(schema, "x-kubernetes-embedded-resource");
    match text(schema, "type") {
        "object" => {
            let values = schema.get("additionalProperties").filter(|values| values.is_object());
            let declared = schema.get("properties").and_then(Json::as_object);
            match values {
                Some(values) if declared.is_none_or(serde_json::Map::is_empty) && !root => {
                    Kind::Map { values: Box::new(Schema::new(values, embedded(values))) }
                }
                _ => {
                    let mut properties: BTreeMap<String, Schema> = declared
                        .into_iter()
                        .flatten()
                        .map(|(name, property)| (name.clone(), Schema::new(property, embedded(property))))
                        .collect();
                    if root {
                        add_type_meta(&mut properties);
                    }
                    Kind::Object { properties }
                }
            }
        }
        "array" => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Json::as_array).into_iter().flatten();
            let kind = match text(schema, "x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map(keys.filter_map(|key| key.as_str().map(ToOwned::to_owned)).collect()),
                _ => ListType::Atomic,
            };
            let items = schema.get("items").filter(|items| items.is_object());
            Kind::List { items: items.map(|items| Box::new(Schema::new(items, embedded(items)))), kind }
        }
        "string" => Kind::String { format: text(schema, "format").to_owned() },
        "number" => Kind::Number,
        "integer" => Kind::Integer,
        "boolean" => Kind::Boolean,
        _ if flag(schema, "x-kubernetes-preserve-unknown-fields") => Kind::Preserved,
        _ => Kind::Unknown,
    }
}

fn add_type_meta(properties: &mut BTreeMap<String, Schema>) {
    let is_string = |schema: Option<&Schema>| schema.is_some_and(|schema| matches!(schema.kind, Kind::String { .. }));
    let metadata = properties.get("metadata");
    let complete = is_string(properties.get("kind"))
        && is_string(properties.get("apiVersion"))
        && is_string(metadata.and_then(|metadata| metadata.property("name")))
        && is_string(metadata.and_then(|metadata| metadata.property("generateName")));
    if complete {
        return;
    }
    for name in ["kind", "apiVersion"] {
        properties.insert(name.to_owned(), plain_string());
    }
    let metadata = serde_json::json!({
        "type": "object", "properties": {"name": {"type": "string"}, "generateName": {"type": "string"}}
    });
    properties.insert("metadata".to_owned(), Schema::new(&metadata, false));
}

fn decl(schema: &Json, kind: &Kind) -> Option<Arc<Decl>> {
    let max_length = bound(schema, "maxLength");
    let whole_request = MAX_REQUEST - 2;
    match kind {
        Kind::IntOrString => {
            // maxLength counts characters of up to four bytes.
            Some(Decl::simple(Type::Dyn, 1, max_length.map_or(whole_request, |max| max.saturating_mul(4))))
        }
        Kind::List { items, .. } => {
            let of = items.as_ref()?.decl.clone()?;
            let max = bound(schema, "maxItems").unwrap_or((MAX_REQUEST - 2) / (of.min_size + 1));
            Some(Arc::new(Decl { ty: DeclKind::List(of), min_size: 2, max_elements: max }))
        }
        Kind::Map { values } => {
            let of = values.decl.clone()?;
            let max = bound(schema, "maxProperties").unwrap_or((MAX_REQUEST - 2) / (of.min_size + 6));
            Some(Arc::new(Decl { ty: DeclKind::Map(of), min_size: 2, max_elements: max }))
        }
        Kind::Object { properties } => Some(object_decl(schema, properties)),
        Kind::String { format } => Some(string_decl(schema, format, max_length)),
        Kind::Boolean => Some(Decl::simple(Type::Bool, 4, 0)),
        Kind::Number => Some(Decl::simple(Type::Double, 1, 0)),
        Kind::Integer => Some(Decl::simple(Type::Int, 1, 0)),
        Kind::Preserved | Kind::Unknown => None,
    }
}

fn object_decl(schema: &Json, properties: &BTreeMap<String, Schema>) -> Arc<Decl> {
    let required: Vec<&str> =
        schema.get("required").and_then(Json::as_array).into_iter().flatten().filter_map(Json::as_str).collect();
    let mut fields = BTreeMap::new();
    let mut min_size = 2;
    for (name, property) in properties {
        let Some(decl) = &property.decl else { continue };
        let default = schema.get("properties").and_then(|all| all.get(name)?.get("default"));
        if required.contains(&name.as_str()) && default.is_none() {
            min_size += i64::try_from(name.len()).unwrap_or(i64::MAX) + decl.min_size + 4;
        }
        if let Some(escaped) = escape(name) {
            fields.insert(escaped, decl.clone());
        }
    }
    Arc::new(Decl { ty: DeclKind::Object(fields), min_size, max_elements: 0 })
}

/// The sizes of the JSON forms are those of `apiserver/pkg/cel/limits.go`.
fn string_decl(schema: &Json, format: &str, max_length: Option<i64>) -> Arc<Decl> {
    match format {
        "byte" => Decl::simple(Type::Bytes, 2, max_length.unwrap_or(MAX_REQUEST - 2)),
        "duration" => Decl::simple(Type::Duration, 3, 32),
        "date" => Decl::simple(Type::Timestamp, 12, 12),
        "date-time" => Decl::simple(Type::Timestamp, 21, 32),
        _ => {
            let allowed = schema.get("enum").and_then(Json::as_array).filter(|allowed| !allowed.is_empty());
            let max = match (max_length, allowed) {
                (Some(max), _) => max.saturating_mul(4),
                (None, Some(allowed)) => {
                    let longest = allowed.iter().filter_map(Json::as_str).map(str::len).max().unwrap_or(0);
                    i64::try_from(longest).unwrap_or(i64::MAX)
                }
                (None, None) => MAX_REQUEST - 2,
            };
            Decl::simple(Type::String, 2, max)
        }
    }
}
