//! A `Value` held against the model of a built-in kind, changed in place.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::DecodeError;
use crate::{
    facts,
    model::{AnyKind, Node, Scalar, Shape, Struct, StructRef, Union},
    quantity::Quantity,
    time,
};

/// Checks and prunes; returns the paths of unknown fields.
pub(super) fn typed(value: &mut Value, node: &Node) -> Result<Vec<String>, DecodeError> {
    let mut walk = Walk::default();
    walk.node(value, node, &Place::default())?;
    Ok(walk.unknown)
}

/// The `metadata` of a custom resource, which is typed though the rest is not.
pub(super) fn metadata(value: &mut Value) -> Result<Vec<String>, DecodeError> {
    let Some(map) = value.as_object_mut() else {
        let found = go_kind(value);
        return Err(DecodeError::Type(format!(
            "json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
        )));
    };
    if map.get("metadata").is_some_and(Value::is_null) {
        map.remove("metadata");
    }
    let Some(metadata) = map.get_mut("metadata") else { return Ok(Vec::new()) };
    let mut walk = Walk::default();
    let place = Place { above: Some((&Place::default(), Step::Field("metadata"))), owner: None };
    walk.node(metadata, &Node::new(Shape::Struct { of: facts::object_meta(), atomic: false }), &place)?;
    Ok(walk.unknown)
}

/// Where the walk is. Each place lies on the stack of the one above: text is made of it only where there is something to say.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    above: Option<(&'a Place<'a>, Step<'a>)>,
    /// The struct entered last.
    owner: Option<&'a Struct>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

#[derive(Default)]
struct Walk {
    unknown: Vec<String>,
}

impl Walk {
    fn node(&mut self, value: &mut Value, node: &Node, at: &Place<'_>) -> Result<(), DecodeError> {
        match &node.shape {
            Shape::Any(AnyKind::FieldsV1) if !value.is_object() => Err(at.mismatch(value, node)),
            Shape::Any(_) => Ok(()),
            Shape::Scalar(scalar) => scalar_at(value, *scalar, node, at),
            Shape::List { items, .. } => {
                let Value::Array(list) = value else { return Err(at.mismatch(value, node)) };
                let mut items_at = list.iter_mut().enumerate();
                items_at.try_for_each(|(index, item)| self.element(item, items, &at.below(Step::Index(index))))
            }
            Shape::Map { values, .. } => {
                let Value::Object(map) = value else { return Err(at.mismatch(value, node)) };
                for (key, item) in map.iter_mut() {
                    if let Err(error) = self.element(item, values, &at.below(Step::Field(key))) {
                        // Go names the map, not its key.
                        return Err(if item_is_scalar(values) { at.mismatch(item, values) } else { error });
                    }
                }
                Ok(())
            }
            Shape::Struct { of, .. } => self.of_struct(value, of, node, at),
            Shape::Union(union) => self.union(value, *union, at),
        }
    }

    /// In lists and maps a null is the zero value.
    fn element(&mut self, value: &mut Value, node: &Node, at: &Place<'_>) -> Result<(), DecodeError> {
        if value.is_null() {
            *value = zero(node);
            return Ok(());
        }
        self.node(value, node, at)
    }

    fn of_struct(&mut self, value: &mut Value, of: &Struct, node: &Node, at: &Place<'_>) -> Result<(), DecodeError> {
        let Value::Object(map) = value else { return Err(at.mismatch(value, node)) };
        let mut error = None;
        map.retain(|key, value| {
            if error.is_some() {
                return true;
            }
            let place = Place { owner: Some(of), ..at.below(Step::Field(key)) };
            let Some(field) = of.field(key) else {
                self.unknown.push(place.path());
                return false;
            };
            if value.is_null() {
                return false;
            }
            error = self.node(value, &field.node, &place).err();
            true
        });
        error.map_or(Ok(()), Err)
    }

    fn union(&mut self, value: &mut Value, union: Union, at: &Place<'_>) -> Result<(), DecodeError> {
        let props = Node::new(Shape::Struct { of: facts::json_schema_props(), atomic: false });
        match (union, &mut *value) {
            (_, Value::Object(_)) => self.node(value, &props, at),
            (Union::PropsOrBool, Value::Bool(_)) => Ok(()),
            (Union::PropsOrArray, Value::Array(list)) => {
                list.iter_mut().try_for_each(|item| self.element(item, &props, at))
            }
            (Union::PropsOrStrings, Value::Array(list)) => {
                let string = Node::new(Shape::Scalar(Scalar::String));
                list.iter_mut().try_for_each(|item| self.element(item, &string, at))
            }
            (Union::PropsOrBool, _) => Err(DecodeError::Type("boolean or JSON schema expected".to_owned())),
            _ => Err(at.mismatch(value, &props)),
        }
    }
}

