//! The difference of two states of an object, as a JSON merge patch (RFC 7396).
//!
//! Controllers change typed copies and send only what they changed. So a field this build's types do not know survives,
//! and an unchanged object costs no request.

use serde_json::{Map, Value};

/// The merge patch that turns `old` into `new`, or nothing when they are equal.
#[must_use]
pub fn difference(old: &Value, new: &Value) -> Option<Value> {
    match (old, new) {
        _ if old == new => None,
        (Value::Object(old), Value::Object(new)) => {
            let mut patch = Map::new();
            for (name, value) in new {
                match old.get(name) {
                    Some(before) => patch.extend(difference(before, value).map(|change| (name.clone(), change))),
                    None => {
                        patch.insert(name.clone(), value.clone());
                    }
                }
            }
            patch.extend(old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name.clone(), Value::Null)));
            Some(Value::Object(patch))
        }
        _ => Some(new.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_changed_is_sent() {
        let cases = [
            (json!({"a": 1}), json!({"a": 1}), None),
            (json!({"a": 1, "b": 2}), json!({"a": 1}), Some(json!({"b": null}))),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": 1, "y": 3}}), Some(json!({"a": {"y": 3}}))),
            (json!({"a": [1, 2]}), json!({"a": [2]}), Some(json!({"a": [2]}))),
            (json!({}), json!({"a": {}}), Some(json!({"a": {}}))),
        ];
        for (old, new, expected) in cases {
            assert_eq!(difference(&old, &new), expected, "{old} -> {new}");
        }
    }
}
