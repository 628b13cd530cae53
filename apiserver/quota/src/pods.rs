//! Pods: what they are charged, and which scopes they are in (`evaluator/core/pods.go`).

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use schema::quantity::Quantity;
use serde_json::Value;

use crate::scope::Selector;
use crate::{Amounts, list, resources, text};

const PLAIN: [&str; 11] = [
    "count/pods",
    "cpu",
    "memory",
    "ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
];
/// Where a quota names one of these, every container must say how much it wants: an old rule that is kept for these only.
const MANDATORY: [&str; 6] = ["cpu", "memory", "requests.cpu", "requests.memory", "limits.cpu", "limits.memory"];
const NATIVE: &str = "kubernetes.io/";

/// A resource without a domain, or with kubernetes.io's, is Kubernetes' own.
#[must_use]
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains(NATIVE)
}

fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.")
}

/// Whether a quota on `name` counts pods.
pub fn tracks(name: &str) -> bool {
    let huge = name.starts_with("hugepages-") || name.starts_with("requests.hugepages-");
    PLAIN.contains(&name) || huge || (!is_native(name) && name.starts_with("requests."))
}

/// A pod stops being charged when it has ended, or should have: its grace period is over.
#[must_use]
pub fn is_charged(pod: &Value, now: Timestamp) -> bool {
    if matches!(text(pod, "/status/phase"), "Failed" | "Succeeded") {
        return false;
    }
    let deleted: Option<Timestamp> = text(pod, "/metadata/deletionTimestamp").parse().ok();
    let grace = pod["metadata"]["deletionGracePeriodSeconds"].as_i64();
    match (deleted, grace) {
        (Some(at), Some(seconds)) => at.checked_add(SignedDuration::from_secs(seconds)).is_ok_and(|end| now <= end),
        _ => true,
    }
}

pub fn usage(pod: &Value, now: Timestamp) -> Amounts {
    let mut used = Amounts::default();
    used.set("count/pods", Quantity::ONE);
    if is_charged(pod, now) {
        used.add(&charge(&resources::requests(pod), &resources::limits(pod)));
    }
    used
}

/// The names under which requests and limits are charged.
fn charge(requests: &Amounts, limits: &Amounts) -> Amounts {
    let mut used = Amounts::default();
    used.set("pods", Quantity::ONE);
    for name in ["cpu", "memory", "ephemeral-storage"] {
        if let Some(request) = requests.get(name) {
            used.set(name, request);
            used.set(format!("requests.{name}"), request);
        }
        if let Some(limit) = limits.get(name) {
            used.set(format!("limits.{name}"), limit);
        }
    }
    for (name, request) in requests.iter() {
        if name.starts_with("hugepages-") {
            used.set(name, request);
            used.set(format!("requests.{name}"), request);
        }
        if is_extended(name) {
            used.set(format!("requests.{name}"), request);
        }
    }
    used
}

/// What containers leave unsaid though `required` counts it: `limits.cpu for: a,b; limits.memory for: a`.
pub fn missing<'a>(pod: &Value, required: impl Iterator<Item = &'a str>) -> Option<String> {
    if resources::has_pod_level(pod) {
        return None;
    }
    let required: BTreeSet<&str> = required.filter(|name| MANDATORY.contains(name)).collect();
    let mut missing: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for container in list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers")) {
        let (requests, limits) = (&container["resources"]["requests"], &container["resources"]["limits"]);
        let said = charge(&Amounts::read(requests), &Amounts::read(limits));
        for name in required.iter().filter(|name| said.get(name).is_none()) {
            missing.entry(name).or_default().insert(text(container, "/name"));
        }
    }
    let join = |names: &BTreeSet<&str>| names.iter().copied().collect::<Vec<_>>().join(",");
    let parts: Vec<String> = missing.iter().map(|(name, of)| format!("{name} for: {}", join(of))).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Whether it has to end by itself.
pub fn is_terminating(pod: &Value) -> bool {
    pod["spec"]["activeDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 0)
}

pub fn in_scope(pod: &Value, selector: &Selector) -> bool {
    let terminating = is_terminating(pod);
    match selector.scope.as_str() {
        "Terminating" => terminating,
        "NotTerminating" => !terminating,
        "BestEffort" => resources::is_best_effort(pod),
        "NotBestEffort" => !resources::is_best_effort(pod),
        "PriorityClass" => {
            let class = text(pod, "/spec/priorityClassName");
            selector.admits((!class.is_empty()).then_some(class))
        }
        "CrossNamespacePodAffinity" => reaches_other_namespaces(pod),
        _ => false,
    }
}

fn reaches_other_namespaces(pod: &Value) -> bool {
    let crosses = |term: &Value| {
        term["namespaces"].as_array().is_some_and(|names| !names.is_empty()) || term["namespaceSelector"].is_object()
    };
    ["podAffinity", "podAntiAffinity"].iter().any(|kind| {
        let affinity = &pod["spec"]["affinity"][*kind];
        let required = list(affinity, "/requiredDuringSchedulingIgnoredDuringExecution").iter().any(crosses);
        let preferred = list(affinity, "/preferredDuringSchedulingIgnoredDuringExecution");
        required || preferred.iter().any(|weighted| crosses(&weighted["podAffinityTerm"]))
    })
}
