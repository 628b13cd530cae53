//! Protobuf → JSON.

use std::collections::HashMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::ProtoError;
use super::wire::{Raw, Reader};
use crate::facts;
use crate::model::{Field, Node, Presence, Scalar, Shape, Struct, Union, Wire};

/// The message of `of` as an object; fields it does not know are left out.
pub(super) fn structure(of: &Struct, message: &[u8]) -> Result<Value, ProtoError> {
    let mut object = Map::new();
    fields(of, &of.wire, message, &mut object)?;
    Ok(Value::Object(object))
}

fn fields(of: &Struct, entries: &[Wire], message: &[u8], object: &mut Map<String, Value>) -> Result<(), ProtoError> {
    let by_number: HashMap<u32, &Wire> = entries
        .iter()
        .map(|entry| match entry {
            Wire::Field { number, .. } | Wire::Inline { number, .. } => (*number, entry),
        })
        .collect();
    let mut reader = Reader::new(message);
    while let Some((number, raw)) = reader.next()? {
        match by_number.get(&number) {
            None => {}
            Some(Wire::Inline { fields: inner, .. }) => fields(of, inner, raw.bytes()?, object)?,
            Some(Wire::Field { index, .. }) => field(&of.fields[usize::from(*index)], raw, object)?,
        }
    }
    Ok(())
}

fn field(field: &Field, raw: Raw<'_>, object: &mut Map<String, Value>) -> Result<(), ProtoError> {
    let name = &*field.name;
    match &field.node.shape {
        Shape::List { items, wrapped: false, .. } => {
            let list = object.entry(name).or_insert_with(|| Value::Array(Vec::new()));
            let Some(list) = list.as_array_mut() else { return Ok(()) };
            repeated(items, raw, list)
        }
        Shape::Map { values, .. } => {
            let map = object.entry(name).or_insert_with(|| Value::Object(Map::new()));
            let Some(map) = map.as_object_mut() else { return Ok(()) };
            let (key, value) = entry(values, raw.bytes()?)?;
            map.insert(key, value);
            Ok(())
        }
        _ => {
            let value = one(&field.node, raw)?;
            // Without presence a zero says nothing; Go leaves it out.
            let silent = field.presence != Presence::Pointer && is_zero(&value);
            if !silent && !value.is_null() {
                object.insert(name.to_owned(), value);
            }
            Ok(())
        }
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::Bool(yes) => !yes,
        Value::Array(list) => list.is_empty(),
        Value::Null => true,
        Value::Object(_) => false,
    }
}

/// An element of a repeated field; numbers may come packed.
fn repeated(items: &Node, raw: Raw<'_>, list: &mut Vec<Value>) -> Result<(), ProtoError> {
    if let (Shape::Scalar(kind @ (Scalar::Bool | Scalar::Int32 | Scalar::Int64)), Raw::Bytes(packed)) =
        (&items.shape, raw)
    {
        let mut reader = Reader::new(packed);
        while !reader.is_empty() {
            list.push(scalar(*kind, Raw::Varint(reader.varint()?))?);
        }
        return Ok(());
    }
    list.push(one(items, raw)?);
    Ok(())
}

fn entry(values: &Node, message: &[u8]) -> Result<(String, Value), ProtoError> {
    let (mut key, mut value) = (String::new(), None);
    let mut reader = Reader::new(message);
    while let Some((number, raw)) = reader.next()? {
        match number {
            1 => raw.text()?.clone_into(&mut key),
            2 => value = Some(one(values, raw)?),
            _ => {}
        }
    }
    // An entry without value holds the type's zero.
    let value = match value {
        Some(value) => value,
        None => match &values.shape {
            Shape::Scalar(Scalar::String | Scalar::Bytes) => "".into(),
            Shape::Scalar(Scalar::Quantity) => "0".into(),
            Shape::List { .. } => json!([]),
            _ => json!({}),
        },
    };
    Ok((key, value))
}

fn one(node: &Node, raw: Raw<'_>) -> Result<Value, ProtoError> {
    match &node.shape {
        Shape::Scalar(kind) => scalar(*kind, raw),
        Shape::Any(_) => {
            let json = inner(raw.bytes()?, 1)?;
            if json.is_empty() {
                return Ok(Value::Null);
            }
            // What is embedded may itself be protobuf.
            if json.starts_with(super::MAGIC) {
                return super::decode(json).map(|(_, _, value)| value);
            }
            serde_json::from_slice(json).map_err(|e| ProtoError::malformed(format!("embedded JSON: {e}")))
        }
        Shape::List { items, .. } => {
            let mut list = Vec::new();
            let mut reader = Reader::new(raw.bytes()?);
            while let Some((number, raw)) = reader.next()? {
                if number == 1 {
                    repeated(items, raw, &mut list)?;
                }
            }
            Ok(Value::Array(list))
        }
        Shape::Map { values, .. } => entry(values, raw.bytes()?).map(|(key, value)| json!({ key: value })),
        Shape::Struct { of, .. } => structure(of, raw.bytes()?),
        Shape::Union(kind) => union(*kind, raw.bytes()?),
    }
}

