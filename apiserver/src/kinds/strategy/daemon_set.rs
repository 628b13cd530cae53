//! DaemonSets.

use serde_json::{Value, json};

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::{SPEC_AND_STATUS, pod_spec, zero};

pub const DAEMON_SET: Strategy = Strategy {
    default: Some(default),
    validate: Some(validate::workload::daemon_set),
    validate_update: Some(validate::workload::daemon_set_update),
    warnings: Some(validate::pod_warnings::template),
    ..SPEC_AND_STATUS
};

fn default(object: &mut Value) {
    pod_spec::default_at(object, "spec.template.spec");
    object.default_to("spec.updateStrategy", json!({}));
    object.default_to("spec.updateStrategy.type", "RollingUpdate");
    if object.text("spec.updateStrategy.type") == "RollingUpdate" {
        object.default_to("spec.updateStrategy.rollingUpdate.maxUnavailable", 1);
        object.default_to("spec.updateStrategy.rollingUpdate.maxSurge", 0);
    }
    object.default_to("spec.revisionHistoryLimit", 10);
    let counters = ["currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady"];
    zero(object, &counters);
}
