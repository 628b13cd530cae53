//! Messages to JSON values, showing what Go's JSON would show: zero values that Go always writes on the wire are left out
//! where its JSON leaves them out.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::{
    ProtoError,
    wire::{Item, Reader, malformed},
};
use crate::{
    facts,
    model::{Field, Node, Presence, Scalar, Shape, Struct, Union, Wire},
    time,
};

/// Deeper than any kind but hostile input.
const MAX_DEPTH: u32 = 100;

pub(super) fn message(bytes: &[u8], of: &Struct, wire: &[Wire]) -> Result<Value, ProtoError> {
    object(bytes, of, wire, 0)
}

fn object(bytes: &[u8], of: &Struct, wire: &[Wire], depth: u32) -> Result<Value, ProtoError> {
    let mut map = Map::new();
    fields(bytes, of, wire, depth, &mut map)?;
    Ok(Value::Object(map))
}

fn fields(
    bytes: &[u8],
    of: &Struct,
    wire: &[Wire],
    depth: u32,
    map: &mut Map<String, Value>,
) -> Result<(), ProtoError> {
    if depth > MAX_DEPTH {
        return Err(malformed("exceeded max depth"));
    }
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        let entry = wire.iter().find(|entry| match entry {
            Wire::Field { number: own, .. } | Wire::Inline { number: own, .. } => *own == number,
        });
        match entry {
            Some(Wire::Field { index, .. }) => field(&of.fields[usize::from(*index)], &item, depth, map)?,
            Some(Wire::Inline { fields: inlined, .. }) => fields(item.bytes()?, of, inlined, depth + 1, map)?,
            // Fields of a newer version are passed over, as every protobuf reader does.
            None => {}
        }
    }
    Ok(())
}

fn field(field: &Field, item: &Item<'_>, depth: u32, map: &mut Map<String, Value>) -> Result<(), ProtoError> {
    match &field.node.shape {
        Shape::List { items, wrapped: false, .. } => {
            let value = node(items, item, depth + 1)?;
            if let Value::Array(list) = map.entry(&*field.name).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(value);
            }
        }
        Shape::Map { values, .. } => {
            let (key, value) = entry(item.bytes()?, values, depth)?;
            if let Value::Object(inner) = map.entry(&*field.name).or_insert_with(|| Value::Object(Map::new())) {
                inner.insert(key, value);
            }
        }
        _ => {
            let value = node(&field.node, item, depth + 1)?;
            if !left_out(field, &value) {
                map.insert(field.name.to_string(), value);
            }
        }
    }
    Ok(())
}

fn left_out(field: &Field, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    let zero = match value {
        Value::Bool(set) => !set,
        Value::Number(number) => {
            number.as_f64() == Some(0.0) && !matches!(field.node.shape, Shape::Scalar(Scalar::IntOrString))
        }
        Value::String(text) => text.is_empty(),
        Value::Object(map) => map.is_empty() && field.presence == Presence::OmitZero,
        _ => false,
    };
    zero && matches!(field.presence, Presence::OmitEmpty | Presence::OmitZero)
}

