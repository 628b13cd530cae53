//! JSON values to messages.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::Value;

use super::wire::{Writer, malformed};
use crate::{
    facts,
    model::{Node, Scalar, Shape, Struct, Union, Wire},
    time,
};

type Done = Result<(), String>;

pub(super) fn fields(out: &mut Writer, of: &Struct, wire: &[Wire], value: &Value) -> Done {
    let Value::Object(map) = value else { return Err(mismatch(value)) };
    for entry in wire {
        match entry {
            Wire::Field { number, index } => {
                let field = &of.fields[usize::from(*index)];
                match map.get(&*field.name) {
                    None | Some(Value::Null) => {}
                    Some(value) => node(out, *number, &field.node, value)?,
                }
            }
            Wire::Inline { number, fields: inlined, .. } => {
                out.message(*number, |out| fields(out, of, inlined, value))?
            }
        }
    }
    Ok(())
}

fn mismatch(value: &Value) -> String {
    let mut text = value.to_string();
    if let Some((end, _)) = text.char_indices().nth(40) {
        text.truncate(end);
    }
    malformed(&format!("value of another type than the field's: {text}"))
}

fn node(out: &mut Writer, number: u32, node_: &Node, value: &Value) -> Done {
    match &node_.shape {
        Shape::Any(_) => out.message(number, |out| {
            out.bytes(1, value.to_string().as_bytes());
            Ok(())
        }),
        Shape::Scalar(scalar) => self::scalar(out, number, *scalar, value),
        Shape::List { items, wrapped, .. } => {
            let Value::Array(list) = value else { return Err(mismatch(value)) };
            if *wrapped {
                return out.message(number, |out| list.iter().try_for_each(|item| node(out, 1, items, item)));
            }
            list.iter().try_for_each(|item| node(out, number, items, item))
        }
        Shape::Map { values, .. } => {
            let Value::Object(map) = value else { return Err(mismatch(value)) };
            map.iter().try_for_each(|(key, value)| {
                out.message(number, |out| {
                    out.bytes(1, key.as_bytes());
                    node(out, 2, values, value)
                })
            })
        }
        Shape::Struct { of, .. } => out.message(number, |out| fields(out, of, &of.wire, value)),
        Shape::Union(union) => out.message(number, |out| self::union(out, *union, value)),
    }
}

fn union(out: &mut Writer, union: Union, value: &Value) -> Done {
    let of = facts::json_schema_props();
    let (props_at, list_at) = match union {
        Union::PropsOrBool => (2, 0),
        Union::PropsOrArray | Union::PropsOrStrings => (1, 2),
    };
    match value {
        Value::Object(_) => {
            if union == Union::PropsOrBool {
                out.integer(1, 1);
            }
            out.message(props_at, |out| fields(out, &of, &of.wire, value))
        }
        Value::Bool(allows) if union == Union::PropsOrBool => {
            out.integer(1, i64::from(*allows));
            Ok(())
        }
        Value::Array(list) if union == Union::PropsOrArray => {
            list.iter().try_for_each(|item| out.message(list_at, |out| fields(out, &of, &of.wire, item)))
        }
        Value::Array(list) if union == Union::PropsOrStrings => {
            list.iter().filter_map(Value::as_str).for_each(|item| out.bytes(list_at, item.as_bytes()));
            Ok(())
        }
        _ => Err(mismatch(value)),
    }
}

fn scalar(out: &mut Writer, number: u32, scalar: Scalar, value: &Value) -> Done {
    match (scalar, value) {
        (Scalar::Bool, Value::Bool(set)) => out.integer(number, i64::from(*set)),
        (Scalar::Int32 | Scalar::Int64, Value::Number(_)) => {
            out.integer(number, value.as_i64().ok_or_else(|| mismatch(value))?);
        }
        (Scalar::Double, Value::Number(_)) => out.double(number, value.as_f64().ok_or_else(|| mismatch(value))?),
        (Scalar::String, Value::String(text)) => out.bytes(number, text.as_bytes()),
        (Scalar::Bytes, Value::String(text)) => {
            let bytes = BASE64_STANDARD.decode(text).map_err(|error| malformed(&error.to_string()))?;
            out.bytes(number, &bytes);
        }
        (Scalar::Quantity, Value::String(text)) => out.message(number, |out| {
            out.bytes(1, text.as_bytes());
            Done::Ok(())
        })?,
        (Scalar::Time | Scalar::MicroTime, Value::String(text)) => {
            let time = time::layout::parse(text, time::layout::RFC3339).map_err(|error| malformed(&error))?;
            out.message(number, |out| {
                out.integer(1, time.second);
                // Time is in whole seconds in JSON; MicroTime keeps its fraction.
                let nanos = if scalar == Scalar::MicroTime { time.nanosecond } else { 0 };
                out.integer(2, i64::from(nanos));
                Done::Ok(())
            })?;
        }
        // A null in a list or map is a zero time.
        (Scalar::Time | Scalar::MicroTime, Value::Null) => out.bytes(number, b""),
        (Scalar::Duration, Value::String(text)) => {
            let nanos = time::parse_duration(text).map_err(|error| malformed(&error))?;
            out.message(number, |out| {
                out.integer(1, nanos);
                Done::Ok(())
            })?;
        }
        (Scalar::IntOrString, Value::Number(_)) => {
            let integer = value.as_i64().ok_or_else(|| mismatch(value))?;
            out.message(number, |out| {
                out.integer(1, 0);
                out.integer(2, integer);
                out.bytes(3, b"");
                Done::Ok(())
            })?;
        }
        (Scalar::IntOrString, Value::String(text)) => out.message(number, |out| {
            out.integer(1, 1);
            out.integer(2, 0);
            out.bytes(3, text.as_bytes());
            Done::Ok(())
        })?,
        _ => return Err(mismatch(value)),
    }
    Ok(())
}
