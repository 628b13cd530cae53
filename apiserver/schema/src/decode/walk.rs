//! A `Value` held against the model of a built-in kind, changed in place.

use std::{cell::OnceCell, collections::HashMap, ops::Range};

use serde_json::{Number, Value};

use super::{
    base64, numbers,
    place::{Place, Step},
    spans,
};
use crate::{
    facts,
    model::{AnyKind, Node, Scalar, Shape, StructRef, Union},
    quantity, time,
};

/// What a walk met with, each at a path, in order of names.
#[derive(Default)]
pub(super) struct Findings<'t> {
    pub unknown: Vec<String>,
    pub errors: Vec<Wrong>,
    /// Places whose text Go keeps as it is, or hands to a reader that is not strict: nothing below counts as given twice.
    pub opaque: Vec<String>,
    note_opaque: bool,
    written: Written<'t>,
}

/// A value of a type that does not fit.
pub(super) struct Wrong {
    pub path: String,
    what: What,
    /// The type reads itself: Go's decoder goes no further. Over other mistakes it reads on, to tell the first in the end.
    pub last: bool,
}

enum What {
    Said(String),
    /// What was found, whether that is a number and said as it is written, and where it does not fit.
    Found(String, bool, String),
}

impl Wrong {
    /// In Go's words; `written` is the value's own text.
    pub(super) fn text(&self, written: Option<&str>) -> String {
        match &self.what {
            What::Said(text) => text.clone(),
            What::Found(found, number, place) => match written {
                Some(written) if *number => format!("json: cannot unmarshal number {written} into {place}"),
                _ => format!("json: cannot unmarshal {found} into {place}"),
            },
        }
    }
}

impl Findings<'_> {
    /// The one that Go tells; `position` says where in the document a path is.
    pub(super) fn error(&self, position: impl Fn(&str) -> Option<usize>) -> Option<&Wrong> {
        self.errors.iter().min_by_key(|wrong| (!wrong.last, position(&wrong.path)))
    }
}

/// The text of a document, and where in it the values are, looked up when one is asked for.
#[derive(Default)]
struct Written<'t> {
    text: &'t [u8],
    places: OnceCell<HashMap<String, Range<usize>>>,
}

impl<'t> Written<'t> {
    fn new(text: &'t [u8]) -> Self {
        Self { text, places: OnceCell::new() }
    }

    /// A number as it was written, where reading it has changed that.
    fn number(&self, number: &Number, at: &Place<'_>) -> Option<&'t str> {
        if self.text.is_empty() || !number.is_f64() {
            return None;
        }
        let places = self.places.get_or_init(|| {
            let mut places = HashMap::new();
            spans::walk(self.text, &mut |path, place| {
                places.insert(path.to_owned(), place);
            });
            places
        });
        let written = self.text.get(places.get(&at.path())?.clone())?;
        std::str::from_utf8(written).ok()
    }
}

/// Checks and prunes. `text`: the JSON that the value was read from, empty where there is none.
pub(super) fn typed<'t>(value: &mut Value, node: &Node, note_opaque: bool, text: &'t [u8]) -> Findings<'t> {
    let mut walk = Findings { note_opaque, written: Written::new(text), ..Findings::default() };
    walk.node(value, node, &Place::default());
    walk
}

/// The `metadata` of a custom resource, which is typed though the rest is not.
pub(super) fn metadata(value: &mut Value) -> Findings<'static> {
    let mut walk = Findings::default();
    let Some(map) = value.as_object_mut() else {
        walk.stop(&Place::default(), super::unfit(value, "map[string]interface {}"));
        return walk;
    };
    if map.get("metadata").is_some_and(Value::is_null) {
        map.remove("metadata");
    }
    if let Some(metadata) = map.get_mut("metadata") {
        let root = Place::default();
        let node = Node::new(Shape::Struct { of: facts::object_meta(), atomic: false });
        walk.node(metadata, &node, &root.below(Step::Key("metadata")));
    }
    walk
}

