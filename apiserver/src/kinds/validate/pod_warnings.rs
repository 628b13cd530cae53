//! What is legal in a pod and yet probably a mistake (`pkg/api/pod/warnings.go`).

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::json::Json;
use super::{address, pod_annotations, volume_warnings};

/// Warnings of a pod.
#[must_use]
pub fn pod(pod: &Value) -> Vec<String> {
    of(pod, "")
}

/// Warnings of a workload's template.
#[must_use]
pub fn template(object: &Value) -> Vec<String> {
    template_at(object, "spec.template")
}

/// Warnings of a template at `path`.
#[must_use]
pub fn template_at(object: &Value, path: &str) -> Vec<String> {
    of(object.at(path), &format!("{path}."))
}

/// Deprecated annotations and the fields that took their place.
const CRITICAL: (&str, &str) = (
    "scheduler.alpha.kubernetes.io/critical-pod",
    "non-functional in v1.16+; use the \"priorityClassName\" field instead",
);
const SECCOMP_WARNING: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

/// Warnings of a pod, or of a template, before whose fields `prefix` is put.
fn of(pod: &Value, prefix: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let (spec, path) = (pod.at("spec"), format!("{prefix}spec"));
    let path = path.as_str();
    let annotations = pod.entries("metadata.annotations");
    let mut deprecated = |key: &str, text: &str| {
        if annotations.contains_key(key) {
            warnings.push(format!("{prefix}metadata.annotations[{key}]: {text}"));
        }
    };
    deprecated(CRITICAL.0, CRITICAL.1);
    if !spec.has("securityContext.seccompProfile") {
        deprecated(pod_annotations::POD_SECCOMP, SECCOMP_WARNING);
    }
    let template = !prefix.is_empty();
    for container in pod_annotations::CONTAINERS.iter().flat_map(|list| spec.list(list)) {
        let name = container.text("name");
        if !container.has("securityContext.seccompProfile") {
            deprecated(&format!("{}{name}", pod_annotations::SECCOMP), SECCOMP_WARNING);
        }
        let key = format!("{}{name}", pod_annotations::APP_ARMOR);
        // Of a pod's, fields are made.
        if template && !container.has("securityContext.appArmorProfile") {
            let said = annotations.get(&key).and_then(Value::as_str).and_then(pod_annotations::app_armor_field);
            if said.is_none_or(|said| said != *spec.at("securityContext.appArmorProfile")) {
                deprecated(&key, pod_annotations::APP_ARMOR_WARNING);
            }
        }
    }
    for label in ["beta.kubernetes.io/os", "beta.kubernetes.io/arch"] {
        if spec.entries("nodeSelector").contains_key(label) {
            let instead = label.trim_start_matches("beta.");
            warnings.push(format!("{path}.nodeSelector[{label}]: deprecated since v1.14; use \"{instead}\" instead"));
        }
    }
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        selector(&mut warnings, &format!("{path}.topologySpreadConstraints[{i}]"), constraint);
    }
    volumes(&mut warnings, spec, path);
    twice(&mut warnings, path, spec.list("imagePullSecrets"), "imagePullSecrets", "name");
    for (i, _) in spec.list("imagePullSecrets").iter().enumerate().filter(|(_, secret)| secret.text("name").is_empty())
    {
        warnings.push(format!("{path}.imagePullSecrets[{i}].name: invalid empty name \"\""));
    }
    twice(&mut warnings, path, spec.list("hostAliases"), "hostAliases", "ip");
    for list in ["initContainers", "containers"] {
        for (i, container) in spec.list(list).iter().enumerate() {
            let at = format!("{path}.{list}[{i}]");
            for amounts in ["limits", "requests"] {
                for name in ["memory", "ephemeral-storage"] {
                    let value = container.at("resources").at(amounts).at(name);
                    if !value.is_null() {
                        volume_warnings::fraction(&mut warnings, &format!("{at}.resources.{amounts}"), name, value);
                    }
                }
            }
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
                if !port.text("hostIP").is_empty() && port.int("hostPort") == 0 {
                    warnings.push(format!(
                        "{at}.ports[{j}]: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} \
                         HostIP:{}}}",
                        port.text("name"),
                        port.int("containerPort"),
                        port.text("protocol"),
                        port.text("hostIP")
                    ));
                }
            }
        }
    }
    if spec.at("terminationGracePeriodSeconds").as_i64().is_some_and(|s| s < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    affinities(&mut warnings, spec, path);
    for (i, server) in spec.texts("dnsConfig.nameservers").into_iter().enumerate() {
        warnings.extend(address::ip_warning(format_args!("{path}.dnsConfig.nameservers[{i}]"), server));
    }
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        warnings.extend(address::ip_warning(format_args!("{path}.hostAliases[{i}].ip"), alias.text("ip")));
    }
    warnings
}

