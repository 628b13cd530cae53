//! What a pod asks for as a whole (`component-helpers/resource/helpers.go`), and its quality of service.

use schema::quantity::Quantity;
use serde_json::Value;

use crate::{Amounts, list, text};

/// Resources that may be given for the pod as a whole (KEP-2837).
fn pod_level(name: &str) -> bool {
    matches!(name, "cpu" | "memory") || name.starts_with("hugepages-")
}

/// Whether the pod says itself what it needs in all.
#[must_use]
pub fn has_pod_level(pod: &Value) -> bool {
    let named = |field: &str| {
        pod.pointer(field).and_then(Value::as_object).is_some_and(|amounts| amounts.keys().any(|name| pod_level(name)))
    };
    named("/spec/resources/requests") || named("/spec/resources/limits")
}

/// What the node knows of a container: the requests that are in force, and those it has granted (in-place resize, KEP-1287).
#[derive(Clone, Debug, Default)]
pub struct Have {
    pub actual: Amounts,
    pub allocated: Amounts,
}

/// A container's requests: what it is to have, or still has where that is more. What the node can never give does not
/// count.
#[must_use]
pub fn effective(wanted: Amounts, have: Option<Have>, infeasible: bool) -> Amounts {
    let Some(Have { mut actual, allocated }) = have else { return wanted };
    actual.raise_to(&allocated);
    if !infeasible {
        actual.raise_to(&wanted);
    }
    actual
}

/// The most that a pod needs at one time: containers and sidecars together, or an init container with the sidecars before it
/// (KEP-753). Of init containers it is told whether they are sidecars.
pub fn neediest(
    containers: impl IntoIterator<Item = Amounts>,
    init_containers: impl IntoIterator<Item = (bool, Amounts)>,
) -> Amounts {
    let mut running = Amounts::default();
    containers.into_iter().for_each(|own| running.add(&own));
    let (mut sidecars, mut starting) = (Amounts::default(), Amounts::default());
    for (sidecar, own) in init_containers {
        if sidecar {
            running.add(&own);
            sidecars.add(&own);
            starting.raise_to(&sidecars);
        } else {
            let mut both = sidecars.clone();
            both.add(&own);
            starting.raise_to(&both);
        }
    }
    running.raise_to(&starting);
    running
}

/// The whole from the containers' sum: what is said of the pod itself replaces it (KEP-2837), and overhead is added.
#[must_use]
pub fn whole(mut sum: Amounts, pod: &Amounts, overhead: &Amounts) -> Amounts {
    for (name, amount) in pod.iter().filter(|(name, _)| pod_level(name)) {
        sum.set(name, amount);
    }
    sum.add(overhead);
    sum
}

/// A pod's requests, of what it is to have and what it still has.
#[must_use]
pub fn requests(pod: &Value) -> Amounts {
    let infeasible = list(pod, "/status/conditions")
        .iter()
        .find(|condition| text(condition, "/type") == "PodResizePending")
        .is_some_and(|condition| text(condition, "/reason") == "Infeasible");
    let of = |container: &Value, statuses: &str| {
        let (name, wanted) = (text(container, "/name"), Amounts::read(&container["resources"]["requests"]));
        let status = list(pod, statuses).iter().find(|status| text(status, "/name") == name);
        let have = status.filter(|status| status["resources"].is_object()).map(|status| Have {
            actual: Amounts::read(&status["resources"]["requests"]),
            allocated: Amounts::read(&status["allocatedResources"]),
        });
        effective(wanted, have, infeasible)
    };
    let sum = neediest(
        list(pod, "/spec/containers").iter().map(|container| of(container, "/status/containerStatuses")),
        list(pod, "/spec/initContainers").iter().map(|container| match is_sidecar(container) {
            true => (true, of(container, "/status/initContainerStatuses")),
            false => (false, Amounts::read(&container["resources"]["requests"])),
        }),
    );
    whole(sum, &Amounts::read(&pod["spec"]["resources"]["requests"]), &Amounts::read(&pod["spec"]["overhead"]))
}

fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

/// A pod's limits; overhead is added to those that there are.
#[must_use]
pub fn limits(pod: &Value) -> Amounts {
    let mut sum = sum(pod, "limits");
    let overhead = Amounts::read(&pod["spec"]["overhead"]);
    let limited = overhead.only(|name| sum.get(name).is_some_and(|limit| !limit.is_zero()));
    sum.add(&limited);
    sum
}

