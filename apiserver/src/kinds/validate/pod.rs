//! Pods and pod templates (`ValidatePodSpec`, `ValidatePodUpdate`).

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{affinity, container, ip, meta, named, one_of, required, required_one_of, same, spec, volume};

#[must_use]
pub fn pod(pod: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    pod_spec(&mut errors, &spec(), pod.at("spec"));
    if !pod.list("spec.ephemeralContainers").is_empty() && !pod.has("metadata.deletionTimestamp") {
        ephemeral(&mut errors, &spec().child("ephemeralContainers"), pod.at("spec"));
    }
    errors
}

#[must_use]
pub fn pod_template(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    template(&mut errors, &Path::new("template"), object.at("template"));
    errors
}

/// A template inside a workload: labels, annotations and the spec.
pub fn template(errors: &mut ErrorList, path: &Path, template: &Value) {
    meta::labels(errors, &path.child("labels"), template.at("metadata.labels"));
    meta::annotations(errors, &path.child("annotations"), template.at("metadata.annotations"));
    pod_spec(errors, &path.child("spec"), template.at("spec"));
    if !template.list("spec.ephemeralContainers").is_empty() {
        errors.push(Error::forbidden(
            &path.child("spec").child("ephemeralContainers"),
            "ephemeral containers not allowed in pod template",
        ));
    }
}

pub fn pod_spec(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let volumes = volume::volumes(errors, &path.child("volumes"), spec.list("volumes"));
    container::containers(errors, &path.child("containers"), spec, &volumes);
    container::init_containers(errors, &path.child("initContainers"), spec, &volumes);
    let restart = spec.text("restartPolicy");
    required_one_of(errors, &path.child("restartPolicy"), restart, &["Always", "OnFailure", "Never"]);
    let dns = spec.text("dnsPolicy");
    required_one_of(
        errors,
        &path.child("dnsPolicy"),
        dns,
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
    );
    dns_config(errors, path, spec, dns);
    for (i, secret) in spec.list("imagePullSecrets").iter().enumerate() {
        required(errors, secret, "name", &path.child("imagePullSecrets").index(i));
    }
    affinity::placement(errors, path, spec);
    for (i, gate) in spec.list("readinessGates").iter().enumerate() {
        let at = path.child("readinessGates").index(i).child("conditionType");
        named(errors, &at, gate.text("conditionType"), names::qualified_name);
    }
    for (field, check) in [
        ("serviceAccountName", names::dns1123_subdomain as super::Check),
        ("nodeName", names::dns1123_subdomain),
        ("hostname", names::dns1123_label),
        ("subdomain", names::dns1123_label),
        ("priorityClassName", names::dns1123_subdomain),
        ("runtimeClassName", names::dns1123_subdomain),
    ] {
        if !spec.text(field).is_empty() {
            named(errors, &path.child(field), spec.text(field), check);
        }
    }
    if spec.has("activeDeadlineSeconds") {
        let seconds = spec.int("activeDeadlineSeconds");
        if !(1..=i64::from(i32::MAX)).contains(&seconds) {
            let at = path.child("activeDeadlineSeconds");
            errors.push(Error::invalid(&at, seconds, "must be between 1 and 2147483647, inclusive"));
        }
    }
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        let path = path.child("hostAliases").index(i);
        ip(errors, &path.child("ip"), alias.text("ip"));
        for (j, name) in alias.texts("hostnames").into_iter().enumerate() {
            named(errors, &path.child("hostnames").index(j), name, names::dns1123_subdomain);
        }
    }
    let preemption = spec.text("preemptionPolicy");
    if !preemption.is_empty() {
        one_of(errors, &path.child("preemptionPolicy"), preemption, &["Never", "PreemptLowerPriority"]);
    }
    positive_ids(errors, &path.child("securityContext"), spec.at("securityContext"));
}

fn positive_ids(errors: &mut ErrorList, path: &Path, context: &Value) {
    for field in ["runAsUser", "runAsGroup", "fsGroup"] {
        if !(0..=i64::from(i32::MAX)).contains(&context.int(field)) {
            errors.push(Error::invalid(
                &path.child(field),
                context.int(field),
                "must be between 0 and 2147483647, inclusive",
            ));
        }
    }
}

fn dns_config(errors: &mut ErrorList, path: &Path, spec: &Value, policy: &str) {
    /// Limits of resolv.conf as upstream sets them.
    const NAMESERVERS: usize = 3;
    const SEARCHES: usize = 32;
    let path = path.child("dnsConfig");
    let config = spec.at("dnsConfig");
    let servers = config.texts("nameservers");
    if policy == "None" && config.is_null() {
        errors.push(Error::required(&path, "must provide `dnsConfig` when `dnsPolicy` is None"));
    } else if policy == "None" && servers.is_empty() {
        let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
        errors.push(Error::required(&path.child("nameservers"), detail));
    }
    if servers.len() > NAMESERVERS {
        errors.push(Error::invalid(
            &path.child("nameservers"),
            config.at("nameservers").clone(),
            format!("must not have more than {NAMESERVERS} nameservers"),
        ));
    }
    for (i, server) in servers.into_iter().enumerate() {
        ip(errors, &path.child("nameservers").index(i), server);
    }
    if config.list("searches").len() > SEARCHES {
        errors.push(Error::invalid(
            &path.child("searches"),
            config.at("searches").clone(),
            format!("must not have more than {SEARCHES} search paths"),
        ));
    }
    for (i, option) in config.list("options").iter().enumerate() {
        if option.text("name").is_empty() {
            errors.push(Error::required(&path.child("options").index(i), "must not be empty"));
        }
    }
}

