//! Where a pod may run: node selectors, affinity, tolerations, spreading.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{label_selector, named, one_of, required_one_of};

/// How alike the places of like pods may be.
pub fn spreading(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let constraints = spec.list("topologySpreadConstraints");
    for (i, constraint) in constraints.iter().enumerate() {
        let path = path.child("topologySpreadConstraints").index(i);
        if constraint.int("maxSkew") <= 0 {
            errors.push(Error::invalid(&path.child("maxSkew"), constraint.int("maxSkew"), "must be greater than zero"));
        }
        if constraint.text("topologyKey").is_empty() {
            errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
        }
        let action = constraint.text("whenUnsatisfiable");
        one_of(errors, &path.child("whenUnsatisfiable"), action, &["DoNotSchedule", "ScheduleAnyway"]);
        let pair = (constraint.text("topologyKey"), action);
        let twice = |other: &Value| (other.text("topologyKey"), other.text("whenUnsatisfiable")) == pair;
        if constraints[i + 1..].iter().any(twice) {
            let shown = format!("{{{}, {action}}}", pair.0);
            errors.push(Error::duplicate(&path.child("{topologyKey, whenUnsatisfiable}"), shown));
        }
        if constraint.has("minDomains") {
            let domains = constraint.int("minDomains");
            let at = path.child("minDomains");
            if domains <= 0 {
                errors.push(Error::invalid(&at, domains, "must be greater than zero"));
            }
            if action != "DoNotSchedule" {
                let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
                errors.push(Error::invalid(&at, domains, detail));
            }
        }
        for field in ["nodeAffinityPolicy", "nodeTaintsPolicy"] {
            if constraint.has(field) {
                one_of(errors, &path.child(field), constraint.text(field), &["Honor", "Ignore"]);
            }
        }
        label_keys(errors, &path, constraint);
        label_selector(errors, &path.child("labelSelector"), constraint.at("labelSelector"));
    }
}

