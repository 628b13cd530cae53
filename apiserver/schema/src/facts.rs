//! The fact table (`facts/types.txt`, written by `generate/`, described there) and the reader that turns one type at a
//! time into a [`Struct`].
//!
//! The text stays in the executable's read-only pages. In memory there is an index (one slice a type) and the structs
//! that were asked for, which is why an API server that serves ten kinds does not pay for nine hundred types.

use std::{
    collections::HashMap,
    sync::{Arc, LazyLock, OnceLock},
};

use crate::model::{
    AnyKind, Field, ListKind, Node, PatchFacts, Presence, Scalar, Shape, Struct, StructRef, Union, Unknown, Wire,
};

static TEXT: &str = include_str!("../facts/types.txt");
/// Collected by `build.rs`, described there.
static DESCRIPTIONS: &str = include_str!(concat!(env!("OUT_DIR"), "/descriptions.txt"));
static TABLE: LazyLock<Table> = LazyLock::new(Table::read);

const META: &str = "apimachinery.pkg.apis.meta.v1.";
const APIEXT: &str = "apiextensions-apiserver.pkg.apis.apiextensions.v1.";

struct Table {
    rows: Vec<Row>,
    by_name: HashMap<&'static str, u16>,
    by_kind: HashMap<&'static str, HashMap<&'static str, u16>>,
}

struct Row {
    name: &'static str,
    /// The API version if the type is a kind.
    api_version: Option<&'static str>,
    atomic: bool,
    /// Field lines.
    body: &'static str,
    parsed: OnceLock<Struct>,
}

impl Table {
    fn read() -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let mut start = 0;
        while start < TEXT.len() {
            let rest = &TEXT[start..];
            let head_end = rest.find('\n').map_or(rest.len(), |at| at + 1);
            // The body is all lines that begin with a space.
            let mut end = head_end;
            while rest[end..].starts_with(' ') {
                end += rest[end..].find('\n').map_or(rest.len() - end, |at| at + 1);
            }
            let mut words = rest[..head_end].split_whitespace();
            let name = words.next().unwrap_or_default();
            let (mut api_version, mut atomic) = (None, false);
            for word in words {
                if word == "atomic" {
                    atomic = true;
                } else {
                    api_version = Some(word);
                }
            }
            rows.push(Row { name, api_version, atomic, body: &rest[head_end..end], parsed: OnceLock::new() });
            start += end;
        }
        let mut by_name = HashMap::with_capacity(rows.len());
        let mut by_kind: HashMap<_, HashMap<_, _>> = HashMap::new();
        for (index, row) in (0u16..).zip(&rows) {
            by_name.insert(row.name, index);
            if let Some(api_version) = row.api_version {
                by_kind.entry(api_version).or_default().insert(short(row.name), index);
            }
        }
        Self { rows, by_name, by_kind }
    }
}

/// The last part of a dotted name.
fn short(name: &'static str) -> &'static str {
    name.rsplit('.').next().unwrap_or_default()
}

/// The row of a kind. The kinds of meta/v1 (options, Status, …) are registered in every group version, as upstream.
pub(crate) fn kind(api_version: &str, kind: &str) -> Option<u16> {
    let table = &*TABLE;
    let find = |api_version: &str| table.by_kind.get(api_version)?.get(kind).copied();
    find(api_version).or_else(|| {
        let everywhere = matches!(
            kind,
            "DeleteOptions" | "ListOptions" | "GetOptions" | "CreateOptions" | "UpdateOptions" | "PatchOptions"
        );
        let core = api_version == "v1" || everywhere;
        if core { find("meta.k8s.io/v1") } else { None }
    })
}

/// The struct of a row, read on first use.
pub(crate) fn by_index(index: u16) -> &'static Struct {
    // Rows are only referred to by numbers that `by_name` or `by_kind` gave out.
    let row = &TABLE.rows[usize::from(index)];
    row.parsed.get_or_init(|| parse(row))
}

pub(crate) fn index_of(name: &str) -> Option<u16> {
    TABLE.by_name.get(name).copied()
}

/// The full name of a type: `api.core.v1.Pod`.
pub(crate) fn name_of(index: u16) -> &'static str {
    TABLE.rows[usize::from(index)].name
}

/// (API version, kind) of a type, if it is one.
pub(crate) fn kind_of(index: u16) -> Option<(&'static str, &'static str)> {
    let row = &TABLE.rows[usize::from(index)];
    Some((row.api_version?, short(row.name)))
}

/// `type<TAB>field<TAB>text` lines.
pub(crate) fn descriptions() -> &'static str {
    DESCRIPTIONS
}