/// Ephemeral containers are for looking inside: a name and an image, no promises.
fn ephemeral(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let mut seen: BTreeSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|l| spec.list(l)).map(|c| c.text("name")).collect();
    for (i, container) in spec.list("ephemeralContainers").iter().enumerate() {
        let path = path.index(i);
        super::required_name(errors, &path.child("name"), container.text("name"), names::dns1123_label);
        required(errors, container, "image", &path);
        if !seen.insert(container.text("name")) {
            errors.push(Error::duplicate(&path.child("name"), container.text("name")));
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !seen.contains(target) {
            errors.push(Error::not_found(&path.child("targetContainerName"), target));
        }
        for field in ["ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle"] {
            if container.has(field) && !same(container.at(field), &Value::Null) {
                errors.push(Error::forbidden(&path.child(field), "cannot be set for an Ephemeral Container"));
            }
        }
    }
}

/// What of a running pod's spec may change.
const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

#[must_use]
pub fn pod_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let path = spec();
    pod_spec(&mut errors, &path, new.at("spec"));
    for list in ["containers", "initContainers"] {
        if new.at("spec").list(list).len() != old.at("spec").list(list).len() {
            errors.push(Error::forbidden(
                &path.child(list),
                if list == "containers" {
                    "pod updates may not add or remove containers"
                } else {
                    "pod updates may not add or remove init containers"
                },
            ));
            return errors;
        }
    }
    deadline(&mut errors, &path, new, old);
    tolerations(&mut errors, &path, new, old);
    gates(&mut errors, &path, new, old);

    let gated = !old.list("spec.schedulingGates").is_empty();
    let mut munged = new.at("spec").clone();
    let before = old.at("spec");
    for list in ["containers", "initContainers"] {
        for (container, old) in munged.list_mut(list).iter_mut().zip(before.list(list)) {
            container.take_from("image", old);
        }
    }
    for field in ["activeDeadlineSeconds", "tolerations", "schedulingGates"] {
        munged.take_from(field, before);
    }
    if before.int("terminationGracePeriodSeconds") < 0 && munged.int("terminationGracePeriodSeconds") == 1 {
        munged.take_from("terminationGracePeriodSeconds", before);
    }
    if gated {
        // A gated pod has no node yet: it may still become more particular about which.
        for field in ["nodeSelector", "affinity"] {
            munged.take_from(field, before);
        }
    }
    if !same(&munged, before) {
        let changed: Vec<&String> = munged
            .entries("")
            .iter()
            .filter(|(name, value)| !same(value, before.at(name)))
            .map(|(name, _)| name)
            .chain(before.entries("").keys().filter(|name| !munged.has(name) && before.has(name)))
            .collect();
        let list = changed.iter().map(|name| format!("  spec.{name}\n")).collect::<String>();
        errors.push(Error::forbidden(&path, format!("{ALLOWED}\n{list}")));
    }
    errors
}

fn deadline(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let field = "spec.activeDeadlineSeconds";
    let at = path.child("activeDeadlineSeconds");
    match (new.at(field).as_i64(), old.at(field).as_i64()) {
        (Some(new), Some(old)) if new > old => {
            errors.push(Error::invalid(&at, new, "must be less than or equal to previous value"));
        }
        (None, Some(_)) => {
            errors.push(Error::invalid(&at, Value::Null, "must not update from a positive integer to nil value"))
        }
        _ => {}
    }
}

fn tolerations(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let now = new.list("spec.tolerations");
    let timeless = |t: &Value| {
        let mut t = t.clone();
        t.remove("tolerationSeconds");
        t
    };
    let kept = old.list("spec.tolerations").iter().all(|t| {
        let t = timeless(t);
        now.iter().any(|n| same(&timeless(n), &t))
    });
    if !kept {
        errors.push(Error::forbidden(
            &path.child("tolerations"),
            "existing toleration can not be modified except its tolerationSeconds",
        ));
    }
}

fn gates(errors: &mut ErrorList, path: &Path, new: &Value, old: &Value) {
    let known: BTreeSet<&str> = old.list("spec.schedulingGates").iter().map(|g| g.text("name")).collect();
    for (i, gate) in new.list("spec.schedulingGates").iter().enumerate() {
        let name = gate.text("name");
        if !known.contains(name) {
            let at = path.child("schedulingGates").index(i).child("name");
            let detail = "only deletion is allowed, but found new scheduling gate";
            errors.push(Error::forbidden(&at, format!("{detail} '{name}'")));
        }
    }
}

