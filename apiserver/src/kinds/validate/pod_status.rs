//! What a kubelet may say of a pod (`ValidatePodStatusUpdate`): a container that is over stays so unless it is to be
//! restarted, addresses are addresses, and the QoS class is for ever.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::internal;
use super::super::json::Json;
use super::address::{self, ip};
use super::{named, one_of, pod_annotations, security_context};

/// The lists of a status, and whose containers they tell of.
const STATUSES: [(&str, &str); 3] = [
    ("containerStatuses", "containers"),
    ("initContainerStatuses", "initContainers"),
    ("ephemeralContainerStatuses", "ephemeralContainers"),
];

#[must_use]
pub fn status(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    pod_annotations::update(&mut errors, new, old);
    let path = Path::new("status");
    conditions(&mut errors, &path.child("conditions"), new);
    let nominated = new.text("status.nominatedNodeName");
    if nominated != old.text("status.nominatedNodeName") && !nominated.is_empty() {
        let at = path.child("nominatedNodeName");
        named(&mut errors, &at, nominated, names::dns1123_subdomain);
        if !old.text("spec.nodeName").is_empty() {
            errors.push(Error::forbidden(&at, "may not be set on pods that are already bound to a node"));
        }
    }
    generation(&mut errors, &path, new.at("status"));
    super::immutable(&mut errors, &path.child("qosClass"), new.at("status.qosClass"), old.at("status.qosClass"));
    for (field, list) in STATUSES {
        transitions(&mut errors, &path.child(field), field, new, old, list);
    }
    claims(&mut errors, &path.child("resourceClaimStatuses"), new);
    addresses(&mut errors, &path, new, old, ("podIPs", "PodIP"));
    if let Some(first) = new.list("status.hostIPs").first() {
        let at = path.child("hostIPs").index(0).child("ip");
        if new.text("status.hostIP") != first.text("ip") {
            errors.push(Error::invalid(&at, first.text("ip"), "must be equal to `hostIP`"));
        }
        addresses(&mut errors, &path, new, old, ("hostIPs", "HostIP"));
    }
    for (field, _) in STATUSES {
        users(&mut errors, &path.child(field), new, field);
    }
    for (field, list) in STATUSES {
        allocated(&mut errors, &path.child(field), new, (field, list));
    }
    errors
}

fn generation(errors: &mut ErrorList, path: &Path, of: &Value) {
    let observed = of.int("observedGeneration");
    if observed < 0 {
        errors.push(Error::invalid(&path.child("observedGeneration"), observed, "must be a non-negative integer"));
    }
}

fn conditions(errors: &mut ErrorList, path: &Path, pod: &Value) {
    for (i, condition) in pod.list("status.conditions").iter().enumerate() {
        let path = path.index(i);
        generation(errors, &path, condition);
        let kind = condition.text("type");
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            named(errors, &path.child("Type"), kind, names::qualified_name);
        }
    }
}

/// Who may run again after its end: all, with policy Always; what failed, with OnFailure; sidecars; never ephemeral ones.
fn transitions(errors: &mut ErrorList, path: &Path, field: &str, new: &Value, old: &Value, list: &str) {
    let ephemeral = list == "ephemeralContainers";
    let policy = if ephemeral { "Never" } else { old.text("spec.restartPolicy") };
    if policy == "Always" {
        return;
    }
    let sidecar = |name: &str| {
        let container = old.at("spec").list(list).iter().find(|container| container.text("name") == name);
        list == "initContainers" && container.is_some_and(|container| container.text("restartPolicy") == "Always")
    };
    let over = |status: &Value| status.has("state.terminated");
    for (i, before) in old.at("status").list(field).iter().enumerate() {
        let name = before.text("name");
        let again = policy == "OnFailure" && before.int("state.terminated.exitCode") != 0;
        if !over(before) || again || sidecar(name) {
            continue;
        }
        let now = new.at("status").list(field).iter().filter(|status| status.text("name") == name && !over(status));
        for _ in now {
            let at = path.index(i).child("state");
            errors.push(Error::forbidden(&at, "may not be transitioned to non-terminated state"));
        }
    }
}

