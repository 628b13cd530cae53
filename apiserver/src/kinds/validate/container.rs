//! Containers of a pod: names, images, ports, environment, resources.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::Value;

use super::super::json::Json;
use super::{
    named, one_of, pod_field, port_number, probe, quantity, quantity_text, required, required_name, required_one_of,
    resource_name, resource_name::PAGES, security_context, volume, volume_source,
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
        common(errors, &path, container, volumes, spec);
        let name = container.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        probe::lifecycle(errors, &path, container, spec.int("terminationGracePeriodSeconds"));
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
        common(errors, &path, container, volumes, spec);
        let name = container.text("name");
        if !name.is_empty() && !seen.insert(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        let policy = container.text("restartPolicy");
        if policy == "Always" {
            probe::lifecycle(errors, &path, container, spec.int("terminationGracePeriodSeconds"));
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

/// Fields that mean a container is relied on, as one for looking inside is not; in the order of the type.
const NOT_EPHEMERAL: [&str; 9] = [
    "ports",
    "resizePolicy",
    "restartPolicy",
    "restartPolicyRules",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "resources",
];

/// Those for looking inside: a name that no other has, an image, and no promises.
pub fn ephemeral_containers(errors: &mut ErrorList, path: &Path, spec: &Value, volumes: &BTreeSet<&str>) {
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

fn common(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &BTreeSet<&str>, spec: &Value) {
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
    if spec.yes("hostNetwork") {
        for (i, port) in container.list("ports").iter().enumerate() {
            // In a template it may be left to the pods' defaults.
            let host = port.int("hostPort");
            if host != 0 && host != port.int("containerPort") {
                errors.push(Error::invalid(
                    &path.child("ports").index(i).child("hostPort"),
                    host,
                    "must match `containerPort` when `hostNetwork` is true",
                ));
            }
        }
    }
    env(errors, &path.child("env"), container.list("env"), volumes);
    env_from(errors, &path.child("envFrom"), container.list("envFrom"));
    volume::mounts(errors, path, container, volumes);
    let policy = container.text("imagePullPolicy");
    if !image.is_empty() || !policy.is_empty() {
        required_one_of(errors, &path.child("imagePullPolicy"), policy, &["Always", "IfNotPresent", "Never"]);
    }
    resources(errors, &path.child("resources"), container.at("resources"));
    resource_claims(errors, &path.child("resources").child("claims"), container.list("resources.claims"), spec);
    resize_policy(errors, &path.child("resizePolicy"), container.list("resizePolicy"));
    let host_users = spec.at("hostUsers") != false;
    security_context::of_container(errors, &path.child("securityContext"), container.at("securityContext"), host_users);
}

/// The devices a container shares with others of its pod, or a request of them.
fn resource_claims(errors: &mut ErrorList, path: &Path, claims: &[Value], spec: &Value) {
    let mut known: Vec<&str> = spec.list("resourceClaims").iter().map(|claim| claim.text("name")).collect();
    known.retain(|name| !name.is_empty());
    known.sort_unstable();
    let mut seen = BTreeSet::new();
    for (i, claim) in claims.iter().enumerate() {
        let path = path.index(i);
        let (name, request) = (claim.text("name"), claim.text("request"));
        if name.is_empty() {
            errors.push(Error::required(&path, ""));
        } else {
            let full = if request.is_empty() { name.to_owned() } else { format!("{name}/{request}") };
            if !seen.insert(full.clone()) {
                errors.push(Error::duplicate(&path, full));
            }
            if !known.contains(&name) {
                let mut error = Error::not_found(&path, name);
                error.detail = if known.is_empty() {
                    "must be one of the names in pod.spec.resourceClaims which is empty".to_owned()
                } else {
                    format!("must be one of the names in pod.spec.resourceClaims: {}", known.join(", "))
                };
                errors.push(error);
            }
        }
        if !request.is_empty() {
            named(errors, &path.child("request"), request, names::dns1123_label);
        }
    }
}

/// What becomes of a container when its resources change; upstream does not count the rules.
fn resize_policy(errors: &mut ErrorList, path: &Path, rules: &[Value]) {
    let mut seen = BTreeSet::new();
    for (i, rule) in rules.iter().enumerate() {
        let resource = rule.text("resourceName");
        if !seen.insert(resource) {
            errors.push(Error::duplicate(&path.index(i), resource));
        }
        required_one_of(errors, path, resource, &["cpu", "memory"]);
        required_one_of(errors, path, rule.text("restartPolicy"), &["NotRequired", "RestartContainer"]);
    }
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

fn env(errors: &mut ErrorList, path: &Path, env: &[Value], volumes: &BTreeSet<&str>) {
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
        if from.has("fileKeyRef") && !volumes.contains(from.text("fileKeyRef.volumeName")) {
            let at = path.child("fileKeyRef").child("volumeName");
            errors.push(Error::not_found(&at, from.text("fileKeyRef.volumeName")));
        }
    }
}

/// A line of a file that an init container has written.
fn file_key(errors: &mut ErrorList, path: &Path, body: &Value) {
    required_name(errors, &path.child("key"), body.text("key"), names::env_var_name);
    required(errors, body, "volumeName", path);
    required(errors, body, "path", path);
    volume_source::file_path(errors, &path.child("path"), body.text("path"));
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

/// The resources of a container, or of a whole pod.
pub fn resources(errors: &mut ErrorList, path: &Path, resources: &Value) {
    let (limits, requests) = (resources.entries("limits"), resources.entries("requests"));
    let (mut pages, mut others) = (false, false);
    let mut note = |name: &str| {
        pages |= name.starts_with(PAGES);
        others |= matches!(name, "cpu" | "memory");
    };
    for (name, value) in limits {
        let at = path.child("limits").key(name);
        resource_name::of_container(errors, &at, name);
        amount(errors, &at, name, value);
        whole_pages(errors, &at, name, value);
        note(name);
    }
    for (name, value) in requests {
        let (at, all) = (path.child("requests").key(name), path.child("requests"));
        resource_name::of_container(errors, &at, name);
        let asked = amount(errors, &at, name, value);
        note(name);
        let exact = !overcommits(name);
        match limits.get(name) {
            Some(limit_text) => {
                let limit_text = quantity_text(limit_text);
                let compared = asked.zip(Quantity::parse(&limit_text).ok());
                let detail = match compared {
                    Some((asked, limit)) if exact && asked != limit => "must be equal to",
                    Some((asked, limit)) if asked > limit => "must be less than or equal to",
                    _ => "",
                };
                if !detail.is_empty() {
                    let detail = format!("{detail} {name} limit of {limit_text}");
                    errors.push(Error::invalid(&all, quantity_text(value), detail));
                }
            }
            None if exact => {
                let detail = "Limit must be set for non overcommitable resources";
                errors.push(Error::required(&path.child("limits"), detail));
            }
            None => {}
        }
        whole_pages(errors, &at, name, value);
    }
    if pages && !others {
        errors.push(Error::forbidden(path, "HugePages require cpu or memory"));
    }
}

/// Resources of Kubernetes itself may be promised more than once; others, and large pages, may not.
fn overcommits(name: &str) -> bool {
    resource_name::is_native(name) && !name.starts_with(PAGES)
}

/// How much of a resource; what can only be had in whole is asked for in whole.
fn amount(errors: &mut ErrorList, path: &Path, name: &str, value: &Value) -> Option<Quantity> {
    let asked = quantity(errors, path, value)?;
    let text = quantity_text(value);
    if name.contains('/') && asked.milli_value() % 1000 != 0 {
        errors.push(Error::invalid(path, text, "must be an integer"));
    }
    Some(asked)
}

/// Large pages are had as a whole.
fn whole_pages(errors: &mut ErrorList, path: &Path, name: &str, value: &Value) {
    let text = quantity_text(value);
    let size = name.strip_prefix(PAGES).and_then(|size| Quantity::parse(size).ok()).map(|size| size.value());
    let (Some(size), Ok(asked)) = (size, Quantity::parse(&text)) else { return };
    if size <= 0 || asked.value() % size != 0 {
        let detail = format!("{text} is not positive integer multiple of {name}");
        errors.push(Error::invalid(path, text, detail));
    }
}
