//! Namespaces.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{named, spec};

#[must_use]
pub fn namespace(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (i, finalizer) in object.texts("spec.finalizers").into_iter().enumerate() {
        let path = spec().child("finalizers").index(i);
        named(&mut errors, &path, finalizer, names::qualified_name);
        if !finalizer.contains('/') && !matches!(finalizer, "kubernetes" | "orphan" | "foregroundDeletion") {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            errors.push(Error::invalid(&path, finalizer, detail));
        }
    }
    errors
}

/// A namespace is active until it is deleted, and from then on it ends.
#[must_use]
pub fn namespace_status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if new.text("status.phase") == old.text("status.phase") {
        return errors;
    }
    let deleting = new.has("metadata.deletionTimestamp");
    let (phase, when) = if deleting { ("Terminating", "is not empty") } else { ("Active", "is empty") };
    if new.text("status.phase") != phase {
        let detail = format!("may only be '{phase}' if `deletionTimestamp` {when}");
        errors.push(Error::invalid(&Path::new("status").child("Phase"), new.text("status.phase"), detail));
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn phases() {
        for (deleted, phase, expected) in [
            (Value::Null, "Active", None),
            (json!("2020-01-01T00:00:00Z"), "Terminating", None),
            (
                Value::Null,
                "Terminating",
                Some(
                    "status.Phase: Invalid value: \"Terminating\": may only be 'Active' if `deletionTimestamp` is empty",
                ),
            ),
        ] {
            let object = json!({"metadata": {"deletionTimestamp": deleted}, "status": {"phase": phase}});
            let none = json!({});
            assert_eq!(texts(&namespace_status(&object, &none)), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
