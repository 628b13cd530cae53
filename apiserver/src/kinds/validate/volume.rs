//! Volumes of a pod and where containers mount them.

use std::collections::BTreeSet;

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{named, one_of, required, required_name, required_one_of, unique};

/// Checks the volumes and returns their names, for mounts to refer to.
pub fn volumes<'a>(errors: &mut ErrorList, path: &Path, volumes: &'a [Value]) -> BTreeSet<&'a str> {
    for (i, volume) in volumes.iter().enumerate() {
        let path = path.index(i);
        source(errors, &path, volume);
        required_name(errors, &path.child("name"), volume.text("name"), names::dns1123_label);
    }
    unique(errors, volumes.iter().enumerate().map(|(i, v)| (path.index(i).child("name"), v.text("name"))));
    volumes.iter().map(|v| v.text("name")).collect()
}

/// Images must be named in a pod; a template may leave that to a controller.
pub fn image_references(errors: &mut ErrorList, path: &Path, volumes: &[Value]) {
    for (i, volume) in volumes.iter().enumerate().filter(|(_, volume)| volume.at("image").is_object()) {
        required(errors, volume.at("image"), "reference", &path.index(i).child("image"));
    }
}

fn source(errors: &mut ErrorList, path: &Path, volume: &Value) {
    let mut sources = volume.entries("").iter().filter(|(name, v)| *name != "name" && !v.is_null());
    let Some((name, body)) = sources.next() else {
        errors.push(Error::required(path, "must specify a volume type"));
        return;
    };
    for (other, _) in sources {
        errors.push(Error::forbidden(&path.child(other), "may not specify more than 1 volume type"));
    }
    let path = path.child(name);
    match name.as_str() {
        "secret" => {
            required(errors, body, "secretName", &path);
            items(errors, &path, body);
        }
        "configMap" => {
            required(errors, body, "name", &path);
            items(errors, &path, body);
        }
        "hostPath" => {
            required(errors, body, "path", &path);
            no_back_steps(errors, &path.child("path"), body.text("path"));
            one_of(
                errors,
                &path.child("type"),
                body.text("type"),
                &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"],
            );
        }
        "persistentVolumeClaim" => required(errors, body, "claimName", &path),
        "nfs" => {
            required(errors, body, "server", &path);
            required(errors, body, "path", &path);
            if !body.text("path").starts_with('/') {
                errors.push(Error::invalid(&path.child("path"), body.text("path"), "must be an absolute path"));
            }
        }
        "image" => {
            let policies = ["Always", "IfNotPresent", "Never"];
            required_one_of(errors, &path.child("pullPolicy"), body.text("pullPolicy"), &policies);
        }
        "csi" => required(errors, body, "driver", &path),
        "emptyDir" if body.has("sizeLimit") => {
            super::quantity(errors, &path.child("sizeLimit"), body.at("sizeLimit"));
        }
        "downwardAPI" => downward(errors, &path, body),
        "projected" => projected(errors, &path, body),
        _ => {}
    }
    let mode = body.int("defaultMode");
    if !(0..=0o777).contains(&mode) {
        errors.push(Error::invalid(
            &path.child("defaultMode"),
            mode,
            "must be a number between 0 and 0777 (octal), both inclusive",
        ));
    }
}

fn items(errors: &mut ErrorList, path: &Path, body: &Value) {
    for (i, item) in body.list("items").iter().enumerate() {
        let path = path.child("items").index(i);
        required(errors, item, "key", &path);
        relative_path(errors, &path.child("path"), item.text("path"));
    }
}

fn downward(errors: &mut ErrorList, path: &Path, body: &Value) {
    for (i, item) in body.list("items").iter().enumerate() {
        let path = path.child("items").index(i);
        relative_path(errors, &path.child("path"), item.text("path"));
        match (item.has("fieldRef"), item.has("resourceFieldRef")) {
            (true, true) => errors.push(Error::invalid(
                &path,
                "resource",
                "fieldRef and resourceFieldRef can not be specified simultaneously",
            )),
            (false, false) => errors.push(Error::required(&path, "one of fieldRef and resourceFieldRef is required")),
            _ => {}
        }
    }
}

fn projected(errors: &mut ErrorList, path: &Path, body: &Value) {
    for (i, source) in body.list("sources").iter().enumerate() {
        let path = path.child("sources").index(i);
        let given: Vec<&String> = source.entries("").iter().filter(|(_, v)| !v.is_null()).map(|(k, _)| k).collect();
        match given.as_slice() {
            [] => errors.push(Error::required(&path, "must specify a volume source")),
            [_, more @ ..] => {
                for name in more {
                    errors.push(Error::forbidden(
                        &path.child(name),
                        "may not specify more than 1 volume type per source",
                    ));
                }
            }
        }
        for list in ["secret", "configMap"] {
            if source.has(list) {
                required(errors, source.at(list), "name", &path.child(list));
                items(errors, &path.child(list), source.at(list));
            }
        }
        if source.has("downwardAPI") {
            downward(errors, &path.child("downwardAPI"), source.at("downwardAPI"));
        }
        let token = source.at("serviceAccountToken");
        if !token.is_null() {
            let path = path.child("serviceAccountToken");
            let seconds = token.int("expirationSeconds");
            if seconds < 600 {
                errors.push(Error::invalid(
                    &path.child("expirationSeconds"),
                    seconds,
                    "may not specify a duration less than 10 minutes",
                ));
            }
            relative_path(errors, &path.child("path"), token.text("path"));
        }
    }
}

fn relative_path(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.is_empty() {
        errors.push(Error::required(path, ""));
        return;
    }
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    no_back_steps(errors, path, value);
}

fn no_back_steps(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

/// KEP-3857.
fn recursive_read_only(errors: &mut ErrorList, path: &Path, mount: &Value) {
    match mount.text("recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !mount.yes("readOnly") {
                errors.push(Error::forbidden(path, "may only be specified when readOnly is true"));
            }
            if !matches!(mount.text("mountPropagation"), "" | "None") {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, why));
            }
        }
        other => one_of(errors, path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Mounts of one container.
pub fn mounts(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &BTreeSet<&str>) {
    let mut seen = BTreeSet::new();
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        let path = path.child("volumeMounts").index(i);
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
            relative_path(errors, &path.child("subPath"), sub);
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
            relative_path(errors, &path.child("subPathExpr"), expression);
        }
        let propagation = mount.text("mountPropagation");
        if !propagation.is_empty() {
            let supported = ["Bidirectional", "HostToContainer", "None"];
            one_of(errors, &path.child("mountPropagation"), propagation, &supported);
            if propagation == "Bidirectional" && !container.yes("securityContext.privileged") {
                errors.push(Error::forbidden(
                    &path.child("mountPropagation"),
                    "Bidirectional mount propagation is available only to privileged containers",
                ));
            }
        }
        recursive_read_only(errors, &path.child("recursiveReadOnly"), mount);
    }
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let path = path.child("volumeDevices").index(i);
        named(errors, &path.child("name"), device.text("name"), names::dns1123_label);
        required(errors, device, "devicePath", &path);
    }
}
