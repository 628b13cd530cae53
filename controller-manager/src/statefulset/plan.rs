//! Which pod is made, ended or replaced next, and what the status says (upstream `stateful_set_control.go`).
//!
//! In order (`OrderedReady`), a step is taken only when everything before it is available: upwards when pods are made,
//! downwards when they are ended or replaced. With `Parallel`, making and ending wait for nobody.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet, StatefulSetSpec, StatefulSetStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::pod::{ordinal_of, revision_of};
use crate::framework::meta::is_deleting;
use crate::framework::pods::{self, scaled};

#[derive(Debug, Default)]
pub struct Plan {
    /// Ordinals to make, and whether of the current (else the update) revision.
    pub create: Vec<(i32, bool)>,
    pub delete: Vec<Arc<Pod>>,
    /// Ended pods, deleted so that they can be made again.
    pub recreate: Vec<Arc<Pod>>,
    pub status: StatefulSetStatus,
}

/// The two revisions between which a set may be; equal when no update is going on.
pub struct Revisions {
    pub current: Arc<ControllerRevision>,
    pub update: Arc<ControllerRevision>,
}

impl Revisions {
    fn names(&self) -> (&str, &str) {
        let name = |revision: &'_ Arc<ControllerRevision>| revision.metadata.name.clone().unwrap_or_default();
        debug_assert!(!name(&self.current).is_empty() && !name(&self.update).is_empty());
        (
            self.current.metadata.name.as_deref().unwrap_or_default(),
            self.update.metadata.name.as_deref().unwrap_or_default(),
        )
    }
}

pub fn replicas(spec: &StatefulSetSpec) -> i32 {
    spec.replicas.unwrap_or(1)
}

/// The ordinals a set wants.
pub fn ordinals(spec: &StatefulSetSpec) -> std::ops::Range<i32> {
    let start = spec.ordinals.as_ref().and_then(|ordinals| ordinals.start).unwrap_or(0);
    start..start.saturating_add(replicas(spec))
}

fn is_ready(pod: &Pod) -> bool {
    pods::phase(pod) == "Running" && pods::is_ready(pod)
}

fn is_healthy(pod: &Pod) -> bool {
    is_ready(pod) && !is_deleting(&pod.metadata)
}

pub fn plan(set: &StatefulSet, owned: &[Arc<Pod>], revisions: &Revisions, now: Timestamp) -> Plan {
    let Some(spec) = &set.spec else { return Plan::default() };
    let mut plan = Plan { status: status(set, spec, owned, revisions, now), ..Plan::default() };
    if is_deleting(&set.metadata) {
        return plan;
    }
    let by_ordinal: BTreeMap<i32, &Arc<Pod>> =
        owned.iter().filter_map(|pod| Some((ordinal_of(set, pod)?, pod))).collect();
    let (wanted, condemned): (BTreeMap<_, _>, BTreeMap<_, _>) =
        by_ordinal.into_iter().partition(|(ordinal, _)| ordinals(spec).contains(ordinal));
    let walk = Walk { spec, ordered: spec.pod_management_policy.as_deref() != Some("Parallel"), now };
    if walk.fill(&wanted, &mut plan) && walk.shrink(&wanted, &condemned, &mut plan) {
        walk.roll(&wanted, revisions.names().1, &mut plan);
    }
    plan
}

struct Walk<'a> {
    spec: &'a StatefulSetSpec,
    ordered: bool,
    now: Timestamp,
}

