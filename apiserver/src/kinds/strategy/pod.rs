//! Pods (`pkg/registry/core/pod/strategy.go`).

use serde_json::{Map, Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{NameRule, Strategy, WarnedAgain};
use super::{METADATA, SPEC_AND_STATUS, pod_spec};

pub const POD: Strategy = Strategy {
    graceful: true,
    name: NameRule::Subdomain,
    default: Some(default),
    prepare_create: Some(prepare_create),
    prepare_update: Some(|new, old| new.take_from("status", old)),
    prepare_path: &[("ephemeralcontainers", ephemeral_containers), ("resize", resize), ("status", status)],
    status_keeps: &["ownerReferences", "deletionTimestamp"],
    validate: Some(validate::pod::pod),
    validate_create: Some(validate::pod::new_pod),
    validate_update: Some(validate::pod_update::pod),
    validate_path: &[
        ("ephemeralcontainers", validate::pod_update::ephemeral_containers),
        ("resize", validate::pod_resize::resize),
        ("status", validate::pod_status::status),
    ],
    named_after: Some("the Pod's hostname"),
    warnings: Some(validate::pod_warnings::pod),
    warned_again: WarnedAgain::Never,
    status_warnings: Some(validate::pod_status::warnings),
    ..SPEC_AND_STATUS
};

pub const POD_TEMPLATE: Strategy = Strategy {
    has_generation: true,
    default: Some(|object| pod_spec::default_at(object, "template.spec")),
    validate: Some(validate::pod::pod_template),
    warnings: Some(validate::pod_warnings::pod_template),
    warned_again: WarnedAgain::NewGeneration,
    ..Strategy::PLAIN
};

fn default(pod: &mut Value) {
    pod_spec::default_at(pod, "spec");
    pod_spec::default_pod(pod);
    // Only real pods: in a template it would freeze the default of the day.
    pod.default_to("spec.enableServiceLinks", true);
}

fn prepare_create(pod: &mut Value) {
    let class = qos_class(pod);
    let mut status = json!({"phase": "Pending", "qosClass": class});
    if !pod.list("spec.schedulingGates").is_empty() {
        status.put(
            "conditions",
            json!([{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                "lastTransitionTime": crate::registry::object::now(), "message": "Scheduling is blocked due to non-empty scheduling gates"}]),
        );
    }
    pod.put("status", status);
    merge_label_keys(pod);
}

/// Adds to the selectors of pods that are to be near or far what their keys mean for this one (KEP-3633, KEP-3243).
fn merge_label_keys(pod: &mut Value) {
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    let labels = pod.entries("metadata.labels").clone();
    for kind in ["podAffinity", "podAntiAffinity"] {
        for term in pod.list_mut(&format!("spec.affinity.{kind}.{PREFERRED}")) {
            if let Some(term) = term.at_mut("podAffinityTerm") {
                merge_into_selector(term, &labels);
            }
        }
        let required = pod.list_mut(&format!("spec.affinity.{kind}.{REQUIRED}"));
        required.iter_mut().for_each(|term| merge_into_selector(term, &labels));
    }
    let constraints = pod.list_mut("spec.topologySpreadConstraints");
    constraints.iter_mut().for_each(|constraint| merge_into_selector(constraint, &labels));
}

/// No selector matches nothing, and stays so.
fn merge_into_selector(term: &mut Value, labels: &Map<String, Value>) {
    if !term.has("labelSelector") {
        return;
    }
    let mut all = term.list("labelSelector.matchExpressions").to_vec();
    for (field, operator) in [("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn")] {
        let known = term.texts(field).into_iter().filter_map(|key| Some((key, labels.get(key)?)));
        all.extend(known.map(|(key, value)| json!({"key": key, "operator": operator, "values": [value]})));
    }
    if !all.is_empty() {
        term.put("labelSelector.matchExpressions", all);
    }
}

/// Makes a pod what it is but for what `keep` takes from the one that was sent.
fn only(new: &mut Value, old: &Value, keep: impl Fn(&mut Value, &Value)) {
    for field in METADATA {
        new.take_from(&format!("metadata.{field}"), old);
    }
    new.take_from("status", old);
    let mut spec = old.at("spec").clone();
    keep(&mut spec, new.at("spec"));
    new.put("spec", spec);
}

fn ephemeral_containers(new: &mut Value, old: &Value) {
    only(new, old, |spec, sent| spec.take_from("ephemeralContainers", sent));
}

/// What containers ask for. Where they are others, validation says so.
fn resize(new: &mut Value, old: &Value) {
    const LISTS: [&str; 2] = ["containers", "initContainers"];
    if LISTS.iter().any(|list| new.at("spec").list(list).len() != old.at("spec").list(list).len()) {
        return;
    }
    only(new, old, |spec, sent| {
        for list in LISTS {
            let names = |spec: &Value| spec.list(list).iter().map(|c| c.text("name").to_owned()).collect::<Vec<_>>();
            if names(spec) != names(sent) {
                spec.take_from(list, sent);
                continue;
            }
            for (container, sent) in spec.list_mut(list).iter_mut().zip(sent.list(list)) {
                container.take_from("resources", sent);
                container.take_from("resizePolicy", sent);
            }
        }
    });
}

/// What the kubelet does not say again stays: the QoS class, and which generation it has seen.
fn status(new: &mut Value, old: &Value) {
    if new.text("status.qosClass").is_empty() {
        new.take_from("status.qosClass", old);
    }
    if new.int("status.observedGeneration") == 0 {
        new.take_from("status.observedGeneration", old);
    }
    let mut before = old.list("status.conditions").to_vec();
    for condition in new.list_mut("status.conditions") {
        let known = before.iter().position(|before| before.text("type") == condition.text("type"));
        let known = known.map(|at| before.remove(at));
        if condition.int("observedGeneration") == 0
            && let Some(known) = known
        {
            condition.take_from("observedGeneration", &known);
        }
    }
}

/// Guaranteed: every container limits cpu and memory and requests as much; BestEffort: none asks for anything.
#[must_use]
pub fn qos_class(pod: &Value) -> &'static str {
    const NAMES: [&str; 2] = ["cpu", "memory"];
    // What is said of the pod as a whole is all that counts (KEP-2837).
    let whole = pod.has("spec.resources").then(|| pod.at("spec"));
    let each = ["spec.initContainers", "spec.containers"].into_iter().flat_map(|list| pod.list(list));
    let all: Vec<&Value> = whole.map_or_else(|| each.collect(), |spec| vec![spec]);
    let containers = || all.iter().copied();
    let asked = |c: &Value, list: &str, name: &str| {
        let quantity = c.at(list).get(name).map(super::super::validate::quantity_text)?;
        let parsed = schema::quantity::Quantity::parse(&quantity).ok()?;
        (parsed.milli_value() > 0).then(|| parsed.milli_value())
    };
    let (requests, limits) = ("resources.requests", "resources.limits");
    let any = containers().any(|c| NAMES.iter().any(|n| asked(c, requests, n).or(asked(c, limits, n)).is_some()));
    if !any {
        return "BestEffort";
    }
    let guaranteed = containers().all(|c| {
        NAMES.iter().all(|n| {
            let limit = asked(c, limits, n);
            limit.is_some() && asked(c, requests, n) == limit
        })
    });
    if guaranteed { "Guaranteed" } else { "Burstable" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qos() {
        let pod = |resources: Value| json!({"spec": {"containers": [{"resources": resources}]}});
        let both = json!({"cpu": "1", "memory": "1Gi"});
        for (resources, class) in [
            (json!({}), "BestEffort"),
            (json!({"requests": {"cpu": "0"}}), "BestEffort"),
            (json!({"requests": {"cpu": "1"}}), "Burstable"),
            (json!({"requests": both, "limits": both}), "Guaranteed"),
            (json!({"requests": {"cpu": "1000m", "memory": "1Gi"}, "limits": both}), "Guaranteed"),
            (json!({"requests": {"cpu": "1"}, "limits": both}), "Burstable"),
        ] {
            assert_eq!(qos_class(&pod(resources.clone())), class, "{resources}");
            let mut whole = pod(json!({"requests": {"cpu": "7"}}));
            whole["spec"]["resources"] = resources;
            assert_eq!(qos_class(&whole), class);
        }
    }

    #[test]
    fn keys_join_the_selectors() {
        let term = |selector: Value| json!({"labelSelector": selector, "matchLabelKeys": ["a", "x"], "mismatchLabelKeys": ["b"]});
        let mut pod = json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {
            "topologySpreadConstraints": [{"matchLabelKeys": ["a"], "labelSelector": {}}, {"labelSelector": {}}],
            "affinity": {
                "podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": term(json!({}))}]},
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term(Value::Null)]},
            },
        }});
        merge_label_keys(&mut pod);
        let near = json!({"key": "a", "operator": "In", "values": ["1"]});
        let far = json!({"key": "b", "operator": "NotIn", "values": ["2"]});
        let spread = &pod["spec"]["topologySpreadConstraints"];
        assert_eq!(spread[0]["labelSelector"], json!({"matchExpressions": [near]}));
        assert_eq!(spread[1]["labelSelector"], json!({}));
        let affinity = &pod["spec"]["affinity"];
        let preferred = &affinity["podAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(preferred["podAffinityTerm"]["labelSelector"], json!({"matchExpressions": [near, far]}));
        let required = &affinity["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][0];
        assert_eq!(required["labelSelector"], Value::Null);
    }

    #[test]
    fn a_new_pod_is_pending() {
        let mut pod = json!({"spec": {}, "status": {"phase": "Running"}});
        prepare_create(&mut pod);
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    }
}