/// The claims that were made for the pod are among those it asked for.
fn claims(errors: &mut ErrorList, path: &Path, pod: &Value) {
    let mut seen = BTreeSet::new();
    for (i, status) in pod.list("status.resourceClaimStatuses").iter().enumerate() {
        let (path, name) = (path.index(i), status.text("name"));
        if !pod.list("spec.resourceClaims").iter().any(|claim| claim.text("name") == name) {
            let detail = "must match the name of an entry in `spec.resourceClaims`";
            errors.push(Error::invalid(&path.child("name"), name, detail));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if status.has("resourceClaimName") {
            let at = path.child("resourceClaimName");
            named(errors, &at, status.text("resourceClaimName"), names::dns1123_subdomain);
        }
    }
}

/// Oddly written addresses.
#[must_use]
pub fn warnings(pod: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for list in ["podIPs", "hostIPs"] {
        for (i, address) in pod.at("status").list(list).iter().enumerate() {
            warnings.extend(address::ip_warning(format_args!("status.{list}[{i}].ip"), address.text("ip")));
        }
    }
    warnings
}

/// One address a family. What was no good before may stay.
fn addresses(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value, (field, of): (&str, &str)) {
    let path = path.child(field);
    let texts = |pod: &Value| -> Vec<String> {
        pod.at("status").list(field).iter().map(|address| address.text("ip").to_owned()).collect()
    };
    let (now, then) = (texts(new), texts(old));
    for (i, address) in now.iter().enumerate().filter(|(_, address)| !then.contains(address)) {
        ip(errors, &path.index(i), address);
    }
    let parsed: Vec<std::net::IpAddr> = now.iter().filter_map(|address| runtime::address::ip(address)).collect();
    let sixes = parsed.iter().filter(|address| address.is_ipv6()).count();
    if now.len() > 1 && parsed.len() == now.len() && (now.len() > 2 || sixes != 1) {
        let shown = internal::compact(new.at("status").at(field), &format!("[]api.core.v1.{of}"));
        let detail = "may specify no more than one IP for each IP family";
        errors.push(Error::invalid_as(&path, shown, detail));
    }
}

/// Whom a container runs as.
fn users(errors: &mut ErrorList, path: &Path, pod: &Value, field: &str) {
    let windows = pod.text("spec.os.name") == "windows";
    for (i, status) in pod.at("status").list(field).iter().enumerate() {
        let user = status.at("user.linux");
        let at = path.index(i).child("user").child("linux");
        if user.is_null() {
            continue;
        }
        if windows {
            errors.push(Error::forbidden(&at, "cannot be set for a windows pod"));
            continue;
        }
        security_context::id(errors, &at.child("uid"), user.int("uid"));
        security_context::id(errors, &at.child("gid"), user.int("gid"));
        for (j, group) in user.list("supplementalGroups").iter().enumerate() {
            security_context::id(errors, &at.child("supplementalGroups").index(j), group.as_i64().unwrap_or_default());
        }
    }
}

/// The health of devices is told of what a container asked for.
fn allocated(errors: &mut ErrorList, path: &Path, pod: &Value, (field, list): (&str, &str)) {
    for (i, status) in pod.at("status").list(field).iter().enumerate() {
        let told = status.list("allocatedResourcesStatus");
        let path = path.index(i).child("allocatedResourcesStatus");
        if list == "ephemeralContainers" {
            if !told.is_empty() {
                errors.push(Error::forbidden(&path, "must not be specified in container status"));
            }
            continue;
        }
        let name = status.text("name");
        let container = pod.at("spec").list(list).iter().find(|container| container.text("name") == name);
        for (j, resource) in told.iter().enumerate() {
            let path = path.index(j);
            if let Some(container) = container {
                asked(errors, &path.child("name"), resource.text("name"), container);
            }
            let mut seen = BTreeSet::new();
            for (k, device) in resource.list("resources").iter().enumerate() {
                let path = path.child("resources").index(k);
                let (health, id) = (device.text("health"), device.text("resourceID"));
                one_of(errors, &path.child("health"), health, &["Healthy", "Unhealthy", "Unknown"]);
                if !seen.insert(id) {
                    errors.push(Error::duplicate(&path.child("resourceID"), id));
                }
            }
        }
    }
}

fn asked(errors: &mut ErrorList, path: &Path, name: &str, container: &Value) {
    let is_claim = name.starts_with("claim:");
    let found = if is_claim {
        container.list("resources.claims").iter().any(|claim| {
            let (claim, request) = (claim.text("name"), claim.text("request"));
            name == if request.is_empty() { format!("claim:{claim}") } else { format!("claim:{claim}/{request}") }
        })
    } else {
        container.at("resources").entries("requests").contains_key(name)
    };
    if !found {
        let detail = if is_claim {
            "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
             'claim:<claimName>' if request is empty"
        } else {
            "must match one of the container's resource requests"
        };
        errors.push(Error::invalid(path, name, detail));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn what_is_over_stays_over() {
        let status = |state: Value| json!([{ "name": "c", "state": state }]);
        let pod = |policy: &str, field: &str, state: Value| {
            let mut pod = json!({"spec": {"restartPolicy": policy, "initContainers": [{"name": "c"}]}, "status": {}});
            pod["status"][field] = status(state);
            pod
        };
        let (failed, done, running) =
            (json!({"terminated": {"exitCode": 1}}), json!({"terminated": {"exitCode": 0}}), json!({"running": {}}));
        for (policy, field, before, stays) in [
            ("Always", "containerStatuses", &done, false),
            ("Always", "ephemeralContainerStatuses", &done, true),
            ("OnFailure", "containerStatuses", &failed, false),
            ("OnFailure", "containerStatuses", &done, true),
            ("Never", "initContainerStatuses", &failed, true),
            ("Never", "containerStatuses", &running, false),
        ] {
            let errors = status_errors(&pod(policy, field, running.clone()), &pod(policy, field, before.clone()));
            let expected =
                format!("status.{field}[0].state: Forbidden: may not be transitioned to non-terminated state");
            assert_eq!(errors, if stays { vec![expected] } else { vec![] }, "{policy} {field} {before}");
        }
    }

    fn status_errors(new: &Value, old: &Value) -> Vec<String> {
        texts(&super::status(new, old))
    }

    #[test]
    fn what_else_a_status_says() {
        let old =
            json!({"spec": {"nodeName": "n", "containers": [{"name": "c"}]}, "status": {"qosClass": "Burstable"}});
        for (field, value, expected) in [
            ("qosClass", json!("Guaranteed"), "qosClass: Invalid value: \"Guaranteed\": field is immutable"),
            ("observedGeneration", json!(-1), "observedGeneration: Invalid value: -1: must be a non-negative integer"),
            (
                "nominatedNodeName",
                json!("m"),
                "nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node",
            ),
            (
                "podIPs",
                json!([{"ip": "1.2.3.4"}, {"ip": "1.2.3.5"}]),
                "podIPs: Invalid value: [{\"IP\":\"1.2.3.4\"},{\"IP\":\"1.2.3.5\"}]: may specify no more than one IP for each IP family",
            ),
            (
                "hostIPs",
                json!([{"ip": "1.2.3.4"}]),
                "hostIPs[0].ip: Invalid value: \"1.2.3.4\": must be equal to `hostIP`",
            ),
            (
                "resourceClaimStatuses",
                json!([{"name": "a"}]),
                "resourceClaimStatuses[0].name: Invalid value: \"a\": must match the name of an entry in `spec.resourceClaims`",
            ),
            (
                "containerStatuses",
                json!([{"name": "c", "allocatedResourcesStatus": [{"name": "a.b/c"}]}]),
                "containerStatuses[0].allocatedResourcesStatus[0].name: Invalid value: \"a.b/c\": must match one of the container's resource requests",
            ),
        ] {
            let mut new = old.clone();
            new["status"][field] = value;
            assert_eq!(status_errors(&new, &old), [format!("status.{expected}")]);
        }
    }
}
