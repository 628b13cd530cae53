//! Volumes, claims, classes and CSI objects, and resource claims.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::super::row::NAME;
use super::{AGE, integer, or, plain, text, wide};

pub const VOLUMES: &[Column] = &[
    text("Capacity", |object, _| or(&plain(object.at("spec.capacity.storage")), "0").into()),
    text("Access Modes", |object, _| modes(object.at("spec.accessModes")).into()),
    text("Reclaim Policy", |object, _| object.text("spec.persistentVolumeReclaimPolicy").into()),
    text("Status", |object, _| phase(object).into()),
    text("Claim", |object, _| {
        let claim = object.at("spec.claimRef");
        if claim.is_null() { "".into() } else { format!("{}/{}", claim.text("namespace"), claim.text("name")).into() }
    }),
    STORAGE_CLASS,
    ATTRIBUTES_CLASS,
    text("Reason", |object, _| object.text("status.reason").into()),
    AGE,
    VOLUME_MODE,
];

pub const CLAIMS: &[Column] = &[
    text("Status", |object, _| phase(object).into()),
    text("Volume", |object, _| object.text("spec.volumeName").into()),
    text("Capacity", |object, _| if_bound(object, plain(object.at("status.capacity.storage")))),
    text("Access Modes", |object, _| if_bound(object, modes(object.at("status.accessModes")))),
    STORAGE_CLASS,
    ATTRIBUTES_CLASS,
    AGE,
    VOLUME_MODE,
];

pub const CLASSES: &[Column] = &[
    Column { format: "name", ..text(NAME_TEXT, |object, _| class_name(object).into()) },
    text("Provisioner", |object, _| object.text("provisioner").into()),
    text("ReclaimPolicy", |object, _| or(object.text("reclaimPolicy"), "Delete").into()),
    text("VolumeBindingMode", |object, _| or(object.text("volumeBindingMode"), "Immediate").into()),
    text("AllowVolumeExpansion", |object, _| object.yes("allowVolumeExpansion").into()),
    AGE,
];

pub const ATTACHMENTS: &[Column] = &[
    Column { format: "name", ..text("Attacher", |object, _| object.text("spec.attacher").into()) },
    text("PV", |object, _| object.text("spec.source.persistentVolumeName").into()),
    text("Node", |object, _| object.text("spec.nodeName").into()),
    Column { kind: "boolean", ..text("Attached", |object, _| object.yes("status.attached").into()) },
    AGE,
];

pub const DRIVERS: &[Column] = &[
    Column {
        kind: "boolean",
        ..text("AttachRequired", |o, _| o.at("spec.attachRequired").as_bool().unwrap_or(true).into())
    },
    Column { kind: "boolean", ..text("PodInfoOnMount", |o, _| o.yes("spec.podInfoOnMount").into()) },
    Column { kind: "boolean", ..text("StorageCapacity", |o, _| o.yes("spec.storageCapacity").into()) },
    text("TokenRequests", |o, _| {
        let audiences: Vec<&str> = o.list("spec.tokenRequests").iter().map(|t| t.text("audience")).collect();
        if audiences.is_empty() { "<unset>".into() } else { audiences.join(",").into() }
    }),
    Column { kind: "boolean", ..text("RequiresRepublish", |o, _| o.yes("spec.requiresRepublish").into()) },
    text("Modes", |o, _| {
        let modes = o.texts("spec.volumeLifecycleModes").join(",");
        or(&modes, "<none>").into()
    }),
    AGE,
];

pub const CSI_NODES: &[Column] = &[integer("Drivers", |object, _| object.list("spec.drivers").len().into()), AGE];

pub const ATTRIBUTES_CLASSES: &[Column] = &[text("DriverName", |object, _| object.text("driverName").into()), AGE];

pub const RESOURCE_CLAIMS: &[Column] = &[text("State", |object, _| claim_state(object).into()), AGE];

pub const RESOURCE_SLICES: &[Column] = &[
    text("Node", |object, _| object.text("spec.nodeName").into()),
    text("Driver", |object, _| object.text("spec.driver").into()),
    text("Pool", |object, _| object.text("spec.pool.name").into()),
    AGE,
];

const NAME_TEXT: &str = NAME.name;

const STORAGE_CLASS: Column = text("StorageClass", |object, _| {
    let annotation = object.entries("metadata.annotations").get("volume.beta.kubernetes.io/storage-class");
    annotation.and_then(Value::as_str).unwrap_or_else(|| object.text("spec.storageClassName")).into()
});
const ATTRIBUTES_CLASS: Column =
    text("VolumeAttributesClass", |object, _| or(object.text("spec.volumeAttributesClassName"), "<unset>").into());
const VOLUME_MODE: Column = wide("VolumeMode", |object, _| or(object.text("spec.volumeMode"), "<unset>").into());

fn phase(object: &Value) -> &str {
    if object.has("metadata.deletionTimestamp") { "Terminating" } else { object.text("status.phase") }
}

fn if_bound(claim: &Value, text: String) -> Value {
    if claim.text("spec.volumeName").is_empty() { "".into() } else { text.into() }
}

fn modes(modes: &Value) -> String {
    let has = |mode: &&(&str, &str)| modes.texts("").contains(&mode.0);
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")]
        .iter()
        .filter(has)
        .map(|mode| mode.1)
        .collect::<Vec<_>>()
        .join(",")
}

fn class_name(class: &Value) -> String {
    let annotations = class.entries("metadata.annotations");
    let default = ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"]
        .iter()
        .any(|key| annotations.get(*key).and_then(Value::as_str) == Some("true"));
    let name = class.text("metadata.name");
    if default { format!("{name} (default)") } else { name.to_owned() }
}

fn claim_state(claim: &Value) -> String {
    let mut states = Vec::new();
    if claim.has("metadata.deletionTimestamp") {
        states.push("deleted");
    }
    match (claim.has("status.allocation"), claim.list("status.reservedFor").is_empty()) {
        (true, empty) => {
            states.push("allocated");
            if !empty {
                states.push("reserved");
            }
        }
        (false, _) if !claim.has("metadata.deletionTimestamp") => states.push("pending"),
        (false, _) => {}
    }
    states.join(",")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn access_modes_in_their_order() {
        assert_eq!(modes(&json!(["ReadWriteMany", "ReadWriteOnce"])), "RWO,RWX");
    }

    #[test]
    fn the_default_class_says_so() {
        let class = json!({"metadata": {"name": "local",
            "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}});
        assert_eq!(class_name(&class), "local (default)");
    }
}