/// The bytes of one field of a small message, empty when it is not there.
fn inner(message: &[u8], wanted: u32) -> Result<&[u8], ProtoError> {
    let mut found: &[u8] = &[];
    let mut reader = Reader::new(message);
    while let Some((number, raw)) = reader.next()? {
        if number == wanted {
            found = raw.bytes()?;
        }
    }
    Ok(found)
}

fn union(kind: Union, message: &[u8]) -> Result<Value, ProtoError> {
    let props = facts::json_schema_props();
    let (mut schema, mut list, mut allows) = (None, Vec::new(), false);
    let mut reader = Reader::new(message);
    while let Some((number, raw)) = reader.next()? {
        match (kind, number) {
            (Union::PropsOrBool, 1) => allows = raw.int()? != 0,
            (Union::PropsOrBool, 2) | (Union::PropsOrArray | Union::PropsOrStrings, 1) => {
                schema = Some(structure(&props, raw.bytes()?)?);
            }
            (Union::PropsOrArray, 2) => list.push(structure(&props, raw.bytes()?)?),
            (Union::PropsOrStrings, 2) => list.push(raw.text()?.into()),
            _ => {}
        }
    }
    Ok(match (schema, kind) {
        (Some(schema), _) => schema,
        (None, Union::PropsOrBool) => allows.into(),
        (None, _) => Value::Array(list),
    })
}

fn scalar(kind: Scalar, raw: Raw<'_>) -> Result<Value, ProtoError> {
    Ok(match kind {
        Scalar::Bool => (raw.int()? != 0).into(),
        Scalar::Int32 | Scalar::Int64 => raw.int()?.into(),
        Scalar::Double => match raw {
            Raw::Fixed64(bits) => json!(f64::from_bits(bits)),
            other => json!(other.int()? as f64),
        },
        Scalar::String => raw.text()?.into(),
        Scalar::Bytes => BASE64_STANDARD.encode(raw.bytes()?).into(),
        Scalar::Quantity => {
            let text = std::str::from_utf8(inner(raw.bytes()?, 1)?);
            let text = text.map_err(|_| ProtoError::malformed("a quantity is no UTF-8"))?;
            if text.is_empty() { "0".into() } else { text.into() }
        }
        Scalar::IntOrString => {
            let (mut kind, mut number, mut text) = (0, 0, "");
            let mut reader = Reader::new(raw.bytes()?);
            while let Some((field, raw)) = reader.next()? {
                match field {
                    1 => kind = raw.int()?,
                    2 => number = raw.int()?,
                    3 => text = raw.text()?,
                    _ => {}
                }
            }
            if kind == 1 { text.into() } else { number.into() }
        }
        Scalar::Time | Scalar::MicroTime => {
            let (mut seconds, mut nanos) = (0, 0);
            let mut reader = Reader::new(raw.bytes()?);
            while let Some((field, raw)) = reader.next()? {
                match field {
                    1 => seconds = raw.int()?,
                    2 => nanos = raw.int()?,
                    _ => {}
                }
            }
            if (seconds, nanos) == (0, 0) {
                return Ok(Value::Null);
            }
            let nanos = i32::try_from(nanos).map_err(|_| ProtoError::malformed("a time is out of range"))?;
            let time = Timestamp::new(seconds, nanos).map_err(|e| ProtoError::malformed(e.to_string()))?;
            let format = if kind == Scalar::Time { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%6fZ" };
            time.strftime(format).to_string().into()
        }
        Scalar::Duration => {
            let mut reader = Reader::new(raw.bytes()?);
            let mut nanos = 0;
            while let Some((field, raw)) = reader.next()? {
                if field == 1 {
                    nanos = raw.int()?;
                }
            }
            print_duration(nanos).into()
        }
    })
}

/// Go's `time.Duration` text in nanoseconds: `1h2m3.5s`, `100ms`.
pub(super) fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..unit] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number * scale;
        rest = &rest[unit..];
    }
    let nanos = total.round() as i64;
    Some(if negative { -nanos } else { nanos })
}

/// The inverse, in Go's form.
fn print_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let text = format!("{}.{:0width$}", value / unit, value % unit, width = unit.ilog10() as usize);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    let text = match nanos {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanos, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos, 1_000_000)),
        _ => {
            let minutes = nanos / 60_000_000_000;
            let seconds = fraction(nanos % 60_000_000_000, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        for text in ["0s", "1.5s", "1m0s", "1h2m3s", "100ms", "15µs", "-2s"] {
            assert_eq!(print_duration(parse_duration(text).unwrap()), text);
        }
    }
}