/// What the containers of a spec ask for, `requests` or `limits`, when they need most.
#[must_use]
pub fn of_containers(spec: &Value, field: &str) -> Amounts {
    let own = |container: &Value| Amounts::read(&container["resources"][field]);
    neediest(
        list(spec, "/containers").iter().map(own),
        list(spec, "/initContainers").iter().map(|container| (is_sidecar(container), own(container))),
    )
}

/// What the spec asks for, `requests` or `limits`, without overhead: the sum that LimitRanges bound.
#[must_use]
pub fn sum(pod: &Value, field: &str) -> Amounts {
    let sum = of_containers(&pod["spec"], field);
    whole(sum, &Amounts::read(&pod["spec"]["resources"][field]), &Amounts::default())
}

/// Neither requests nor limits of CPU or memory anywhere (`qos.GetPodQOS`).
#[must_use]
pub fn is_best_effort(pod: &Value) -> bool {
    let class = text(pod, "/status/qosClass");
    if !class.is_empty() {
        return class == "BestEffort";
    }
    let asks = |resources: &Value| {
        ["requests", "limits"].iter().any(|field| {
            Amounts::read(&resources[*field])
                .iter()
                .any(|(name, amount)| matches!(name, "cpu" | "memory") && amount > Quantity::ZERO)
        })
    };
    if has_pod_level(pod) {
        return !asks(&pod["spec"]["resources"]);
    }
    let containers = list(pod, "/spec/containers").iter().chain(list(pod, "/spec/initContainers"));
    !containers.into_iter().any(|container| asks(&container["resources"]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_pod_needs_what_its_neediest_moment_needs() {
        let container = |cpu: &str| json!({ "resources": { "requests": { "cpu": cpu }, "limits": { "cpu": cpu } } });
        let mut sidecar = container("1");
        sidecar["restartPolicy"] = "Always".into();
        let cases = [
            (json!({ "containers": [container("1"), container("500m")] }), "cpu=1500m"),
            (json!({ "containers": [container("1")], "initContainers": [container("3")] }), "cpu=3"),
            (json!({ "containers": [container("1")], "initContainers": [sidecar.clone(), container("3")] }), "cpu=4"),
            (json!({ "containers": [container("1")], "initContainers": [container("1500m"), sidecar] }), "cpu=2"),
            (json!({ "containers": [container("1")], "overhead": { "cpu": "250m", "memory": "1Mi" } }), "cpu=1250m"),
            (
                json!({ "containers": [container("1")], "resources": { "requests": { "cpu": "5" }, "limits": { "cpu": "5" } } }),
                "cpu=5",
            ),
        ];
        for (spec, expected) in cases {
            let pod = json!({ "spec": spec });
            assert_eq!(limits(&pod).to_string(), expected, "{pod}");
            assert!(requests(&pod).to_string().starts_with(expected), "{pod}");
        }
    }

    #[test]
    fn what_a_pod_still_has_counts() {
        let pod = |reason: &str, status: Value| {
            json!({
                "spec": { "containers": [{ "name": "a", "resources": { "requests": { "cpu": "4" } } }] },
                "status": { "conditions": [{ "type": "PodResizePending", "reason": reason }], "containerStatuses": [status] },
            })
        };
        let status = |actual: &str, allocated: &str| json!({ "name": "a", "resources": { "requests": { "cpu": actual } }, "allocatedResources": { "cpu": allocated } });
        let cases = [
            ("Deferred", status("2", "2"), "cpu=4"),
            ("Infeasible", status("2", "2"), "cpu=2"),
            ("Infeasible", status("3", "2"), "cpu=3"),
            ("", status("6", "4"), "cpu=6"),
            ("", status("5", "6"), "cpu=6"),
            // Nothing is known of it yet.
            ("Infeasible", json!({ "name": "a", "allocatedResources": { "cpu": "2" } }), "cpu=4"),
        ];
        for (reason, status, expected) in cases {
            assert_eq!(requests(&pod(reason, status.clone())).to_string(), expected, "{reason} {status}");
        }
    }

    #[test]
    fn quality_of_service() {
        let pod = |resources: Value| json!({ "spec": { "containers": [{ "resources": resources }] } });
        assert!(is_best_effort(&pod(json!({}))));
        assert!(is_best_effort(&pod(json!({ "limits": { "cpu": "0", "example.com/gpu": "1" } }))));
        assert!(!is_best_effort(&pod(json!({ "limits": { "cpu": "1" } }))));
        assert!(!is_best_effort(&json!({ "status": { "qosClass": "Burstable" } })));
    }
}
