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

/// A pod's requests: containers and sidecars together, or an init container with the sidecars before it, whichever is
/// more; pod-level requests where given; and overhead. What a running container has been allocated counts where it is more
/// (in-place resize, KEP-1287).
#[must_use]
pub fn requests(pod: &Value) -> Amounts {
    let status = |container: &Value, kind: &str| {
        let name = text(container, "/name");
        list(pod, kind).iter().find(|status| text(status, "/name") == name).cloned().unwrap_or_default()
    };
    let infeasible = list(pod, "/status/conditions")
        .iter()
        .any(|condition| text(condition, "/type") == "PodResizePending" && text(condition, "/reason") == "Infeasible");
    let of = |container: &Value, kind: &str| {
        let wanted = Amounts::read(&container["resources"]["requests"]);
        let status = status(container, kind);
        let mut have = Amounts::read(&status["resources"]["requests"]);
        have.raise_to(&Amounts::read(&status["allocatedResources"]));
        if !infeasible || have.is_empty() {
            have.raise_to(&wanted);
        }
        have
    };
    let mut sum = neediest(pod, of);
    for (name, amount) in Amounts::read(&pod["spec"]["resources"]["requests"]).iter() {
        if pod_level(name) {
            sum.set(name, amount);
        }
    }
    sum.add(&Amounts::read(&pod["spec"]["overhead"]));
    sum
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

/// What the spec asks for, `requests` or `limits`, without overhead: the sum that LimitRanges bound.
#[must_use]
pub fn sum(pod: &Value, field: &str) -> Amounts {
    let mut sum = neediest(pod, |container, _| Amounts::read(&container["resources"][field]));
    for (name, amount) in Amounts::read(&pod["spec"]["resources"][field]).iter() {
        if pod_level(name) {
            sum.set(name, amount);
        }
    }
    sum
}

/// The most that is needed at one time.
fn neediest(pod: &Value, of: impl Fn(&Value, &str) -> Amounts) -> Amounts {
    let mut running = Amounts::default();
    for container in list(pod, "/spec/containers") {
        running.add(&of(container, "/status/containerStatuses"));
    }
    let (mut sidecars, mut starting) = (Amounts::default(), Amounts::default());
    for container in list(pod, "/spec/initContainers") {
        let own = of(container, "/status/initContainerStatuses");
        if text(container, "/restartPolicy") == "Always" {
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
    fn what_is_allocated_counts_until_a_smaller_size_is_reached() {
        let pod = |reason: &str| {
            json!({
                "spec": { "containers": [{ "name": "a", "resources": { "requests": { "cpu": "4" } } }] },
                "status": {
                    "conditions": [{ "type": "PodResizePending", "reason": reason }],
                    "containerStatuses": [{ "name": "a", "allocatedResources": { "cpu": "2" } }],
                },
            })
        };
        assert_eq!(requests(&pod("Deferred")).to_string(), "cpu=4");
        assert_eq!(requests(&pod("Infeasible")).to_string(), "cpu=2");
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