fn parse(row: &'static Row) -> Struct {
    let mut fields = Vec::new();
    let mut wire = Vec::new();
    if row.api_version.is_some() {
        for name in ["kind", "apiVersion"] {
            fields.push(Field {
                name: name.into(),
                node: Node::new(Shape::Scalar(Scalar::String)),
                required: false,
                empty_default: false,
                presence: Presence::OmitEmpty,
                patch: PatchFacts::default(),
                order: 0,
            });
        }
    }
    collect(row.body, &mut fields, &mut wire);
    for (order, field) in (0..).zip(&mut fields) {
        field.order = order;
    }
    // Sorting moves fields; the wire tree follows by name position.
    let mut order: Vec<u16> = (0..).take(fields.len()).collect();
    order.sort_by(|a, b| fields[usize::from(*a)].name.cmp(&fields[usize::from(*b)].name));
    let mut moved = vec![0u16; fields.len()];
    for (new, old) in (0u16..).zip(&order) {
        moved[usize::from(*old)] = new;
    }
    renumber(&mut wire, &moved);
    fields.sort_by(|a, b| a.name.cmp(&b.name));
    Struct { name: row.name, atomic: row.atomic, fields, wire, unknown: Unknown::Drop, embedded: false }
}

fn renumber(wire: &mut [Wire], moved: &[u16]) {
    for entry in wire {
        match entry {
            Wire::Field { index, .. } => *index = moved[usize::from(*index)],
            Wire::Inline { fields, .. } => renumber(fields, moved),
        }
    }
}

fn collect(body: &'static str, fields: &mut Vec<Field>, wire: &mut Vec<Wire>) {
    for line in body.lines() {
        let mut words = line.trim_start().splitn(5, ' ');
        let (Some(name), Some(number), Some(ty), Some(flags)) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let number = number.parse().unwrap_or_default();
        if flags.contains('i')
            && let Some(inlined) = row_of(ty)
        {
            let mut inner = Vec::new();
            collect(inlined.body, fields, &mut inner);
            wire.push(Wire::Inline { number, of: short(inlined.name), fields: inner });
            continue;
        }
        let attributes = Attributes::read(words.next().unwrap_or_default());
        let index = u16::try_from(fields.len()).unwrap_or(u16::MAX);
        wire.push(Wire::Field { number, index });
        fields.push(Field {
            name: name.into(),
            node: Node { default: attributes.parsed_default(), ..node(ty, &attributes) },
            required: flags.contains('r'),
            empty_default: attributes.default == "\"\"",
            presence: if flags.contains('p') && !flags.contains('o') {
                Presence::Null
            } else if flags.contains('p') {
                Presence::Pointer
            } else if flags.contains('z') {
                Presence::OmitZero
            } else if flags.contains('o') {
                Presence::OmitEmpty
            } else {
                Presence::Always
            },
            patch: PatchFacts {
                merge: attributes.patch_strategy.split(',').any(|word| word == "merge"),
                replace: attributes.patch_strategy == "replace",
                retain_keys: attributes.patch_strategy.split(',').any(|word| word == "retainKeys"),
                merge_key: Some(attributes.merge_key).filter(|key| !key.is_empty()),
            },
            order: 0,
        });
    }
}

/// The row by name.
fn row_of(name: &str) -> Option<&'static Row> {
    index_of(name).map(|index| &TABLE.rows[usize::from(index)])
}

#[derive(Default)]
struct Attributes {
    list_type: &'static str,
    keys: &'static str,
    map_type: &'static str,
    struct_type: &'static str,
    patch_strategy: &'static str,
    merge_key: &'static str,
    default: &'static str,
    go: Option<&'static str>,
}

impl Attributes {
    fn read(text: &'static str) -> Self {
        let mut attributes = Self::default();
        for word in text.split(' ') {
            let Some((key, value)) = word.split_once('=') else { continue };
            match key {
                "lt" => attributes.list_type = value,
                "lk" => attributes.keys = value,
                "mt" => attributes.map_type = value,
                "st" => attributes.struct_type = value,
                "ps" => attributes.patch_strategy = value,
                "pk" => attributes.merge_key = value,
                "d" => attributes.default = value,
                "g" => attributes.go = Some(value),
                _ => {}
            }
        }
        attributes
    }

    /// An empty default is the zero value, which decoding gives anyway.
    fn parsed_default(&self) -> Option<Arc<serde_json::Value>> {
        serde_json::from_str(self.default).ok().filter(|value| value != "").map(Arc::new)
    }
}

fn node(ty: &'static str, attributes: &Attributes) -> Node {
    let go = attributes.go;
    // Of a named slice or map, Go's name tells nothing of what is in it.
    let inner = go.and_then(|go| go.split_once(']')).map(|(_, inner)| inner);
    if let Some(items) = ty.strip_prefix("[]") {
        let kind = match attributes.list_type {
            "map" => ListKind::Map(attributes.keys.split(',').map(Into::into).collect()),
            "set" => ListKind::Set,
            _ => ListKind::Atomic,
        };
        let items = Arc::new(element(items, inner));
        return Node { go, ..Node::new(Shape::List { items, kind, wrapped: false }) };
    }
    if let Some(values) = ty.strip_prefix("{}") {
        let atomic = attributes.map_type == "atomic";
        return Node { go, ..Node::new(Shape::Map { values: Arc::new(element(values, inner)), atomic }) };
    }
    let mut node = element(ty, go);
    // What a field says of it counts more than what its type does.
    if let Shape::Struct { atomic, .. } = &mut node.shape
        && !attributes.struct_type.is_empty()
    {
        *atomic = attributes.struct_type == "atomic";
    }
    node
}