/// Warnings of a pod.
#[must_use]
pub fn warnings(pod: &Value) -> Vec<String> {
    spec_warnings(pod.at("spec"), "spec", pod)
}

/// Warnings of a workload's template.
#[must_use]
pub fn template_warnings(object: &Value) -> Vec<String> {
    spec_warnings(object.at("spec.template.spec"), "spec.template.spec", object.at("spec.template"))
}

/// Deprecated annotations and the fields that took their place.
const DEPRECATED: [(&str, &str); 2] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("seccomp.security.alpha.kubernetes.io/pod", "non-functional in v1.27+; use the \"seccompProfile\" field instead"),
];

fn spec_warnings(spec: &Value, path: &str, owner: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (key, text) in DEPRECATED {
        if owner.entries("metadata.annotations").contains_key(key) {
            warnings.push(format!("metadata.annotations[{key}]: {text}"));
        }
    }
    for label in ["beta.kubernetes.io/os", "beta.kubernetes.io/arch"] {
        if spec.entries("nodeSelector").contains_key(label) {
            let instead = label.trim_start_matches("beta.");
            warnings.push(format!("{path}.nodeSelector[{label}]: deprecated since v1.14; use \"{instead}\" instead"));
        }
    }
    for list in ["initContainers", "containers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            let at = format!("{path}.{list}[{i}]");
            let mut names = BTreeSet::new();
            for (j, variable) in container.list("env").iter().enumerate() {
                let name = variable.text("name");
                if !names.insert(name) {
                    warnings.push(format!(
                        "{at}.env[{j}]: hides previous definition of \"{name}\", which may be dropped when using apply"
                    ));
                }
            }
            let mut ports: Vec<(i64, &str)> = Vec::new();
            for (j, port) in container.list("ports").iter().enumerate() {
                let key = (port.int("containerPort"), port.text("protocol"));
                if let Some(first) = ports.iter().position(|p| *p == key) {
                    warnings.push(format!("{at}.ports[{j}]: duplicate port definition with {at}.ports[{first}]"));
                }
                ports.push(key);
            }
        }
    }
    if spec.at("terminationGracePeriodSeconds").as_i64().is_some_and(|s| s < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::strategy::pod::POD;
    use super::super::texts;
    use super::*;

    fn defaulted(spec: Value) -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": spec});
        POD.default.unwrap()(&mut pod);
        pod
    }

    fn check(spec: Value, expected: &[&str]) {
        assert_eq!(texts(&pod(&defaulted(spec))), expected);
    }

    #[test]
    fn containers() {
        check(json!({"containers": [{"name": "a", "image": "i"}]}), &[]);
        check(json!({}), &["spec.containers: Required value"]);
        check(
            json!({"containers": [{"name": "a", "image": "i"}, {"name": "a"}]}),
            &["spec.containers[1].image: Required value", "spec.containers[1].name: Duplicate value: \"a\""],
        );
        check(
            json!({"containers": [{"name": "a", "image": "i", "ports": [{"containerPort": 70000}, {"name": "x"}]}]}),
            &[
                "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.containers[0].ports[1].containerPort: Required value",
            ],
        );
        check(
            json!({"containers": [{"name": "a", "image": "i", "imagePullPolicy": "Sometimes"}], "restartPolicy": "No"}),
            &[
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
                 \"IfNotPresent\", \"Never\"",
                "spec.restartPolicy: Unsupported value: \"No\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        );
    }

    #[test]
    fn mounts_need_volumes() {
        check(
            json!({"containers": [{"name": "a", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}]}),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        );
        check(
            json!({"containers": [{"name": "a", "image": "i"}], "volumes": [{"name": "v", "configMap": {}}]}),
            &["spec.volumes[0].configMap.name: Required value"],
        );
    }

    #[test]
    fn resources_and_probes() {
        check(
            json!({"containers": [{"name": "a", "image": "i",
                "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}, "livenessProbe": {}}]}),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
            ],
        );
    }

    #[test]
    fn a_pod_hardly_changes() {
        let old = defaulted(json!({"containers": [{"name": "a", "image": "i"}]}));
        let mut new = old.clone();
        new["spec"]["containers"][0]["image"] = json!("j");
        new["spec"]["tolerations"] = json!([{"key": "k", "operator": "Exists"}]);
        assert_eq!(pod_update(&new, &old), vec![]);
        new["spec"]["containers"][0]["command"] = json!(["x"]);
        let errors = texts(&pod_update(&new, &old));
        assert_eq!(errors.len(), 1);
        assert!(
            errors[0].starts_with("spec: Forbidden: pod updates may not change fields other than `spec.containers")
        );
    }

    #[test]
    fn duplicates_are_warned_of() {
        let pod = json!({"spec": {"containers": [{"env": [{"name": "A"}, {"name": "A"}],
            "ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "TCP"}]}]}});
        assert_eq!(
            warnings(&pod),
            [
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ]
        );
    }
}
