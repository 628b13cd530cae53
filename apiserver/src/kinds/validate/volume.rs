//! Volumes of a pod and where containers mount them.

use std::collections::{BTreeMap, BTreeSet};

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::Value;

use super::super::json::Json;
use super::volume_source::{self, Owner};
use super::{meta, one_of, persistent_volume, pod_field, quantity_text, required, required_name, required_one_of};

/// The good volumes of a pod by name, for containers to refer to.
pub type Volumes<'a> = BTreeMap<&'a str, &'a Value>;

/// Checks the volumes and returns the good ones; `pod` is the one that has them, where it is not a template's.
pub fn volumes<'a>(errors: &mut ErrorList, path: &Path, spec: &'a Value, pod: Option<&Value>) -> Volumes<'a> {
    let mut good = Volumes::new();
    let volumes = spec.list("volumes");
    let claims: BTreeSet<String> = volumes
        .iter()
        .filter(|volume| volume.has("ephemeral"))
        .filter_map(|volume| claim_name(pod, volume.text("name")))
        .collect();
    for (i, volume) in volumes.iter().enumerate() {
        let (path, name, before) = (path.index(i), volume.text("name"), errors.len());
        source(errors, &path, volume, pod);
        required_name(errors, &path.child("name"), name, names::dns1123_label);
        if good.contains_key(name) {
            errors.push(Error::duplicate(&path.child("name"), name));
        }
        if errors.len() == before {
            good.insert(name, volume);
        }
        let claim = volume.text("persistentVolumeClaim.claimName");
        if volume.has("persistentVolumeClaim") && claims.contains(claim) {
            let detail = "must not reference a PVC that gets created for an ephemeral volume";
            errors.push(Error::invalid(&path.child("persistentVolumeClaim").child("claimName"), claim, detail));
        }
    }
    good
}

/// The claim that is made for an ephemeral volume of the pod, if it has a name by now.
fn claim_name(pod: Option<&Value>, volume: &str) -> Option<String> {
    let pod = pod.map(|pod| pod.text("metadata.name")).filter(|name| !name.is_empty())?;
    Some(format!("{pod}-{volume}"))
}

fn source(errors: &mut ErrorList, path: &Path, volume: &Value, pod: Option<&Value>) {
    let name = volume.text("name");
    volume_source::only_one(errors, path, volume, Owner::Pod, |errors, source, body| {
        let at = path.child(source);
        match source {
            "emptyDir" => empty_dir(errors, &at, body),
            "secret" => files(errors, &at, body, "secretName"),
            "configMap" => files(errors, &at, body, "name"),
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
            "ephemeral" => ephemeral(errors, path, body, name, pod),
            "image" => image(errors, &at, body, pod.is_some()),
            _ => volume_source::source(errors, path, source, body, Owner::Pod),
        }
    });
    iscsi_length(errors, path, volume);
}

fn empty_dir(errors: &mut ErrorList, path: &Path, body: &Value) {
    let limit = quantity_text(body.at("sizeLimit"));
    if Quantity::parse(&limit).is_ok_and(|limit| limit.is_negative()) {
        let detail = "SizeLimit field must be a valid resource quantity";
        errors.push(Error::forbidden(&path.child("sizeLimit"), detail));
    }
}

/// The entries of an object, which `field` names.
fn files(errors: &mut ErrorList, path: &Path, body: &Value, field: &str) {
    required(errors, body, field, path);
    mode(errors, path, body, "defaultMode");
    for (i, item) in body.list("items").iter().enumerate() {
        key_to_path(errors, &path.child("items").index(i), item);
    }
}

fn ephemeral(errors: &mut ErrorList, path: &Path, body: &Value, volume: &str, pod: Option<&Value>) {
    let at = path.child("ephemeral").child("volumeClaimTemplate");
    if body.has("volumeClaimTemplate") {
        let template = body.at("volumeClaimTemplate");
        meta::embedded(errors, &at.child("metadata"), template.at("metadata"));
        persistent_volume::claim_spec(errors, &at.child("spec"), template.at("spec"));
    } else {
        errors.push(Error::required(&at, ""));
    }
    if let Some(claim) = claim_name(pod, volume).filter(|_| !volume.is_empty()) {
        for message in names::dns1123_subdomain(&claim) {
            errors.push(Error::invalid(&path.child("name"), volume, format!("PVC name {claim:?}: {message}")));
        }
    }
}

