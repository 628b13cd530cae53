//! Containers of a pod: names, images, ports, environment, resources.

use std::collections::{BTreeMap, BTreeSet};

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::pod_host::each_container;
use super::volume::Volumes;
use super::{
    named, pod_field, pod_resources, port_number, probe, required, required_name, required_one_of, restart_rules,
    security_context, volume, volume_source,
};

/// The ordinary containers, of which there must be one.
pub fn containers(errors: &mut ErrorList, path: &Path, spec: &Value, volumes: &Volumes<'_>) {
    let list = spec.list("containers");
    if list.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    let mut seen = BTreeSet::new();
    for (i, container) in list.iter().enumerate() {
        let path = path.index(i);
        common(errors, &path, container, volumes, spec);
        let name = container.text("name");
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        probe::lifecycle(errors, &path, container, spec.int("terminationGracePeriodSeconds"));
        probe::probes(errors, &path, container);
        restart_rules::of_container(errors, &path, container);
    }
    host_port_conflicts(errors, path, list);
}

/// Init containers; those that always restart are sidecars and may be probed.
pub fn init_containers(errors: &mut ErrorList, path: &Path, spec: &Value, volumes: &Volumes<'_>) {
    let mut seen: BTreeSet<&str> = spec.list("containers").iter().map(|c| c.text("name")).collect();
    let all = path;
    for (i, container) in spec.list("initContainers").iter().enumerate() {
        let path = all.index(i);
        common(errors, &path, container, volumes, spec);
        restart_rules::of_init_container(errors, &path, container);
        let name = container.text("name");
        if seen.contains(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        } else if !name.is_empty() {
            seen.insert(name);
        }
        // They run one by one, so each has the ports to itself; upstream calls it the first.
        host_port_conflicts(errors, all, std::slice::from_ref(container));
        if restart_rules::is_sidecar(container) {
            probe::lifecycle(errors, &path, container, spec.int("terminationGracePeriodSeconds"));
            probe::probes(errors, &path, container);
        } else {
            not_sidecar(errors, &path, container);
        }
    }
}

/// What only a sidecar among init containers may have.
fn not_sidecar(errors: &mut ErrorList, path: &Path, container: &Value) {
    for field in ["lifecycle", "livenessProbe", "readinessProbe", "startupProbe"] {
        if container.has(field) {
            let detail = "may not be set for init containers without restartPolicy=Always";
            errors.push(Error::forbidden(&path.child(field), detail));
        }
    }
    pod_resources::resize_of_init_container(errors, &path.child("resizePolicy"), container.list("resizePolicy"));
}

/// Fields that mean a container is relied on, as one for looking inside is not; in the order of the type.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resources",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];

/// Those for looking inside: a name that no other has, an image, and no promises.
pub fn ephemeral_containers(errors: &mut ErrorList, path: &Path, spec: &Value, volumes: &Volumes<'_>) {
    const DETAIL: &str = "cannot be set for an Ephemeral Container";
    let others: BTreeSet<&str> =
        ["containers", "initContainers"].iter().flat_map(|list| spec.list(list)).map(|c| c.text("name")).collect();
    let mut seen = others.clone();
    for (i, container) in spec.list("ephemeralContainers").iter().enumerate() {
        let path = path.index(i);
        common(errors, &path, container, volumes, spec);
        let (name, image) = (container.text("name"), container.text("image"));
        if image != image.trim() {
            let detail = "must not have leading or trailing whitespace";
            errors.push(Error::invalid(&path.child("image"), image, detail));
        }
        if !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let target = container.text("targetContainerName");
        if !target.is_empty() && !others.contains(target) {
            errors.push(Error::not_found(&path.child("targetContainerName"), target));
        }
        for field in NOT_EPHEMERAL {
            let set = match container.at(field) {
                Value::Array(list) => !list.is_empty(),
                Value::Object(amounts) if field == "resources" => !amounts.is_empty(),
                value => !value.is_null(),
            };
            if set {
                errors.push(Error::forbidden(&path.child(field), DETAIL));
            }
        }
        for (j, mount) in container.list("volumeMounts").iter().enumerate() {
            for field in ["subPath", "subPathExpr"].iter().filter(|field| !mount.text(field).is_empty()) {
                errors.push(Error::forbidden(&path.child("volumeMounts").index(j).child(field), DETAIL));
            }
        }
    }
}

