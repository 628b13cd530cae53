//! Where a volume's data is: the sources, of which pods and PersistentVolumes have most in common
//! (`validateVolumeSource`, `ValidatePersistentVolumeSpec`). Those that only pods have are in `volume`.

use std::sync::LazyLock;

use regex::Regex;
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{named, one_of, required, required_name};

/// Whose source it is: a PersistentVolume has no namespace, so its references carry their own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    Pod,
    PersistentVolume,
}

/// The sources a pod's volume may have, in the order they are looked at, and as what the second one is refused; upstream's
/// spelling.
const OF_PODS: [(&str, &str); 30] = [
    ("emptyDir", "emptyDir"),
    ("hostPath", "hostPath"),
    ("gitRepo", "gitRepo"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("secret", "secret"),
    ("nfs", "nfs"),
    ("iscsi", "iscsi"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("persistentVolumeClaim", "persistentVolumeClaim"),
    ("rbd", "rbd"),
    ("cinder", "cinder"),
    ("cephfs", "cephFS"),
    ("quobyte", "quobyte"),
    ("downwardAPI", "downwarAPI"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("configMap", "configMap"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("storageos", "storageos"),
    ("projected", "projected"),
    ("scaleIO", "scaleIO"),
    ("csi", "csi"),
    ("ephemeral", "ephemeral"),
    ("image", "image"),
];

/// The same of a PersistentVolume.
const OF_PERSISTENT_VOLUMES: [(&str, &str); 22] = [
    ("hostPath", "hostPath"),
    ("gcePersistentDisk", "gcePersistentDisk"),
    ("awsElasticBlockStore", "awsElasticBlockStore"),
    ("glusterfs", "glusterfs"),
    ("flocker", "flocker"),
    ("nfs", "nfs"),
    ("rbd", "rbd"),
    ("quobyte", "quobyte"),
    ("cephfs", "cephFS"),
    ("iscsi", "iscsi"),
    ("cinder", "cinder"),
    ("fc", "fc"),
    ("flexVolume", "flexVolume"),
    ("azureFile", "azureFile"),
    ("vsphereVolume", "vsphereVolume"),
    ("photonPersistentDisk", "photonPersistentDisk"),
    ("portworxVolume", "portworxVolume"),
    ("azureDisk", "azureDisk"),
    ("scaleIO", "scaleIO"),
    ("local", "local"),
    ("storageos", "storageos"),
    ("csi", "csi"),
];

/// Fields that a source cannot do without, where the rest is anything or said below.
const REQUIRED: [(&str, &[&str]); 14] = [
    ("awsElasticBlockStore", &["volumeID"]),
    ("azureDisk", &["diskName", "diskURI"]),
    ("azureFile", &["secretName", "shareName"]),
    ("cinder", &["volumeID"]),
    ("flexVolume", &["driver"]),
    ("gcePersistentDisk", &["pdName"]),
    ("gitRepo", &["repository"]),
    ("glusterfs", &["endpoints", "path"]),
    ("nfs", &["server", "path"]),
    ("persistentVolumeClaim", &["claimName"]),
    ("photonPersistentDisk", &["pdID"]),
    ("portworxVolume", &["volumeID"]),
    ("scaleIO", &["gateway", "system", "volumeName"]),
    ("vsphereVolume", &["volumePath"]),
];

/// The source of a PersistentVolume that may stand beside another.
const NOT_COUNTED: &str = "flexVolume";

/// Checks the sources of `volume`, of which there must be one: the first is looked into with `check`, the others are refused.
pub fn only_one(
    errors: &mut ErrorList,
    path: &Path,
    volume: &Value,
    owner: Owner,
    mut check: impl FnMut(&mut ErrorList, &str, &Value),
) {
    let mut found = false;
    let sources = match owner {
        Owner::Pod => &OF_PODS[..],
        Owner::PersistentVolume => &OF_PERSISTENT_VOLUMES,
    };
    for (source, shown) in sources.iter().filter(|(source, _)| volume.has(source)) {
        if found && !(owner == Owner::PersistentVolume && *source == NOT_COUNTED) {
            errors.push(Error::forbidden(&path.child(shown), "may not specify more than 1 volume type"));
        } else {
            found = true;
            check(errors, source, volume.at(source));
        }
    }
    if !found {
        errors.push(Error::required(path, "must specify a volume type"));
    }
}

/// Checks the source `name` of a volume at `volume`.
pub fn source(errors: &mut ErrorList, volume: &Path, name: &str, body: &Value, owner: Owner) {
    let path = volume.child(if name == "gcePersistentDisk" { "persistentDisk" } else { name });
    let fields = REQUIRED.iter().find(|(source, _)| *source == name).map_or(&[][..], |(_, fields)| fields);
    for field in fields {
        required(errors, body, field, &path);
    }
    match name {
        "hostPath" => host_path(errors, &path, body),
        "local" => {
            required(errors, body, "path", &path);
            no_back_steps(errors, &path.child("path"), body.text("path"));
        }
        "nfs" if !body.text("path").starts_with('/') => {
            errors.push(Error::invalid(&path.child("path"), body.text("path"), "must be an absolute path"));
        }
        "gitRepo" => descending_path(errors, &path.child("directory"), body.text("directory")),
        "gcePersistentDisk" | "awsElasticBlockStore" if !(0..=255).contains(&body.int("partition")) => {
            let at = path.child("partition");
            errors.push(Error::invalid(&at, body.int("partition"), "must be between 1 and 255, inclusive"));
        }
        "iscsi" => iscsi(errors, &path, body, owner),
        "flocker" => flocker(errors, &path, body),
        "rbd" | "cephfs" => {
            if body.list("monitors").is_empty() {
                errors.push(Error::required(&path.child("monitors"), ""));
            }
            if name == "rbd" {
                required(errors, body, "image", &path);
            }
        }
        "cinder" => reference(errors, &path.child("secretRef"), body.at("secretRef"), owner),
        "quobyte" => quobyte(errors, &path, body),
        "fc" => fibre_channel(errors, &path, body),
        "flexVolume" => flex_options(errors, &path.child("options"), body),
        "azureDisk" => azure_disk(errors, &path, body),
        "azureFile" if body.at("secretNamespace").as_str() == Some("") => {
            errors.push(Error::required(&path.child("secretNamespace"), ""));
        }
        "glusterfs" if body.has("endpointsNamespace") => {
            let (at, namespace) = (path.child("endpointsNamespace"), body.text("endpointsNamespace"));
            if namespace.is_empty() {
                let detail = "if the endpointnamespace is set, it must be a valid namespace name";
                errors.push(Error::invalid(&at, namespace, detail));
            } else {
                named(errors, &at, namespace, names::dns1123_label);
            }
        }
        "storageos" => {
            required_name(errors, &path.child("volumeName"), body.text("volumeName"), names::dns1123_label);
            if !body.text("volumeNamespace").is_empty() {
                let at = path.child("volumeNamespace");
                named(errors, &at, body.text("volumeNamespace"), names::dns1123_label);
            }
            reference(errors, &path.child("secretRef"), body.at("secretRef"), owner);
        }
        "csi" => csi(errors, &path, body, owner),
        _ => {}
    }
}

/// A secret that is named, with its namespace where the volume has none.
fn reference(errors: &mut ErrorList, path: &Path, reference: &Value, owner: Owner) {
    if reference.is_null() {
        return;
    }
    required(errors, reference, "name", path);
    if owner == Owner::PersistentVolume {
        required(errors, reference, "namespace", path);
    }
}

fn host_path(errors: &mut ErrorList, path: &Path, body: &Value) {
    required(errors, body, "path", path);
    if body.text("path").is_empty() {
        return;
    }
    no_back_steps(errors, &path.child("path"), body.text("path"));
    one_of(
        errors,
        &path.child("type"),
        body.text("type"),
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"],
    );
}

/// Names of iSCSI initiators and targets (RFC 3720), as loosely as upstream knows them.
const ISCSI_NAMES: [(&str, &str); 3] = [
    ("iqn", r"iqn\.[0-9]{4}-[0-9]{2}\.[0-9A-Za-z.-]+:[^,;*&$|\t\n\f\r ]+$"),
    ("eui", r"^eui.[0-9A-Za-z]{16}$"),
    ("naa", r"^naa.[0-9A-Za-z]{32}$"),
];
static ISCSI_FORMATS: LazyLock<[(&str, Regex); 3]> =
    LazyLock::new(|| ISCSI_NAMES.map(|(kind, format)| (kind, Regex::new(format).expect("a name's format"))));

/// Whether it begins as such names do, and goes on as its kind demands.
fn iscsi_name(name: &str) -> Result<(), &'static str> {
    let (_, format) = ISCSI_FORMATS
        .iter()
        .find(|(kind, _)| name.starts_with(kind))
        .ok_or("must be valid format starting with iqn, eui, or naa")?;
    if format.is_match(name) { Ok(()) } else { Err("must be valid format") }
}

fn iscsi(errors: &mut ErrorList, path: &Path, body: &Value, owner: Owner) {
    required(errors, body, "targetPortal", path);
    required(errors, body, "iqn", path);
    // Of a PersistentVolume nobody says how it should begin.
    let wrong = |name| iscsi_name(name).err().map(|d| if owner == Owner::Pod { d } else { "must be valid format" });
    if let Some(detail) = wrong(body.text("iqn")).filter(|_| !body.text("iqn").is_empty()) {
        errors.push(Error::invalid(&path.child("iqn"), body.text("iqn"), detail));
    }
    logical_unit(errors, path, body);
    if (body.yes("chapAuthDiscovery") || body.yes("chapAuthSession")) && !body.has("secretRef") {
        errors.push(Error::required(&path.child("secretRef"), ""));
    }
    if owner == Owner::PersistentVolume && body.has("secretRef") {
        required(errors, body.at("secretRef"), "name", &path.child("secretRef"));
    }
    if let Some(detail) = wrong(body.text("initiatorName")).filter(|_| body.has("initiatorName")) {
        errors.push(Error::invalid(&path.child("initiatorname"), body.text("initiatorName"), detail));
    }
}

fn logical_unit(errors: &mut ErrorList, path: &Path, body: &Value) {
    if !(0..=255).contains(&body.int("lun")) {
        errors.push(Error::invalid(&path.child("lun"), body.int("lun"), "must be between 0 and 255, inclusive"));
    }
}

fn flocker(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (name, uuid) = (body.text("datasetName"), body.text("datasetUUID"));
    if name.is_empty() && uuid.is_empty() {
        errors.push(Error::required(path, "one of datasetName and datasetUUID is required"));
    }
    if !name.is_empty() && !uuid.is_empty() {
        let detail = "datasetName and datasetUUID can not be specified simultaneously";
        errors.push(Error::invalid(path, "resource", detail));
    }
    if name.contains('/') {
        errors.push(Error::invalid(&path.child("datasetName"), name, "must not contain '/'"));
    }
}

fn quobyte(errors: &mut ErrorList, path: &Path, body: &Value) {
    /// One more than the longest tenant.
    const LENGTH: usize = 65;
    const REGISTRY: &str = "must be a host:port pair or multiple pairs separated by commas";
    let (registry, at) = (body.text("registry"), path.child("registry"));
    if registry.is_empty() {
        errors.push(Error::required(&at, REGISTRY));
    } else if body.text("tenant").len() >= LENGTH {
        let detail = "must be a UUID and may not exceed a length of 64 characters";
        errors.push(Error::required(&path.child("tenant"), detail));
    } else {
        let bad = registry.split(',').filter(|pair| !is_host_port(pair));
        errors.extend(bad.map(|_| Error::invalid(&at, registry, REGISTRY)));
    }
    required(errors, body, "volume", path);
}

/// Whether Go takes it apart (`net.SplitHostPort`): an address with colons of its own is in brackets.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, "")) => host,
            _ => return false,
        },
        None if host.contains(':') => return false,
        None => host,
    };
    !host.contains(['[', ']']) && !port.contains(['[', ']'])
}

