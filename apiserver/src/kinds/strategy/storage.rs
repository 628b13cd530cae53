//! Volumes, claims, storage classes and CSI objects.

use serde_json::{Value, json};

use super::super::internal;
use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::{CONDITIONAL, METADATA, WITH_STATUS};

pub const VOLUME: Strategy = Strategy {
    default: Some(default_volume),
    prepare_create: Some(|volume| {
        let now = crate::registry::object::now();
        volume.put("status", json!({"phase": "Pending", "lastPhaseTransitionTime": now}));
    }),
    prepare_path: &[("status", |new, old| {
        new.take_from("spec", old);
        phase_time(new, old);
    })],
    warnings: Some(validate::volume_warnings::persistent_volume),
    validate: Some(validate::persistent_volume::volume),
    validate_update: Some(validate::persistent_volume::volume_update),
    ..WITH_STATUS
};

pub const CLAIM: Strategy = Strategy {
    default: Some(default_claim),
    prepare_create: Some(|claim| {
        claim.put("status", json!({"phase": "Pending"}));
        data_sources(claim, &Value::Null);
    }),
    prepare_update: Some(data_sources),
    validate: Some(validate::persistent_volume::claim),
    warnings: Some(validate::volume_warnings::claim),
    validate_update: Some(validate::persistent_volume::claim_update),
    validate_path: &[("status", validate::persistent_volume::claim_status)],
    ..WITH_STATUS
};

pub const STORAGE_CLASS: Strategy = Strategy {
    default: Some(|class| {
        class.default_pointer("reclaimPolicy", "Delete");
        class.default_pointer("volumeBindingMode", "Immediate");
    }),
    validate: Some(validate::storage::class),
    warnings: Some(validate::node_labels::storage_class),
    validate_update: Some(validate::storage::class_update),
    ..Strategy::PLAIN
};

pub const CSI_DRIVER: Strategy = Strategy {
    prepare_update: Some(|new, old| {
        // Counted from the first change on.
        if !internal::same(new.at("spec"), old.at("spec"), "api.storage.v1.CSIDriverSpec") {
            new.put("metadata.generation", old.int("metadata.generation") + 1);
        }
    }),
    validate: Some(validate::storage::driver),
    warnings: Some(validate::storage::driver_warnings),
    warned_again: WarnedAgain::Never,
    validate_update: Some(validate::storage::driver_update),
    default: Some(|driver| {
        for (field, value) in [
            ("attachRequired", json!(true)),
            ("podInfoOnMount", json!(false)),
            ("storageCapacity", json!(false)),
            ("fsGroupPolicy", json!("ReadWriteOnceWithFSType")),
            ("requiresRepublish", json!(false)),
            ("seLinuxMount", json!(false)),
        ] {
            driver.default_pointer(&format!("spec.{field}"), value);
        }
        let modes = "spec.volumeLifecycleModes";
        if driver.list(modes).is_empty() {
            driver.put(modes, json!(["Persistent"]));
        }
    }),
    ..CONDITIONAL
};

pub const CAPACITY: Strategy = Strategy {
    validate: Some(validate::storage::capacity_of_class),
    warnings: Some(validate::node_labels::storage_capacity),
    validate_update: Some(validate::storage::capacity_update),
    ..CONDITIONAL
};

pub const CSI_NODE: Strategy = Strategy {
    validate: Some(validate::storage::csi_node),
    validate_update: Some(validate::storage::csi_node_update),
    ..CONDITIONAL
};

pub const ATTACHMENT: Strategy = Strategy {
    status_keeps: METADATA,
    prepare_create: Some(|attachment| attachment.put("status", json!({"attached": false}))),
    unconditional_update: false,
    validate: Some(validate::storage::attachment),
    validate_update: Some(validate::storage::attachment_update),
    validate_path: &[("status", validate::storage::attachment_status)],
    ..WITH_STATUS
};

