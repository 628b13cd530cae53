//! How many pods a budget lets go (upstream `disruption.go`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::framework::meta::{controller_of, is_deleting, to_seconds};
use crate::framework::pods::{is_ready, scaled};

/// How long an evicted pod may take to start ending, before the budget no longer believes that it will.
const EVICTION_PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// The wanted replicas of a pod's controller, by its uid.
pub type Scales = HashMap<String, i32>;

#[derive(Debug)]
pub struct Plan {
    pub status: PodDisruptionBudgetStatus,
    /// Pods without a controller under a budget that counts by controllers.
    pub unmanaged: bool,
    /// Pods that were evicted and are still there.
    pub not_deleted: Vec<Arc<Pod>>,
    /// When the next evicted pod is given up.
    pub recheck: Option<SignedDuration>,
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// Whether the budget needs the scale of its pods' controllers: all but an absolute `minAvailable` do.
pub fn needs_scales(budget: &PodDisruptionBudget) -> bool {
    let spec = budget.spec.as_ref();
    spec.is_some_and(|spec| {
        spec.max_unavailable.is_some() || matches!(spec.min_available, Some(IntOrString::String(_)))
    })
}

/// `selected` are the pods the budget selects, `scales` knows all their controllers.
pub fn plan(budget: &PodDisruptionBudget, selected: &[Arc<Pod>], scales: &Scales, now: Timestamp) -> Plan {
    let spec = budget.spec.clone().unwrap_or_default();
    let controllers: BTreeMap<&str, i32> = selected
        .iter()
        .filter_map(|pod| controller_of(&pod.metadata))
        .filter_map(|owner| Some((owner.uid.as_str(), *scales.get(&owner.uid)?)))
        .collect();
    let by_scale: i32 = controllers.values().sum();
    let (expected, desired) = match (&spec.max_unavailable, &spec.min_available) {
        (Some(most), _) => (by_scale, (by_scale - scaled(Some(most), by_scale, true)).max(0)),
        (None, Some(IntOrString::Int(least))) => (count(selected.len()), *least),
        (None, Some(least)) => (by_scale, scaled(Some(least), by_scale, true)),
        (None, None) => (0, 0),
    };
    let unmanaged = needs_scales(budget) && selected.iter().any(|pod| controller_of(&pod.metadata).is_none());

    let known = budget.status.as_ref().and_then(|status| status.disrupted_pods.clone()).unwrap_or_default();
    let mut evicted: BTreeMap<String, Time> = BTreeMap::new();
    let (mut not_deleted, mut recheck) = (Vec::new(), None);
    for pod in selected.iter().filter(|pod| !is_deleting(&pod.metadata)) {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let Some(since) = known.get(&name) else { continue };
        let left = EVICTION_PATIENCE - now.duration_since(since.0);
        if left.is_negative() {
            not_deleted.push(pod.clone());
        } else {
            recheck = Some(recheck.map_or(left, |other: SignedDuration| other.min(left)));
            evicted.insert(name, since.clone());
        }
    }
    let is_evicted = |pod: &Pod| pod.metadata.name.as_ref().is_some_and(|name| evicted.contains_key(name));
    let healthy =
        count(selected.iter().filter(|pod| !is_deleting(&pod.metadata) && !is_evicted(pod) && is_ready(pod)).count());
    let allowed = if expected <= 0 { 0 } else { (healthy - desired).max(0) };
    let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
    let status = PodDisruptionBudgetStatus {
        conditions: with_condition(budget, allowed > 0, reason, "", now),
        current_healthy: healthy,
        desired_healthy: desired,
        disrupted_pods: (!evicted.is_empty()).then_some(evicted),
        disruptions_allowed: allowed,
        expected_pods: expected,
        observed_generation: budget.metadata.generation,
    };
    Plan { status, unmanaged, not_deleted, recheck }
}

/// When the controllers cannot be counted, nothing may go.
pub fn unknown(budget: &PodDisruptionBudget, why: &str, now: Timestamp) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus {
        conditions: with_condition(budget, false, "SyncFailed", why, now),
        disruptions_allowed: 0,
        ..budget.status.clone().unwrap_or_default()
    }
}

