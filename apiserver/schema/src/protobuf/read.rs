//! Messages to JSON values, showing what Go's JSON would show: zero values that Go always writes on the wire are left out
//! where its JSON leaves them out.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use super::wire::{Reader, Tag, malformed};
use crate::{
    facts,
    model::{Field, Node, Presence, Scalar, Shape, Struct, Union, Wire},
    time,
};

/// Deeper than any kind but hostile input.
const MAX_DEPTH: u32 = 100;

pub(super) fn message(bytes: &[u8], of: &Struct, wire: &[Wire]) -> Result<Value, String> {
    object(bytes, of, wire, 0)
}

fn object(bytes: &[u8], of: &Struct, wire: &[Wire], depth: u32) -> Result<Value, String> {
    let mut map = Map::new();
    fields(bytes, (of.go_name(), of, wire), depth, &mut map)?;
    Ok(Value::Object(map))
}

/// `name` is the Go type that holds the fields `wire` of `of`: a struct inlined in it is a message of its own.
fn fields(
    bytes: &[u8],
    (name, of, wire): (&str, &Struct, &[Wire]),
    depth: u32,
    map: &mut Map<String, Value>,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err(malformed("exceeded max depth"));
    }
    let mut reader = Reader::new(bytes, name);
    while let Some(tag) = reader.next()? {
        let entry = wire.iter().find(|entry| match entry {
            Wire::Field { number, .. } | Wire::Inline { number, .. } => *number == tag.number,
        });
        match entry {
            Some(Wire::Field { index, .. }) => field(&mut reader, tag, &of.fields[usize::from(*index)], depth, map)?,
            Some(Wire::Inline { of: name, fields: inlined, .. }) => {
                fields(reader.bytes(tag, name)?, (name, of, inlined), depth + 1, map)?;
            }
            None => reader.skip(tag)?,
        }
    }
    Ok(())
}

