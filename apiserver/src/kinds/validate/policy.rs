//! Disruption budgets, priorities, leases, runtime classes.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::{affinity, immutable, label_selector, named, number_or_percent, one_of, pod_resources, positive, spec};

#[must_use]
pub fn disruption_budget(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    if body.has("minAvailable") && body.has("maxUnavailable") {
        let shown = internal::compact(body, "api.policy.v1.PodDisruptionBudgetSpec");
        errors.push(Error::invalid_as(&path, shown, "minAvailable and maxUnavailable cannot be both set"));
    }
    for field in ["minAvailable", "maxUnavailable"] {
        if body.has(field) {
            number_or_percent(&mut errors, &path.child(field), body.at(field));
            super::at_most_all(&mut errors, &path.child(field), body.at(field));
        }
    }
    label_selector(&mut errors, &path.child("selector"), body.at("selector"));
    let policy = body.text("unhealthyPodEvictionPolicy");
    if !policy.is_empty() {
        let at = path.child("unhealthyPodEvictionPolicy");
        one_of(&mut errors, &at, policy, &["AlwaysAllow", "IfHealthyBudget"]);
    }
    errors
}

/// Priorities above this belong to the system.
const HIGHEST_USER: i64 = 1_000_000_000;
const SYSTEM: [(&str, i64); 2] = [("system-node-critical", 2_000_001_000), ("system-cluster-critical", 2_000_000_000)];

#[must_use]
pub fn priority_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (name, value) = (object.text("metadata.name"), object.int("value"));
    let path = Path::new("metadata").child("name");
    if name.starts_with("system-") {
        if !SYSTEM.contains(&(name, value)) {
            let detail = "priority class names with 'system-' prefix are reserved for system use only. error: not a known \
                          system priority class";
            errors.push(Error::forbidden(&path, detail.replace("not a", &format!("{name} is not a"))));
        }
    } else if value > HIGHEST_USER {
        let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_USER}");
        errors.push(Error::forbidden(&Path::new("value"), detail));
    }
    let (at, policy) = (Path::new("preemptionPolicy"), object.text("preemptionPolicy"));
    if object.has("preemptionPolicy") && policy.is_empty() {
        errors.push(Error::required(&at, ""));
    } else if !policy.is_empty() {
        one_of(&mut errors, &at, policy, &["PreemptLowerPriority", "Never"]);
    }
    errors
}

#[must_use]
pub fn priority_class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if new.int("value") != old.int("value") {
        errors.push(Error::forbidden(&Path::new("value"), "may not be changed in an update."));
    }
    let field = "preemptionPolicy";
    immutable(&mut errors, &Path::new(field), new.at(field), old.at(field));
    errors
}

#[must_use]
pub fn lease(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    positive(&mut errors, body, "leaseDurationSeconds", &path);
    super::not_negative(&mut errors, body, "leaseTransitions", &path);
    errors
}

#[must_use]
pub fn runtime_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    named(&mut errors, &Path::new("handler"), object.text("handler"), names::dns1123_label);
    if object.has("overhead") {
        pod_resources::overhead(&mut errors, &Path::new("overhead"), object.at("overhead.podFixed"));
    }
    let (path, scheduling) = (Path::new("scheduling"), object.at("scheduling"));
    super::meta::labels(&mut errors, &path.child("nodeSelector"), scheduling.at("nodeSelector"));
    affinity::tolerations(&mut errors, &path.child("tolerations"), scheduling.list("tolerations"));
    errors
}

#[must_use]
pub fn runtime_class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &Path::new("handler"), new.at("handler"), old.at("handler"));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn priorities() {
        let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value});
        assert_eq!(priority_class(&class("system-node-critical", 2_000_001_000)), vec![]);
        assert_eq!(
            texts(&priority_class(&class("high", 2_000_000_000))),
            ["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"]
        );
    }

    #[test]
    fn budgets() {
        let budget = json!({"spec": {"minAvailable": "101%"}});
        assert_eq!(
            texts(&disruption_budget(&budget)),
            ["spec.minAvailable: Invalid value: \"101%\": must not be greater than 100%"]
        );
    }
}