/// No selector means that no pod is meant.
fn selector(warnings: &mut Vec<String>, at: &str, term: &Value) {
    if !term.has("labelSelector") {
        warnings.push(format!("{at}.labelSelector: a null labelSelector results in matching no pod"));
    }
}

fn affinities(warnings: &mut Vec<String>, spec: &Value, path: &str) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let affinity = spec.at("affinity").at(kind);
        for (list, below) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", ".podAffinityTerm"),
        ] {
            for (i, term) in affinity.list(list).iter().enumerate() {
                let term = if below.is_empty() { term } else { term.at("podAffinityTerm") };
                selector(warnings, &format!("{path}.affinity.{kind}.{list}[{i}]{below}"), term);
            }
        }
    }
}

fn volumes(warnings: &mut Vec<String>, spec: &Value, path: &str) {
    for (i, volume) in spec.list("volumes").iter().enumerate() {
        let at = format!("{path}.volumes[{i}]");
        volume_warnings::source(warnings, &at, volume);
        let claim = volume.at("ephemeral.volumeClaimTemplate.spec");
        volume_warnings::claim_spec(warnings, &format!("{at}.ephemeral.volumeClaimTemplate.spec.resources"), claim);
        // A source that says nothing is none.
        let given = |source: &Value| source.entries("").values().any(Value::is_object);
        if volume.has("projected") && !volume.list("projected.sources").iter().any(given) {
            warnings.push(format!("volume {:?} (Projected) has no sources provided", volume.text("name")));
        }
    }
}

/// What a list has twice although its items are known by `field`.
fn twice(warnings: &mut Vec<String>, path: &str, list: &[Value], name: &str, field: &str) {
    let mut seen = BTreeSet::new();
    for (i, item) in list.iter().enumerate() {
        let value = item.text(field);
        if !seen.insert(value) {
            warnings.push(format!("{path}.{name}[{i}].{field}: duplicate {field} {value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn terms_without_a_selector_are_warned_of() {
        let term = |kind: &str| {
            json!({ "requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": kind}],
            "preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"labelSelector": {}}}, {"podAffinityTerm": {}}] })
        };
        let object = json!({"spec": {"template": {"spec": {"topologySpreadConstraints": [{"labelSelector": {}}, {"maxSkew": 1}],
            "affinity": {"podAntiAffinity": term("a")}}}}});
        let terms = "spec.template.spec.affinity.podAntiAffinity";
        let expected = [
            "spec.template.spec.topologySpreadConstraints[1]".to_owned(),
            format!("{terms}.requiredDuringSchedulingIgnoredDuringExecution[0]"),
            format!("{terms}.preferredDuringSchedulingIgnoredDuringExecution[1].podAffinityTerm"),
        ];
        let expected =
            expected.map(|at| format!("{at}.labelSelector: a null labelSelector results in matching no pod"));
        assert_eq!(template(&object), expected);
    }

    #[test]
    fn annotations_of_old_are_warned_of() {
        let key = |prefix: &str| format!("{prefix}c");
        let of = json!({"metadata": {"annotations": {pod_annotations::POD_SECCOMP: "unconfined",
                key(pod_annotations::SECCOMP): "unconfined", key(pod_annotations::APP_ARMOR): "unconfined"}},
            "spec": {"containers": [{"name": "c"}]}});
        let at = |prefix: &str, key: &str, text: &str| format!("{prefix}metadata.annotations[{key}]: {text}");
        let seccomp = |prefix: &str| {
            let container = key(pod_annotations::SECCOMP);
            vec![at(prefix, pod_annotations::POD_SECCOMP, SECCOMP_WARNING), at(prefix, &container, SECCOMP_WARNING)]
        };
        assert_eq!(pod(&of), seccomp(""));
        let mut expected = seccomp("spec.template.");
        expected.push(at("spec.template.", &key(pod_annotations::APP_ARMOR), pod_annotations::APP_ARMOR_WARNING));
        assert_eq!(template(&json!({"spec": {"template": of}})), expected);
        let fields = json!({"seccompProfile": {"type": "Unconfined"}, "appArmorProfile": {"type": "Unconfined"}});
        let mut said = of.clone();
        said["spec"]["securityContext"] = fields.clone();
        said["spec"]["containers"][0]["securityContext"] = fields;
        assert_eq!(template_at(&json!({"template": said}), "template"), Vec::<String>::new());
    }

    #[test]
    fn duplicates_are_warned_of() {
        let object = json!({"spec": {"containers": [{"env": [{"name": "A"}, {"name": "A"}],
            "ports": [{"containerPort": 1, "protocol": "TCP"}, {"containerPort": 1, "protocol": "TCP"}]}]}});
        assert_eq!(
            pod(&object),
            [
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ]
        );
    }
}
