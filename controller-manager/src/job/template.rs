//! The pods a Job makes.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod};

use super::indexes::COMPLETION_INDEX;
use super::policy::{self, Judgement};
use crate::framework::meta::{annotation, controller_reference};
use crate::framework::pods;

/// Keeps an ended pod from disappearing before it is counted.
pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";

const FAILURES: &str = "batch.kubernetes.io/job-index-failure-count";
const IGNORED_FAILURES: &str = "batch.kubernetes.io/job-index-ignored-failure-count";
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

pub fn is_tracked(pod: &Pod) -> bool {
    pod.metadata.finalizers.iter().flatten().any(|finalizer| finalizer == TRACKING)
}

/// How often the index of `pod` had failed when the pod was made: counted, and ignored by the failure policy.
pub fn index_failures(pod: &Pod) -> (u32, u32) {
    let number = |name| annotation(&pod.metadata, name).and_then(|text| text.parse().ok()).unwrap_or(0);
    (number(FAILURES), number(IGNORED_FAILURES))
}

/// A pod for `index` (of an Indexed Job), replacing `failed` where failures are counted for each index.
pub fn pod_for(job: &Job, index: Option<i32>, failed: Option<&Pod>) -> Pod {
    let spec = job.spec.clone().unwrap_or_default();
    let namespace = job.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = pods::from_template(&spec.template, namespace, controller_reference(job));
    if !is_tracked(&pod) {
        pod.metadata.finalizers.get_or_insert_default().push(TRACKING.into());
    }
    let Some(index) = index else { return pod };
    let name = job.metadata.name.as_deref().unwrap_or_default();
    pod.metadata.generate_name = Some(indexed_prefix(name, index));
    pod.metadata.labels.get_or_insert_default().insert(COMPLETION_INDEX.into(), index.to_string());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(COMPLETION_INDEX.into(), index.to_string());
    if spec.backoff_limit_per_index.is_some() {
        let (mut counted, mut ignored) = failed.map(index_failures).unwrap_or_default();
        match failed.map(|failed| policy::judge(&spec, failed)) {
            None => {}
            Some(Judgement::Ignore) => ignored += 1,
            Some(_) => counted += 1,
        }
        annotations.insert(FAILURES.into(), counted.to_string());
        if ignored > 0 {
            annotations.insert(IGNORED_FAILURES.into(), ignored.to_string());
        }
    }
    let pod_spec = pod.spec.get_or_insert_default();
    pod_spec.hostname = Some(format!("{name}-{index}"));
    let init = pod_spec.init_containers.iter_mut().flatten();
    init.chain(&mut pod_spec.containers).for_each(add_index_variable);
    pod
}

/// `name-index-`, cut so that a suffix fits within a label's 63 characters.
fn indexed_prefix(name: &str, index: i32) -> String {
    const LONGEST: usize = 63 - 5;
    let tail = format!("-{index}-");
    format!("{}{tail}", &name[..name.len().min(LONGEST - tail.len())])
}

fn add_index_variable(container: &mut Container) {
    let variables = container.env.get_or_insert_default();
    if variables.iter().any(|variable| variable.name == INDEX_VARIABLE) {
        return;
    }
    let label = ObjectFieldSelector { field_path: format!("metadata.labels['{COMPLETION_INDEX}']"), api_version: None };
    let source = EnvVarSource { field_ref: Some(label), ..EnvVarSource::default() };
    variables.push(EnvVar { name: INDEX_VARIABLE.into(), value: None, value_from: Some(source) });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_of_an_index_know_it() {
        let job: Job = serde_json::from_value(json!({
            "metadata": { "name": "work", "namespace": "ns", "uid": "u" },
            "spec": { "completions": 3, "completionMode": "Indexed", "backoffLimitPerIndex": 1,
                      "template": { "spec": { "containers": [{ "name": "c" }] } } },
        }))
        .unwrap();
        let first = pod_for(&job, Some(2), None);
        assert_eq!(first.metadata.generate_name.as_deref(), Some("work-2-"));
        assert_eq!(first.spec.as_ref().unwrap().hostname.as_deref(), Some("work-2"));
        assert!(is_tracked(&first));
        assert_eq!(index_failures(&first), (0, 0));
        let env = serde_json::to_value(&first.spec.as_ref().unwrap().containers[0].env).unwrap();
        assert_eq!(
            env[0]["valueFrom"]["fieldRef"]["fieldPath"],
            "metadata.labels['batch.kubernetes.io/job-completion-index']"
        );
        assert_eq!(index_failures(&pod_for(&job, Some(2), Some(&first))), (1, 0));
    }

    #[test]
    fn pods_without_an_index_are_named_after_the_job() {
        let job: Job =
            serde_json::from_value(json!({ "metadata": { "name": "work", "uid": "u" }, "spec": { "template": {} } }))
                .unwrap();
        let pod = pod_for(&job, None, None);
        assert_eq!(pod.metadata.generate_name.as_deref(), Some("work-"));
        assert_eq!(pod.metadata.annotations, None);
    }
}
