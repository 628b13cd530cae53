//! Namespaces and Nodes.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::address::{self, cidr};
use super::{affinity, named, spec};

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

#[must_use]
pub fn node_warnings(node: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    if node.has("spec.configSource") {
        warnings.push("spec.configSource: the feature is removed".to_owned());
    }
    if !node.text("spec.externalID").is_empty() {
        warnings.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    for (i, range) in node.texts("spec.podCIDRs").into_iter().enumerate() {
        warnings.extend(address::cidr_warnings(format_args!("spec.podCIDRs[{i}]"), range));
    }
    warnings
}

#[must_use]
pub fn node(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    affinity::taints(&mut errors, &Path::new("metadata").child("taints"), object.list("spec.taints"));
    let ranges = object.texts("spec.podCIDRs");
    for (i, range) in ranges.iter().enumerate() {
        cidr(&mut errors, &spec().child("podCIDRs").index(i), range);
    }
    let sixes = ranges.iter().filter(|range| range.contains(':')).count();
    if sixes > 1 || ranges.len() - sixes > 1 {
        errors.push(Error::invalid(
            &spec().child("podCIDRs"),
            object.at("spec.podCIDRs").clone(),
            "may specify no more than one CIDR for each IP family",
        ));
    }
    addresses(&mut errors, object);
    errors
}

fn addresses(errors: &mut ErrorList, node: &Value) {
    let mut seen = std::collections::BTreeSet::new();
    for (i, address) in node.list("status.addresses").iter().enumerate() {
        if !seen.insert((address.text("type"), address.text("address"))) {
            let path = Path::new("status").child("addresses").index(i);
            errors.push(Error::duplicate(&path, address.clone()));
        }
    }
}

#[must_use]
pub fn node_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec();
    let (now, then) = (new.list("spec.podCIDRs"), old.list("spec.podCIDRs"));
    if !then.is_empty() && now != then {
        let detail = "node updates may not change podCIDR except from \"\" to valid";
        errors.push(Error::forbidden(&path.child("podCIDRs"), detail));
    }
    let (now, then) = (new.text("spec.providerID"), old.text("spec.providerID"));
    if !then.is_empty() && now != then {
        let detail = "node updates may not change providerID except from \"\" to valid";
        errors.push(Error::forbidden(&path.child("providerID"), detail));
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

    #[test]
    fn taints_and_ranges() {
        let node_object = json!({"spec": {"podCIDRs": ["11.0.1.0/24"], "taints": [{"key": "a", "effect": "Never"}]}});
        assert_eq!(
            texts(&node(&node_object)),
            ["metadata.taints[0].effect: Unsupported value: \"Never\": supported values: \"NoSchedule\", \
              \"PreferNoSchedule\", \"NoExecute\""]
        );
        let old = json!({"spec": {"podCIDRs": ["11.0.1.0/24"]}});
        let new = json!({"spec": {"podCIDRs": ["11.0.2.0/24"]}});
        assert_eq!(
            texts(&node_update(&new, &old)),
            ["spec.podCIDRs: Forbidden: node updates may not change podCIDR except from \"\" to valid"]
        );
    }
}
