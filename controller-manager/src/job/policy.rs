//! What the end of a pod means to its Job: failure policy (KEP-3329), success policy (KEP-3998).

use std::sync::Arc;

use k8s_openapi::api::batch::v1::{JobSpec, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyRule};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};

use super::indexes::{self, IndexSet};
use crate::framework::meta::is_deleting;
use crate::framework::pods;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Counts against the limits, as without a policy.
    Count,
    Ignore,
    FailIndex,
    /// Ends the Job, for the reason given.
    FailJob(String),
}

/// Whether terminating pods are waited for before they are replaced.
pub fn replaces_failed_only(spec: &JobSpec) -> bool {
    match spec.pod_replacement_policy.as_deref() {
        Some(policy) => policy == "Failed",
        None => spec.pod_failure_policy.is_some(),
    }
}

/// Whether a pod has failed, or (unless the Job waits for the very end) is on its way out and will never succeed.
pub fn is_failed(spec: &JobSpec, pod: &Pod) -> bool {
    match pods::phase(pod) {
        "Failed" => true,
        "Succeeded" => false,
        _ => is_deleting(&pod.metadata) && !replaces_failed_only(spec),
    }
}

/// The first matching rule decides about a failed pod.
pub fn judge(spec: &JobSpec, pod: &Pod) -> Judgement {
    let rules = spec.pod_failure_policy.as_ref().map(|policy| policy.rules.as_slice()).unwrap_or_default();
    rules.iter().enumerate().find_map(|(at, rule)| apply(rule, at, pod)).unwrap_or(Judgement::Count)
}

fn apply(rule: &PodFailurePolicyRule, at: usize, pod: &Pod) -> Option<Judgement> {
    let (namespace, name) =
        (pod.metadata.namespace.as_deref().unwrap_or_default(), pod.metadata.name.as_deref().unwrap_or_default());
    let why = if let Some(codes) = &rule.on_exit_codes {
        let (container, code) = exited(codes, pod)?;
        format!("Container {container} for pod {namespace}/{name} failed with exit code {code}")
    } else {
        let wanted = rule.on_pod_conditions.as_deref().unwrap_or_default();
        let known = wanted.iter().find(|pattern| {
            pods::condition(pod, &pattern.type_)
                .is_some_and(|known| known.status == pattern.status.as_deref().unwrap_or("True"))
        })?;
        format!("Pod {namespace}/{name} has condition {}", known.type_)
    };
    match rule.action.as_str() {
        "Count" => Some(Judgement::Count),
        "Ignore" => Some(Judgement::Ignore),
        "FailIndex" => Some(Judgement::FailIndex),
        "FailJob" => Some(Judgement::FailJob(format!("{why} matching FailJob rule at index {at}"))),
        _ => None,
    }
}

/// The first container that ended as `wanted` describes. Exit code 0 is no failure, whatever the list says.
fn exited<'a>(wanted: &PodFailurePolicyOnExitCodesRequirement, pod: &'a Pod) -> Option<(&'a str, i32)> {
    let status = pod.status.as_ref()?;
    let all = status.container_statuses.iter().flatten().chain(status.init_container_statuses.iter().flatten());
    let code = |container: &ContainerStatus| Some(container.state.as_ref()?.terminated.as_ref()?.exit_code);
    all.filter(|container| wanted.container_name.as_ref().is_none_or(|name| *name == container.name))
        .filter_map(|container| Some((container.name.as_str(), code(container).filter(|code| *code != 0)?)))
        .find(|(_, code)| match wanted.operator.as_str() {
            "In" => wanted.values.contains(code),
            "NotIn" => !wanted.values.contains(code),
            _ => false,
        })
}

/// Why the failure policy ends the Job, if it does.
pub fn job_failure(spec: &JobSpec, all: &[Arc<Pod>]) -> Option<String> {
    spec.pod_failure_policy.as_ref()?;
    all.iter().filter(|pod| is_failed(spec, pod)).find_map(|pod| match judge(spec, pod) {
        Judgement::FailJob(why) => Some(why),
        _ => None,
    })
}

/// Which rule of the success policy is met, as the condition's message says it.
pub fn success(spec: &JobSpec, succeeded: &IndexSet) -> Option<String> {
    let completions = spec.completions.unwrap_or(0);
    let rules = &spec.success_policy.as_ref()?.rules;
    let met = rules.iter().position(|rule| {
        let wanted = rule.succeeded_indexes.as_ref().map(|text| indexes::parse(text, completions));
        let count = |set: &IndexSet| i32::try_from(set.len()).unwrap_or(i32::MAX);
        match (wanted.as_ref(), rule.succeeded_count) {
            (Some(wanted), Some(least)) => count(&(wanted & succeeded)) >= least,
            (Some(wanted), None) => wanted.is_subset(succeeded),
            (None, Some(least)) => count(succeeded) >= least,
            (None, None) => false,
        }
    })?;
    Some(format!("Matched rules at index {met}"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(mut value: Value) -> JobSpec {
        value["template"] = json!({});
        serde_json::from_value(value).unwrap()
    }

    fn failed(code: i32, condition: Option<&str>) -> Arc<Pod> {
        let conditions: Vec<_> = condition.iter().map(|kind| json!({ "type": kind, "status": "True" })).collect();
        Arc::new(
            serde_json::from_value(json!({
                "metadata": { "name": "p", "namespace": "ns" },
                "status": { "phase": "Failed", "conditions": conditions, "containerStatuses": [{
                    "name": "main", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                    "state": { "terminated": { "exitCode": code } },
                }]},
            }))
            .unwrap(),
        )
    }

    #[test]
    fn the_first_matching_rule_decides() {
        let spec = spec(json!({ "podFailurePolicy": { "rules": [
            { "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] },
            { "action": "FailJob", "onExitCodes": { "containerName": "main", "operator": "In", "values": [42] } },
            { "action": "FailIndex", "onExitCodes": { "operator": "NotIn", "values": [1, 2] } },
        ]}}));
        let cases = [
            (failed(42, Some("DisruptionTarget")), Judgement::Ignore),
            (
                failed(42, None),
                Judgement::FailJob(
                    "Container main for pod ns/p failed with exit code 42 matching FailJob rule at index 1".into(),
                ),
            ),
            (failed(3, None), Judgement::FailIndex),
            (failed(1, None), Judgement::Count),
            (failed(0, None), Judgement::Count),
        ];
        for (pod, expected) in cases {
            assert_eq!(judge(&spec, &pod), expected);
        }
        assert!(job_failure(&spec, &[failed(1, None)]).is_none());
        assert!(job_failure(&spec, &[failed(1, None), failed(42, None)]).is_some());
    }

    #[test]
    fn success_policies_want_indexes_or_a_number_of_them() {
        let done: IndexSet = [0, 2, 3].into();
        let cases = [
            (json!({ "succeededIndexes": "0,2" }), true),
            (json!({ "succeededIndexes": "0-2" }), false),
            (json!({ "succeededIndexes": "0-2", "succeededCount": 2 }), true),
            (json!({ "succeededCount": 3 }), true),
            (json!({ "succeededCount": 4 }), false),
        ];
        for (rule, met) in cases {
            let spec = spec(json!({ "completions": 5, "successPolicy": { "rules": [rule] } }));
            let expected = met.then(|| "Matched rules at index 0".to_owned());
            assert_eq!(success(&spec, &done), expected, "{rule}");
        }
    }
}
