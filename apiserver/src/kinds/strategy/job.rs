//! Jobs: the selector and the pod labels are made here, from the Job's own uid
//! (`pkg/registry/batch/job/strategy.go`).

use serde_json::{Value, json};

use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::{PODS, SPEC_AND_STATUS, pod_spec, zero};

pub const JOB: Strategy = Strategy {
    default: Some(default),
    prepare_create: Some(prepare_create),
    labels_of_template: true,
    validate: Some(validate::batch::job),
    validate_update: Some(validate::batch::job_update),
    validate_path: &[("status", validate::job_status::status)],
    named_after: Some(PODS),
    warnings: Some(validate::batch::job_warnings),
    warned_again: WarnedAgain::NewGeneration,
    ..SPEC_AND_STATUS
};

/// Defaults of a Job spec at `spec`, which is also that of a CronJob's template.
pub fn default_spec(object: &mut Value, path: &str) {
    pod_spec::default_at(object, &format!("{path}.template.spec"));
    let Some(spec) = object.at_mut(path) else { return };
    if !spec.has("completions") && !spec.has("parallelism") {
        spec.put("completions", 1);
        spec.put("parallelism", 1);
    }
    spec.default_to("parallelism", 1);
    if !spec.has("backoffLimit") {
        let per_index = spec.has("backoffLimitPerIndex");
        spec.put("backoffLimit", if per_index { i64::from(i32::MAX) } else { 6 });
    }
    spec.default_pointer("completionMode", "NonIndexed");
    spec.default_to("suspend", false);
    let policy = if spec.has("podFailurePolicy") { "Failed" } else { "TerminatingOrFailed" };
    spec.default_pointer("podReplacementPolicy", policy);
    for rule in spec.list_mut("podFailurePolicy.rules") {
        for pattern in rule.list_mut("onPodConditions") {
            pattern.default_to("status", "True");
        }
    }
}

fn default(job: &mut Value) {
    default_spec(job, "spec");
    job.default_to("spec.manualSelector", false);
    zero(job, &[]);
    let labels = job.at("spec.template.metadata.labels").clone();
    if job.entries("metadata.labels").is_empty() && labels.as_object().is_some_and(|l| !l.is_empty()) {
        job.put("metadata.labels", labels);
    }
}

/// The keys of the labels that tie pods to their Job: the present ones, then those of old.
const LABELS: [(&str, &str); 4] = [
    ("batch.kubernetes.io/job-name", "metadata.name"),
    ("job-name", "metadata.name"),
    ("batch.kubernetes.io/controller-uid", "metadata.uid"),
    ("controller-uid", "metadata.uid"),
];

fn prepare_create(job: &mut Value) {
    if job.yes("spec.manualSelector") {
        return;
    }
    if !job.has("spec.template.metadata.labels") {
        job.put("spec.template.metadata.labels", json!({}));
    }
    for (key, source) in LABELS {
        let value = job.text(source).to_owned();
        if let Some(labels) = job.at_mut("spec.template.metadata.labels").and_then(Value::as_object_mut) {
            // A label given by the user is left for validation to complain about.
            labels.entry(key).or_insert_with(|| value.into());
        }
    }
    if !job.has("spec.selector") {
        job.put("spec.selector", json!({"matchLabels": {}}));
    }
    if !job.has("spec.selector.matchLabels") {
        job.put("spec.selector.matchLabels", json!({}));
    }
    let uid = job.text("metadata.uid").to_owned();
    if let Some(labels) = job.at_mut("spec.selector.matchLabels").and_then(Value::as_object_mut) {
        labels.entry("batch.kubernetes.io/controller-uid").or_insert_with(|| uid.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_uid_selects_the_pods() {
        let mut job = json!({"metadata": {"name": "j", "uid": "u"}, "spec": {"template": {"spec": {}}}});
        default(&mut job);
        prepare_create(&mut job);
        assert_eq!(job["spec"]["selector"], json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}}));
        assert_eq!(
            job["spec"]["template"]["metadata"]["labels"],
            json!({"batch.kubernetes.io/controller-uid": "u", "controller-uid": "u",
                "batch.kubernetes.io/job-name": "j", "job-name": "j"})
        );
        assert_eq!((&job["spec"]["completions"], &job["spec"]["backoffLimit"]), (&json!(1), &json!(6)));
    }

    #[test]
    fn parallelism_without_completions_is_a_work_queue() {
        let mut job = json!({"spec": {"parallelism": 3}});
        default(&mut job);
        assert_eq!(job["spec"].get("completions"), None);
    }
}
