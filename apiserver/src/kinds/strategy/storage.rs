//! Volumes, claims, storage classes and CSI objects.

use serde_json::{Value, json};

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::{CONDITIONAL, WITH_STATUS};

pub const VOLUME: Strategy = Strategy {
    default: Some(default_volume),
    prepare_create: Some(|volume| volume.put("status", json!({"phase": "Pending"}))),
    validate: Some(validate::storage::volume),
    validate_update: Some(validate::storage::volume_update),
    ..WITH_STATUS
};

pub const CLAIM: Strategy = Strategy {
    default: Some(default_claim),
    prepare_create: Some(|claim| claim.put("status", json!({"phase": "Pending"}))),
    validate: Some(validate::storage::claim),
    validate_update: Some(validate::storage::claim_update),
    ..WITH_STATUS
};

pub const STORAGE_CLASS: Strategy = Strategy {
    default: Some(|class| {
        class.default_to("reclaimPolicy", "Delete");
        class.default_to("volumeBindingMode", "Immediate");
    }),
    validate: Some(validate::storage::class),
    validate_update: Some(validate::storage::class_update),
    ..Strategy::PLAIN
};

pub const CSI_DRIVER: Strategy = Strategy {
    has_generation: true,
    default: Some(|driver| {
        for (field, value) in [
            ("attachRequired", json!(true)),
            ("podInfoOnMount", json!(false)),
            ("storageCapacity", json!(false)),
            ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
            ("volumeLifecycleModes", json!(["Persistent"])),
            ("requiresRepublish", json!(false)),
            ("seLinuxMount", json!(false)),
        ] {
            driver.default_to(&format!("spec.{field}"), value);
        }
    }),
    ..CONDITIONAL
};

pub const ATTACHMENT: Strategy = Strategy {
    prepare_create: Some(|attachment| attachment.put("status", json!({"attached": false}))),
    validate: Some(validate::storage::attachment),
    ..WITH_STATUS
};

pub const ATTRIBUTES_CLASS: Strategy = Strategy {
    validate: Some(validate::storage::attributes_class),
    validate_update: Some(validate::storage::attributes_class_update),
    ..Strategy::PLAIN
};

pub const RESOURCE_CLAIM: Strategy = Strategy {
    default: Some(|claim| default_requests(claim, "spec.devices.requests")),
    validate_update: Some(validate::storage::immutable_spec),
    ..WITH_STATUS
};

pub const RESOURCE_CLAIM_TEMPLATE: Strategy = Strategy {
    default: Some(|claim| default_requests(claim, "spec.spec.devices.requests")),
    validate_update: Some(validate::storage::immutable_spec),
    ..Strategy::PLAIN
};

pub const GENERATED: Strategy = Strategy { has_generation: true, ..Strategy::PLAIN };

pub fn default_claim(claim: &mut Value) {
    claim.default_to("spec.volumeMode", "Filesystem");
    claim.default_to("status", json!({}));
    claim.default_to("status.phase", "Pending");
}

fn default_volume(volume: &mut Value) {
    volume.default_to("status.phase", "Pending");
    volume.default_to("spec.persistentVolumeReclaimPolicy", "Retain");
    volume.default_to("spec.volumeMode", "Filesystem");
    if volume.at("spec.hostPath").is_object() && !volume.has("spec.hostPath.type") {
        volume.put("spec.hostPath.type", "");
    }
}

fn default_requests(claim: &mut Value, path: &str) {
    for request in claim.list_mut(path) {
        let fill = |request: &mut Value| {
            request.default_to("allocationMode", "ExactCount");
            if request.text("allocationMode") == "ExactCount" && request.int("count") == 0 {
                request.put("count", 1);
            }
        };
        if let Some(exactly) = request.at_mut("exactly").filter(|e| e.is_object()) {
            fill(exactly);
        }
        for sub in request.list_mut("firstAvailable") {
            fill(sub);
        }
    }
}
