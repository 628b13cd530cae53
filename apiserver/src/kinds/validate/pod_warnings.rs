//! What is legal in a pod and yet probably a mistake (`pkg/api/pod/warnings.go`).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::super::json::Json;
use super::pod_annotations::{self, APP_ARMOR, APP_ARMOR_WARNING, POD_SECCOMP, SECCOMP};
use super::{address, node_labels, path_overlaps, volume_warnings};

/// Warnings of a pod.
#[must_use]
pub fn pod(pod: &Value) -> Vec<String> {
    of(pod, "")
}

/// Warnings of a workload's template.
#[must_use]
pub fn template(object: &Value) -> Vec<String> {
    of(object.at("spec.template"), "spec.template.")
}

/// Warnings of a PodTemplate.
#[must_use]
pub fn pod_template(object: &Value) -> Vec<String> {
    of(object.at("template"), "template.")
}

/// What is counted in bytes, which come in whole.
const WHOLE: [&str; 2] = ["memory", "ephemeral-storage"];

/// Annotations that mean nothing any more, and the fields that took their place.
const DEPRECATED: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];

/// Warnings of a pod, or of the template at `at`, which ends with a dot.
#[must_use]
pub fn of(pod: &Value, at: &str) -> Vec<String> {
    let mut warnings = Vec::new();
    let (spec, path) = (pod.at("spec"), format!("{at}spec"));
    nodes(&mut warnings, spec, &path);
    let annotations = pod.entries("metadata.annotations");
    let annotation = |key: &str, text: &str| format!("{at}metadata.annotations[{key}]: {text}");
    let old = DEPRECATED.iter().filter(|(key, _)| annotations.contains_key(*key));
    warnings.extend(old.map(|(key, text)| annotation(key, text)));
    volumes(&mut warnings, spec, &path);
    twice(&mut warnings, &path, spec.list("hostAliases"), "hostAliases", "ip");
    let secrets = spec.list("imagePullSecrets");
    twice(&mut warnings, &path, secrets, "imagePullSecrets", "name");
    for (i, _) in secrets.iter().enumerate().filter(|(_, secret)| secret.text("name").is_empty()) {
        warnings.push(format!("{path}.imagePullSecrets[{i}].name: invalid empty name \"\""));
    }
    for resource in WHOLE {
        fraction(&mut warnings, &format!("{path}.overhead"), spec.at("overhead"), resource);
    }
    let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
    if annotations.contains_key(POD_SECCOMP) && !spec.has("securityContext.seccompProfile") {
        warnings.push(annotation(POD_SECCOMP, seccomp));
    }
    for (place, container) in containers(spec, &path) {
        let key = format!("{SECCOMP}{}", container.text("name"));
        if annotations.contains_key(&key) && !container.has("securityContext.seccompProfile") {
            warnings.push(annotation(&key, seccomp));
        }
        // A pod's own becomes a field, and is warned of then.
        let key = format!("{APP_ARMOR}{}", container.text("name"));
        if let Some(text) = annotations.get(&key).filter(|_| !at.is_empty())
            && !container.has("securityContext.appArmorProfile")
            && !pod_annotations::says(text.as_str().unwrap_or_default(), spec.at("securityContext.appArmorProfile"))
        {
            warnings.push(annotation(&key, APP_ARMOR_WARNING));
        }
        for resource in WHOLE {
            for amounts in ["limits", "requests"] {
                let (at, amounts) = (format!("{place}.resources.{amounts}"), container.at("resources").at(amounts));
                fraction(&mut warnings, &at, amounts, resource);
            }
        }
        environment(&mut warnings, &place, container);
    }
    ports(&mut warnings, spec, &path);
    if spec.at("terminationGracePeriodSeconds").as_i64().is_some_and(|s| s < 0) {
        warnings.push(format!(
            "{path}.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
        ));
    }
    affinities(&mut warnings, spec, &path);
    for (i, server) in spec.texts("dnsConfig.nameservers").into_iter().enumerate() {
        warnings.extend(address::ip_warning(format_args!("{path}.dnsConfig.nameservers[{i}]"), server));
    }
    for (i, alias) in spec.list("hostAliases").iter().enumerate() {
        warnings.extend(address::ip_warning(format_args!("{path}.hostAliases[{i}].ip"), alias.text("ip")));
    }
    warnings
}