fn scalar_at(value: &mut Value, scalar: Scalar, node: &Node, at: &Place<'_>) -> Result<(), DecodeError> {
    let fits = match (scalar, &*value) {
        (Scalar::Bool, Value::Bool(_)) | (Scalar::String, Value::String(_)) | (Scalar::Double, Value::Number(_)) => {
            true
        }
        (Scalar::Int32, Value::Number(number)) => match number.as_i64().map(i32::try_from) {
            Some(Ok(_)) => true,
            _ => return Err(at.number(number, node)),
        },
        (Scalar::Int64, Value::Number(number)) => match number.as_i64() {
            Some(_) => true,
            None => return Err(at.number(number, node)),
        },
        (Scalar::IntOrString, Value::String(_)) => true,
        (Scalar::IntOrString, Value::Number(number)) => {
            let fits = number.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            fits || return Err(DecodeError::Type(format!(
                "json: cannot unmarshal number {number} into Go value of type int32"
            )))
        }
        (Scalar::IntOrString, other) => {
            let found = go_kind(other);
            return Err(DecodeError::Type(format!("json: cannot unmarshal {found} into Go value of type int32")));
        }
        (Scalar::Bytes, Value::String(text)) => match BASE64_STANDARD.decode(text) {
            Ok(_) => true,
            Err(error) => return Err(DecodeError::Type(base64_error(text, error))),
        },
        (Scalar::Quantity, Value::String(_) | Value::Number(_)) => {
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            let quantity = Quantity::parse(&text).map_err(|error| DecodeError::Type(error.to_string()))?;
            *value = Value::String(quantity.to_string());
            true
        }
        (Scalar::Time, Value::String(text)) => {
            *value = time::canonical(text).map(Value::String).map_err(DecodeError::Type)?;
            true
        }
        (Scalar::MicroTime, Value::String(text)) => {
            *value = time::canonical_micro(text).map(Value::String).map_err(DecodeError::Type)?;
            true
        }
        (Scalar::Duration, Value::String(text)) => {
            let nanos = time::parse_duration(text).map_err(DecodeError::Type)?;
            *value = Value::String(time::format_duration(nanos));
            true
        }
        _ => false,
    };
    if fits { Ok(()) } else { Err(at.mismatch(value, node)) }
}

impl<'a> Place<'a> {
    /// A place below, in the same struct.
    fn below<'b>(&'b self, step: Step<'b>) -> Place<'b> {
        Place { above: Some((self, step)), owner: self.owner }
    }

    fn number(&self, number: &serde_json::Number, node: &Node) -> DecodeError {
        self.cannot(&format!("number {number}"), node)
    }

    fn mismatch(&self, value: &Value, node: &Node) -> DecodeError {
        self.cannot(go_kind(value), node)
    }

    fn cannot(&self, found: &str, node: &Node) -> DecodeError {
        let ty = go_type(node);
        let names: Vec<&str> = self
            .steps()
            .into_iter()
            .filter_map(|step| match step {
                Step::Field(name) => Some(name),
                Step::Index(_) => None,
            })
            .collect();
        DecodeError::Type(match self.owner {
            Some(owner) if !names.is_empty() => {
                let owner = owner.go_name();
                format!("json: cannot unmarshal {found} into Go struct field {owner}.{} of type {ty}", names.join("."))
            }
            _ => format!("json: cannot unmarshal {found} into Go value of type {ty}"),
        })
    }

    /// From the root on.
    fn steps(&self) -> Vec<Step<'a>> {
        let mut steps: Vec<Step<'a>> =
            std::iter::successors(self.above, |(place, _)| place.above).map(|(_, step)| step).collect();
        steps.reverse();
        steps
    }

    /// As warnings write it.
    fn path(&self) -> String {
        let mut path = String::new();
        for step in self.steps() {
            match step {
                Step::Field(name) => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                }
                Step::Index(index) => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}

fn item_is_scalar(node: &Node) -> bool {
    matches!(node.shape, Shape::Scalar(Scalar::String | Scalar::Int32 | Scalar::Int64 | Scalar::Bool))
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

fn go_type(node: &Node) -> String {
    match &node.shape {
        Shape::Any(AnyKind::FieldsV1) => "v1.FieldsV1".to_owned(),
        Shape::Any(_) => "interface {}".to_owned(),
        Shape::Scalar(scalar) => match scalar {
            Scalar::Bool => "bool",
            Scalar::Int32 => "int32",
            Scalar::Int64 => "int64",
            Scalar::Double => "float64",
            Scalar::String | Scalar::Time | Scalar::MicroTime | Scalar::Duration | Scalar::IntOrString => "string",
            Scalar::Bytes => "[]uint8",
            Scalar::Quantity => "resource.Quantity",
        }
        .to_owned(),
        Shape::List { items, .. } => format!("[]{}", go_type(items)),
        Shape::Map { values, .. } => format!("map[string]{}", go_type(values)),
        Shape::Struct { of: StructRef::Builtin(index), .. } => {
            let mut parts = facts::by_index(*index).name.rsplit('.');
            let name = parts.next().unwrap_or_default();
            format!("{}.{name}", parts.next().unwrap_or_default())
        }
        Shape::Struct { .. } => "map[string]interface {}".to_owned(),
        Shape::Union(_) => "v1.JSONSchemaProps".to_owned(),
    }
}

fn base64_error(text: &str, error: base64::DecodeError) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => at,
        _ => text.len(),
    };
    format!("illegal base64 data at input byte {at}")
}
