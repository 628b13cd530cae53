//! JSON or YAML text to a `Value`, with the paths of keys given twice (the last one wins, as in Go).

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value, map::Entry};

use super::{DecodeError, MAX_DEPTH, YAML_TWICE, characters, numbers, syntax};
use crate::go::quote;

pub(super) struct Document {
    pub value: Value,
    /// Paths relative to this value.
    pub duplicates: Vec<String>,
    /// There are numbers too large for a float: the largest one stands for them.
    pub bounded: bool,
}

pub(super) fn json(bytes: &[u8]) -> Result<Document, DecodeError> {
    let whole = numbers::without_negative_zeros(bytes);
    let bytes = whole.as_deref().unwrap_or(bytes);
    // serde_json stops at 128 levels, which protects the stack; upstream's own limit is only larger.
    let text = |error: serde_json::Error| match error.to_string() {
        text if text.starts_with("recursion limit exceeded") => "exceeded max depth".to_owned(),
        text => text,
    };
    serde_json::from_slice(bytes).or_else(|error| match syntax::error(bytes) {
        Some(error) => Err(DecodeError::Syntax(error)),
        // What Go reads all the same.
        None => {
            let bounded = numbers::bounded(bytes);
            let is_bounded = bounded.is_some();
            let mended = characters::mended(bounded.as_deref().unwrap_or(bytes)).or(bounded);
            let read = mended.map_or(Err(error), |mended| serde_json::from_slice::<Document>(&mended));
            read.map(|document| Document { bounded: is_bounded, ..document })
                .map_err(|error| DecodeError::Syntax(text(error)))
        }
    })
}

/// Only the first document counts, as upstream.
pub(super) fn yaml(bytes: &[u8]) -> Result<Document, DecodeError> {
    first(bytes).map_err(|error| DecodeError::Syntax(format!("error converting YAML to JSON: yaml: {error}")))
}

/// Go writes a float that is whole as an integer is written; so it is one when it is read next. Until then it is a float to all who
/// look at it, where no field's type says otherwise.
pub fn whole_numbers(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(whole_numbers),
        Value::Object(map) => map.values_mut().for_each(whole_numbers),
        Value::Number(number) => {
            if let Some(whole) = whole(number) {
                *value = whole.into();
            }
        }
        _ => {}
    }
}

/// The same of a value that stays as it is.
#[must_use]
pub fn with_whole_numbers(value: &Value) -> Cow<'_, Value> {
    fn any(value: &Value) -> bool {
        match value {
            Value::Array(list) => list.iter().any(any),
            Value::Object(map) => map.values().any(any),
            Value::Number(number) => whole(number).is_some(),
            _ => false,
        }
    }
    if !any(value) {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    whole_numbers(&mut value);
    Cow::Owned(value)
}

/// A float without a fraction as the integer that it is. Beyond the bound Go uses an exponent, or the number is no int64.
fn whole(number: &Number) -> Option<i64> {
    let float = number.as_f64().filter(|float| number.is_f64() && float.fract() == 0.0 && float.abs() < 9e18)?;
    #[expect(clippy::cast_possible_truncation, reason = "it is whole and in range")]
    let whole = float as i64;
    Some(whole)
}

fn first<T: DeserializeOwned + From<Value>>(bytes: &[u8]) -> Result<T, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "invalid leading UTF-8 octet")?;
    // Aliases are bounded by the library's own budget; depth by what the rest can walk.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: MAX_DEPTH },
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let mut rest = text.as_bytes();
    let first = serde_saphyr::read_with_options(&mut rest, options).next();
    first.unwrap_or_else(|| Ok(Value::Null.into())).map_err(|error| yaml_error(&error, text))
}