impl Findings<'_> {
    fn node(&mut self, value: &mut Value, node: &Node, at: &Place<'_>) {
        match &node.shape {
            Shape::Any(AnyKind::Custom) => {}
            Shape::Any(_) => self.opaque(at),
            Shape::Scalar(scalar) => self.scalar(value, *scalar, node, at),
            Shape::List { items, .. } => match value {
                Value::Array(list) => {
                    for (index, item) in list.iter_mut().enumerate() {
                        self.element(item, items, &at.below(Step::Index(index)));
                    }
                }
                _ => self.mismatch(value, node, at),
            },
            Shape::Map { values, .. } => match value {
                Value::Object(map) => {
                    for (key, item) in map {
                        self.element(item, values, &at.below(Step::Key(key)));
                    }
                }
                _ => self.mismatch(value, node, at),
            },
            Shape::Struct { of, .. } => match value {
                Value::Object(map) => map.retain(|key, value| {
                    let place = at.below(Step::Field(of, key));
                    let Some(field) = of.field(key) else {
                        self.unknown.push(place.path());
                        return false;
                    };
                    if !value.is_null() {
                        self.node(value, &field.node, &place);
                    }
                    !value.is_null()
                }),
                _ => self.mismatch(value, node, at),
            },
            Shape::Union(union) => self.union(value, *union, at),
        }
    }

    /// In lists and maps a null is the zero value.
    fn element(&mut self, value: &mut Value, node: &Node, at: &Place<'_>) {
        if value.is_null() {
            *value = match &node.shape {
                // None, which comes back from the store as an empty text.
                Shape::Scalar(Scalar::Bytes) => "".into(),
                _ => zero(node),
            };
        } else {
            self.node(value, node, at);
        }
    }

    /// Types that read themselves, and not strictly; what is neither of their forms some of them read as nothing.
    fn union(&mut self, value: &mut Value, union: Union, at: &Place<'_>) {
        let (known, before) = (self.unknown.len(), self.errors.len());
        let props = || Node::new(Shape::Struct { of: facts::json_schema_props(), atomic: false });
        let list = |items: Node| {
            Node::new(Shape::List { items: items.into(), kind: crate::model::ListKind::Atomic, wrapped: false })
        };
        match (union, &mut *value) {
            (_, Value::Object(_)) => self.node(value, &props(), at),
            (Union::PropsOrBool, Value::Bool(_)) => {}
            (Union::PropsOrBool, _) => self.stop(at, "boolean or JSON schema expected".to_owned()),
            (Union::PropsOrArray, Value::Array(_)) => self.node(value, &list(props()), at),
            (Union::PropsOrStrings, Value::Array(_)) => {
                self.node(value, &list(Node::new(Shape::Scalar(Scalar::String))), at);
            }
            _ => *value = Value::Null,
        }
        self.unknown.truncate(known);
        for wrong in self.errors.iter_mut().skip(before) {
            wrong.last = true;
        }
        self.opaque(at);
    }

    fn opaque(&mut self, at: &Place<'_>) {
        if self.note_opaque {
            self.opaque.push(at.path());
        }
    }

    fn scalar(&mut self, value: &mut Value, scalar: Scalar, node: &Node, at: &Place<'_>) {
        match (scalar, &mut *value) {
            (Scalar::Bool, Value::Bool(_)) | (Scalar::String | Scalar::IntOrString, Value::String(_)) => {}
            (Scalar::Double, Value::Number(number)) => {
                let written = Some(number)
                    .filter(|number| numbers::is_largest(number))
                    .and_then(|number| self.written.number(number, at));
                if written.is_some_and(|written| numbers::is_beyond(written.as_bytes())) {
                    self.cannot(value, true, &go_type(node), false, at);
                }
            }
            (Scalar::Int32, Value::Number(_)) => {
                if !is_int32(value) {
                    self.cannot(value, true, &go_type(node), false, at);
                }
            }
            (Scalar::Int64, Value::Number(_)) => {
                if !value.is_i64() {
                    self.cannot(value, true, &go_type(node), false, at);
                }
            }
            (Scalar::IntOrString, other) => {
                if !is_int32(other) {
                    self.cannot(other, other.is_number(), "int32", true, at);
                }
            }
            (Scalar::Bytes, Value::String(text)) => match base64::canonical(text) {
                Ok(canonical) => *text = canonical,
                Err(text) => self.errors.push(Wrong { path: at.path(), what: What::Said(text), last: false }),
            },
            (Scalar::Bytes, Value::Array(list)) => {
                // A list of bytes, to Go.
                let byte = |item: &Value| item.as_u64().and_then(|byte| u8::try_from(byte).ok());
                match list.iter().map(byte).collect::<Option<Vec<u8>>>() {
                    Some(bytes) => *value = Value::String(base64::encode(&bytes)),
                    None => {
                        for (index, item) in list.iter().enumerate().filter(|(_, item)| byte(item).is_none()) {
                            self.cannot(item, item.is_number(), "uint8", false, &at.below(Step::Index(index)));
                        }
                    }
                }
            }
            (Scalar::Quantity, _) => {
                let text = match &*value {
                    Value::String(text) => text.trim().to_owned(),
                    // How it is written is how it is kept.
                    Value::Number(number) => {
                        self.written.number(number, at).map_or_else(|| number.to_string(), ToOwned::to_owned)
                    }
                    other => other.to_string(),
                };
                self.read(quantity::canonical(&text), value, at);
            }
            (Scalar::Time, Value::String(text)) => self.read(time::canonical(text), value, at),
            (Scalar::MicroTime, Value::String(text)) => self.read(time::canonical_micro(text), value, at),
            (Scalar::Duration, Value::String(text)) => {
                self.read(time::parse_duration(text).map(time::format_duration), value, at);
            }
            (Scalar::Time | Scalar::MicroTime | Scalar::Duration, other) => {
                self.cannot(other, false, "string", true, at);
            }
            _ => self.mismatch(value, node, at),
        }
    }

    /// What a type that reads itself makes of a value.
    fn read<E: ToString>(&mut self, canonical: Result<String, E>, value: &mut Value, at: &Place<'_>) {
        match canonical {
            Ok(canonical) => *value = Value::String(canonical),
            Err(error) => self.stop(at, error.to_string()),
        }
    }

    fn stop(&mut self, at: &Place<'_>, text: String) {
        self.errors.push(Wrong { path: at.path(), what: What::Said(text), last: true });
    }

    fn mismatch(&mut self, value: &Value, node: &Node, at: &Place<'_>) {
        self.cannot(value, false, &go_type(node), false, at);
    }

    /// `number`: the value is a number of another kind.
    fn cannot(&mut self, value: &Value, number: bool, ty: &str, last: bool, at: &Place<'_>) {
        let place = at.go_field().map_or_else(|| "Go value".to_owned(), |field| format!("Go struct field {field}"));
        let found = if number { format!("number {value}") } else { go_kind(value).to_owned() };
        self.errors.push(Wrong {
            path: at.path(),
            what: What::Found(found, number, format!("{place} of type {ty}")),
            last,
        });
    }
}