/// Images must be named in a pod; a template may leave that to a controller.
fn image(errors: &mut ErrorList, path: &Path, body: &Value, in_pod: bool) {
    if in_pod {
        required(errors, body, "reference", path);
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    required_one_of(errors, &path.child("pullPolicy"), body.text("pullPolicy"), &policies);
}

/// An initiator of one's own is named after volume and portal, be the source looked at or not.
fn iscsi_length(errors: &mut ErrorList, path: &Path, volume: &Value) {
    const LENGTH: usize = 64;
    let (name, portal) = (volume.text("name"), volume.text("iscsi.targetPortal"));
    if volume.has("iscsi.initiatorName") && name.len() + 1 + portal.len() > LENGTH {
        let detail = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if \
                      iscsi.initiatorName is specified.";
        errors.push(Error::invalid(&path.child("name"), name, detail));
    }
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
            if mount.has("mountPropagation") && mount.text("mountPropagation") != "None" {
                let why = "may only be specified when mountPropagation is None or not specified";
                errors.push(Error::forbidden(path, why));
            }
        }
        Some(other) => one_of(errors, path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}

/// Mounts of one container.
pub fn mounts(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &Volumes<'_>) {
    let mut seen = BTreeSet::new();
    // Upstream does not count the mounts where it looks at how they propagate.
    let all = path.child("volumeMounts");
    let devices = by_name(container.list("volumeDevices"), "devicePath");
    for (i, mount) in container.list("volumeMounts").iter().enumerate() {
        let path = all.index(i);
        let name = mount.text("name");
        if name.is_empty() {
            errors.push(Error::required(&path.child("name"), ""));
        }
        if !volumes.contains_key(name) {
            errors.push(Error::not_found(&path.child("name"), name));
        }
        let at = mount.text("mountPath");
        if at.is_empty() {
            errors.push(Error::required(&path.child("mountPath"), ""));
        }
        if !seen.insert(at) {
            errors.push(Error::invalid(&path.child("mountPath"), at, "must be unique"));
        }
        if devices.contains_key(name) {
            errors.push(Error::invalid(&path.child("name"), name, "must not already exist in volumeDevices"));
        }
        if devices.values().any(|device| *device == at) {
            let detail = "must not already exist as a path in volumeDevices";
            errors.push(Error::invalid(&path.child("mountPath"), at, detail));
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
}

/// Where the volumes of one kind of use are in a container; of those with the same name the last counts.
fn by_name<'a>(uses: &'a [Value], field: &str) -> BTreeMap<&'a str, &'a str> {
    uses.iter().map(|one| (one.text("name"), one.text(field))).collect()
}

/// Volumes that one container has as they are, without a file system.
pub fn devices(errors: &mut ErrorList, path: &Path, container: &Value, volumes: &Volumes<'_>) {
    let mounts = by_name(container.list("volumeMounts"), "mountPath");
    let (mut names, mut paths) = (BTreeSet::new(), BTreeSet::new());
    for (i, device) in container.list("volumeDevices").iter().enumerate() {
        let path = path.child("volumeDevices").index(i);
        let (name, at) = (path.child("name"), path.child("devicePath"));
        let (device, file) = (device.text("name"), device.text("devicePath"));
        if device.is_empty() {
            errors.push(Error::required(&name, ""));
        }
        if names.contains(device) {
            errors.push(Error::invalid(&name, device, "must be unique"));
        }
        match volumes.get(device) {
            None => errors.push(Error::not_found(&name, device)),
            Some(volume) if !volume.has("persistentVolumeClaim") && !volume.has("ephemeral") => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                errors.push(Error::invalid(&name, device, detail));
            }
            Some(_) => {}
        }
        if file.is_empty() {
            errors.push(Error::required(&at, ""));
        }
        if paths.contains(file) {
            errors.push(Error::invalid(&at, file, "must be unique"));
        }
        if file.split('/').any(|part| part == "..") {
            errors.push(Error::invalid(&at, file, "can not contain backsteps ('..')"));
        } else {
            paths.insert(file);
        }
        if mounts.contains_key(device) {
            errors.push(Error::invalid(&name, device, "must not already exist in volumeMounts"));
        }
        if mounts.values().any(|mount| *mount == file) {
            errors.push(Error::invalid(&at, file, "must not already exist as a path in volumeMounts"));
        }
        if !device.is_empty() {
            names.insert(device);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn devices_are_claims_that_nothing_else_uses() {
        let spec = json!({"volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": "c"}},
            {"name": "empty", "emptyDir": {}}]});
        let known = volumes(&mut ErrorList::new(), &Path::new("volumes"), &spec, None);
        let block = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
        for (uses, mounts, expected) in [
            (json!([{"name": "claim", "devicePath": "/a"}]), json!([]), vec![]),
            (
                json!([{"name": "empty", "devicePath": "/a"}, {"name": "", "devicePath": ""}]),
                json!([]),
                vec![
                    format!("[0].name: Invalid value: \"empty\": {block}"),
                    "[1].name: Required value".to_owned(),
                    "[1].name: Not found: \"\"".to_owned(),
                    "[1].devicePath: Required value".to_owned(),
                ],
            ),
            (
                json!([{"name": "claim", "devicePath": "/a"}, {"name": "claim", "devicePath": "/a"},
                    {"name": "claim", "devicePath": "/../b"}]),
                json!([]),
                vec![
                    "[1].name: Invalid value: \"claim\": must be unique".to_owned(),
                    "[1].devicePath: Invalid value: \"/a\": must be unique".to_owned(),
                    "[2].name: Invalid value: \"claim\": must be unique".to_owned(),
                    "[2].devicePath: Invalid value: \"/../b\": can not contain backsteps ('..')".to_owned(),
                ],
            ),
            (
                json!([{"name": "claim", "devicePath": "/a"}]),
                json!([{"name": "claim", "mountPath": "/a"}]),
                vec![
                    "[0].name: Invalid value: \"claim\": must not already exist in volumeMounts".to_owned(),
                    "[0].devicePath: Invalid value: \"/a\": must not already exist as a path in volumeMounts"
                        .to_owned(),
                ],
            ),
        ] {
            let container = json!({"volumeDevices": uses, "volumeMounts": mounts});
            let mut errors = ErrorList::new();
            devices(&mut errors, &Path::new("c"), &container, &known);
            let expected: Vec<String> = expected.into_iter().map(|wrong| format!("c.volumeDevices{wrong}")).collect();
            assert_eq!(texts(&errors), expected);
            errors.clear();
            super::mounts(&mut errors, &Path::new("c"), &container, &known);
            assert_eq!(errors.is_empty(), mounts == json!([]));
        }
    }

    #[test]
    fn volumes_of_a_pod_that_has_a_name() {
        let template = json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1"}}}});
        let ephemeral = |name: &str| json!({"name": name, "ephemeral": {"volumeClaimTemplate": template}});
        let (long, pod) = ("v".repeat(60), json!({"metadata": {"name": "p".repeat(200)}}));
        let spec = json!({"volumes": [ephemeral("a"), ephemeral(&long),
            {"name": "b", "persistentVolumeClaim": {"claimName": format!("{}-a", "p".repeat(200))}}]});
        let mut errors = ErrorList::new();
        volumes(&mut errors, &Path::new("volumes"), &spec, None);
        assert_eq!(texts(&errors), Vec::<String>::new());
        volumes(&mut errors, &Path::new("volumes"), &spec, Some(&pod));
        let fields: Vec<String> = errors.iter().map(|error| error.field.to_string()).collect();
        assert_eq!(fields, ["volumes[1].name", "volumes[2].persistentVolumeClaim.claimName"]);
    }
}
