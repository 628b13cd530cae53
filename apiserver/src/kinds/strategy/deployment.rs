//! Deployments (`pkg/apis/apps/v1/defaults.go`, `pkg/registry/apps/deployment`).

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::{PODS, SPEC_AND_STATUS, pod_spec, zero};

pub const DEPLOYMENT: Strategy = Strategy {
    default: Some(default),
    prepare_update: Some(|new, old| {
        // The controller copies annotations to ReplicaSets, so a change of theirs counts, too.
        if new.entries("metadata.annotations") != old.entries("metadata.annotations") {
            new.put("metadata.generation", old.int("metadata.generation") + 1);
        }
    }),
    status_keeps: &["labels"],
    validate: Some(validate::workload::deployment),
    validate_path: &[("status", validate::counts::deployment)],
    validate_update: Some(validate::workload::deployment_update),
    named_after: Some(PODS),
    warnings: Some(validate::pod_warnings::template),
    warned_again: WarnedAgain::NewGeneration,
    ..SPEC_AND_STATUS
};

fn default(object: &mut Value) {
    pod_spec::default_at(object, "spec.template.spec");
    object.default_to("spec.replicas", 1);
    object.default_to("spec.strategy", json!({}));
    object.default_to("spec.strategy.type", "RollingUpdate");
    if object.text("spec.strategy.type") == "RollingUpdate" {
        object.default_pointer("spec.strategy.rollingUpdate.maxUnavailable", "25%");
        object.default_pointer("spec.strategy.rollingUpdate.maxSurge", "25%");
    }
    object.default_to("spec.revisionHistoryLimit", 10);
    object.default_to("spec.progressDeadlineSeconds", 600);
    zero(object, &[]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let mut d = json!({"spec": {"template": {"spec": {"containers": []}}}});
        default(&mut d);
        assert_eq!(d["spec"]["replicas"], 1);
        assert_eq!(
            d["spec"]["strategy"],
            json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}})
        );
        let mut d = json!({"spec": {"strategy": {"type": "Recreate"}, "replicas": 0}});
        default(&mut d);
        assert_eq!(d["spec"]["strategy"], json!({"type": "Recreate"}));
        assert_eq!(d["spec"]["replicas"], 0);
    }
}
