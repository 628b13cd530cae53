//! JSON → protobuf.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::Value;

use super::{ProtoError, wire};
use crate::facts;
use crate::model::{AnyKind, Node, Scalar, Shape, Struct, Union, Wire};

/// The fields of `of` that `value` has.
pub(super) fn structure(out: &mut Vec<u8>, of: &Struct, value: &Value) -> Result<(), ProtoError> {
    fields(out, of, &of.wire, value)
}

fn fields(out: &mut Vec<u8>, of: &Struct, entries: &[Wire], value: &Value) -> Result<(), ProtoError> {
    for entry in entries {
        match entry {
            Wire::Field { number, index } => {
                let field = &of.fields[usize::from(*index)];
                match value.get(&*field.name) {
                    None | Some(Value::Null) => {}
                    Some(value) => {
                        self::field(out, *number, &field.node, value).map_err(|error| within(&field.name, error))?
                    }
                }
            }
            Wire::Inline { number, fields: inner } => {
                let mut message = Vec::new();
                fields(&mut message, of, inner, value)?;
                wire::bytes(out, *number, &message);
            }
        }
    }
    Ok(())
}

fn within(name: &str, error: ProtoError) -> ProtoError {
    match error {
        ProtoError::Malformed(text) => ProtoError::Malformed(format!("{name}: {text}")),
        other => other,
    }
}

fn wrong(value: &Value, expected: &str) -> ProtoError {
    ProtoError::malformed(format!("{value} is no {expected}"))
}

fn field(out: &mut Vec<u8>, number: u32, node: &Node, value: &Value) -> Result<(), ProtoError> {
    match &node.shape {
        Shape::Scalar(kind) => scalar(out, number, *kind, value),
        Shape::Any(kind) => {
            wire::bytes(out, number, &any(*kind, value));
            Ok(())
        }
        Shape::List { items, wrapped, .. } => {
            let list = value.as_array().ok_or_else(|| wrong(value, "list"))?;
            if *wrapped {
                let mut message = Vec::new();
                list.iter().try_for_each(|item| field(&mut message, 1, items, item))?;
                wire::bytes(out, number, &message);
                return Ok(());
            }
            list.iter().try_for_each(|item| field(out, number, items, item))
        }
        Shape::Map { values, .. } => {
            for (key, value) in value.as_object().ok_or_else(|| wrong(value, "map"))? {
                let mut entry = Vec::new();
                wire::bytes(&mut entry, 1, key.as_bytes());
                field(&mut entry, 2, values, value)?;
                wire::bytes(out, number, &entry);
            }
            Ok(())
        }
        Shape::Struct { of, .. } => {
            let mut message = Vec::new();
            structure(&mut message, of, value)?;
            wire::bytes(out, number, &message);
            Ok(())
        }
        Shape::Union(kind) => {
            let mut message = Vec::new();
            union(&mut message, *kind, value)?;
            wire::bytes(out, number, &message);
            Ok(())
        }
    }
}

/// A message around raw JSON.
fn any(_kind: AnyKind, value: &Value) -> Vec<u8> {
    let json = serde_json::to_vec(value).expect("a Value has only string keys");
    let mut message = Vec::with_capacity(json.len() + 6);
    wire::bytes(&mut message, 1, &json);
    message
}

fn union(out: &mut Vec<u8>, kind: Union, value: &Value) -> Result<(), ProtoError> {
    let props = facts::json_schema_props();
    let schema = |out: &mut Vec<u8>, number: u32, value: &Value| -> Result<(), ProtoError> {
        let mut message = Vec::new();
        structure(&mut message, &props, value)?;
        wire::bytes(out, number, &message);
        Ok(())
    };
    match (kind, value) {
        (Union::PropsOrArray, Value::Array(list)) => list.iter().try_for_each(|item| schema(out, 2, item)),
        (Union::PropsOrBool, Value::Bool(allows)) => {
            wire::int(out, 1, i64::from(*allows));
            Ok(())
        }
        (Union::PropsOrStrings, Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).for_each(|item| wire::bytes(out, 2, item.as_bytes()));
            Ok(())
        }
        (Union::PropsOrBool, value) => {
            wire::int(out, 1, 1);
            schema(out, 2, value)
        }
        (_, value) => schema(out, 1, value),
    }
}

fn scalar(out: &mut Vec<u8>, number: u32, kind: Scalar, value: &Value) -> Result<(), ProtoError> {
    let text = || value.as_str().ok_or_else(|| wrong(value, "string"));
    let int = || value.as_i64().ok_or_else(|| wrong(value, "integer"));
    match kind {
        Scalar::Bool => wire::int(out, number, i64::from(value.as_bool().ok_or_else(|| wrong(value, "boolean"))?)),
        Scalar::Int32 | Scalar::Int64 => wire::int(out, number, int()?),
        Scalar::Double => wire::double(out, number, value.as_f64().ok_or_else(|| wrong(value, "number"))?),
        Scalar::String => wire::bytes(out, number, text()?.as_bytes()),
        Scalar::Bytes => {
            let decoded = BASE64_STANDARD.decode(text()?).map_err(|_| wrong(value, "base64"))?;
            wire::bytes(out, number, &decoded);
        }
        Scalar::Quantity => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let mut message = Vec::new();
            wire::bytes(&mut message, 1, text.as_bytes());
            wire::bytes(out, number, &message);
        }
        Scalar::IntOrString => {
            let mut message = Vec::new();
            match value {
                Value::String(text) => {
                    wire::int(&mut message, 1, 1);
                    wire::bytes(&mut message, 3, text.as_bytes());
                }
                _ => {
                    wire::int(&mut message, 1, 0);
                    wire::int(&mut message, 2, int()?);
                }
            }
            wire::bytes(out, number, &message);
        }
        Scalar::Time | Scalar::MicroTime => {
            let time: Timestamp = text()?.parse().map_err(|_| wrong(value, "time"))?;
            let mut message = Vec::new();
            wire::int(&mut message, 1, time.as_second());
            wire::int(&mut message, 2, i64::from(time.subsec_nanosecond()));
            wire::bytes(out, number, &message);
        }
        Scalar::Duration => {
            let mut message = Vec::new();
            wire::int(&mut message, 1, super::decode::parse_duration(text()?).ok_or_else(|| wrong(value, "duration"))?);
            wire::bytes(out, number, &message);
        }
    }
    Ok(())
}
