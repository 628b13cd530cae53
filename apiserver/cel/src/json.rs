//! JSON as CEL sees it: with the schema that describes it, or without any (`apiserver/pkg/cel/common/values*.go`).

use schema::time::layout;
use serde_json::Value as Json;

use crate::{
    escape::{escape, unescape},
    schema::{Kind, ListType, Schema},
    value::{EvalError, EvalResult, List, Map, Str, Value, failed},
};

/// A JSON array; elements are typed by `schema` if there is one.
#[derive(Clone, Debug)]
pub struct JsonList<'a> {
    items: &'a [Json],
    schema: Option<&'a Schema>,
    kind: &'a ListType,
    escaped: bool,
}

/// A JSON object.
#[derive(Clone, Debug)]
pub struct JsonMap<'a> {
    fields: &'a serde_json::Map<String, Json>,
    schema: Option<&'a Schema>,
    /// Without a schema: `a__dot__b` finds the field `a.b`, too.
    escaped: bool,
}

/// JSON with no schema: whole numbers are ints, others doubles.
#[must_use]
pub fn untyped(json: &Json) -> Value<'_> {
    bare(json, false)
}

/// The same, and fields that are no identifiers are also found by their escaped names (`claims.a__dot__b`).
#[must_use]
pub fn untyped_escaped(json: &Json) -> Value<'_> {
    bare(json, true)
}

fn bare(json: &Json, escaped: bool) -> Value<'_> {
    match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Number(number) => match number.as_i64() {
            Some(value) => Value::Int(value),
            None => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        },
        Json::String(text) => Value::String(Str::Borrowed(text)),
        Json::Array(items) => {
            Value::List(List::Json(JsonList { items, schema: None, kind: &ListType::Atomic, escaped }))
        }
        Json::Object(fields) => Value::Map(Map::Json(JsonMap { fields, schema: None, escaped })),
    }
}

/// JSON as `schema` describes it; an error where it does not fit.
pub fn typed<'a>(json: &'a Json, schema: &'a Schema) -> EvalResult<'a> {
    if json.is_null() {
        return if schema.nullable {
            Ok(Value::Null)
        } else {
            failed("invalid data, got null for schema with nullable=false")
        };
    }
    match &schema.kind {
        Kind::IntOrString => match json {
            Json::String(text) => Ok(Value::String(Str::Borrowed(text))),
            Json::Number(number) if number.is_i64() => Ok(Value::Int(number.as_i64().unwrap_or_default())),
            _ => failed("invalid data, expected XIntOrString value to be either a string or integer"),
        },
        Kind::Object { .. } | Kind::Map { .. } => match json {
            Json::Object(fields) => Ok(Value::Map(Map::Json(JsonMap { fields, schema: Some(schema), escaped: false }))),
            _ => failed("invalid data, expected a map for the provided schema with type=object"),
        },
        Kind::List { items, kind } => match json {
            Json::Array(values) => match items {
                Some(items) => {
                    Ok(Value::List(List::Json(JsonList { items: values, schema: Some(items), kind, escaped: false })))
                }
                None => failed("invalid array type, expected Items with a non-empty Schema"),
            },
            _ => failed("invalid data, expected an array for the provided schema with type=array"),
        },
        Kind::String { format } => match json {
            Json::String(text) => string(text, format),
            _ => failed("invalid data, expected string"),
        },
        Kind::Number => match json.as_f64() {
            Some(value) => Ok(Value::Double(value)),
            None => failed("invalid data, expected float"),
        },
        Kind::Integer => match json.as_i64() {
            Some(value) => Ok(Value::Int(value)),
            None if json.is_number() => failed("invalid data, expected int, got float64"),
            None => failed("invalid data, expected int"),
        },
        Kind::Boolean => match json {
            Json::Bool(value) => Ok(Value::Bool(*value)),
            _ => failed("invalid data, expected bool"),
        },
        Kind::Preserved => Ok(Value::Opaque(json)),
        Kind::Unknown => failed(
            "invalid type, expected object, array, number, integer, boolean or string, or no type with \
             x-kubernetes-int-or-string or x-kubernetes-preserve-unknown-fields is true, got ",
        ),
    }
}