fn fibre_channel(errors: &mut ErrorList, path: &Path, body: &Value) {
    let (names, ids) = (body.list("targetWWNs"), body.list("wwids"));
    let at = path.child("targetWWNs");
    if names.is_empty() && ids.is_empty() {
        errors.push(Error::required(&at, "must specify either targetWWNs or wwids, but not both"));
    }
    if !names.is_empty() && !ids.is_empty() {
        let detail = "targetWWNs and wwids can not be specified simultaneously";
        errors.push(Error::invalid(&at, body.at("targetWWNs").clone(), detail));
    }
    if !names.is_empty() {
        if body.has("lun") {
            logical_unit(errors, path, body);
        } else {
            errors.push(Error::required(&path.child("lun"), "lun is required if targetWWNs is specified"));
        }
    }
}

fn flex_options(errors: &mut ErrorList, path: &Path, body: &Value) {
    for key in body.entries("options").keys() {
        let domain = format!(".{}", key.split('/').next().unwrap_or_default().to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            errors.push(Error::invalid(&path.key(key), key.as_str(), detail));
        }
    }
}

fn azure_disk(errors: &mut ErrorList, path: &Path, body: &Value) {
    for (field, supported) in
        [("cachingMode", ["None", "ReadOnly", "ReadWrite"]), ("kind", ["Dedicated", "Managed", "Shared"])]
    {
        if body.has(field) {
            one_of(errors, &path.child(field), body.text(field), &supported);
        }
    }
    let (prefix, form) = if body.text("kind") == "Managed" {
        (
            "/subscriptions/",
            "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}",
        )
    } else {
        ("https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd")
    };
    if !body.text("diskURI").starts_with(prefix) {
        errors.push(Error::not_supported(&path.child("diskURI"), body.text("diskURI"), &[form]));
    }
}

