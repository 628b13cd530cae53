//! Volumes, claims, storage classes.

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{immutable, label_selector, named, one_of, quantity, required, required_name, same, spec};

const MODES: [&str; 4] = ["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod"];
const VOLUME_MODES: [&str; 2] = ["Block", "Filesystem"];

/// What describes a volume rather than says where it is.
const NOT_SOURCES: [&str; 9] = [
    "accessModes",
    "capacity",
    "claimRef",
    "mountOptions",
    "nodeAffinity",
    "persistentVolumeReclaimPolicy",
    "storageClassName",
    "volumeAttributesClassName",
    "volumeMode",
];

#[must_use]
pub fn volume(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    access_modes(&mut errors, &path, body);
    let capacity = path.child("capacity");
    if body.entries("capacity").is_empty() {
        errors.push(Error::required(&capacity, ""));
    } else if !body.has("capacity.storage") || body.entries("capacity").len() > 1 {
        errors.push(Error::not_supported(&capacity, body.at("capacity").clone(), &["storage"]));
    }
    for (name, value) in body.entries("capacity") {
        let parsed = quantity(&mut errors, &capacity.key(name), value);
        if parsed.is_some_and(|q| q.milli_value() == 0) {
            let detail = "must be greater than zero";
            errors.push(Error::invalid(&capacity.key(name), super::quantity_text(value), detail));
        }
    }
    let reclaim = body.text("persistentVolumeReclaimPolicy");
    if !reclaim.is_empty() {
        one_of(&mut errors, &path.child("persistentVolumeReclaimPolicy"), reclaim, &["Delete", "Recycle", "Retain"]);
    }
    let mut sources = body
        .entries("")
        .iter()
        .filter(|(name, v)| !NOT_SOURCES.contains(&name.as_str()) && !v.is_null())
        .map(|(k, _)| k);
    match sources.next() {
        None => errors.push(Error::required(&path, "must specify a volume type")),
        Some(source) => {
            if source == "hostPath" {
                required(&mut errors, body.at("hostPath"), "path", &path.child("hostPath"));
            }
            if source == "local" {
                required(&mut errors, body.at("local"), "path", &path.child("local"));
                if !body.has("nodeAffinity") {
                    let detail = "Local volume requires node affinity";
                    errors.push(Error::required(&path.child("nodeAffinity"), detail));
                }
            }
            for other in sources {
                errors.push(Error::forbidden(&path.child(other), "may not specify more than 1 volume type"));
            }
        }
    }
    if !body.text("storageClassName").is_empty() {
        named(&mut errors, &path.child("storageClassName"), body.text("storageClassName"), names::dns1123_subdomain);
    }
    volume_mode(&mut errors, &path, body);
    errors
}

#[must_use]
pub fn volume_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for name in old.entries("spec").keys().filter(|name| !NOT_SOURCES.contains(&name.as_str())) {
        if !same(new.at("spec").at(name), old.at("spec").at(name)) {
            let detail = "spec.persistentvolumesource is immutable after creation";
            errors.push(Error::forbidden(&spec().child("persistentvolumesource"), detail));
        }
    }
    immutable(&mut errors, &spec().child("volumeMode"), new.at("spec.volumeMode"), old.at("spec.volumeMode"));
    errors
}

fn access_modes(errors: &mut ErrorList, path: &Path, body: &Value) {
    let at = path.child("accessModes");
    let modes = body.texts("accessModes");
    if modes.is_empty() {
        errors.push(Error::required(&at, "at least 1 access mode is required"));
    }
    for mode in &modes {
        one_of(errors, &at, mode, &MODES);
    }
    if modes.len() > 1 && modes.contains(&"ReadWriteOncePod") {
        let detail = "may not use ReadWriteOncePod with other access modes";
        errors.push(Error::forbidden(&at, detail));
    }
}

fn volume_mode(errors: &mut ErrorList, path: &Path, body: &Value) {
    if body.has("volumeMode") {
        one_of(errors, &path.child("volumeMode"), body.text("volumeMode"), &VOLUME_MODES);
    }
}

#[must_use]
pub fn claim(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    claim_spec(&mut errors, &spec(), object.at("spec"));
    errors
}

fn claim_spec(errors: &mut ErrorList, path: &Path, body: &Value) {
    label_selector(errors, &path.child("selector"), body.at("selector"));
    access_modes(errors, path, body);
    let at = path.child("resources").key("storage");
    match body.at("resources.requests.storage") {
        Value::Null => errors.push(Error::required(&at, "")),
        value => {
            let parsed = quantity(errors, &at, value);
            if parsed.is_some_and(|q| q.milli_value() == 0) {
                errors.push(Error::invalid(&at, super::quantity_text(value), "must be greater than zero"));
            }
        }
    }
    if !body.text("storageClassName").is_empty() {
        named(errors, &path.child("storageClassName"), body.text("storageClassName"), names::dns1123_subdomain);
    }
    volume_mode(errors, path, body);
}