/// Each step says whether the next one may be taken.
impl Walk<'_> {
    fn is_available(&self, pod: &Pod) -> bool {
        is_ready(pod) && pods::is_available(pod, self.spec.min_ready_seconds.unwrap_or(0), self.now)
    }

    fn fill(&self, pods: &BTreeMap<i32, &Arc<Pod>>, plan: &mut Plan) -> bool {
        for ordinal in ordinals(self.spec) {
            match pods.get(&ordinal) {
                None => {
                    plan.create.push((ordinal, self.wants_current(ordinal)));
                    if self.ordered {
                        return false;
                    }
                }
                Some(pod) if pods::is_finished(pod) => {
                    if !is_deleting(&pod.metadata) {
                        plan.recreate.push((*pod).clone());
                    }
                    if self.ordered {
                        return false;
                    }
                }
                Some(pod) if self.ordered && (is_deleting(&pod.metadata) || !self.is_available(pod)) => return false,
                Some(_) => {}
            }
        }
        // A pod that has ended holds up the rest of this round also where the order does not matter.
        plan.recreate.is_empty()
    }

    /// Below the partition, a missing pod is made again as it was.
    fn wants_current(&self, ordinal: i32) -> bool {
        let strategy = self.spec.update_strategy.as_ref();
        let rolling = strategy.is_none_or(|strategy| strategy.type_.as_deref() != Some("OnDelete"));
        let partition = strategy.and_then(|s| s.rolling_update.as_ref()?.partition).unwrap_or(0);
        rolling && ordinal < ordinals(self.spec).start.saturating_add(partition)
    }

    fn shrink(&self, wanted: &BTreeMap<i32, &Arc<Pod>>, condemned: &BTreeMap<i32, &Arc<Pod>>, plan: &mut Plan) -> bool {
        let first_unhealthy =
            wanted.values().find(|pod| !is_healthy(pod)).or_else(|| condemned.values().find(|pod| !is_healthy(pod)));
        for pod in condemned.values().rev() {
            if !is_deleting(&pod.metadata) {
                let is_first = first_unhealthy.is_some_and(|first| Arc::ptr_eq(first, pod));
                if self.ordered && !self.is_available(pod) && !is_first {
                    return false;
                }
                plan.delete.push((*pod).clone());
            }
            if self.ordered {
                return false;
            }
        }
        true
    }

    /// From the highest ordinal down to the partition, with at most `maxUnavailable` pods missing at a time.
    fn roll(&self, pods: &BTreeMap<i32, &Arc<Pod>>, update: &str, plan: &mut Plan) {
        let strategy = self.spec.update_strategy.as_ref();
        if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete")) {
            return;
        }
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let mut budget = limit.map_or(1, |limit| scaled(Some(limit), replicas(self.spec), false).max(1));
        let range = ordinals(self.spec);
        let lowest = range.start.saturating_add(rolling.and_then(|rolling| rolling.partition).unwrap_or(0));
        for ordinal in range.rev().take_while(|ordinal| *ordinal >= lowest) {
            if budget <= 0 {
                return;
            }
            match pods.get(&ordinal) {
                Some(pod) if revision_of(pod) != update && !is_deleting(&pod.metadata) => {
                    plan.delete.push((*pod).clone());
                    budget -= 1;
                }
                Some(pod) if is_healthy(pod) && self.is_available(pod) => {}
                _ => budget -= 1,
            }
        }
    }
}