pub fn affinity(errors: &mut ErrorList, path: &Path, affinity: &Value) {
    let node = path.child("nodeAffinity");
    let needed = affinity.at("nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution");
    if !needed.is_null() {
        node_selector(errors, &node.child("requiredDuringSchedulingIgnoredDuringExecution"), needed);
    }
    let preferred = affinity.list("nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution");
    for (i, term) in preferred.iter().enumerate() {
        let path = node.child("preferredDuringSchedulingIgnoredDuringExecution").index(i);
        weight(errors, &path, term);
        node_term(errors, &path.child("preference"), term.at("preference"), false);
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

/// A choice of nodes.
pub fn node_selector(errors: &mut ErrorList, path: &Path, selector: &Value) {
    let path = path.child("nodeSelectorTerms");
    if selector.list("nodeSelectorTerms").is_empty() {
        errors.push(Error::required(&path, "must have at least one node selector term"));
    }
    for (i, term) in selector.list("nodeSelectorTerms").iter().enumerate() {
        node_term(errors, &path.index(i), term, true);
    }
}

fn weight(errors: &mut ErrorList, path: &Path, term: &Value) {
    if !(1..=100).contains(&term.int("weight")) {
        errors.push(Error::invalid(&path.child("weight"), term.int("weight"), "must be in the range 1-100"));
    }
}

fn pod_term(errors: &mut ErrorList, path: &Path, term: &Value) {
    label_selector(errors, &path.child("labelSelector"), term.at("labelSelector"));
    label_selector(errors, &path.child("namespaceSelector"), term.at("namespaceSelector"));
    for namespace in term.texts("namespaces") {
        named(errors, &path.child("namespace"), namespace, names::dns1123_label);
    }
    label_keys(errors, path, term);
    if term.text("topologyKey").is_empty() {
        errors.push(Error::required(&path.child("topologyKey"), "can not be empty"));
    }
    named(errors, &path.child("topologyKey"), term.text("topologyKey"), names::qualified_name);
}

/// `strict`: the values must be those of labels; a mere preference may be for what no node can have.
fn node_term(errors: &mut ErrorList, path: &Path, term: &Value, strict: bool) {
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
        for (j, value) in expression.texts("values").into_iter().enumerate().filter(|_| strict) {
            named(errors, &path.child("values").index(j), value, names::label_value);
        }
    }
    for (i, field) in term.list("matchFields").iter().enumerate() {
        node_field(errors, &path.child("matchFields").index(i), field);
    }
}

/// A node chosen by what it is rather than by its labels; it can only be named.
fn node_field(errors: &mut ErrorList, path: &Path, requirement: &Value) {
    let values = requirement.list("values");
    match requirement.text("operator") {
        "In" | "NotIn" if values.len() != 1 => errors.push(Error::required(
            &path.child("values"),
            "must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
        )),
        "In" | "NotIn" => {}
        other => errors.push(Error::invalid(&path.child("operator"), other, "not a valid selector operator")),
    }
    let key = requirement.text("key");
    if key == "metadata.name" {
        for (i, name) in requirement.texts("values").into_iter().enumerate() {
            named(errors, &path.child("values").index(i), name, names::dns1123_subdomain);
        }
    } else {
        errors.push(Error::invalid(&path.child("key"), key, "not a valid field selector key"));
    }
}

/// Keys whose values of the pod itself join the selector, or must not be the other's.
fn label_keys(errors: &mut ErrorList, path: &Path, term: &Value) {
    let own = [term.texts("matchLabelKeys"), term.texts("mismatchLabelKeys")];
    for (field, keys) in ["matchLabelKeys", "mismatchLabelKeys"].into_iter().zip(&own) {
        let at = path.child(field);
        if !keys.is_empty() && !term.has("labelSelector") {
            errors.push(Error::forbidden(&at, "must not be specified when labelSelector is not set"));
            continue;
        }
        for (i, key) in keys.iter().enumerate() {
            named(errors, &at.index(i), key, names::qualified_name);
        }
    }
    selected_twice(errors, path, &own[0], term.at("labelSelector"));
    for (i, key) in own[0].iter().enumerate().filter(|(_, key)| own[1].contains(key)) {
        let detail = "exists in both matchLabelKeys and mismatchLabelKeys";
        errors.push(Error::invalid(&path.child("matchLabelKeys").index(i), *key, detail));
    }
}

/// A key has joined the selector by now, so that it is found twice if it was there before; upstream leaves out the field.
fn selected_twice(errors: &mut ErrorList, path: &Path, keys: &[&str], selector: &Value) {
    let mut seen: BTreeSet<&str> = selector.entries("matchLabels").keys().map(String::as_str).collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        let at = keys.iter().rposition(|own| *own == key);
        if let Some(at) = at.filter(|_| seen.contains(key)) {
            let detail = "exists in both matchLabelKeys and labelSelector";
            errors.push(Error::invalid(&path.index(at), key, detail));
        }
        seen.insert(key);
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
                let wrong = names::label_value(value);
                if !wrong.is_empty() {
                    errors.push(Error::invalid(&path.child("operator"), value, wrong.join(";")));
                }
            }
            "Exists" if !value.is_empty() => errors.push(Error::invalid(
                &path.child("operator"),
                value,
                "value must be empty when `operator` is 'Exists'",
            )),
            "Exists" => {}
            "Lt" | "Gt" => {
                let known = ["Equal", "Exists", "Lt", "Gt"];
                errors.push(Error::not_supported(&path.child("operator"), operator, &known));
            }
            other => errors.push(Error::not_supported(&path.child("operator"), other, &["Equal", "Exists"])),
        }
        if !effect.is_empty() {
            one_of(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        }
    }
}

/// Taints of a node.
pub fn taints(errors: &mut ErrorList, path: &Path, taints: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, taint) in taints.iter().enumerate() {
        let path = path.index(i);
        named(errors, &path.child("key"), taint.text("key"), names::qualified_name);
        named(errors, &path.child("value"), taint.text("value"), names::label_value);
        let effect = taint.text("effect");
        required_one_of(errors, &path.child("effect"), effect, &["NoSchedule", "PreferNoSchedule", "NoExecute"]);
        if !seen.insert((taint.text("key"), effect)) {
            let shown = [("Key", "key"), ("Value", "value"), ("Effect", "effect")]
                .map(|(name, field)| format!("{name:?}:{:?}", taint.text(field)));
            let shown = format!("{{{},\"TimeAdded\":{}}}", shown.join(","), taint.at("timeAdded"));
            let mut error = Error::duplicate(&path, Value::Null).shown_as(shown);
            "taints must be unique by key and effect pair".clone_into(&mut error.detail);
            errors.push(error);
        }
    }
}