/// All containers of a spec, with where they are.
fn containers<'a>(spec: &'a Value, path: &'a str) -> impl Iterator<Item = (String, &'a Value)> {
    ["initContainers", "containers", "ephemeralContainers"].into_iter().flat_map(move |list| {
        spec.list(list).iter().enumerate().map(move |(i, container)| (format!("{path}.{list}[{i}]"), container))
    })
}

/// Labels by which nodes are chosen.
fn nodes(warnings: &mut Vec<String>, spec: &Value, path: &str) {
    for label in spec.entries("nodeSelector").keys() {
        node_labels::key(warnings, format_args!("{path}.nodeSelector[{label}]"), label);
    }
    let affinity = spec.at("affinity.nodeAffinity");
    let required = "requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms";
    for (i, term) in affinity.list(required).iter().enumerate() {
        node_labels::term(warnings, &format!("{path}.affinity.nodeAffinity.{required}[{i}]"), term, false);
    }
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    for (i, term) in affinity.list(preferred).iter().enumerate() {
        let at = format!("{path}.affinity.nodeAffinity.{preferred}[{i}].preference");
        node_labels::term(warnings, &at, term.at("preference"), true);
    }
    for (i, constraint) in spec.list("topologySpreadConstraints").iter().enumerate() {
        let at = format!("{path}.topologySpreadConstraints[{i}]");
        node_labels::value(warnings, format_args!("{at}.topologyKey"), constraint.text("topologyKey"));
        selector(warnings, &at, constraint);
    }
}

fn fraction(warnings: &mut Vec<String>, path: &str, amounts: &Value, resource: &str) {
    let amount = amounts.at(resource);
    if !amount.is_null() {
        volume_warnings::fraction(warnings, path, resource, amount);
    }
}

/// A variable given again may add to the one before; otherwise that one is lost.
fn environment(warnings: &mut Vec<String>, place: &str, container: &Value) {
    let mut names = BTreeSet::new();
    for (i, variable) in container.list("env").iter().enumerate() {
        let (name, value) = (variable.text("name"), variable.text("value"));
        let reference = format!("$({name})");
        let adds = !variable.has("valueFrom") && value != reference && value.contains(&reference);
        if !names.insert(name) && !adds {
            warnings.push(format!(
                "{place}.env[{i}]: hides previous definition of {name:?}, which may be dropped when using apply"
            ));
        }
    }
}

