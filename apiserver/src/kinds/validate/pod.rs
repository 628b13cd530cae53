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
    volume::image_references(&mut errors, &spec().child("volumes"), pod.list("spec.volumes"));
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
    sysctls(errors, &path.child("securityContext").child("sysctls"), spec);
}

/// Kernel parameters: well named, each once, none of the host's (`validateSysctls`, `validateHostNetworkSysctls`).
fn sysctls(errors: &mut ErrorList, path: &Path, spec: &Value) {
    const FORMAT: &str =
        "[a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./]([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    const LENGTH: usize = 253;
    let word = |word: &str| {
        let ends = |byte: Option<&u8>| byte.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = word.as_bytes();
        let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
        ends(bytes.first()) && ends(bytes.last()) && bytes.iter().all(inner)
    };
    let mut seen = BTreeSet::new();
    for (i, sysctl) in spec.list("securityContext.sysctls").iter().enumerate() {
        let at = path.index(i).child("name");
        let name = sysctl.text("name");
        if name.is_empty() {
            errors.push(Error::required(&at, ""));
        } else if name.len() > LENGTH || !name.split(['.', '/']).all(word) {
            let detail = format!("must have at most {LENGTH} characters and match regex {FORMAT}");
            errors.push(Error::invalid(&at, name, detail));
        } else if !seen.insert(name) {
            errors.push(Error::duplicate(&at, name));
        }
        let shared = [
            ("hostNetwork", "net.", "may not be specified when 'hostNetwork' is true"),
            ("hostIPC", "kernel.shm", "may not be specified when 'hostIPC' is true"),
        ];
        for (field, prefix, detail) in shared {
            if spec.yes(field) && name.starts_with(prefix) {
                errors.push(Error::invalid(&at, name, detail));
            }
        }
    }
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
    fn kernel_parameters_are_well_named() {
        let spec = |names: &[&str]| {
            let list: Vec<Value> = names.iter().map(|name| json!({ "name": name, "value": "1" })).collect();
            json!({ "hostNetwork": true, "securityContext": { "sysctls": list } })
        };
        let check = |names: &[&str]| {
            let mut errors = ErrorList::new();
            sysctls(&mut errors, &Path::new("sysctls"), &spec(names));
            errors.len()
        };
        assert_eq!(check(&["kernel.shmmax", "safe-and-unsafe", "kernel/shm_rmid_forced"]), 0);
        assert_eq!(check(&["foo-", "bar..", "", "A.b", "kernel.x", "kernel.x", "net.a"]), 6);
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
    fn recursively_read_only_mounts_are_read_only() {
        let with = |mount: Value| {
            let mut mount = mount;
            mount["name"] = "v".into();
            mount["mountPath"] = "/v".into();
            let container = json!({"name": "a", "image": "i", "volumeMounts": [mount]});
            json!({"containers": [container], "volumes": [{"name": "v", "emptyDir": {}}]})
        };
        check(with(json!({"readOnly": true, "recursiveReadOnly": "Enabled"})), &[]);
        check(with(json!({"recursiveReadOnly": "Disabled"})), &[]);
        let path = "spec.containers[0].volumeMounts[0].recursiveReadOnly";
        let not_read_only = format!("{path}: Forbidden: may only be specified when readOnly is true");
        let propagated =
            format!("{path}: Forbidden: may only be specified when mountPropagation is None or not specified");
        let both = json!({"recursiveReadOnly": "IfPossible", "mountPropagation": "HostToContainer"});
        check(with(both), &[&not_read_only, &propagated]);
        let unknown =
            format!("{path}: Unsupported value: \"Yes\": supported values: \"Disabled\", \"Enabled\", \"IfPossible\"");
        check(with(json!({"recursiveReadOnly": "Yes"})), &[&unknown]);
    }

    #[test]
    fn image_volumes_name_their_image_in_pods() {
        let container = json!([{"name": "a", "image": "i"}]);
        let volumes =
            json!([{"name": "v", "image": {}}, {"name": "w", "image": {"reference": "x", "pullPolicy": "No"}}]);
        let policy = "spec.volumes[1].image.pullPolicy: Unsupported value: \"No\": supported values: \"Always\", \
                      \"IfNotPresent\", \"Never\"";
        let spec = json!({"containers": container, "volumes": volumes});
        check(spec.clone(), &[policy, "spec.volumes[0].image.reference: Required value"]);
        let mut errors = ErrorList::new();
        template(&mut errors, &Path::new("template"), &defaulted(spec));
        assert_eq!(texts(&errors), [format!("template.{policy}")]);
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
}
