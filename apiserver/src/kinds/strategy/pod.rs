//! Pods (`pkg/registry/core/pod/strategy.go`).

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{NameRule, Strategy};
use super::{SPEC_AND_STATUS, pod_spec};

pub const POD: Strategy = Strategy {
    graceful: true,
    name: NameRule::Subdomain,
    default: Some(default),
    prepare_create: Some(prepare_create),
    prepare_update: Some(prepare_update),
    validate: Some(validate::pod::pod),
    validate_update: Some(validate::pod_update::pod),
    validate_path: &[
        ("ephemeralcontainers", validate::pod_update::ephemeral_containers),
        ("resize", validate::pod_update::resize),
    ],
    named_after: Some("the Pod's hostname"),
    warnings: Some(validate::pod_warnings::pod),
    ..SPEC_AND_STATUS
};

pub const POD_TEMPLATE: Strategy = Strategy {
    has_generation: true,
    default: Some(|object| pod_spec::default_at(object, "template.spec")),
    validate: Some(validate::pod::pod_template),
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
                "message": "Scheduling is blocked due to non-empty scheduling gates"}]),
        );
    }
    pod.put("status", status);
}

fn prepare_update(new: &mut Value, old: &Value) {
    new.take_from("status", old);
}

/// Guaranteed: every container limits cpu and memory and requests as much; BestEffort: none asks for anything.
#[must_use]
pub fn qos_class(pod: &Value) -> &'static str {
    const NAMES: [&str; 2] = ["cpu", "memory"];
    let containers = || pod.list("spec.initContainers").iter().chain(pod.list("spec.containers"));
    let asked = |c: &Value, list: &str, name: &str| {
        let quantity = c.at(list).get(name).map(super::super::validate::quantity_text)?;
        let parsed = schema::quantity::Quantity::parse(&quantity).ok()?;
        (parsed.milli_value() != 0).then(|| parsed.milli_value())
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
        }
    }

    #[test]
    fn a_new_pod_is_pending() {
        let mut pod = json!({"spec": {}, "status": {"phase": "Running"}});
        prepare_create(&mut pod);
        assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "BestEffort"}));
    }
}
