//! DaemonSets.

use serde_json::{Value, json};

use super::super::internal;
use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::{SPEC_AND_STATUS, pod_spec, zero};

pub const DAEMON_SET: Strategy = Strategy {
    default: Some(default),
    prepare_create: Some(|object| {
        let given = template_generation(object);
        count_templates(object, given.max(1));
    }),
    prepare_update: Some(|new, old| {
        let (template, before) = (new.at("spec.template"), old.at("spec.template"));
        let changed = !internal::same(template, before, "api.core.v1.PodTemplateSpec");
        count_templates(new, template_generation(old) + i64::from(changed));
    }),
    prepare_path: &[("status", |new, old| count_templates(new, template_generation(old)))],
    validate_create: Some(validate::workload::daemon_set),
    validate_path: &[("status", validate::counts::daemon_set)],
    validate_update: Some(validate::workload::daemon_set_update),
    warnings: Some(validate::pod_warnings::template),
    warned_again: WarnedAgain::NewGeneration,
    ..SPEC_AND_STATUS
};

/// The annotation that stands for the internal field `templateGeneration`.
const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

fn template_generation(object: &Value) -> i64 {
    let text = object.entries("metadata.annotations").get(TEMPLATE_GENERATION).and_then(Value::as_str);
    text.and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn count_templates(object: &mut Value, generation: i64) {
    if !object.at("metadata.annotations").is_object() {
        object.put("metadata.annotations", json!({}));
    }
    if let Some(annotations) = object.at_mut("metadata.annotations").and_then(Value::as_object_mut) {
        annotations.insert(TEMPLATE_GENERATION.to_owned(), generation.to_string().into());
    }
}

fn default(object: &mut Value) {
    let generation = template_generation(object);
    count_templates(object, generation);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_counted() {
        let mut new = json!({"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "i"}]}}}});
        default(&mut new);
        DAEMON_SET.prepare_create.unwrap()(&mut new);
        assert_eq!(template_generation(&new), 1);
        let old = new.clone();
        new["metadata"] = json!({});
        DAEMON_SET.prepare_update.unwrap()(&mut new, &old);
        assert_eq!(template_generation(&new), 1, "nobody else counts");
        new["spec"]["template"]["metadata"] = json!({"labels": {"a": "b"}});
        DAEMON_SET.prepare_update.unwrap()(&mut new, &old);
        assert_eq!(template_generation(&new), 2);
    }
}
