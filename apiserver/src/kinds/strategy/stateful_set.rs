//! StatefulSets and ControllerRevisions.

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::{SPEC_AND_STATUS, pod_spec, storage, zero};

/// Of a feature that is off where nobody switches it on (`MaxUnavailableStatefulSet`).
const MAX_UNAVAILABLE: &str = "spec.updateStrategy.rollingUpdate.maxUnavailable";

pub const STATEFUL_SET: Strategy = Strategy {
    default: Some(default),
    prepare_create: Some(|set| set.remove(MAX_UNAVAILABLE)),
    prepare_update: Some(|new, old| {
        if !old.has(MAX_UNAVAILABLE) {
            new.remove(MAX_UNAVAILABLE);
        }
    }),
    validate_create: Some(validate::workload::new_stateful_set),
    validate_path: &[("status", validate::counts::stateful_set)],
    validate_update: Some(validate::workload::stateful_set_update),
    warnings: Some(validate::pod_warnings::template),
    warned_again: WarnedAgain::NewGeneration,
    warned_always: Some(validate::workload::stateful_set_warnings),
    ..SPEC_AND_STATUS
};

pub const CONTROLLER_REVISION: Strategy = Strategy {
    validate: Some(validate::workload::controller_revision),
    validate_create: Some(validate::workload::new_controller_revision),
    validate_update: Some(validate::workload::controller_revision_update),
    ..Strategy::PLAIN
};

fn default(object: &mut Value) {
    pod_spec::default_at(object, "spec.template.spec");
    object.default_to("spec.podManagementPolicy", "OrderedReady");
    if object.text("spec.updateStrategy.type").is_empty() {
        object.put("spec.updateStrategy.type", "RollingUpdate");
        object.default_to("spec.updateStrategy.rollingUpdate", json!({}));
    }
    // Whoever gives the type says whether there is more to it.
    if object.text("spec.updateStrategy.type") == "RollingUpdate" && object.has("spec.updateStrategy.rollingUpdate") {
        object.default_to("spec.updateStrategy.rollingUpdate.partition", 0);
    }
    object.default_to("spec.persistentVolumeClaimRetentionPolicy.whenDeleted", "Retain");
    object.default_to("spec.persistentVolumeClaimRetentionPolicy.whenScaled", "Retain");
    object.default_to("spec.replicas", 1);
    object.default_to("spec.revisionHistoryLimit", 10);
    zero(object, &["replicas", "availableReplicas"]);
    for claim in object.list_mut("spec.volumeClaimTemplates") {
        // Claims of a template carry their type, as they are stored by upstream.
        claim.put("apiVersion", "v1");
        claim.put("kind", "PersistentVolumeClaim");
        storage::default_claim(claim);
    }
}
