//! The patch types of PATCH: RFC 6902, RFC 7386, and Kubernetes' strategic merge.
//!
//! All three are pure; the result still has to be decoded against the schema by the caller ([`crate::decode::value`]).

mod json;
mod lazy;
mod order;
mod strategic;

use serde_json::{Map, Value};

use self::lazy::Lazy;
use crate::decode::unfit;

pub use self::{
    json::OPERATION, json::Patched, json::apply as apply_operations, json::json_patch, json::json_patch_sent,
    strategic::strategic_merge,
};

/// Display is upstream's text; `code` the HTTP status (400, 413, 422, 500).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PatchError {
    pub code: u16,
    pub message: String,
}

impl PatchError {
    /// Whether it was an operation `test` that did not hold.
    #[must_use]
    pub fn is_failed_test(&self) -> bool {
        self.message.ends_with(": test failed")
    }

    fn bad(message: impl Into<String>) -> Self {
        Self { code: 400, message: message.into() }
    }

    /// A patch of another shape than `wanted`.
    fn shape(found: &Value, wanted: &str) -> Self {
        Self::bad(format!("error decoding patch: {}", unfit(found, wanted)))
    }

    fn unprocessable(message: impl Into<String>) -> Self {
        Self { code: 422, message: message.into() }
    }

    /// What upstream has no code for.
    fn failed(message: impl Into<String>) -> Self {
        Self { code: 500, message: message.into() }
    }
}

/// What upstream says of a merge patch that is none.
pub const NO_MERGE_PATCH: &str = "Invalid JSON Patch";

/// RFC 7386. `checked`: the patch has to be an object (upstream looks unless `fieldValidation` is `Ignore`); else a list
/// takes the original's place, as the RFC has it.
pub fn merge_patch(original: &Value, patch: &Value, checked: bool) -> Result<Value, PatchError> {
    match patch {
        Value::Object(_) => {}
        Value::Null => return Err(PatchError::bad(NO_MERGE_PATCH)),
        _ if checked => return Err(PatchError::shape(patch, "map[string]interface {}")),
        Value::Array(_) => return Ok(patch.clone()),
        _ => return Err(PatchError::bad(NO_MERGE_PATCH)),
    }
    let mut merged = original.clone();
    merge(&mut merged, patch);
    Ok(merged)
}

/// The same as upstream writes it, where it shows what could not be read; of a patch that can be applied.
#[must_use]
pub fn merged_text(original: &Value, patch: &Value, sent: &[u8]) -> String {
    let sent = json::well_written(sent).map_or_else(|| Lazy::of(patch), lazy::read);
    let mut merged = sent.unwrap_or_else(Lazy::null);
    match Lazy::of(original) {
        Some(original) if patch.is_object() => merged = original.merged(merged),
        _ => merged.prune(),
    }
    lazy::text_of(&Some(merged))
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        // Where an object was, upstream's library looks at nothing else any more.
        let pruned = !target.is_object();
        *target = patch.clone();
        if pruned {
            prune(target);
        }
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Takes the nulls out of objects in a list: upstream's library takes them for what is to be deleted there, too.
fn prune(value: &mut Value) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(prune),
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_patch_of_another_shape_is_refused_in_gos_words() {
        let wrong = merge_patch(&json!({}), &json!([]), true).unwrap_err();
        let text = "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}";
        assert_eq!((wrong.code, wrong.message.as_str()), (400, text));
        let wrong = merge_patch(&json!({}), &Value::Null, true).unwrap_err();
        assert_eq!((wrong.code, wrong.message.as_str()), (400, "Invalid JSON Patch"));
        let wrong = json_patch(&json!({}), &json!({}), true).unwrap_err();
        let text = "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
        assert_eq!((wrong.code, wrong.message.as_str()), (400, text));
    }

    #[test]
    fn nobody_looks_at_a_patch_beforehand() {
        assert_eq!(merge_patch(&json!({"a":1}), &json!([1]), false).unwrap(), json!([1]));
        for patch in [json!(1), json!("x"), Value::Null] {
            assert_eq!(merge_patch(&json!({}), &patch, false).unwrap_err().message, NO_MERGE_PATCH);
        }
    }

    /// The RFC's own appendix.
    #[test]
    fn rfc_7386() {
        for (original, patch, result) in [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b","b":"c"}), json!({"a":null}), json!({"b":"c"})),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":{"b":"c"}}), json!({"a":{"b":"d","c":null}}), json!({"a":{"b":"d"}})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (json!({}), json!({"a":{"bb":{"ccc":null}}}), json!({"a":{"bb":{}}})),
            // Not the RFC's, but upstream's.
            (json!({}), json!({"a":[null,{"b":null,"c":[{"d":null}]}]}), json!({"a":[null,{"c":[{}]}]})),
            (json!({"a":{}}), json!({"a":[{"b":null}]}), json!({"a":[{"b":null}]})),
        ] {
            assert_eq!(merge_patch(&original, &patch, true).unwrap(), result);
        }
        assert_eq!(merge_patch(&json!({}), &json!([1]), true).unwrap_err().code, 400);
    }

    #[test]
    fn what_is_merged_is_written() {
        let original = json!({ "kind": "Role", "metadata": { "name": "r" } });
        for (sent, expected) in [
            (r#"{"metadata":{"name":"x&"}}"#, r#"{"kind":"Role","metadata":{"name":"x\u0026"}}"#),
            (r#"[{"b":1,"a":null}]"#, r#"[{"b":1}]"#),
        ] {
            let patch = serde_json::from_str(sent).unwrap();
            assert_eq!(merged_text(&original, &patch, sent.as_bytes()), expected);
            assert_eq!(merged_text(&original, &patch, b"\xff"), expected, "without its text");
        }
    }

    /// The smallest merge patch from one object to another (neither holding nulls).
    fn diff(from: &Map<String, Value>, to: &Map<String, Value>) -> Map<String, Value> {
        let mut patch = Map::new();
        for (key, value) in to {
            match (from.get(key), value) {
                (Some(Value::Object(from)), Value::Object(to)) => {
                    patch.insert(key.clone(), diff(from, to).into());
                }
                _ => {
                    patch.insert(key.clone(), value.clone());
                }
            }
        }
        for key in from.keys().filter(|key| !to.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
        patch
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            "[a-z]{0,3}".prop_map(Value::from)
        ];
        let value = leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-c]", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        });
        prop::collection::btree_map("[a-c]", value, 0..4).prop_map(|map| map.into_iter().collect())
    }

    proptest! {
        #[test]
        fn a_diff_applied_arrives(from in object(), to in object()) {
            let patch = Value::Object(diff(&from, &to));
            // An object replacing a scalar loses nothing, for these hold no nulls.
            prop_assert_eq!(merge_patch(&from.into(), &patch, true).unwrap(), Value::Object(to));
        }
    }
}
