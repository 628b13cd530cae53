//! ReplicaSets and ReplicationControllers.

use serde_json::Value;

use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::{PODS, SPEC_AND_STATUS, labels_from_template, pod_spec, zero};

pub const REPLICA_SET: Strategy = Strategy {
    default: Some(default),
    validate: Some(validate::workload::replica_set),
    validate_path: &[("status", validate::counts::replica_set)],
    validate_update: Some(validate::workload::replica_set_update),
    named_after: Some(PODS),
    warnings: Some(validate::pod_warnings::template),
    warned_again: WarnedAgain::NewGeneration,
    ..SPEC_AND_STATUS
};

pub const REPLICATION_CONTROLLER: Strategy = Strategy {
    default: Some(|object| {
        // Other than those of newer kinds, its template may be missing.
        if object.has("spec.template") {
            default(object);
        } else {
            default_counts(object);
        }
        labels_from_template(object);
    }),
    validate: Some(validate::workload::replication_controller),
    validate_path: &[("status", validate::counts::replication_controller)],
    named_after: Some(PODS),
    warnings: Some(validate::pod_warnings::template),
    warned_again: WarnedAgain::OfTheFormer,
    ..SPEC_AND_STATUS
};

fn default(object: &mut Value) {
    pod_spec::default_at(object, "spec.template.spec");
    default_counts(object);
}

fn default_counts(object: &mut Value) {
    object.default_to("spec.replicas", 1);
    zero(object, &["replicas"]);
}