fn string<'a>(text: &'a str, format: &str) -> EvalResult<'a> {
    match format {
        "duration" => match schema::crd::format::parse_duration(text) {
            Ok(nanos) => Ok(Value::Duration(nanos)),
            Err(error) => failed(format!("Invalid duration {text}: {error}")),
        },
        "date" => match layout::parse(text, layout::DATE) {
            Ok(at) => Ok(Value::Timestamp(at)),
            Err(error) => failed(format!("Invalid date formatted string {text}: {error}")),
        },
        "date-time" => match crate::time::parse_date_time(text) {
            Ok(at) => Ok(Value::Timestamp(at)),
            Err(error) => failed(format!("Invalid date-time formatted string {text}: {error}")),
        },
        "byte" => {
            use base64::Engine as _;
            match base64::engine::general_purpose::STANDARD.decode(text) {
                Ok(bytes) => Ok(Value::Bytes(bytes.into())),
                Err(error) => failed(format!("Invalid byte formatted string {text}: {error}")),
            }
        }
        _ => Ok(Value::String(Str::Borrowed(text))),
    }
}

impl<'a> JsonList<'a> {
    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<EvalResult<'a>> {
        let item = self.items.get(index)?;
        Some(match self.schema {
            Some(schema) => typed(item, schema),
            None => Ok(bare(item, self.escaped)),
        })
    }

    pub(crate) fn kind(&self) -> &'a ListType {
        self.kind
    }

    /// Sets and maps compare without regard to order; `None` if this is a plain list.
    pub(crate) fn equals_unordered(&self, other: &List<'_>) -> Option<Result<bool, EvalError>> {
        if *self.kind == ListType::Atomic {
            return None;
        }
        Some(self.unordered(other))
    }

    fn unordered(&self, other: &List<'_>) -> Result<bool, EvalError> {
        if self.len() != other.len() {
            return Ok(false);
        }
        for value in other.iter() {
            let value = value?;
            let mut found = false;
            for index in 0..self.len() {
                let Some(own) = self.get(index) else { continue };
                let own = own?;
                if same_identity(&own, &value, self.kind)? {
                    found = own.equals(&value)?;
                    break;
                }
            }
            if !found {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Whether two elements are the same element of a set (equal) or map (equal keys).
pub(crate) fn same_identity(a: &Value<'_>, b: &Value<'_>, kind: &ListType) -> Result<bool, EvalError> {
    let ListType::Map(keys) = kind else { return a.equals(b) };
    let (Value::Map(a), Value::Map(b)) = (a, b) else { return Ok(false) };
    for key in keys {
        let key = escape(key).unwrap_or_else(|| key.clone());
        let same = match (a.get(&Value::string(key.as_str()))?, b.get(&Value::string(key.as_str()))?) {
            (Some(a), Some(b)) => a.equals(&b)?,
            (None, None) => true,
            _ => false,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

impl<'a> JsonMap<'a> {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn get(&self, key: &str) -> Option<EvalResult<'a>> {
        let Some(schema) = self.schema else {
            let name = if self.escaped { unescape(key).filter(|name| *name != key) } else { None };
            let json = self.fields.get(name.as_deref().unwrap_or(key));
            return json.map(|json| Ok(bare(json, self.escaped)));
        };
        match &schema.kind {
            Kind::Map { values } => Some(typed(self.fields.get(key)?, values)),
            Kind::Object { properties } => {
                let name = unescape(key)?;
                let json = self.fields.get(&name).filter(|json| !json.is_null())?;
                Some(typed(json, properties.get(&name)?))
            }
            _ => None,
        }
    }

    pub(crate) fn keys(&self) -> Vec<Value<'a>> {
        let borrowed = |name: &'a String| Value::String(Str::Borrowed(name));
        match self.schema.map(|schema| &schema.kind) {
            Some(Kind::Object { properties }) => self
                .fields
                .keys()
                .filter(|name| properties.contains_key(*name))
                .map(|name| match escape(name) {
                    Some(escaped) if escaped != *name => Value::string(escaped),
                    _ => borrowed(name),
                })
                .collect(),
            _ => self.fields.keys().map(borrowed).collect(),
        }
    }

    /// For objects with properties: whether fields that no property describes differ.
    pub(crate) fn undeclared_differ(&self, other: &JsonMap<'_>) -> Option<bool> {
        let Kind::Object { properties } = &self.schema?.kind else { return None };
        let mut undeclared = self.fields.iter().filter(|(name, _)| !properties.contains_key(*name));
        Some(undeclared.any(|(name, value)| other.fields.get(name).is_some_and(|other| other != value)))
    }
}