fn common(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &Volumes<'_>, spec: &Value) {
    required_name(errors, &path.child("name"), container.text("name"), names::dns1123_label);
    let image = container.text("image");
    if image.is_empty() {
        errors.push(Error::required(&path.child("image"), ""));
    }
    required_one_of(
        errors,
        &path.child("terminationMessagePolicy"),
        container.text("terminationMessagePolicy"),
        &["File", "FallbackToLogsOnError"],
    );
    ports(errors, &path.child("ports"), container.list("ports"));
    env(errors, &path.child("env"), container.list("env"));
    env_from(errors, &path.child("envFrom"), container.list("envFrom"));
    volume::mounts(errors, path, container, volumes);
    volume::devices(errors, path, container, volumes);
    let policy = container.text("imagePullPolicy");
    required_one_of(errors, &path.child("imagePullPolicy"), policy, &["Always", "IfNotPresent", "Never"]);
    pod_resources::of_container(errors, &path.child("resources"), container.at("resources"), spec);
    let (resizes, restart) = (container.list("resizePolicy"), spec.text("restartPolicy"));
    pod_resources::resize_policy(errors, &path.child("resizePolicy"), resizes, restart);
    let host_users = spec.at("hostUsers") != false;
    security_context::of_container(errors, &path.child("securityContext"), container.at("securityContext"), host_users);
}

fn ports(errors: &mut ErrorList, path: &Path, ports: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().enumerate() {
        let path = path.index(i);
        let name = port.text("name");
        if !name.is_empty() {
            let before = errors.len();
            named(errors, &path.child("name"), name, names::port_name);
            if errors.len() == before && !seen.insert(name) {
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
                "fieldRef" => pod_field::field_ref(errors, &path, body, &pod_field::IN_ENVIRONMENT),
                "resourceFieldRef" => pod_field::resource_ref(errors, &path, body, false),
                "configMapKeyRef" | "secretKeyRef" => pod_field::key_ref(errors, &path, body),
                _ => file_key(errors, &path, body),
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

/// A line of a file that an init container has written.
fn file_key(errors: &mut ErrorList, path: &Path, body: &Value) {
    required_name(errors, &path.child("key"), body.text("key"), names::env_var_name);
    required_name(errors, &path.child("volumeName"), body.text("volumeName"), names::dns1123_label);
    required(errors, body, "path", path);
    volume_source::no_back_steps(errors, &path.child("path"), body.text("path"));
}

/// The files are in volumes that live and die with the pod.
pub fn file_volumes(errors: &mut ErrorList, path: &Path, spec: &Value) {
    let volumes: BTreeMap<&str, &Value> =
        spec.list("volumes").iter().map(|volume| (volume.text("name"), volume)).collect();
    for (at, container) in each_container(path, spec) {
        for (i, variable) in container.list("env").iter().enumerate() {
            let name = variable.text("valueFrom.fileKeyRef.volumeName");
            let at = at.child("env").index(i).child("valueFrom").child("fileKeyRef").child("volumeName");
            match volumes.get(name) {
                _ if !variable.has("valueFrom.fileKeyRef") => {}
                None => errors.push(Error::not_found(&at, name)),
                Some(volume) if !volume.has("emptyDir") => {
                    errors.push(Error::invalid(&at, name, "referenced volume must be of type emptyDir"));
                }
                Some(_) => {}
            }
        }
    }
}

fn env_from(errors: &mut ErrorList, all: &Path, sources: &[Value]) {
    for (i, source) in sources.iter().enumerate() {
        let path = all.index(i);
        if !source.text("prefix").is_empty() {
            named(errors, &path.child("prefix"), source.text("prefix"), names::env_var_name);
        }
        let given: Vec<&str> = ["configMapRef", "secretRef"].into_iter().filter(|s| source.has(s)).collect();
        for name in &given {
            let at = path.child(name).child("name");
            required_name(errors, &at, source.at(name).text("name"), names::dns1123_subdomain);
        }
        match given.len() {
            0 => errors.push(Error::invalid(all, "", "must specify one of: `configMapRef` or `secretRef`")),
            1 => {}
            _ => errors.push(Error::invalid(all, "", "may not have more than one field specified at a time")),
        }
    }
}
