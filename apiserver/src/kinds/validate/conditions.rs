//! Conditions of a status (`metav1.Condition`), where upstream looks at them (`ValidateConditions`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{named, one_of};

const REASON: usize = 1024;
const MESSAGE: usize = 32 * 1024;
/// What a reason must look like.
const FORMAT: &str = "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric \
                      characters or '_,:', and must end with an alphanumeric character or '_' (e.g. 'my_name',  or 'MY_NAME',  \
                      or 'MyName',  or 'ReasonA,ReasonB',  or 'ReasonA:ReasonB', regex used for validation is \
                      '[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?')";

/// All that is wrong with `status.conditions`.
#[must_use]
pub fn conditions(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut seen = BTreeSet::new();
    for (i, condition) in object.list("status.conditions").iter().enumerate() {
        let path = Path::new("status").child("conditions").index(i);
        let kind = condition.text("type");
        if !seen.insert(kind) {
            errors.push(Error::duplicate(&path.child("type"), kind));
        }
        named(&mut errors, &path.child("type"), kind, names::qualified_name);
        one_of(&mut errors, &path.child("status"), condition.text("status"), &["False", "True", "Unknown"]);
        let generation = condition.int("observedGeneration");
        if generation < 0 {
            let at = path.child("observedGeneration");
            errors.push(Error::invalid(&at, generation, "must be greater than or equal to zero"));
        }
        if !condition.has("lastTransitionTime") {
            errors.push(Error::required(&path.child("lastTransitionTime"), ""));
        }
        let (at, reason) = (path.child("reason"), condition.text("reason"));
        if reason.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if !is_reason(reason) {
            errors.push(Error::invalid(&at, reason, FORMAT));
        }
        if reason.len() > REASON {
            errors.push(Error::too_long(&at, REASON));
        }
        if condition.text("message").len() > MESSAGE {
            errors.push(Error::too_long(&path.child("message"), MESSAGE));
        }
    }
    errors
}

fn is_reason(reason: &str) -> bool {
    let ends = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    let bytes = reason.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && ends(bytes.last())
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_,:".contains(byte))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn what_a_condition_says() {
        let good =
            json!({"type": "A", "status": "True", "reason": "R,x:y", "lastTransitionTime": "2020-01-01T00:00:00Z"});
        assert_eq!(conditions(&json!({"status": {"conditions": [good]}})), vec![]);
        let mut bad = good.clone();
        bad["status"] = json!("x");
        bad["reason"] = json!("1");
        let errors = texts(&conditions(&json!({"status": {"conditions": [good, bad]}})));
        assert_eq!(errors[0], "status.conditions[1].type: Duplicate value: \"A\"");
        let expected =
            "status.conditions[1].status: Unsupported value: \"x\": supported values: \"False\", \"True\", \"Unknown\"";
        assert_eq!(errors[1], expected);
        assert!(
            errors[2].starts_with("status.conditions[1].reason: Invalid value: \"1\": a condition reason must start")
        );
        assert_eq!(errors.len(), 3);
    }
}