/// What our reader of YAML says, what upstream's does, and whose error it is there.
const YAML_WORDS: [(&str, &str, Told); 10] = [
    ("simple key expected ':'", "could not find expected ':'", Told::ByLineAfter),
    (
        "tabs disallowed within this context (block indentation)",
        "found character that cannot start any token",
        Told::ByScanner,
    ),
    ("found a tab", "found a tab character that violates indentation", Told::ByLineAfter),
    ("invalid indentation in multiline quoted scalar", "found unexpected end of stream", Told::ByScanner),
    ("unclosed bracket '['", "did not find expected ',' or ']'", Told::AtEnd),
    ("unclosed bracket '{'", "did not find expected ',' or '}'", Told::AtEnd),
    ("mismatched bracket '[' closed by '}'", "did not find expected ',' or ']'", Told::ByParser),
    ("mismatched bracket '{' closed by ']'", "did not find expected ',' or '}'", Told::ByParser),
    ("misplaced bracket", "did not find expected key", Told::ByParser),
    ("invalid trailing content after double-quoted scalar", "did not find expected key", Told::ByParser),
];

/// Upstream's scanner counts lines from 1, its parser from 0, and neither names the first.
#[derive(Clone, Copy)]
enum Told {
    ByScanner,
    ByLineAfter,
    ByParser,
    AtEnd,
}

/// An error with its place as upstream's reader tells it.
fn yaml_error(error: &serde_saphyr::Error, document: &str) -> String {
    let text = error.without_snippet().to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let (context, problem) =
        text.split_once(", ").filter(|(context, _)| context.starts_with("while ")).unwrap_or(("", text));
    let parsing = ["node", "flow mapping", "flow sequence", "block mapping", "block collection"];
    let parser = context.strip_prefix("while parsing a ").is_some_and(|what| parsing.contains(&what));
    let known = YAML_WORDS.iter().find(|(ours, ..)| *ours == problem).map(|(_, words, told)| (*words, *told));
    let (problem, told) = known.unwrap_or((problem, if parser { Told::ByParser } else { Told::ByScanner }));
    let line = error.location().map_or(0, |place| place.line());
    let line = match told {
        Told::ByScanner if line == 1 => 0,
        Told::ByScanner => line,
        Told::ByLineAfter => line + 1,
        Told::ByParser => line.saturating_sub(1),
        Told::AtEnd => u64::try_from(document.lines().count()).unwrap_or_default(),
    };
    if line == 0 { problem.to_owned() } else { format!("line {line}: {problem}") }
}

/// What upstream's YAML reader says of keys given twice.
pub(super) fn yaml_twice(bytes: &[u8]) -> String {
    let complaints = first::<Twice>(bytes).map(|twice| twice.0).unwrap_or_default();
    format!("{YAML_TWICE}{}", complaints.join("\n"))
}

/// Keys of YAML given twice: those within a value before the one that the value is of.
struct Twice(Vec<String>);

impl From<Value> for Twice {
    fn from(_: Value) -> Self {
        Self(Vec::new())
    }
}

impl<'de> Deserialize<'de> for Twice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TwiceReader)
    }
}

struct TwiceReader;

impl<'de> Visitor<'de> for TwiceReader {
    type Value = Twice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Twice, E> {
        Ok(Value::Bool(value).into())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Twice, E> {
        Ok(Value::Null.into())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Twice, E> {
        Ok(Value::Null.into())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Twice, E> {
        Ok(Value::Null.into())
    }

    fn visit_str<E>(self, _: &str) -> Result<Twice, E> {
        Ok(Value::Null.into())
    }

    fn visit_unit<E>(self) -> Result<Twice, E> {
        Ok(Value::Null.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Twice, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element::<Twice>()? {
            all.extend(item.0);
        }
        Ok(Twice(all))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Twice, A::Error> {
        let (mut known, mut all) = (HashSet::new(), Vec::new());
        while let Some(key) = entries.next_key::<String>()? {
            let entry = entries.next_value::<serde_saphyr::Spanned<Twice>>()?;
            all.extend(entry.value.0);
            let complaint = format!("  line {}: key {} already set in map", entry.referenced.line(), quote(&key));
            if !known.insert(key) {
                all.push(complaint);
            }
        }
        Ok(Twice(all))
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self { value, duplicates: Vec::new(), bounded: false }
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
        Ok(Document { value: Value::Array(list), duplicates, bounded: false })
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
        Ok(Document { value: Value::Object(map), duplicates, bounded: false })
    }
}

fn join(parent: String, path: &str) -> String {
    if path.starts_with('[') { parent + path } else { format!("{parent}.{path}") }
}