fn element(ty: &'static str, go: Option<&'static str>) -> Node {
    let shape = named(ty);
    let wrapped = matches!(shape, Shape::List { wrapped: true, .. });
    Node { go: if wrapped { Some(in_package(ty)) } else { go }, ..Node::new(shape) }
}

/// The last two parts of a dotted name: `v1.Pod`.
pub(crate) fn in_package(name: &'static str) -> &'static str {
    name.rmatch_indices('.').nth(1).map_or(name, |(at, _)| &name[at + 1..])
}

fn named(ty: &'static str) -> Shape {
    let scalar = match ty {
        "bool" => Some(Scalar::Bool),
        "int32" => Some(Scalar::Int32),
        "int64" => Some(Scalar::Int64),
        "double" => Some(Scalar::Double),
        "string" => Some(Scalar::String),
        "bytes" => Some(Scalar::Bytes),
        "apimachinery.pkg.api.resource.Quantity" => Some(Scalar::Quantity),
        "apimachinery.pkg.util.intstr.IntOrString" => Some(Scalar::IntOrString),
        _ => None,
    };
    if let Some(scalar) = scalar {
        return Shape::Scalar(scalar);
    }
    match ty.strip_prefix(META) {
        Some("Time") => return Shape::Scalar(Scalar::Time),
        Some("MicroTime") => return Shape::Scalar(Scalar::MicroTime),
        Some("Duration") => return Shape::Scalar(Scalar::Duration),
        Some("FieldsV1") => return Shape::Any(AnyKind::FieldsV1),
        _ => {}
    }
    match ty.strip_prefix(APIEXT) {
        Some("JSON") => return Shape::Any(AnyKind::Json),
        Some("JSONSchemaPropsOrArray") => return Shape::Union(Union::PropsOrArray),
        Some("JSONSchemaPropsOrBool") => return Shape::Union(Union::PropsOrBool),
        Some("JSONSchemaPropsOrStringArray") => return Shape::Union(Union::PropsOrStrings),
        _ => {}
    }
    if ty == "apimachinery.pkg.runtime.RawExtension" {
        return Shape::Any(AnyKind::RawExtension);
    }
    // Named slices of Go are messages around a repeated field.
    if ty.ends_with(".ExtraValue") || ty.ends_with(".Verbs") {
        let items = Arc::new(Node::new(Shape::Scalar(Scalar::String)));
        return Shape::List { items, kind: ListKind::Atomic, wrapped: true };
    }
    match index_of(ty) {
        Some(index) => Shape::Struct { of: StructRef::Builtin(index), atomic: TABLE.rows[usize::from(index)].atomic },
        None => Shape::Any(AnyKind::Json),
    }
}

/// `apiextensions.v1.JSONSchemaProps`, which the unions refer to.
pub(crate) fn json_schema_props() -> StructRef {
    let index = index_of("apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps");
    StructRef::Builtin(index.expect("the fact table holds JSONSchemaProps"))
}

/// `meta.v1.ObjectMeta`.
pub(crate) fn object_meta() -> StructRef {
    StructRef::Builtin(index_of("apimachinery.pkg.apis.meta.v1.ObjectMeta").expect("the fact table holds ObjectMeta"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every reference of every type leads somewhere; a wrong name would silently become free JSON.
    #[test]
    fn every_type_resolves() {
        let scalars = ["bool", "int32", "int64", "double", "string", "bytes"];
        for row in &TABLE.rows {
            for line in row.body.lines() {
                let ty = line.split(' ').nth(3).unwrap().trim_start_matches("[]").trim_start_matches("{}");
                assert!(scalars.contains(&ty) || index_of(ty).is_some(), "{}: {ty}", row.name);
            }
            assert!(row.name.is_empty() || !parse(row).name.is_empty());
        }
        assert!(TABLE.rows.len() > 800);
    }

    #[test]
    fn facts_of_known_fields() {
        let service = by_index(kind("v1", "Service").unwrap());
        assert!(service.field("apiVersion").is_some());
        let spec = by_index(index_of("api.core.v1.ServiceSpec").unwrap());
        let ports = spec.field("ports").unwrap();
        assert_eq!(ports.patch.merge_key, Some("port"));
        let Shape::List { kind: ListKind::Map(keys), .. } = &ports.node.shape else { panic!() };
        assert_eq!(keys.iter().map(|key| &**key).collect::<Vec<_>>(), ["port", "protocol"]);
        let volume = by_index(index_of("api.core.v1.Volume").unwrap());
        assert!(volume.field("configMap").is_some(), "inlined");
        assert!(kind("apps/v1", "DeleteOptions").is_some() && kind("v1", "Status").is_some());
        assert!(kind("apps/v1", "Nope").is_none());
    }
}