/// The name of a CSI driver.
pub fn driver_name(errors: &mut ErrorList, path: &Path, driver: &str) {
    const LENGTH: usize = 63;
    if driver.is_empty() {
        errors.push(Error::required(path, ""));
    }
    if driver.len() > LENGTH {
        errors.push(Error::too_long(path, LENGTH));
    }
    if !driver.is_empty() {
        for message in names::dns1123_subdomain(&driver.to_lowercase()) {
            errors.push(Error::invalid(path, driver, message));
        }
    }
}

fn csi(errors: &mut ErrorList, path: &Path, body: &Value, owner: Owner) {
    driver_name(errors, &path.child("driver"), body.text("driver"));
    if owner == Owner::Pod {
        let secret = body.at("nodePublishSecretRef");
        if !secret.is_null() {
            match secret.text("name") {
                "" => errors.push(Error::required(&path.child("nodePublishSecretRef").child("name"), "")),
                name => named(errors, &path.child("name"), name, names::dns1123_subdomain),
            }
        }
        return;
    }
    required(errors, body, "volumeHandle", path);
    for field in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let secret = body.at(field);
        if !secret.is_null() {
            let at = path.child(field);
            required_name(errors, &at.child("name"), secret.text("name"), names::dns1123_subdomain);
            required_name(errors, &at.child("namespace"), secret.text("namespace"), names::dns1123_label);
        }
    }
}