fn status(
    set: &StatefulSet,
    spec: &StatefulSetSpec,
    owned: &[Arc<Pod>],
    revisions: &Revisions,
    now: Timestamp,
) -> StatefulSetStatus {
    let known = set.status.clone().unwrap_or_default();
    let (current, update) = revisions.names();
    let wait = spec.min_ready_seconds.unwrap_or(0);
    let mut status = StatefulSetStatus {
        observed_generation: set.metadata.generation,
        current_revision: Some(current.to_owned()),
        update_revision: Some(update.to_owned()),
        collision_count: Some(known.collision_count.unwrap_or(0)),
        conditions: known.conditions,
        available_replicas: Some(0),
        ..StatefulSetStatus::default()
    };
    // Go omits these counts when they are 0.
    let add = |count: &mut Option<i32>| *count.get_or_insert(0) += 1;
    for pod in owned {
        status.replicas += 1;
        if is_ready(pod) {
            add(&mut status.ready_replicas);
            if pods::is_available(pod, wait, now) {
                add(&mut status.available_replicas);
            }
        }
        if !is_deleting(&pod.metadata) {
            if revision_of(pod) == current {
                add(&mut status.current_replicas);
            }
            if revision_of(pod) == update {
                add(&mut status.updated_replicas);
            }
        }
    }
    let rolling = spec.update_strategy.as_ref().is_none_or(|strategy| strategy.type_.as_deref() != Some("OnDelete"));
    let wanted = replicas(spec);
    let all = |count: Option<i32>| count.unwrap_or(0) == wanted;
    if rolling && all(status.updated_replicas) && all(status.ready_replicas) && status.replicas == wanted {
        status.current_revision = status.update_revision.clone();
        status.current_replicas = status.updated_replicas;
    }
    status
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::pod::REVISION;
    use super::*;

    fn revision(name: &str) -> Arc<ControllerRevision> {
        Arc::new(serde_json::from_value(json!({ "metadata": { "name": name }, "revision": 1 })).unwrap())
    }

    fn run(spec: Value, pods: &[&str]) -> Plan {
        let mut set = json!({
            "metadata": { "name": "s" },
            "spec": { "replicas": 3, "selector": {}, "template": {}, "updateStrategy": { "type": "RollingUpdate" } },
        });
        set["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        // A pod is written as ordinal, revision, state: `0 new ready`.
        let pods: Vec<Arc<Pod>> = pods
            .iter()
            .map(|text| {
                let [ordinal, revision, state] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text}") };
                let phase = match state {
                    "failed" => "Failed",
                    "pending" => "Pending",
                    _ => "Running",
                };
                let ready = if matches!(state, "ready" | "ending") { "True" } else { "False" };
                let mut pod = json!({
                    "metadata": { "name": format!("s-{ordinal}"), "labels": { REVISION: revision } },
                    "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": ready }] },
                });
                if state == "ending" {
                    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
                }
                Arc::new(serde_json::from_value(pod).unwrap())
            })
            .collect();
        let revisions = Revisions { current: revision("old"), update: revision("new") };
        plan(&serde_json::from_value(set).unwrap(), &pods, &revisions, Timestamp::UNIX_EPOCH)
    }

    fn steps(plan: &Plan) -> String {
        let create =
            plan.create.iter().map(|(ordinal, current)| format!("+{ordinal}{}", if *current { "old" } else { "" }));
        let named = |sign: char, pods: &[Arc<Pod>]| -> Vec<String> {
            pods.iter().map(|pod| format!("{sign}{}", &pod.metadata.name.as_deref().unwrap()[2..])).collect()
        };
        create.chain(named('-', &plan.delete)).chain(named('!', &plan.recreate)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn steps_are_taken_in_order() {
        let parallel = json!({ "podManagementPolicy": "Parallel" });
        let cases: &[(Value, &[&str], &str)] = &[
            (json!({}), &[], "+0"),
            (json!({}), &["0 new pending"], ""),
            (json!({}), &["0 new ready"], "+1"),
            (json!({}), &["0 new ready", "2 new ready"], "+1"),
            (json!({}), &["0 new failed"], "!0"),
            (json!({ "ordinals": { "start": 5 } }), &[], "+5"),
            (parallel.clone(), &[], "+0 +1 +2"),
            (parallel.clone(), &["0 new pending"], "+1 +2"),
            // Shrinking: from the top, one at a time, and not while a lower pod is not ready.
            (json!({ "replicas": 1 }), &["0 new ready", "1 new ready", "2 new ready"], "-2"),
            (json!({ "replicas": 1 }), &["0 new ready", "1 new ready", "2 new ending"], ""),
            (json!({ "replicas": 1 }), &["0 new pending", "1 new ready"], ""),
            (json!({ "replicas": 1 }), &["0 new ready", "1 new pending"], "-1"),
            (
                json!({ "replicas": 1, "podManagementPolicy": "Parallel" }),
                &["0 new ready", "1 new ready", "2 new ready"],
                "-2 -1",
            ),
            // Updating: from the top, one at a time.
            (json!({}), &["0 old ready", "1 old ready", "2 old ready"], "-2"),
            (json!({}), &["0 old ready", "1 old ready"], "+2"),
            (json!({}), &["0 old ready", "1 old ready", "2 new pending"], ""),
            (json!({}), &["0 old ready", "1 old ready", "2 new ready"], "-1"),
            (parallel, &["0 old ready", "1 old ready", "2 new pending"], ""),
        ];
        for (spec, pods, expected) in cases {
            assert_eq!(steps(&run(spec.clone(), pods)), *expected, "{spec} {pods:?}");
        }
    }

    #[test]
    fn strategies_limit_the_update() {
        let all_old = ["0 old ready", "1 old ready", "2 old ready"];
        let strategy = |value: Value| json!({ "updateStrategy": value });
        let partition = |at: i32| strategy(json!({ "type": "RollingUpdate", "rollingUpdate": { "partition": at } }));
        assert_eq!(steps(&run(strategy(json!({ "type": "OnDelete" })), &all_old)), "");
        assert_eq!(steps(&run(partition(3), &all_old)), "");
        assert_eq!(steps(&run(partition(2), &all_old)), "-2");
        assert_eq!(steps(&run(partition(2), &["0 old ready", "2 new ready"])), "+1old");
        assert_eq!(steps(&run(partition(2), &["0 old ready", "1 old ready", "2 new ready"])), "");
        let two = strategy(json!({ "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 2 } }));
        assert_eq!(steps(&run(two, &all_old)), "-2 -1");
    }

    #[test]
    fn the_update_is_over_when_all_are_new_and_ready() {
        let halfway = run(json!({}), &["0 old ready", "1 new ready", "2 new pending"]).status;
        assert_eq!(
            (halfway.current_replicas, halfway.updated_replicas, halfway.ready_replicas),
            (Some(1), Some(2), Some(2))
        );
        assert_eq!(halfway.current_revision.as_deref(), Some("old"));
        let over = run(json!({}), &["0 new ready", "1 new ready", "2 new ready"]).status;
        assert_eq!(over.current_revision.as_deref(), Some("new"));
        assert_eq!((over.current_replicas, over.available_replicas), (Some(3), Some(3)));
    }
}
