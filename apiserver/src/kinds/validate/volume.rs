//! Volumes of a pod and where containers mount them.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::volume_source::{self, Owner};
use super::{meta, named, one_of, persistent_volume, pod_field, required, required_name, required_one_of};

/// Checks the volumes and returns the names of the good ones, for mounts to refer to.
pub fn volumes<'a>(errors: &mut ErrorList, path: &Path, volumes: &'a [Value]) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (i, volume) in volumes.iter().enumerate() {
        let (path, name, before) = (path.index(i), volume.text("name"), errors.len());
        source(errors, &path, volume);
        required_name(errors, &path.child("name"), name, names::dns1123_label);
        if names.contains(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if errors.len() == before {
            names.insert(name);
        }
    }
    names
}

/// Images must be named in a pod; a template may leave that to a controller.
pub fn image_references(errors: &mut ErrorList, path: &Path, volumes: &[Value]) {
    for (i, volume) in volumes.iter().enumerate().filter(|(_, volume)| is_image(volume)) {
        required(errors, volume.at("image"), "reference", &path.index(i).child("image"));
    }
}

fn is_image(volume: &Value) -> bool {
    volume.at("image").is_object() && volume.entries("").values().filter(|field| field.is_object()).count() == 1
}

fn source(errors: &mut ErrorList, path: &Path, volume: &Value) {
    volume_source::only_one(errors, path, volume, volume_source::Owner::Pod, |errors, name, body| {
        let at = path.child(name);
        match name {
            "emptyDir" => {
                let limit = super::quantity_text(body.at("sizeLimit"));
                if schema::quantity::Quantity::parse(&limit).is_ok_and(|limit| limit.is_negative()) {
                    let detail = "SizeLimit field must be a valid resource quantity";
                    errors.push(Error::forbidden(&at.child("sizeLimit"), detail));
                }
            }
            "secret" | "configMap" => {
                required(errors, body, if name == "secret" { "secretName" } else { "name" }, &at);
                mode(errors, &at, body, "defaultMode");
                for (i, item) in body.list("items").iter().enumerate() {
                    key_to_path(errors, &at.child("items").index(i), item);
                }
            }
            "downwardAPI" => {
                mode(errors, &at, body, "defaultMode");
                for item in body.list("items") {
                    downward_file(errors, &at, item);
                }
            }
            "projected" => {
                mode(errors, &at, body, "defaultMode");
                projected(errors, &at, body);
            }
            "ephemeral" => {
                let at = at.child("volumeClaimTemplate");
                if body.has("volumeClaimTemplate") {
                    let template = body.at("volumeClaimTemplate");
                    meta::embedded(errors, &at.child("metadata"), template.at("metadata"));
                    persistent_volume::claim_spec(errors, &at.child("spec"), template.at("spec"));
                } else {
                    errors.push(Error::required(&at, ""));
                }
            }
            "image" => {
                let policies = ["Always", "IfNotPresent", "Never"];
                required_one_of(errors, &at.child("pullPolicy"), body.text("pullPolicy"), &policies);
            }
            _ => volume_source::source(errors, path, name, body, Owner::Pod),
        }
    });
}

/// The permissions of projected files.
fn mode(errors: &mut ErrorList, path: &Path, body: &Value, field: &str) {
    let mode = body.int(field);
    if !(0..=0o777).contains(&mode) {
        let detail = "must be a number between 0 and 0777 (octal), both inclusive";
        errors.push(Error::invalid(&path.child(field), mode, detail));
    }
}

fn key_to_path(errors: &mut ErrorList, path: &Path, item: &Value) {
    required(errors, item, "key", path);
    required(errors, item, "path", path);
    volume_source::file_path(errors, &path.child("path"), item.text("path"));
    mode(errors, path, item, "mode");
}

/// `at`: the source's own path; upstream does not count the files.
fn downward_file(errors: &mut ErrorList, at: &Path, file: &Value) {
    required(errors, file, "path", at);
    volume_source::file_path(errors, &at.child("path"), file.text("path"));
    if file.has("fieldRef") {
        pod_field::field_ref(errors, &at.child("fieldRef"), file.at("fieldRef"), &pod_field::IN_VOLUMES);
        if file.has("resourceFieldRef") {
            let detail = "fieldRef and resourceFieldRef can not be specified simultaneously";
            errors.push(Error::invalid(at, "resource", detail));
        }
    } else if file.has("resourceFieldRef") {
        pod_field::resource_ref(errors, &at.child("resourceFieldRef"), file.at("resourceFieldRef"), true);
    } else {
        errors.push(Error::required(at, "one of fieldRef and resourceFieldRef is required"));
    }
    mode(errors, at, file, "mode");
}

