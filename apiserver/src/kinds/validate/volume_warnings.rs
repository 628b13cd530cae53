//! What is legal in a volume or a claim and yet does not do what it says (`pkg/api/persistentvolume`,
//! `pkg/api/persistentvolumeclaim`, and the volumes of `pkg/api/pod`).

use schema::quantity::Quantity;
use serde_json::Value;

use super::super::json::Json;
use super::{node_labels, quantity_text};

/// Sources whose drivers are gone: (field, as it is shown, since when).
const GONE: [(&str, &str, &str); 9] = [
    ("photonPersistentDisk", "photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "gitRepo", "deprecated in v1.11, and disabled by default in v1.33+"),
    ("scaleIO", "scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "storageOS", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// The source of the volume at `path` is no more.
pub fn source(warnings: &mut Vec<String>, path: &str, volume: &Value) {
    for (_, shown, text) in GONE.iter().filter(|(field, ..)| volume.has(field)) {
        warnings.push(format!("{path}.{shown}: {text}"));
    }
}

/// Bytes come in whole.
pub fn fraction(warnings: &mut Vec<String>, path: &str, resource: &str, value: &Value) {
    let text = quantity_text(value);
    if Quantity::parse(&text).is_ok_and(|amount| !amount.is_whole()) {
        warnings.push(format!("{path}[{resource}]: fractional byte value {text:?} is invalid, must be an integer"));
    }
}

const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

fn class_annotation(warnings: &mut Vec<String>, object: &Value, instead: &str) {
    if object.entries("metadata.annotations").contains_key(CLASS_ANNOTATION) {
        warnings
            .push(format!("metadata.annotations[{CLASS_ANNOTATION}]: deprecated since v1.8; use {instead} instead"));
    }
}

#[must_use]
pub fn persistent_volume(volume: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    class_annotation(&mut warnings, volume, "\"storageClassName\" attribute");
    if volume.text("spec.persistentVolumeReclaimPolicy") == "Recycle" {
        warnings.push(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended \
             approach is to use dynamic provisioning."
                .to_owned(),
        );
    }
    let terms = "spec.nodeAffinity.required.nodeSelectorTerms";
    for (i, term) in volume.list(terms).iter().enumerate() {
        node_labels::term(&mut warnings, &format!("{terms}[{i}]"), term, false);
    }
    source(&mut warnings, "spec", volume.at("spec"));
    warnings
}

#[must_use]
pub fn claim(claim: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    class_annotation(&mut warnings, claim, "\"storageClassName\" attribute");
    claim_spec(&mut warnings, "spec.resources", claim.at("spec"));
    warnings
}

/// `path`: of the claim's resources.
pub fn claim_spec(warnings: &mut Vec<String>, path: &str, spec: &Value) {
    for list in ["requests", "limits"] {
        let storage = spec.at("resources").at(list).at("storage");
        if !storage.is_null() {
            fraction(warnings, &format!("{path}.{list}"), "storage", storage);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_gone_is_said() {
        let volume = json!({"spec": {"rbd": {}, "persistentVolumeReclaimPolicy": "Retain"}});
        assert_eq!(persistent_volume(&volume), ["spec.rbd: deprecated in v1.28, non-functional in v1.31+"]);
        let object = json!({"metadata": {"annotations": {CLASS_ANNOTATION: "x"}},
            "spec": {"resources": {"requests": {"storage": "1500m"}}}});
        assert_eq!(
            claim(&object),
            [
                "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \
                 \"storageClassName\" attribute instead",
                "spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, must be an integer",
            ]
        );
    }
}
