//! What `resize` may change of a pod: cpu and memory, and not so much that the QoS class would be another
//! (`ValidatePodResize`).

use schema::field::{Error, ErrorList};
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::super::strategy::pod::qos_class;
use super::{pod_annotations, spec};

const CONTAINER: &str = "api.core.v1.Container";

const ONLY: &str = "only cpu and memory resources are mutable";
const AMOUNTS: [&str; 2] = ["requests", "limits"];

#[must_use]
pub fn resize(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for (refused, detail) in [
        (pod_annotations::is_mirror(old), "static pods cannot be resized"),
        (old.text("spec.os.name") == "windows", "windows pods cannot be resized"),
    ] {
        if refused {
            errors.push(Error::forbidden(&super::unnamed(), detail));
            return errors;
        }
    }
    if qos_class(new) != qos_class(old) {
        let detail = "Pod QOS Class may not change as a result of resizing";
        errors.push(Error::invalid(&spec(), new.text("status.qosClass"), detail));
    }
    let running = old.list("status.containerStatuses").iter().find(|status| status.has("state.running"));
    if running.is_some_and(|status| !status.has("resources")) {
        errors.push(Error::forbidden(&spec(), "Pod running on node without support for resize"));
    }
    let of_pod = |pod: &Value| AMOUNTS.iter().any(|list| !pod.at("spec.resources").entries(list).is_empty());
    if of_pod(old) || of_pod(new) {
        let detail = "resize of pods with pod-level resources is forbidden when \
                      InPlacePodLevelResourcesVerticalScalingEnabled feature gate is disabled";
        errors.push(Error::forbidden(&super::unnamed(), detail));
        return errors;
    }
    if !same_containers(&mut errors, new.at("spec"), old.at("spec")) {
        return errors;
    }
    amounts(&mut errors, new.at("spec"), old.at("spec"));

    let mut rest = new.at("spec").clone();
    for (container, before) in rest.list_mut("containers").iter_mut().zip(old.list("spec.containers")) {
        without_cpu_and_memory(container, before);
        if !internal::same(container, before, CONTAINER) {
            errors.push(Error::forbidden(&spec(), ONLY));
        }
    }
    let before = old.list("spec.initContainers");
    for (container, before) in rest.list_mut("initContainers").iter_mut().zip(before) {
        let sidecar = container.text("restartPolicy") == "Always";
        let changed = !internal::same(container, before, CONTAINER);
        if sidecar {
            without_cpu_and_memory(container, before);
        }
        if sidecar && !internal::same(container, before, CONTAINER) {
            errors.push(Error::forbidden(&spec(), "only cpu and memory resources for sidecar containers are mutable"));
        } else if changed && !sidecar {
            errors.push(Error::forbidden(&spec(), "resources for non-sidecar init containers are immutable"));
        }
    }
    if errors.is_empty() && !internal::same(&rest, old.at("spec"), "api.core.v1.PodSpec") {
        errors.push(Error::forbidden(&spec(), ONLY));
    }
    errors
}

/// Whether both have the same containers in the same order.
fn same_containers(errors: &mut ErrorList, new: &Value, old: &Value) -> bool {
    let before = errors.len();
    for list in ["containers", "initContainers"] {
        let (path, new, old) = (spec().child(list), new.list(list), old.list(list));
        if new.len() != old.len() {
            errors.push(Error::forbidden(&path, format!("{list} may not be added or removed on resize")));
            continue;
        }
        for (i, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new.text("name") != old.text("name")) {
            let detail = format!("{list} may not be renamed or reordered on resize");
            errors.push(Error::forbidden(&path.index(i).child("name"), detail));
        }
    }
    errors.len() == before
}

/// What a container asks for may be more or less, but not nothing.
fn amounts(errors: &mut ErrorList, new: &Value, old: &Value) {
    for list in ["initContainers", "containers"] {
        for (i, (new, old)) in new.list(list).iter().zip(old.list(list)).enumerate() {
            if list == "initContainers" && old.text("restartPolicy") != "Always" {
                continue;
            }
            for amounts in AMOUNTS {
                let (new, old) = (new.at("resources").entries(amounts), old.at("resources").entries(amounts));
                if old.keys().any(|name| !new.contains_key(name)) {
                    let at = spec().child(list).index(i).child("resources").child(amounts);
                    errors.push(Error::forbidden(&at, format!("resource {amounts} cannot be removed")));
                }
            }
        }
    }
}

/// Puts a container's cpu and memory back to what they were. Claims are no such thing, and do not stay.
fn without_cpu_and_memory(container: &mut Value, before: &Value) {
    let mut resources = serde_json::json!({});
    for amounts in AMOUNTS {
        let mut now = container.at("resources").entries(amounts).clone();
        let then = before.at("resources").entries(amounts);
        for name in ["cpu", "memory"] {
            match then.get(name) {
                Some(amount) => now.insert(name.to_owned(), amount.clone()),
                None => now.remove(name),
            };
        }
        resources.put(amounts, now);
    }
    container.put("resources", resources);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn what_may_change() {
        let pod = |requests: Value| {
            json!({"spec": {"containers": [{"name": "a", "resources": {"requests": requests}}], "initContainers":
                [{"name": "i"}]}})
        };
        let old = pod(json!({"cpu": "1", "memory": "1Gi", "a.b/c": "1"}));
        let with = |change: fn(&mut Value)| {
            let mut pod = old.clone();
            change(&mut pod);
            pod
        };
        for (new, expected) in [
            (pod(json!({"cpu": "2", "memory": "2Gi", "a.b/c": "1"})), vec![]),
            (
                pod(json!({"cpu": "1", "memory": "1Gi", "a.b/c": "2"})),
                vec!["spec: Forbidden: only cpu and memory resources are mutable"],
            ),
            (
                pod(json!({"cpu": "1", "a.b/c": "1"})),
                vec!["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed"],
            ),
            (
                with(|pod| pod["spec"]["containers"][0]["name"] = json!("b")),
                vec!["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"],
            ),
            (
                with(|pod| pod["spec"]["initContainers"] = json!([])),
                vec!["spec.initContainers: Forbidden: initContainers may not be added or removed on resize"],
            ),
            (
                with(|pod| pod["spec"]["initContainers"][0]["resources"] = json!({"requests": {"cpu": "1"}})),
                vec!["spec: Forbidden: resources for non-sidecar init containers are immutable"],
            ),
        ] {
            assert_eq!(texts(&resize(&new, &old)), expected);
        }
        let best_effort = json!({"spec": {"containers": [{"name": "a"}]}});
        let mut burstable = best_effort.clone();
        burstable["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
        burstable["status"] = json!({"qosClass": "BestEffort"});
        let expected = "spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing";
        assert_eq!(texts(&resize(&burstable, &best_effort)), [expected]);
    }
}