/// Ports of all containers are one pod's, and so are their names.
fn ports(warnings: &mut Vec<String>, spec: &Value, path: &str) {
    let mut all: Vec<(String, &Value)> = Vec::new();
    for (place, container) in containers(spec, path) {
        let ports = container.list("ports").iter().enumerate();
        all.extend(ports.map(|(i, port)| (format!("{place}.ports[{i}]"), port)));
    }
    let mut by_number: BTreeMap<(i64, &str), Vec<(&str, &Value)>> = BTreeMap::new();
    for (place, port) in &all {
        let (host, ip) = (port.int("hostPort"), port.text("hostIP"));
        if !ip.is_empty() && host == 0 {
            warnings.push(format!(
                "{place}: hostIP set without hostPort: {{Name:{} HostPort:0 ContainerPort:{} Protocol:{} HostIP:{ip}}}",
                port.text("name"),
                port.int("containerPort"),
                port.text("protocol"),
            ));
        }
        let others = by_number.entry((port.int("containerPort"), port.text("protocol"))).or_default();
        for (first, other) in &*others {
            let (other_host, other_ip) = (other.int("hostPort"), other.text("hostIP"));
            let how = if ip == other_ip && host == other_host {
                "duplicate"
            } else if host == 0 || other_host == 0 {
                "overlapping"
            } else if host == other_host && (ip.is_empty() != other_ip.is_empty()) {
                "dangerously ambiguous"
            } else {
                continue;
            };
            warnings.push(format!("{place}: {how} port definition with {first}"));
        }
        others.push((place, port));
    }
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    for (place, port) in all.iter().filter(|(_, port)| !port.text("name").is_empty()) {
        let name = port.text("name");
        let first = *names.entry(name).or_insert(place);
        if first != place {
            warnings.push(format!(
                "{place}: duplicate port name {name:?} with {first}, services and probes that select ports by name will use \
                 {first}"
            ));
        }
    }
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
    }
    for volume in spec.list("volumes") {
        path_overlaps::volume(warnings, volume);
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

    /// Warnings of a pod whose containers are these, without the place of the first.
    fn of_containers(containers: Value) -> Vec<String> {
        pod(&json!({"spec": {"containers": containers}}))
    }

    #[test]
    fn ports_of_all_containers_are_one_pods() {
        let port = |more: Value| {
            let mut port = json!({"containerPort": 80, "protocol": "TCP"});
            port.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"ports": [port]})
        };
        let cases = [
            (json!({}), json!({}), Some("duplicate port definition")),
            (json!({}), json!({"protocol": "UDP"}), None),
            (json!({"hostPort": 1}), json!({}), Some("overlapping port definition")),
            (json!({"hostPort": 1}), json!({"hostPort": 2}), None),
            (
                json!({"hostPort": 1, "hostIP": "10.0.0.1"}),
                json!({"hostPort": 1}),
                Some("dangerously ambiguous port definition"),
            ),
        ];
        for (one, other, expected) in cases {
            let expected =
                expected.map(|how| format!("spec.containers[1].ports[0]: {how} with spec.containers[0].ports[0]"));
            assert_eq!(of_containers(json!([port(one), port(other)])), Vec::from_iter(expected));
        }
        let named = |number: i64| port(json!({"name": "http", "containerPort": number}));
        let first = "spec.containers[0].ports[0]";
        assert_eq!(
            of_containers(json!([named(80), named(81)])),
            [format!(
                "spec.containers[1].ports[0]: duplicate port name \"http\" with {first}, services and probes that select ports \
                 by name will use {first}"
            )]
        );
    }

    #[test]
    fn a_variable_may_add_to_the_one_before() {
        for (again, lost) in [
            (json!({"value": "$(A):b"}), false),
            (json!({"value": "$(A)"}), true),
            (json!({"value": "b"}), true),
            (json!({"value": "$(A):b", "valueFrom": {}}), true),
        ] {
            let mut again = again;
            again["name"] = "A".into();
            let warnings = of_containers(json!([{"env": [{"name": "A", "value": "a"}, again]}]));
            assert_eq!(warnings.len(), usize::from(lost), "{again}");
        }
    }

    #[test]
    fn annotations_of_old() {
        let containers = json!([{"name": "c"}, {"name": "d", "securityContext":
            {"appArmorProfile": {"type": "Unconfined"}, "seccompProfile": {"type": "Unconfined"}}}]);
        let annotations: serde_json::Map<_, _> = ["c", "d"]
            .into_iter()
            .flat_map(|name| {
                [(format!("{APP_ARMOR}{name}"), json!("unconfined")), (format!("{SECCOMP}{name}"), json!("x"))]
            })
            .chain([(POD_SECCOMP.to_owned(), json!("x")), (DEPRECATED[0].0.to_owned(), json!("x"))])
            .collect();
        let mut owner = json!({"metadata": {"annotations": annotations}, "spec": {"containers": containers}});
        let seccomp = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
        let armor = format!("{APP_ARMOR}c]: deprecated since v1.30; use the \"appArmorProfile\" field instead");
        let [old, pod_seccomp, of_c] = [
            format!("{}]: {}", DEPRECATED[0].0, DEPRECATED[0].1),
            format!("{POD_SECCOMP}]: {seccomp}"),
            format!("{SECCOMP}c]: {seccomp}"),
        ];
        let expected = |at: &str, all: &[&String]| {
            Vec::from_iter(all.iter().map(|text| format!("{at}metadata.annotations[{text}")))
        };
        assert_eq!(pod(&owner), expected("", &[&old, &pod_seccomp, &of_c]));
        let workload = json!({"spec": {"template": owner}});
        assert_eq!(template(&workload), expected("spec.template.", &[&old, &pod_seccomp, &of_c, &armor]));
        owner["spec"]["securityContext"] = json!({"appArmorProfile": {"type": "Unconfined"}});
        let said = json!({"template": owner});
        assert_eq!(pod_template(&said), expected("template.", &[&old, &pod_seccomp, &of_c]));
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
