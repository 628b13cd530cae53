//! JSON or YAML text to a `Value`, with the paths of keys given twice (the last one wins, as in Go).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, map::Entry};

use super::{DecodeError, MAX_DEPTH, syntax};

pub(super) struct Document {
    pub value: Value,
    /// Paths relative to this value.
    pub duplicates: Vec<String>,
}

pub(super) fn json(bytes: &[u8]) -> Result<Document, DecodeError> {
    // serde_json stops at 128 levels, which protects the stack; upstream's own limit is only larger.
    serde_json::from_slice(bytes).map_err(|error| {
        let ours = || match error.to_string() {
            text if text.starts_with("recursion limit exceeded") => "exceeded max depth".to_owned(),
            text => text,
        };
        DecodeError::Syntax(syntax::error(bytes).unwrap_or_else(ours))
    })
}

pub(super) fn yaml(bytes: &[u8]) -> Result<Document, DecodeError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| DecodeError::Syntax("yaml: control characters are not allowed".into()))?;
    // Aliases are bounded by the library's own budget; depth by what the rest can walk.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| DecodeError::Syntax(format!("error converting YAML to JSON: yaml: {}", yaml_error(&error))))
}

/// An error with its place as upstream's reader tells it: the line in front, where it is not the first.
fn yaml_error(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    match error.location().map_or(0, |place| place.line()) {
        0 | 1 => text.to_owned(),
        line => format!("line {line}: {text}"),
    }
}

/// What upstream's YAML reader says of the first key given twice.
pub(super) fn yaml_twice(bytes: &[u8]) -> String {
    let options = serde_saphyr::options! { with_snippet: false };
    let read: Result<Value, _> = serde_saphyr::from_str_with_options(&String::from_utf8_lossy(bytes), options);
    let Err(error) = read else { return String::new() };
    let line = error.location().map_or(0, |place| place.line());
    let key = match error.without_snippet() {
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => key.clone(),
        other => other.to_string(),
    };
    format!("yaml: unmarshal errors:\n  line {line}: key {key:?} already set in map")
}

/// The path of every key of a JSON document in order, those given twice included.
pub(super) fn json_order(bytes: &[u8]) -> Vec<String> {
    serde_json::from_slice::<Order>(bytes).map(|order| order.0).unwrap_or_default()
}

/// Paths relative to a value, each before those below it.
struct Order(Vec<String>);

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OrderReader)
    }
}

struct OrderReader;

impl<'de> Visitor<'de> for OrderReader {
    type Value = Order;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Order, E> {
        Ok(Order(Vec::new()))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Order, E> {
        Ok(Order(Vec::new()))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Order, E> {
        Ok(Order(Vec::new()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Order, E> {
        Ok(Order(Vec::new()))
    }

    fn visit_str<E>(self, _: &str) -> Result<Order, E> {
        Ok(Order(Vec::new()))
    }

    fn visit_unit<E>(self) -> Result<Order, E> {
        Ok(Order(Vec::new()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Order, A::Error> {
        let mut paths = Vec::new();
        let mut at = 0;
        while let Some(item) = items.next_element::<Order>()? {
            paths.extend(item.0.iter().map(|path| join(format!("[{at}]"), path)));
            at += 1;
        }
        Ok(Order(paths))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Order, A::Error> {
        let mut paths = Vec::new();
        while let Some(key) = entries.next_key::<String>()? {
            paths.push(key.clone());
            paths.extend(entries.next_value::<Order>()?.0.iter().map(|path| join(key.clone(), path)));
        }
        Ok(Order(paths))
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self { value, duplicates: Vec::new() }
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Value::from(value).into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(Value::from(value).into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Document, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(Value::Number(number).into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Document, E> {
        Ok(Value::String(value.to_owned()).into())
    }

    fn visit_string<E>(self, value: String) -> Result<Document, E> {
        Ok(Value::String(value).into())
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Value::Null.into())
    }

    fn visit_none<E>(self) -> Result<Document, E> {
        Ok(Value::Null.into())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let (mut list, mut duplicates) = (Vec::new(), Vec::new());
        while let Some(item) = items.next_element::<Document>()? {
            let at = list.len();
            duplicates.extend(item.duplicates.into_iter().map(|path| join(format!("[{at}]"), &path)));
            list.push(item.value);
        }
        Ok(Document { value: Value::Array(list), duplicates })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Document, A::Error> {
        let (mut map, mut duplicates) = (Map::new(), Vec::new());
        while let Some(key) = entries.next_key::<String>()? {
            let entry = entries.next_value::<Document>()?;
            duplicates.extend(entry.duplicates.into_iter().map(|path| join(key.clone(), &path)));
            // Only arbitrary-precision numbers of serde_json use this key; it cannot come from a client's intent.
            if key.starts_with("$serde_json::") {
                return Err(A::Error::custom("invalid key"));
            }
            match map.entry(key) {
                Entry::Vacant(place) => {
                    place.insert(entry.value);
                }
                Entry::Occupied(mut place) => {
                    duplicates.push(place.key().clone());
                    place.insert(entry.value);
                }
            }
        }
        Ok(Document { value: Value::Object(map), duplicates })
    }
}

fn join(parent: String, path: &str) -> String {
    if path.starts_with('[') { parent + path } else { format!("{parent}.{path}") }
}