fn projected(errors: &mut ErrorList, at: &Path, body: &Value) {
    let mut paths = BTreeSet::new();
    let mut once = |errors: &mut ErrorList, path: &str, shown: &str| {
        if !path.is_empty() && !paths.insert(path.to_owned()) {
            errors.push(Error::invalid(at, shown, "conflicting duplicate paths"));
        }
    };
    for (i, source) in body.list("sources").iter().enumerate() {
        let path = at.child("sources").index(i);
        for list in ["secret", "configMap"] {
            let (path, body) = (path.child(list), source.at(list));
            if body.is_null() {
                continue;
            }
            required(errors, body, "name", &path);
            for (i, item) in body.list("items").iter().enumerate() {
                key_to_path(errors, &path.child("items").index(i), item);
                once(errors, item.text("path"), body.text("name"));
            }
        }
        for file in source.list("downwardAPI.items") {
            downward_file(errors, &path.child("downwardAPI"), file);
            once(errors, file.text("path"), file.text("path"));
        }
        let token = source.at("serviceAccountToken");
        if !token.is_null() {
            let path = path.child("serviceAccountToken").child("expirationSeconds");
            let seconds = token.int("expirationSeconds");
            if seconds < 600 {
                errors.push(Error::invalid(&path, seconds, "may not specify a duration less than 10 minutes"));
            }
            if seconds > 1 << 32 {
                errors.push(Error::invalid(&path, seconds, "may not specify a duration larger than 2^32 seconds"));
            }
            let path = at.child("path");
            required(errors, token, "path", at);
            if !token.text("path").is_empty() {
                volume_source::file_path(errors, &path, token.text("path"));
            }
        }
        if source.entries("").values().filter(|source| !source.is_null()).count() > 1 {
            errors.push(Error::forbidden(&path, "may not specify more than 1 volume type per source"));
        }
    }
}

/// KEP-3857.
fn recursive_read_only(errors: &mut ErrorList, path: &Path, mount: &Value) {
    match mount.at("recursiveReadOnly").as_str() {
        None | Some("Disabled") => {}
        Some("Enabled" | "IfPossible") => {
            if !mount.yes("readOnly") {
                errors.push(Error::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, why));
            }
        }
        Some(other) => one_of(errors, path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Mounts of one container.
pub fn mounts(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    // Upstream does not count the mounts where it looks at how they propagate.
    let all = path.child("volumeMounts");
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        let path = all.index(i);
        let name = mount.text("name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        if !volumes.contains(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        let at = mount.text("mountPath");
        if at.is_empty() {
            errors.push(Error::required(&path.child("mountPath"), ""));
        }
        if !seen.insert(at) {
            errors.push(Error::invalid(&path.child("mountPath"), at, "must be unique"));
        }
        let sub = mount.text("subPath");
        if !sub.is_empty() {
            volume_source::descending_path(errors, &all.child("subPath"), sub);
        }
        let expression = mount.text("subPathExpr");
        if !expression.is_empty() {
            if !sub.is_empty() {
                errors.push(Error::invalid(
                    &path.child("subPathExpr"),
                    expression,
                    "subPathExpr and subPath are mutually exclusive",
                ));
            }
            volume_source::descending_path(errors, &all.child("subPathExpr"), expression);
        }
        let propagation = mount.text("mountPropagation");
        if mount.has("mountPropagation") {
            let supported = ["Bidirectional", "HostToContainer", "None"];
            one_of(errors, &all.child("mountPropagation"), propagation, &supported);
            if propagation == "Bidirectional" && !container.yes("securityContext.privileged") {
                errors.push(Error::forbidden(
                    &all.child("mountPropagation"),
                    "Bidirectional mount propagation is available only to privileged containers",
                ));
            }
        }
        recursive_read_only(errors, &all.child("recursiveReadOnly"), mount);
    }
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let path = path.child("volumeDevices").index(i);
        named(errors, &path.child("name"), device.text("name"), names::dns1123_label);
        required(errors, device, "devicePath", &path);
    }
}