pub const ATTRIBUTES_CLASS: Strategy = Strategy {
    validate: Some(validate::storage::attributes_class),
    validate_update: Some(validate::storage::attributes_class_update),
    ..Strategy::PLAIN
};

/// Since when a volume is in its phase, if nobody says it.
fn phase_time(new: &mut Value, old: &Value) {
    let (phase, field) = ("status.phase", "status.lastPhaseTransitionTime");
    let silent = !new.has(field);
    if new.text(phase) == old.text(phase) {
        if silent {
            new.take_from(field, old);
        }
    } else if silent || new.at(field) == old.at(field) {
        new.put(field, crate::registry::object::now());
    }
}

pub fn default_claim(claim: &mut Value) {
    claim.default_pointer("spec.volumeMode", "Filesystem");
    claim.default_to("status", json!({}));
    claim.default_to("status.phase", "Pending");
}

/// What a claim is filled from is said in two places: the older one knows claims and snapshots alone, the newer one anything,
/// and each follows from the other. A source in another namespace is behind a gate.
fn data_sources(claim: &mut Value, old: &Value) {
    let (source, reference) = ("spec.dataSource", "spec.dataSourceRef");
    let known = |source: &Value| match source.text("apiGroup") {
        "" => source.text("kind") == "PersistentVolumeClaim",
        group => group == "snapshot.storage.k8s.io" && source.text("kind") == "VolumeSnapshot",
    };
    if !claim.text("spec.dataSourceRef.namespace").is_empty() && !old.has(reference) {
        claim.remove(reference);
    }
    if claim.has(source) && !claim.has(reference) && !old.has(source) && !known(claim.at(source)) {
        claim.remove(source);
    }
    let (from, to) = match (claim.has(source), claim.has(reference)) {
        (true, false) => (source, reference),
        (false, true) if claim.text("spec.dataSourceRef.namespace").is_empty() => (reference, source),
        _ => return,
    };
    let copy = claim.at(from).clone();
    claim.put(to, copy);
}

fn default_volume(volume: &mut Value) {
    volume.default_to("status.phase", "Pending");
    volume.default_to("spec.persistentVolumeReclaimPolicy", "Retain");
    volume.default_pointer("spec.volumeMode", "Filesystem");
    if volume.at("spec.hostPath").is_object() && !volume.has("spec.hostPath.type") {
        volume.put("spec.hostPath.type", "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_says_since_when_it_is_in_its_phase() {
        let volume = |phase: &str, since: &str| json!({"status": {"phase": phase, "lastPhaseTransitionTime": since}});
        let old = volume("Pending", "then");
        let mut silent = json!({"status": {"phase": "Pending"}});
        phase_time(&mut silent, &old);
        assert_eq!(silent, old);
        let mut told = volume("Bound", "given");
        phase_time(&mut told, &old);
        assert_eq!(told, volume("Bound", "given"));
        for mut moved in [volume("Bound", "then"), json!({"status": {"phase": "Bound"}})] {
            phase_time(&mut moved, &old);
            assert!(moved.text("status.lastPhaseTransitionTime").starts_with("20"), "{moved}");
        }
    }

    #[test]
    fn a_claim_says_twice_what_it_is_filled_from() {
        let known = json!({"kind": "PersistentVolumeClaim", "name": "a"});
        let other = json!({"apiGroup": "a.b", "kind": "Foo", "name": "a"});
        let elsewhere = json!({"kind": "PersistentVolumeClaim", "name": "a", "namespace": "n"});
        for (given, expected) in [
            (json!({ "dataSource": known }), json!({ "dataSource": known, "dataSourceRef": known })),
            (json!({ "dataSourceRef": other }), json!({ "dataSource": other, "dataSourceRef": other })),
            (json!({ "dataSource": other }), json!({})),
            (json!({ "dataSourceRef": elsewhere }), json!({})),
        ] {
            let mut claim = json!({ "spec": given });
            data_sources(&mut claim, &Value::Null);
            assert_eq!(claim, json!({ "spec": expected }));
        }
    }
}