fn entry(bytes: &[u8], values: &Node, depth: u32) -> Result<(String, Value), ProtoError> {
    let (mut key, mut value) = (String::new(), crate::decode::zero(values));
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        match number {
            1 => item.text()?.clone_into(&mut key),
            2 => value = node(values, &item, depth + 1)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn node(node_: &Node, item: &Item<'_>, depth: u32) -> Result<Value, ProtoError> {
    match &node_.shape {
        Shape::Any(_) => {
            let raw = first(item.bytes()?)?;
            if raw.is_empty() {
                return Ok(Value::Null);
            }
            // A raw extension may itself be in protobuf.
            if raw.starts_with(super::MAGIC) && depth < MAX_DEPTH {
                return super::decode(raw).map(|(_, _, value)| value);
            }
            serde_json::from_slice(raw).map_err(|error| malformed(&format!("embedded JSON: {error}")))
        }
        Shape::Scalar(scalar) => self::scalar(*scalar, item),
        Shape::List { items, .. } => {
            let mut list = Vec::new();
            let mut reader = Reader(item.bytes()?);
            while let Some((_, item)) = reader.next()? {
                list.push(node(items, &item, depth + 1)?);
            }
            Ok(list.into())
        }
        Shape::Map { .. } => Err(malformed("a map inside a list")),
        Shape::Struct { of, .. } => object(item.bytes()?, of, &of.wire, depth),
        Shape::Union(union) => self::union(*union, item.bytes()?, depth),
    }
}

/// The bytes of field 1, which is all that the wrappers of free JSON and of quantities have.
fn first(bytes: &[u8]) -> Result<&[u8], ProtoError> {
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        if number == 1 {
            return item.bytes();
        }
    }
    Ok(b"")
}

fn union(union: Union, bytes: &[u8], depth: u32) -> Result<Value, ProtoError> {
    let of = facts::json_schema_props();
    let (mut props, mut allows, mut list) = (None, false, Vec::new());
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        match (union, number) {
            (Union::PropsOrBool, 1) => allows = item.integer()? != 0,
            (Union::PropsOrBool, 2) | (Union::PropsOrArray | Union::PropsOrStrings, 1) => {
                props = Some(object(item.bytes()?, &of, &of.wire, depth + 1)?);
            }
            (Union::PropsOrArray, 2) => list.push(object(item.bytes()?, &of, &of.wire, depth + 1)?),
            (Union::PropsOrStrings, 2) => list.push(item.text()?.into()),
            _ => {}
        }
    }
    Ok(match (props, union) {
        (Some(props), _) => props,
        (None, Union::PropsOrBool) => allows.into(),
        (None, _) => list.into(),
    })
}

fn scalar(scalar: Scalar, item: &Item<'_>) -> Result<Value, ProtoError> {
    Ok(match scalar {
        Scalar::Bool => (item.integer()? != 0).into(),
        Scalar::Int32 | Scalar::Int64 => item.integer()?.into(),
        Scalar::Double => match item {
            Item::Double(value) => (*value).into(),
            _ => return Err(malformed("wrong wire type for a double")),
        },
        Scalar::String => item.text()?.into(),
        Scalar::Bytes => BASE64_STANDARD.encode(item.bytes()?).into(),
        Scalar::Quantity => {
            let text =
                std::str::from_utf8(first(item.bytes()?)?).map_err(|_| malformed("invalid UTF-8 in a string"))?;
            if text.is_empty() { "0".into() } else { text.into() }
        }
        Scalar::Time | Scalar::MicroTime => {
            let [seconds, nanos] = integers(item.bytes()?)?;
            match (seconds, nanos) {
                // The zero time has no fields at all.
                (None, None) => Value::Null,
                _ => {
                    let nanos = u32::try_from(nanos.unwrap_or_default()).map_err(|_| malformed("time out of range"))?;
                    let time = time::Instant::new(seconds.unwrap_or_default(), nanos);
                    if scalar == Scalar::Time { time.rfc3339().into() } else { time.rfc3339_micro().into() }
                }
            }
        }
        Scalar::Duration => time::format_duration(integers(item.bytes()?)?[0].unwrap_or_default()).into(),
        Scalar::IntOrString => {
            let (mut is_text, mut integer, mut text) = (false, 0, "");
            let mut reader = Reader(item.bytes()?);
            while let Some((number, item)) = reader.next()? {
                match number {
                    1 => is_text = item.integer()? != 0,
                    2 => integer = item.integer()?,
                    3 => text = item.text()?,
                    _ => {}
                }
            }
            if is_text { text.into() } else { integer.into() }
        }
    })
}

fn integers(bytes: &[u8]) -> Result<[Option<i64>; 2], ProtoError> {
    let mut out = [None, None];
    let mut reader = Reader(bytes);
    while let Some((number, item)) = reader.next()? {
        if let Some(slot) = (number as usize).checked_sub(1).and_then(|at| out.get_mut(at)) {
            *slot = Some(item.integer()?);
        }
    }
    Ok(out)
}
