//! What Go's decoder makes of a document that gives a key twice: the second value is read into the first, so the fields of
//! structs, the entries of maps and the items of lists come together. Only read where something is given twice.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::walk;
use crate::model::{Node, Presence, Scalar, Shape};

/// The document against the model of a built-in kind, `None` for what is no JSON.
pub(super) fn json(bytes: &[u8], node: &Node) -> Option<Value> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    Over { node: Some(node), pointer: false, before: None }.deserialize(&mut reader).ok()
}

/// A place, and what has been read there before.
struct Over<'a> {
    /// `None` where nothing is known.
    node: Option<&'a Node>,
    pointer: bool,
    before: Option<Value>,
}

impl<'a> Over<'a> {
    fn shape(&self) -> Option<&'a Shape> {
        self.node.map(|node| &node.shape)
    }

    /// A mistake stays one, for the decoder to tell.
    fn scalar(self, value: Value) -> Value {
        match (self.node, self.before) {
            (Some(node), Some(before))
                if !before.is_null() && !walk::typed(&mut before.clone(), node, false, &[]).errors.is_empty() =>
            {
                before
            }
            _ => value,
        }
    }

    /// Null takes back what has a nil, and leaves alone what has none.
    fn null(self) -> Value {
        let stays = !self.pointer
            && matches!(
                self.shape(),
                Some(
                    Shape::Struct { .. }
                        | Shape::Scalar(Scalar::Bool | Scalar::Int32 | Scalar::Int64 | Scalar::Double | Scalar::String)
                )
            );
        self.before.filter(|_| stays).unwrap_or(Value::Null)
    }
}

impl<'de> DeserializeSeed<'de> for Over<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Over<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(self.scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(self.scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(self.scalar(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("number out of range"))?;
        Ok(self.scalar(number.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(self.scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(self.null())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let node = match self.shape() {
            Some(Shape::List { items, .. }) => Some(&**items),
            _ => None,
        };
        let (mut before, wrong) = match self.before {
            Some(Value::Array(list)) if node.is_some() => (list.into_iter(), None),
            Some(other) if node.is_some() && !other.is_null() => (Vec::new().into_iter(), Some(other)),
            _ => (Vec::new().into_iter(), None),
        };
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Over { node, pointer: false, before: before.next() })? {
            list.push(item);
        }
        Ok(wrong.unwrap_or(Value::Array(list)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let shape = self.shape();
        let known = matches!(shape, Some(Shape::Struct { .. } | Shape::Map { .. }));
        let (mut map, wrong) = match self.before {
            Some(Value::Object(map)) if known => (map, None),
            Some(other) if known && !other.is_null() => (Map::new(), Some(other)),
            _ => (Map::new(), None),
        };
        while let Some(key) = entries.next_key::<String>()? {
            let place = match shape {
                Some(Shape::Struct { of, .. }) => {
                    let field = of.field(&key);
                    let pointer =
                        field.is_some_and(|field| matches!(field.presence, Presence::Pointer | Presence::Null));
                    Over { node: field.map(|field| &field.node), pointer, before: map.remove(&key) }
                }
                // An entry of a map is made anew.
                Some(Shape::Map { values, .. }) => Over { node: Some(values), pointer: false, before: None },
                _ => Over { node: None, pointer: false, before: None },
            };
            let value = entries.next_value_seed(place)?;
            map.insert(key, value);
        }
        Ok(wrong.unwrap_or(Value::Object(map)))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin;

    #[test]
    fn the_second_is_read_into_the_first() {
        for (text, expected) in [
            (
                r#"{"metadata":{"name":"a"},"metadata":{"labels":{"b":"c"}}}"#,
                json!({"metadata":{"name":"a","labels":{"b":"c"}}}),
            ),
            (r#"{"metadata":{"name":"a"},"metadata":{"name":null}}"#, json!({"metadata":{"name":"a"}})),
            (r#"{"metadata":{"name":"a"},"metadata":null}"#, json!({"metadata":{"name":"a"}})),
            (
                r#"{"metadata":{"labels":{"a":"b"},"labels":{"c":"d"}}}"#,
                json!({"metadata":{"labels":{"a":"b","c":"d"}}}),
            ),
            (r#"{"metadata":{"labels":{"a":"b"},"labels":null}}"#, json!({"metadata":{"labels":null}})),
            (
                r#"{"spec":{"containers":[{"name":"a"},{"name":"b"}],"containers":[{"image":"c"}]}}"#,
                json!({"spec":{"containers":[{"name":"a","image":"c"}]}}),
            ),
            (
                r#"{"spec":{"securityContext":{"runAsUser":1},"securityContext":{"runAsGroup":2}}}"#,
                json!({"spec":{"securityContext":{"runAsUser":1,"runAsGroup":2}}}),
            ),
            (
                r#"{"spec":{"securityContext":{"runAsUser":1},"securityContext":null}}"#,
                json!({"spec":{"securityContext":null}}),
            ),
            (r#"{"spec":{"hostname":1,"hostname":"a"}}"#, json!({"spec":{"hostname":1}})),
            (r#"{"spec":1,"spec":{}}"#, json!({"spec":1})),
            (r#"{"other":{"a":1},"other":{"b":2}}"#, json!({"other":{"b":2}})),
        ] {
            let schema = builtin("v1", "Pod").unwrap();
            assert_eq!(json(text.as_bytes(), &schema.root), Some(expected), "{text}");
        }
    }
}
