//! Reading part of a JSON document into a tree: what is not wanted is passed over, not built.
//!
//! Most of what an object costs to read is the fields nobody looks at: managed fields, environments, probes.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Which fields are read. A path leads through lists as if they were not there, and includes all that is below it.
#[derive(Debug, Default)]
pub struct Pick {
    /// What becomes of fields that are not listed.
    others: bool,
    listed: Vec<(Box<str>, Pick)>,
}

impl Pick {
    /// Nothing but these paths.
    pub fn only<'a, P: IntoIterator<Item = &'a str>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut pick = Self::default();
        paths.into_iter().for_each(|path| pick.add(path.into_iter(), true));
        pick
    }

    /// Everything but these paths.
    pub fn all_but<'a, P: IntoIterator<Item = &'a str>>(paths: impl IntoIterator<Item = P>) -> Self {
        let mut pick = Self { others: true, listed: Vec::new() };
        paths.into_iter().for_each(|path| pick.add(path.into_iter(), false));
        pick
    }

    fn add<'a>(&mut self, mut path: impl Iterator<Item = &'a str>, wanted: bool) {
        let Some(name) = path.next() else {
            *self = Self { others: wanted, listed: Vec::new() };
            return;
        };
        let at = self.listed.iter().position(|(listed, _)| **listed == *name).unwrap_or_else(|| {
            self.listed.push((name.into(), Self { others: self.others, listed: Vec::new() }));
            self.listed.len() - 1
        });
        self.listed[at].1.add(path, wanted);
    }

    /// The wanted part of a document.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn read(&self, json: &[u8]) -> serde_json::Result<Value> {
        self.deserialize(&mut serde_json::Deserializer::from_slice(json))
    }

    fn is_nothing(&self) -> bool {
        !self.others && self.listed.is_empty()
    }
}

impl<'de> DeserializeSeed<'de> for &Pick {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Value, D::Error> {
        if self.others && self.listed.is_empty() { Value::deserialize(from) } else { from.deserialize_any(self) }
    }
}

impl<'de> Visitor<'de> for &Pick {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(named) = from.next_key_seed(Name(self))? {
            match named {
                Named::Listed(name, below) => {
                    let value = from.next_value_seed(below)?;
                    fields.insert(name.to_owned(), value);
                }
                Named::Other(name) => {
                    let value = from.next_value()?;
                    fields.insert(name, value);
                }
                Named::Unwanted => {
                    from.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = from.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// What a field's name says of its value.
enum Named<'p> {
    Listed(&'p str, &'p Pick),
    Other(String),
    Unwanted,
}

struct Name<'p>(&'p Pick);

impl<'de, 'p> DeserializeSeed<'de> for Name<'p> {
    type Value = Named<'p>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Named<'p>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'p> Visitor<'_> for Name<'p> {
    type Value = Named<'p>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Named<'p>, E> {
        Ok(match self.0.listed.iter().find(|(listed, _)| **listed == *name) {
            Some((_, below)) if below.is_nothing() => Named::Unwanted,
            Some((name, below)) => Named::Listed(name, below),
            None if self.0.others => Named::Other(name.to_owned()),
            None => Named::Unwanted,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(pick: &Pick, document: &Value, expected: &Value) {
        assert_eq!(pick.read(document.to_string().as_bytes()).unwrap(), *expected, "{pick:?}");
    }

    fn paths<'a>(paths: &'a [&'a str]) -> impl Iterator<Item = std::str::Split<'a, char>> {
        paths.iter().map(|path| path.split('.'))
    }

    #[test]
    fn only_and_all_but() {
        let document = json!({ "a": { "b": 1, "c": [{ "d": true, "e": -2.5 }, null, "s"] }, "f": "\"quoted\"", "g": [[{ "d": 1 }]] });
        let only = |wanted: &[&str]| Pick::only(paths(wanted));
        let but = |unwanted: &[&str]| Pick::all_but(paths(unwanted));
        check(&only(&[]), &document, &json!({}));
        check(&only(&["a.b", "g.d", "nope.x"]), &document, &json!({ "a": { "b": 1 }, "g": [[{ "d": 1 }]] }));
        // Elements stay in their places: lists are counted.
        check(&only(&["a.c.e"]), &document, &json!({ "a": { "c": [{ "e": -2.5 }, null, "s"] } }));
        for order in [["a.c.e", "a.c"], ["a.c", "a.c.e"]] {
            check(&only(&order), &document, &json!({ "a": { "c": document["a"]["c"] } }));
        }
        check(&but(&[]), &document, &document);
        check(&but(&["a.c", "g.d", "nope.x"]), &document, &json!({ "a": { "b": 1 }, "f": "\"quoted\"", "g": [[{}]] }));
        check(&only(&["a"]), &json!("text"), &json!("text"));
        assert!(only(&["a"]).read(b"{\"b\": {]}").is_err(), "what is passed over must be JSON, too");
    }
}