fn field(
    reader: &mut Reader<'_>,
    tag: Tag,
    field: &Field,
    depth: u32,
    map: &mut Map<String, Value>,
) -> Result<(), String> {
    match &field.node.shape {
        Shape::List { items, wrapped: false, .. } => {
            let value = node(reader, tag, &field.name, items, depth + 1)?;
            if let Value::Array(list) = map.entry(&*field.name).or_insert_with(|| Value::Array(Vec::new())) {
                list.push(value);
            }
        }
        Shape::Map { values, .. } => {
            let (key, value) = entry(reader.bytes(tag, &field.name)?, values, depth)?;
            if let Value::Object(inner) = map.entry(&*field.name).or_insert_with(|| Value::Object(Map::new())) {
                inner.insert(key, value);
            }
        }
        _ => {
            let value = node(reader, tag, &field.name, &field.node, depth + 1)?;
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

fn entry(bytes: &[u8], values: &Node, depth: u32) -> Result<(String, Value), String> {
    let (mut key, mut value) = (String::new(), crate::decode::zero(values));
    let mut reader = Reader::new(bytes, "");
    while let Some(tag) = reader.next()? {
        match tag.number {
            1 => key = reader.text(tag, "mapkey")?.into_owned(),
            2 => value = node(&mut reader, tag, "mapvalue", values, depth + 1)?,
            _ => reader.skip(tag)?,
        }
    }
    Ok((key, value))
}

/// The content of the field `name`.
fn node(reader: &mut Reader<'_>, tag: Tag, name: &str, node_: &Node, depth: u32) -> Result<Value, String> {
    match &node_.shape {
        Shape::Any(_) => {
            let raw = first(reader.bytes(tag, name)?, "RawExtension", "raw")?;
            if raw.is_empty() {
                return Ok(Value::Null);
            }
            // A raw extension may itself be in protobuf.
            if raw.starts_with(super::MAGIC) && depth < MAX_DEPTH {
                return super::decode(raw).map(|(_, _, value)| value).map_err(|error| error.to_string());
            }
            serde_json::from_slice(raw).map_err(|error| malformed(&format!("embedded JSON: {error}")))
        }
        Shape::Scalar(scalar) => self::scalar(reader, tag, name, *scalar),
        Shape::List { items, .. } => {
            let mut list = Vec::new();
            let mut reader = Reader::new(reader.bytes(tag, name)?, "Items");
            while let Some(tag) = reader.next()? {
                list.push(node(&mut reader, tag, "items", items, depth + 1)?);
            }
            Ok(list.into())
        }
        Shape::Map { .. } => Err(malformed("a map inside a list")),
        Shape::Struct { of, .. } => object(reader.bytes(tag, name)?, of, &of.wire, depth),
        Shape::Union(union) => self::union(*union, reader.bytes(tag, name)?, depth),
    }
}

/// The bytes of field 1, which is all that the wrappers of free JSON and of quantities have.
fn first<'a>(bytes: &'a [u8], of: &'a str, field: &str) -> Result<&'a [u8], String> {
    let mut reader = Reader::new(bytes, of);
    let mut found: &[u8] = b"";
    while let Some(tag) = reader.next()? {
        match tag.number {
            1 => found = reader.bytes(tag, field)?,
            _ => reader.skip(tag)?,
        }
    }
    Ok(found)
}

fn union(union: Union, bytes: &[u8], depth: u32) -> Result<Value, String> {
    let of = facts::json_schema_props();
    let name = match union {
        Union::PropsOrBool => "JSONSchemaPropsOrBool",
        Union::PropsOrArray => "JSONSchemaPropsOrArray",
        Union::PropsOrStrings => "JSONSchemaPropsOrStringArray",
    };
    let (mut props, mut allows, mut list) = (None, false, Vec::new());
    let mut reader = Reader::new(bytes, name);
    while let Some(tag) = reader.next()? {
        match (union, tag.number) {
            (Union::PropsOrBool, 1) => allows = reader.integer(tag, "allows")? != 0,
            (Union::PropsOrBool, 2) | (Union::PropsOrArray | Union::PropsOrStrings, 1) => {
                props = Some(object(reader.bytes(tag, "schema")?, &of, &of.wire, depth + 1)?);
            }
            (Union::PropsOrArray, 2) => {
                list.push(object(reader.bytes(tag, "jsonSchemas")?, &of, &of.wire, depth + 1)?);
            }
            (Union::PropsOrStrings, 2) => list.push(reader.text(tag, "property")?.into()),
            _ => reader.skip(tag)?,
        }
    }
    Ok(match (props, union) {
        (Some(props), _) => props,
        (None, Union::PropsOrBool) => allows.into(),
        (None, _) => list.into(),
    })
}

fn scalar(reader: &mut Reader<'_>, tag: Tag, name: &str, scalar: Scalar) -> Result<Value, String> {
    Ok(match scalar {
        Scalar::Bool => (reader.integer(tag, name)? != 0).into(),
        Scalar::Int32 | Scalar::Int64 => reader.integer(tag, name)?.into(),
        Scalar::Double => reader.double(tag, name)?.into(),
        Scalar::String => reader.text(tag, name)?.into(),
        Scalar::Bytes => BASE64_STANDARD.encode(reader.bytes(tag, name)?).into(),
        Scalar::Quantity => match first(reader.bytes(tag, name)?, "Quantity", "string")? {
            b"" => "0".into(),
            text => String::from_utf8_lossy(text).into(),
        },
        Scalar::Time | Scalar::MicroTime => {
            let [seconds, nanos] = integers(reader.bytes(tag, name)?, "Timestamp", ["seconds", "nanos"])?;
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
        Scalar::Duration => {
            let [nanoseconds] = integers(reader.bytes(tag, name)?, "Duration", ["duration"])?;
            time::format_duration(nanoseconds.unwrap_or_default()).into()
        }
        Scalar::IntOrString => {
            let (mut is_text, mut integer, mut text) = (false, 0, Cow::default());
            let mut reader = Reader::new(reader.bytes(tag, name)?, "IntOrString");
            while let Some(tag) = reader.next()? {
                match tag.number {
                    1 => is_text = reader.integer(tag, "type")? != 0,
                    2 => integer = reader.integer(tag, "intVal")?,
                    3 => text = reader.text(tag, "strVal")?,
                    _ => reader.skip(tag)?,
                }
            }
            if is_text { text.into() } else { integer.into() }
        }
    })
}

/// The integers of the fields 1, 2 … of the message `of`.
fn integers<const N: usize>(bytes: &[u8], of: &str, names: [&str; N]) -> Result<[Option<i64>; N], String> {
    let mut out = [None; N];
    let mut reader = Reader::new(bytes, of);
    while let Some(tag) = reader.next()? {
        match (tag.number as usize).checked_sub(1).filter(|at| *at < N) {
            Some(at) => out[at] = Some(reader.integer(tag, names[at])?),
            None => reader.skip(tag)?,
        }
    }
    Ok(out)
}
