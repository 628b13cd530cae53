//! Containers of a pod: names, images, ports, environment, resources.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{
    named, one_of, port_number, probe, quantity, quantity_text, required, required_name, required_one_of, volume,
};

/// The ordinary containers, of which there must be one.
pub fn containers(errors: &mut ErrorList, path: &Path, spec: &Value, volumes: &BTreeSet<&str>) {
    let list = spec.list("containers");
    if list.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, container) in list.iter().enumerate() {
        let path = path.index(i);
        common(errors, &path, container, volumes, spec.yes("hostNetwork"));
        let name = container.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        probe::lifecycle(errors, &path, container);
        probe::probes(errors, &path, container);
        let policy = container.text("restartPolicy");
        if !policy.is_empty() {
            one_of(errors, &path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
    }
    host_port_conflicts(errors, path, list);
}

/// Init containers; those that always restart are sidecars and may be probed.
pub fn init_containers(errors: &mut ErrorList, path: &Path, spec: &Value, volumes: &BTreeSet<&str>) {
    let mut seen: BTreeSet<&str> = spec.list("containers").iter().map(|c| c.text("name")).collect();
    for (i, container) in spec.list("initContainers").iter().enumerate() {
        let path = path.index(i);
        common(errors, &path, container, volumes, spec.yes("hostNetwork"));
        let name = container.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let policy = container.text("restartPolicy");
        if policy == "Always" {
            probe::lifecycle(errors, &path, container);
            probe::probes(errors, &path, container);
            continue;
        }
        if !policy.is_empty() {
            one_of(errors, &path.child("restartPolicy"), policy, &["Always", "Never", "OnFailure"]);
        }
        for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
            if container.has(field) {
                errors.push(Error::forbidden(
                    &path.child(field),
                    "may not be set for init containers without restartPolicy=Always",
                ));
            }
        }
    }
}

fn common(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &BTreeSet<&str>, host_network: bool) {
    required_name(errors, &path.child("name"), container.text("name"), names::dns1123_label);
    let image = container.text("image");
    if image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    } else if image != image.trim() {
        errors.push(Error::invalid(&path.child("image"), image, "must not have leading or trailing whitespace"));
    }
    required_one_of(
        errors,
        &path.child("terminationMessagePolicy"),
        container.text("terminationMessagePolicy"),
        &["FallbackToLogsOnError", "File"],
    );
    ports(errors, &path.child("ports"), container.list("ports"));
    if host_network {
        for (i, port) in container.list("ports").iter().enumerate() {
            if port.int("hostPort") != port.int("containerPort") {
                errors.push(Error::invalid(
                    &path.child("ports").index(i).child("containerPort"),
                    port.int("containerPort"),
                    "must match `hostPort` when `hostNetwork` is true",
                ));
            }
        }
    }
    env(errors, &path.child("env"), container.list("env"));
    env_from(errors, &path.child("envFrom"), container.list("envFrom"));
    volume::mounts(errors, path, container, volumes);
    if !image.is_empty() {
        let policy = container.text("imagePullPolicy");
        required_one_of(errors, &path.child("imagePullPolicy"), policy, &["Always", "IfNotPresent", "Never"]);
    }
    resources(errors, &path.child("resources"), container.at("resources"));
}

fn ports(errors: &mut ErrorList, path: &Path, ports: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = port.text("name");
        if !name.is_empty() {
            named(errors, &path.child("name"), name, names::port_name);
            if !seen.insert(name) {
                errors.push(Error::duplicate(&path.child("name"), name));
            }
        }
        match port.int("containerPort") {
            0 => errors.push(Error::required(&path.child("containerPort"), "")),
            number => port_number(errors, &path.child("containerPort"), number),
        }
        if port.int("hostPort") != 0 {
            port_number(errors, &path.child("hostPort"), port.int("hostPort"));
        }
        required_one_of(errors, &path.child("protocol"), port.text("protocol"), &["SCTP", "TCP", "UDP"]);
    }
}