fn is_int32(value: &Value) -> bool {
    value.as_i64().is_some_and(|number| i32::try_from(number).is_ok())
}

/// Go's zero value as JSON shows it.
pub(crate) fn zero(node: &Node) -> Value {
    match &node.shape {
        Shape::Struct { .. } => Value::Object(serde_json::Map::new()),
        Shape::Scalar(Scalar::Bool) => false.into(),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::IntOrString) => 0.into(),
        Shape::Scalar(Scalar::String) => "".into(),
        Shape::Scalar(Scalar::Quantity) => "0".into(),
        Shape::Scalar(Scalar::Duration) => "0s".into(),
        _ => Value::Null,
    }
}

pub fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// A type as Go's reflection names it.
pub(super) fn go_type(node: &Node) -> String {
    if let Some(own) = node.go {
        return own.to_owned();
    }
    match &node.shape {
        Shape::Any(AnyKind::FieldsV1) => "v1.FieldsV1".to_owned(),
        Shape::Any(AnyKind::RawExtension) => "runtime.RawExtension".to_owned(),
        Shape::Any(AnyKind::Json) => "v1.JSON".to_owned(),
        Shape::Any(AnyKind::Custom) => "interface {}".to_owned(),
        Shape::Scalar(scalar) => match scalar {
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::String => "string",
            Scalar::Bytes => "[]uint8",
            Scalar::Quantity => "resource.Quantity",
            Scalar::IntOrString => "intstr.IntOrString",
            Scalar::Time => "v1.Time",
            Scalar::MicroTime => "v1.MicroTime",
            Scalar::Duration => "v1.Duration",
        }
        .to_owned(),
        Shape::List { items, .. } => format!("[]{}", go_type(items)),
        Shape::Map { values, .. } => format!("map[string]{}", go_type(values)),
        Shape::Struct { of: StructRef::Builtin(index), .. } => facts::in_package(facts::name_of(*index)).to_owned(),
        Shape::Struct { .. } => "map[string]interface {}".to_owned(),
        Shape::Union(union) => match union {
            Union::PropsOrArray => "v1.JSONSchemaPropsOrArray",
            Union::PropsOrBool => "v1.JSONSchemaPropsOrBool",
            Union::PropsOrStrings => "v1.JSONSchemaPropsOrStringArray",
        }
        .to_owned(),
    }
}
