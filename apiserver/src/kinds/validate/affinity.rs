//! Where a pod may run: node selectors, affinity, tolerations, spreading.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{label_selector, meta, named, one_of, required_one_of};

pub fn placement(errors: &mut ErrorList, path: &Path, spec: &Value) {
    meta::labels(errors, &path.child("nodeSelector"), spec.at("nodeSelector"));
    affinity(errors, &path.child("affinity"), spec.at("affinity"));
    tolerations(errors, &path.child("tolerations"), spec.list("tolerations"));
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        if constraint.int("maxSkew") <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), constraint.int("maxSkew"), "must be greater than zero"));
        }
        if constraint.text("topologyKey").is_empty() {
            errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
        }
        let action = constraint.text("whenUnsatisfiable");
        one_of(errors, &path.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        label_selector(errors, &path.child("labelSelector"), constraint.at("labelSelector"));
    }
}

fn affinity(errors: &mut ErrorList, path: &Path, affinity: &Value) {
    let node = path.child("nodeAffinity");
    let needed = affinity.at("nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    if !needed.is_null() {
        let path = node.child("requiredDuringSchedulingIgnoredDuringExecution").child("nodeSelectorTerms");
        if needed.list("nodeSelectorTerms").is_empty() {
            errors.push(Error::required(&path, "must have at least one node selector term"));
        }
        for (i, term) in needed.list("nodeSelectorTerms").iter().enumerate() {
            node_term(errors, &path.index(i), term);
        }
    }
    let preferred = affinity.list("nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
    for (i, term) in preferred.iter().enumerate() {
        let path = node.child("preferredDuringSchedulingIgnoredDuringExecution").index(i);
        weight(errors, &path, term);
        node_term(errors, &path.child("preference"), term.at("preference"));
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (path, body) = (path.child(kind), affinity.at(kind));
        for (i, term) in body.list("requiredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
            pod_term(errors, &path.child("requiredDuringSchedulingIgnoredDuringExecution").index(i), term);
        }
        for (i, term) in body.list("preferredDuringSchedulingIgnoredDuringExecution").iter().enumerate() {
            let path = path.child("preferredDuringSchedulingIgnoredDuringExecution").index(i);
            weight(errors, &path, term);
            pod_term(errors, &path.child("podAffinityTerm"), term.at("podAffinityTerm"));
        }
    }
}

fn weight(errors: &mut ErrorList, path: &Path, term: &Value) {
    if !(1..=100).contains(&term.int("weight")) {
        errors.push(Error::invalid(&path.child("weight"), term.int("weight"), "must be in the range 1-100"));
    }
}

fn pod_term(errors: &mut ErrorList, path: &Path, term: &Value) {
    label_selector(errors, &path.child("labelSelector"), term.at("labelSelector"));
    if term.text("topologyKey").is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    } else {
        named(errors, &path.child("topologyKey"), term.text("topologyKey"), names::qualified_name);
    }
}

fn node_term(errors: &mut ErrorList, path: &Path, term: &Value) {
    for (i, expression) in term.list("matchExpressions").iter().enumerate() {
        let path = path.child("matchExpressions").index(i);
        let values = expression.list("values");
        match expression.text("operator") {
            "In" | "NotIn" if values.is_empty() => errors
                .push(Error::required(&path.child("values"), "must be specified when `operator` is 'In' or 'NotIn'")),
            "Exists" | "DoesNotExist" if !values.is_empty() => errors.push(Error::forbidden(
                &path.child("values"),
                "may not be specified when `operator` is 'Exists' or 'DoesNotExist'",
            )),
            "Gt" | "Lt" if values.len() != 1 => errors.push(Error::required(
                &path.child("values"),
                "must be specified single value when `operator` is 'Lt' or 'Gt'",
            )),
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
        }
        named(errors, &path.child("key"), expression.text("key"), names::qualified_name);
    }
}

pub fn tolerations(errors: &mut ErrorList, path: &Path, tolerations: &[Value]) {
    for (i, toleration) in tolerations.iter().enumerate() {
        let path = path.index(i);
        let (key, operator, effect) = (toleration.text("key"), toleration.text("operator"), toleration.text("effect"));
        if !key.is_empty() {
            named(errors, &path.child("key"), key, names::qualified_name);
        }
        if key.is_empty() && operator != "Exists" {
            errors.push(Error::invalid(
                &path.child("operator"),
                operator,
                "operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
            ));
        }
        if toleration.has("tolerationSeconds") && effect != "NoExecute" {
            errors.push(Error::invalid(
                &path.child("effect"),
                effect,
                "effect must be 'NoExecute' when `tolerationSeconds` is set",
            ));
        }
        let value = toleration.text("value");
        match operator {
            "" | "Equal" => {
                for message in names::label_value(value) {
                    errors.push(Error::invalid(&path.child("operator"), value, message));
                }
            }
            "Exists" if !value.is_empty() => errors.push(Error::invalid(
                &path.child("operator"),
                toleration.clone(),
                "value must be empty when `operator` is 'Exists'",
            )),
            "Exists" => {}
            other => errors.push(Error::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            one_of(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

/// Taints of a node.
pub fn taints(errors: &mut ErrorList, path: &Path, taints: &[Value]) {
    let mut seen = std::collections::BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let path = path.index(i);
        named(errors, &path.child("key"), taint.text("key"), names::qualified_name);
        named(errors, &path.child("value"), taint.text("value"), names::label_value);
        let effect = taint.text("effect");
        required_one_of(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((taint.text("key"), effect)) {
            let mut error = Error::duplicate(&path, taint.clone());
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
}