fn host_port_conflicts(errors: &mut ErrorList, path: &Path, containers: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, container) in containers.iter().enumerate() {
        for (j, port) in container.list("ports").iter().enumerate().filter(|(_, p)| p.int("hostPort") != 0) {
            let key = format!("{}/{}/{}", port.text("protocol"), port.text("hostIP"), port.int("hostPort"));
            if !seen.insert(key.clone()) {
                errors.push(Error::duplicate(&path.index(i).child("ports").index(j).child("hostPort"), key));
            }
        }
    }
}

const ENV_SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

fn env(errors: &mut ErrorList, path: &Path, env: &[Value]) {
    for (i, variable) in env.iter().enumerate() {
        let path = path.index(i);
        required_name(errors, &path.child("name"), variable.text("name"), names::env_var_name);
        if variable.at("valueFrom").is_null() {
            continue;
        }
        let (from, path) = (variable.at("valueFrom"), path.child("valueFrom"));
        let given: Vec<&str> = ENV_SOURCES.into_iter().filter(|s| from.has(s)).collect();
        for source in &given {
            let (body, path) = (from.at(source), path.child(source));
            match *source {
                "fieldRef" => field_ref(errors, &path, body),
                "resourceFieldRef" => required(errors, body, "resource", &path),
                "configMapKeyRef" | "secretKeyRef" => {
                    required(errors, body, "name", &path);
                    required_name(errors, &path.child("key"), body.text("key"), names::config_map_key);
                }
                _ => {}
            }
        }
        if given.is_empty() {
            errors.push(Error::invalid(
                &path,
                "",
                "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
            ));
        } else if !variable.text("value").is_empty() {
            errors.push(Error::invalid(&path, "", "may not be specified when `value` is not empty"));
        } else if given.len() > 1 {
            errors.push(Error::invalid(&path, "", "may not have more than one field specified at a time"));
        }
    }
}

/// What the environment may be told about the pod, in upstream's order.
const ENV_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

fn field_ref(errors: &mut ErrorList, path: &Path, body: &Value) {
    required(errors, body, "apiVersion", path);
    let field = body.text("fieldPath");
    if field.is_empty() {
        errors.push(Error::required(&path.child("fieldPath"), ""));
        return;
    }
    if field.starts_with("metadata.labels['") || field.starts_with("metadata.annotations['") {
        return;
    }
    one_of(errors, &path.child("fieldPath"), field, &ENV_FIELDS);
}

fn env_from(errors: &mut ErrorList, path: &Path, sources: &[Value]) {
    for (i, source) in sources.iter().enumerate() {
        let path = path.index(i);
        if !source.text("prefix").is_empty() {
            named(errors, &path.child("prefix"), source.text("prefix"), names::env_var_name);
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|s| source.has(s)).collect();
        for name in &given {
            required(errors, source.at(name), "name", &path.child(name));
        }
        match given.len() {
            0 => errors.push(Error::invalid(&path, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(&path, "", "may not have more than one field specified at a time")),
        }
    }
}

pub fn resources(errors: &mut ErrorList, path: &Path, resources: &Value) {
    for list in ["limits", "requests"] {
        for (name, value) in resources.entries(list) {
            let at = path.child(list).key(name);
            resource_name(errors, &at, name);
            let Some(asked) = quantity(errors, &at, value) else { continue };
            if list == "limits" {
                continue;
            }
            let Some(limit_text) = resources.entries("limits").get(name).map(quantity_text) else { continue };
            let Ok(limit) = schema::quantity::Quantity::parse(&limit_text) else { continue };
            if asked.milli_value() > limit.milli_value() {
                errors.push(Error::invalid(
                    &path.child("requests"),
                    quantity_text(value),
                    format!("must be less than or equal to {name} limit of {limit_text}"),
                ));
            }
        }
    }
}

fn resource_name(errors: &mut ErrorList, path: &Path, name: &str) {
    named(errors, path, name, names::qualified_name);
    let standard = matches!(name, "cpu" | "memory" | "ephemeral-storage") || name.starts_with("hugepages-");
    if !name.contains('/') && !standard {
        errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
        errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
    }
}