fn with_condition(
    budget: &PodDisruptionBudget,
    allowed: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> Option<Vec<Condition>> {
    const KIND: &str = "DisruptionAllowed";
    let status = if allowed { "True" } else { "False" };
    let mut conditions = budget.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
    let since = match conditions.iter().find(|known| known.type_ == KIND) {
        Some(known) if known.status == status => known.last_transition_time.clone(),
        _ => to_seconds(now),
    };
    let condition = Condition {
        type_: KIND.into(),
        status: status.into(),
        reason: reason.into(),
        message: message.into(),
        last_transition_time: since,
        observed_generation: budget.metadata.generation,
    };
    match conditions.iter_mut().find(|known| known.type_ == KIND) {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
    Some(conditions)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pods(ready: usize, unready: usize) -> Vec<Arc<Pod>> {
        let pod = |at: usize| {
            let owner =
                json!({ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs", "uid": "rs", "controller": true });
            let status = if at < ready { "True" } else { "False" };
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": { "name": format!("p{at}"), "ownerReferences": [owner] },
                    "status": { "conditions": [{ "type": "Ready", "status": status }] },
                }))
                .unwrap(),
            )
        };
        (0..ready + unready).map(pod).collect()
    }

    fn budget(spec: Value) -> PodDisruptionBudget {
        serde_json::from_value(json!({ "metadata": { "generation": 2 }, "spec": spec })).unwrap()
    }

    #[test]
    fn budgets_are_numbers_or_shares_of_what_controllers_want() {
        // Ready, unready, wanted by the controller; then healthy, desired, expected, allowed.
        let cases = [
            (json!({ "minAvailable": 2 }), (3, 0, 3), (3, 2, 3, 1)),
            (json!({ "minAvailable": 2 }), (2, 1, 3), (2, 2, 3, 0)),
            (json!({ "minAvailable": "50%" }), (3, 0, 5), (3, 3, 5, 0)),
            (json!({ "maxUnavailable": 1 }), (3, 0, 3), (3, 2, 3, 1)),
            (json!({ "maxUnavailable": 1 }), (1, 0, 3), (1, 2, 3, 0)),
            (json!({ "maxUnavailable": "30%" }), (10, 0, 10), (10, 7, 10, 3)),
            (json!({ "maxUnavailable": 5 }), (3, 0, 3), (3, 0, 3, 3)),
            (json!({ "minAvailable": 0 }), (0, 0, 0), (0, 0, 0, 0)),
        ];
        for (spec, (ready, unready, wanted), (healthy, desired, expected, allowed)) in cases {
            let scales = [("rs".to_owned(), wanted)].into();
            let status = plan(&budget(spec.clone()), &pods(ready, unready), &scales, Timestamp::UNIX_EPOCH).status;
            let found =
                (status.current_healthy, status.desired_healthy, status.expected_pods, status.disruptions_allowed);
            assert_eq!(found, (healthy, desired, expected, allowed), "{spec}");
            let condition = &status.conditions.unwrap()[0];
            let reason = if allowed > 0 { "SufficientPods" } else { "InsufficientPods" };
            assert_eq!((condition.reason.as_str(), condition.observed_generation), (reason, Some(2)));
        }
    }

    #[test]
    fn an_evicted_pod_is_not_healthy_until_the_budget_loses_patience() {
        let mut budget = budget(json!({ "minAvailable": 1 }));
        budget.status = Some(PodDisruptionBudgetStatus {
            disrupted_pods: Some([("p0".to_owned(), Time(Timestamp::UNIX_EPOCH))].into()),
            ..Default::default()
        });
        let at = |second| plan(&budget, &pods(2, 0), &Scales::new(), Timestamp::from_second(second).unwrap());
        let soon = at(20);
        assert_eq!((soon.status.current_healthy, soon.recheck), (1, Some(SignedDuration::from_secs(100))));
        let late = at(121);
        assert_eq!((late.status.current_healthy, late.not_deleted.len()), (2, 1));
        assert_eq!(late.status.disrupted_pods, None);
    }
}