/// A path that leads down from where it is used.
pub fn descending_path(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.starts_with('/') {
        errors.push(Error::invalid(path, value, "must be a relative path"));
    }
    no_back_steps(errors, path, value);
}

/// The same for the name of a projected file: what begins with two dots is the kubelet's own.
pub fn file_path(errors: &mut ErrorList, path: &Path, value: &str) {
    descending_path(errors, path, value);
    if value.starts_with("..") && !value.starts_with("../") {
        errors.push(Error::invalid(path, value, "must not start with '..'"));
    }
}

/// A path that goes nowhere up.
pub fn no_back_steps(errors: &mut ErrorList, path: &Path, value: &str) {
    if value.split('/').any(|part| part == "..") {
        errors.push(Error::invalid(path, value, "must not contain '..'"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn what_sources_say() {
        let registry =
            "registry: Invalid value: \"a,b\": must be a host:port pair or multiple pairs separated by commas";
        let reserved = "kubernetes.io and k8s.io namespaces are reserved";
        for (name, body, expected) in [
            ("quobyte", json!({"registry": "a:1,[::1]:2,c:", "volume": "v"}), vec![]),
            ("quobyte", json!({"registry": "a,b", "volume": "v"}), vec![registry.to_owned(), registry.to_owned()]),
            (
                "quobyte",
                json!({"registry": "a", "tenant": "t".repeat(65)}),
                vec![
                    "tenant: Required value: must be a UUID and may not exceed a length of 64 characters".to_owned(),
                    "volume: Required value".to_owned(),
                ],
            ),
            (
                "flexVolume",
                json!({"driver": "d", "options": {"Kubernetes.io": "", "a.k8s.io/b": "", "k8s.io.a/b": ""}}),
                ["Kubernetes.io", "a.k8s.io/b"]
                    .map(|key| format!("options[{key}]: Invalid value: {key:?}: {reserved}"))
                    .to_vec(),
            ),
        ] {
            let mut errors = ErrorList::new();
            source(&mut errors, &Path::new("v"), name, &body, Owner::Pod);
            let expected: Vec<String> = expected.into_iter().map(|wrong| format!("v.{name}.{wrong}")).collect();
            assert_eq!(texts(&errors), expected);
        }
    }

    #[test]
    fn names_of_iscsi() {
        for (name, good) in [
            ("iqn.2020-01.com.example:Storage", Ok(())),
            ("iqn.2020-01.com.example", Err("must be valid format")),
            ("eui.0123456789abcdeg", Ok(())),
            ("naa.0123456789abcdef", Err("must be valid format")),
            ("x", Err("must be valid format starting with iqn, eui, or naa")),
        ] {
            assert_eq!(iscsi_name(name), good, "{name}");
        }
    }
}
