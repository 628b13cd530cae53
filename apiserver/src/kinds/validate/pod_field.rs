//! What containers may be told of their pod: its own fields, and their resources
//! (`validateObjectFieldSelector`, `validateContainerResourceFieldSelector`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::Value;

use super::super::json::Json;
use super::{named, one_of, quantity_text, required};

/// The fields an environment variable may show.
pub const IN_ENVIRONMENT: [&str; 9] = [
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

/// Those a file may show.
pub const IN_VOLUMES: [&str; 5] =
    ["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];

/// What field labels there are besides, none of which anything may show.
const OTHER_LABELS: [&str; 4] = ["spec.host", "spec.restartPolicy", "spec.schedulerName", "status.phase"];

/// `path['subscript']` taken apart.
fn subscripted(text: &str) -> Option<(&str, &str)> {
    text.strip_suffix("']")?.split_once("['").filter(|(path, _)| !path.is_empty())
}

/// Whether the label is one of pods, as their conversion has it.
fn convert(version: &str, label: &str) -> Result<(), String> {
    if version != "v1" {
        return Err(format!("unsupported pod version: {version}"));
    }
    let known = match subscripted(label) {
        Some(("metadata.annotations" | "metadata.labels", _)) => true,
        Some(_) => return Err(format!("field label does not support subscript: {label}")),
        None => IN_ENVIRONMENT.contains(&label) || IN_VOLUMES.contains(&label) || OTHER_LABELS.contains(&label),
    };
    if known { Ok(()) } else { Err(format!("field label not supported: {label}")) }
}

/// A field of the pod, of which `supported` may be shown, and single labels and annotations.
pub fn field_ref(errors: &mut ErrorList, path: &Path, body: &Value, supported: &[&str]) {
    let (version, field) = (body.text("apiVersion"), body.text("fieldPath"));
    for name in ["apiVersion", "fieldPath"] {
        if body.text(name).is_empty() {
            required(errors, body, name, path);
            return;
        }
    }
    let at = path.child("fieldPath");
    if let Err(error) = convert(version, field) {
        errors.push(Error::invalid(&at, field, format!("error converting fieldPath: {error}")));
    } else if let Some((of, key)) = subscripted(field) {
        // Keys of annotations are looked at without their case.
        let lowered = key.to_lowercase();
        let checked = if of == "metadata.annotations" { lowered.as_str() } else { key };
        named(errors, path, checked, names::qualified_name);
    } else {
        // Old clients call it so.
        let field = if field == "spec.host" { "spec.nodeName" } else { field };
        one_of(errors, &at, field, supported);
    }
}

const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

const BYTES: &str = "1, 1k, 1M, 1G, 1T, 1P, 1E, 1Ki, 1Mi, 1Gi, 1Ti, 1Pi, 1Ei";

/// A resource of a container; a file must say of which.
pub fn resource_ref(errors: &mut ErrorList, path: &Path, body: &Value, in_volume: bool) {
    let resource = body.text("resource");
    let huge = ["limits.hugepages-", "requests.hugepages-"].iter().any(|prefix| resource.starts_with(prefix));
    if in_volume && body.text("containerName").is_empty() {
        errors.push(Error::required(&path.child("containerName"), ""));
    } else if resource.is_empty() {
        errors.push(Error::required(&path.child("resource"), ""));
    } else if !RESOURCES.contains(&resource) && !huge {
        errors.push(Error::not_supported(&path.child("resource"), resource, &RESOURCES));
    }
    let Ok(divisor) = Quantity::parse(&quantity_text(body.at("divisor"))) else { return };
    if divisor.is_zero() {
        return;
    }
    let what = ["limits.", "requests."].iter().find_map(|prefix| resource.strip_prefix(prefix)).unwrap_or_default();
    let (units, name) = match what {
        "cpu" => ("1m and 1", "cpu"),
        "memory" => (BYTES, "memory"),
        "ephemeral-storage" => (BYTES, "local ephemeral storage"),
        _ if huge => (BYTES, "hugepages"),
        _ => return,
    };
    if !units.split([',', ' ']).any(|unit| unit == divisor.to_string()) {
        let detail = format!("only divisor's values {units} are supported with the {name} resource");
        errors.push(Error::invalid(&path.child("divisor"), resource, detail));
    }
}

/// The key of an object's entry that becomes a variable.
pub fn key_ref(errors: &mut ErrorList, path: &Path, body: &Value) {
    named(errors, &path.child("name"), body.text("name"), names::dns1123_subdomain);
    super::required_name(errors, &path.child("key"), body.text("key"), names::config_map_key);
}