#[must_use]
pub fn claim_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut body = new.at("spec").clone();
    // Binding fills the volume's name once; a bound claim may ask for more room and another attributes class.
    if old.text("spec.volumeName").is_empty() {
        body.take_from("volumeName", old.at("spec"));
    }
    // A claim from before there was a default class gets it from the controller.
    let legacy = &old.at("metadata.annotations")["volume.beta.kubernetes.io/storage-class"];
    if !old.has("spec.storageClassName") && legacy.as_str().unwrap_or_default().is_empty() {
        body.take_from("storageClassName", old.at("spec"));
    }
    let bound = old.text("status.phase") == "Bound";
    if bound {
        body.take_from("resources.requests.storage", old.at("spec"));
    }
    body.take_from("volumeAttributesClassName", old.at("spec"));
    if !same(&body, old.at("spec")) {
        let detail =
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
        errors.push(Error::forbidden(&spec(), detail));
    }
    let milli = |claim: &Value, field: &str| {
        let text = super::quantity_text(claim.at(field));
        schema::quantity::Quantity::parse(&text).map(|q| q.milli_value()).unwrap_or_default()
    };
    let asked = |claim: &Value| milli(claim, "spec.resources.requests.storage");
    // What it asked for and did not get may be taken back.
    if asked(new) < asked(old) && asked(new) <= milli(old, "status.capacity.storage") {
        let at = spec().child("resources").child("requests").child("storage");
        errors.push(Error::forbidden(&at, "field can not be less than status.capacity"));
    }
    errors
}

#[must_use]
pub fn class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    required_name(&mut errors, &Path::new("provisioner"), object.text("provisioner"), |name| {
        names::qualified_name(&name.to_lowercase())
    });
    let reclaim = object.text("reclaimPolicy");
    if !reclaim.is_empty() {
        one_of(&mut errors, &Path::new("reclaimPolicy"), reclaim, &["Delete", "Retain"]);
    }
    let binding = object.text("volumeBindingMode");
    super::required_one_of(
        &mut errors,
        &Path::new("volumeBindingMode"),
        binding,
        &["Immediate", "WaitForFirstConsumer"],
    );
    errors
}

#[must_use]
pub fn class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if !same(new.at("parameters"), old.at("parameters")) {
        errors.push(Error::forbidden(&Path::new("parameters"), "updates to parameters are forbidden."));
    }
    if !same(new.at("provisioner"), old.at("provisioner")) {
        errors.push(Error::forbidden(&Path::new("provisioner"), "updates to provisioner are forbidden."));
    }
    if !same(new.at("reclaimPolicy"), old.at("reclaimPolicy")) {
        errors.push(Error::forbidden(&Path::new("reclaimPolicy"), "updates to reclaimPolicy are forbidden."));
    }
    let field = "volumeBindingMode";
    immutable(&mut errors, &Path::new(field), new.at(field), old.at(field));
    errors
}

#[must_use]
pub fn attachment(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["attacher", "nodeName"] {
        required(&mut errors, object.at("spec"), field, &spec());
    }
    errors
}

#[must_use]
pub fn attributes_class(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    required(&mut errors, object, "driverName", &Path::default());
    errors
}

#[must_use]
pub fn attributes_class_update(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for field in ["driverName", "parameters"] {
        immutable(&mut errors, &Path::new(field), new.at(field), old.at(field));
    }
    errors
}

/// Resource claims and their templates are as they were made.
#[must_use]
pub fn immutable_spec(new: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    immutable(&mut errors, &spec(), new.at("spec"), old.at("spec"));
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn claims() {
        assert_eq!(
            texts(&claim(&json!({"spec": {}}))),
            [
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value"
            ]
        );
        let old = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
        let mut new = old.clone();
        new["spec"]["volumeName"] = json!("v");
        assert_eq!(claim_update(&new, &old), vec![]);
        new["spec"]["storageClassName"] = json!("standard");
        assert_eq!(claim_update(&new, &old), vec![], "there was no default class before");
        let mut classed = old.clone();
        classed["spec"]["storageClassName"] = json!("");
        assert_eq!(claim_update(&new, &classed).len(), 1, "it said that it wants none");
        new["spec"]["accessModes"] = json!(["ReadOnlyMany"]);
        assert_eq!(claim_update(&new, &old).len(), 1);
    }
}
