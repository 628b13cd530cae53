//! Nodes against pods: what is missing, what is too many, what is of an old revision.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::jiff::Timestamp;

use super::HASH_LABEL;
use super::nodes::wish;
use crate::framework::meta::{created, is_deleting, label};
use crate::framework::pods::{self, scaled};

#[derive(Debug, Default)]
pub struct Plan {
    /// Names of nodes that lack a pod.
    pub create: Vec<String>,
    pub delete: Vec<Arc<Pod>>,
    /// Pods that have ended and are replaced, with what the Event says.
    pub failed: Vec<(Arc<Pod>, String)>,
    pub status: DaemonSetStatus,
}

pub fn is_of_revision(pod: &Pod, hash: &str) -> bool {
    label(&pod.metadata, HASH_LABEL) == Some(hash)
}

/// The node a daemon pod is on, or is pinned to while the scheduler has not seen it yet.
fn target_node(pod: &Pod) -> Option<&str> {
    if let Some(name) = pods::node_name(pod) {
        return Some(name);
    }
    let affinity = pod.spec.as_ref()?.affinity.as_ref()?.node_affinity.as_ref()?;
    let terms = &affinity.required_during_scheduling_ignored_during_execution.as_ref()?.node_selector_terms;
    let field = terms.iter().flat_map(|term| term.match_fields.iter().flatten()).find(|f| f.key == "metadata.name")?;
    field.values.as_ref()?.first().map(String::as_str)
}

pub fn plan(set: &DaemonSet, nodes: &[Arc<Node>], owned: &[Arc<Pod>], hash: &str, now: Timestamp) -> Plan {
    let Some(spec) = &set.spec else { return Plan::default() };
    let template = spec.template.spec.clone().unwrap_or_default();
    let wait = spec.min_ready_seconds.unwrap_or(0);
    let mut on_node: BTreeMap<&str, Vec<&Arc<Pod>>> = BTreeMap::new();
    for pod in owned {
        on_node.entry(target_node(pod).unwrap_or_default()).or_default().push(pod);
    }
    let mut plan = Plan::default();
    let mut updates = Updates::default();
    for node in nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let wish = wish(&template, node);
        let here = on_node.remove(name).unwrap_or_default();
        let mut kept = Vec::new();
        for pod in here {
            if is_deleting(&pod.metadata) {
                kept.push(pod);
            } else if !wish.keep || (!wish.run && pods::is_finished(pod)) {
                plan.delete.push(pod.clone());
            } else if pods::is_finished(pod) {
                let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
                let how = if pods::phase(pod) == "Failed" { "failed daemon pod" } else { "succeeded daemon pod" };
                let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
                plan.failed.push((
                    pod.clone(),
                    format!("Found {how} {namespace}/{pod_name} on node {name}, will try to delete it"),
                ));
            } else {
                kept.push(pod);
            }
        }
        // Of several pods the oldest stays. A pod being deleted still holds its place (its ports, its host paths).
        kept.sort_by_key(|pod| (is_deleting(&pod.metadata), created(&pod.metadata), pod.metadata.name.clone()));
        let surplus = kept.iter().skip(1).filter(|pod| !is_deleting(&pod.metadata) && kept.len() > 1);
        if updates.surge(spec) == 0 || !wish.run {
            plan.delete.extend(surplus.map(|pod| (*pod).clone()));
            kept.truncate(1);
        }
        count(&mut plan.status, wish.run, &kept, hash, wait, now);
        if wish.run {
            if kept.is_empty() && !plan.failed.iter().any(|(pod, _)| target_node(pod) == Some(name)) {
                plan.create.push(name.to_owned());
            }
            updates.add(name, &kept, hash, wait, now);
        }
    }
    // Pods pinned to nodes that are gone: nobody else would ever end them.
    let known: HashSet<&str> = nodes.iter().filter_map(|node| node.metadata.name.as_deref()).collect();
    plan.delete.extend(
        on_node
            .iter()
            .filter(|(name, _)| !known.contains(*name))
            .flat_map(|(_, pods)| pods)
            .filter(|pod| !is_deleting(&pod.metadata) && pods::node_name(pod).is_none())
            .map(|pod| (*pod).clone()),
    );
    updates.apply(set, &mut plan);
    plan
}

fn count(status: &mut DaemonSetStatus, run: bool, here: &[&Arc<Pod>], hash: &str, wait: i32, now: Timestamp) {
    let pod = here.iter().find(|pod| !is_deleting(&pod.metadata)).or(here.first());
    if !run {
        status.number_misscheduled += i32::from(pod.is_some());
        return;
    }
    status.desired_number_scheduled += 1;
    let Some(pod) = pod else {
        *status.number_unavailable.get_or_insert(0) += 1;
        return;
    };
    status.current_number_scheduled += 1;
    status.number_ready += i32::from(pods::is_ready(pod));
    if pods::is_available(pod, wait, now) {
        *status.number_available.get_or_insert(0) += 1;
    } else {
        *status.number_unavailable.get_or_insert(0) += 1;
    }
    if is_of_revision(pod, hash) {
        *status.updated_number_scheduled.get_or_insert(0) += 1;
    }
}

/// The rolling update: which old pods may go now.
#[derive(Default)]
struct Updates {
    /// Nodes whose pod is not available (or is missing), of whatever revision.
    unavailable: i32,
    /// Old pods that serve nobody: they can go at once.
    old_unavailable: Vec<Arc<Pod>>,
    old_available: Vec<Arc<Pod>>,
    /// Nodes with only an old pod, for surging.
    without_new: Vec<(String, bool)>,
    surging: i32,
}

impl Updates {
    fn surge(&self, spec: &k8s_openapi::api::apps::v1::DaemonSetSpec) -> i32 {
        let rolling = spec.update_strategy.as_ref().and_then(|strategy| strategy.rolling_update.as_ref());
        scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), 1, true)
    }

    fn add(&mut self, node: &str, here: &[&Arc<Pod>], hash: &str, wait: i32, now: Timestamp) {
        let alive: Vec<_> = here.iter().filter(|pod| !is_deleting(&pod.metadata)).collect();
        let available = alive.iter().any(|pod| pods::is_available(pod, wait, now));
        self.unavailable += i32::from(!available);
        let new = alive.iter().find(|pod| is_of_revision(pod, hash));
        let old = alive.iter().filter(|pod| !is_of_revision(pod, hash));
        match new {
            Some(new) => {
                self.surging += i32::from(alive.len() > 1);
                // Its successor has taken over: the old one of a surge has done its duty.
                if pods::is_available(new, wait, now) {
                    self.old_unavailable.extend(old.map(|pod| (**pod).clone()));
                }
            }
            None => {
                for pod in old {
                    let available = pods::is_available(pod, wait, now);
                    self.without_new.push((node.to_owned(), available));
                    if available {
                        self.old_available.push((**pod).clone());
                    } else {
                        self.old_unavailable.push((**pod).clone());
                    }
                }
            }
        }
    }

    fn apply(self, set: &DaemonSet, plan: &mut Plan) {
        let Some(spec) = &set.spec else { return };
        let strategy = spec.update_strategy.as_ref();
        if strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("OnDelete")) {
            return;
        }
        let desired = plan.status.desired_number_scheduled;
        let rolling = strategy.and_then(|strategy| strategy.rolling_update.as_ref());
        let max_surge = scaled(rolling.and_then(|rolling| rolling.max_surge.as_ref()), desired, true);
        if max_surge > 0 {
            let allowed = usize::try_from(max_surge - self.surging).unwrap_or(0);
            plan.create.extend(self.without_new.into_iter().take(allowed).map(|(node, _)| node));
            plan.delete.extend(self.old_unavailable);
            return;
        }
        let limit = rolling.and_then(|rolling| rolling.max_unavailable.as_ref());
        let max_unavailable = if limit.is_none() { 1 } else { scaled(limit, desired, true) }.max(1);
        let allowed = usize::try_from(max_unavailable - self.unavailable).unwrap_or(0);
        plan.delete.extend(self.old_unavailable);
        plan.delete.extend(self.old_available.into_iter().take(allowed));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str) -> Arc<Node> {
        Arc::new(serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap())
    }

    fn pod(node: &str, hash: &str, ready: bool, phase: &str) -> Arc<Pod> {
        Arc::new(
            serde_json::from_value(json!({
                "metadata": { "name": format!("ds-{node}"), "uid": format!("{node}-{hash}"), "labels": { HASH_LABEL: hash } },
                "spec": { "nodeName": node, "containers": [] },
                "status": { "phase": phase, "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
            }))
            .unwrap(),
        )
    }

    fn set() -> DaemonSet {
        serde_json::from_value(json!({ "metadata": { "name": "ds" }, "spec": {
            "selector": {}, "template": { "spec": { "containers": [] } },
            "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 1, "maxSurge": 0 } },
        }}))
        .unwrap()
    }

    fn run(pods: &[Arc<Pod>]) -> Plan {
        let nodes = [node("a"), node("b"), node("c")];
        plan(&set(), &nodes, pods, "new", Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn every_node_gets_one() {
        let plan = run(&[pod("a", "new", true, "Running")]);
        assert_eq!(plan.create, ["b", "c"]);
        assert!(plan.delete.is_empty());
        let status = plan.status;
        assert_eq!((status.desired_number_scheduled, status.current_number_scheduled, status.number_ready), (3, 1, 1));
        assert_eq!((status.number_unavailable, status.updated_number_scheduled), (Some(2), Some(1)));
    }

    #[test]
    fn failed_pods_are_replaced() {
        let plan = run(&[
            pod("a", "new", false, "Failed"),
            pod("b", "new", true, "Running"),
            pod("c", "new", true, "Running"),
        ]);
        assert_eq!(plan.failed.len(), 1);
        assert!(plan.create.is_empty(), "not before the old one is gone");
    }

    #[test]
    fn an_update_takes_one_node_at_a_time() {
        let all = |ready| ["a", "b", "c"].map(|node| pod(node, "old", ready, "Running"));
        assert_eq!(run(&all(true)).delete.len(), 1);
        let mut pods = all(true);
        pods[0] = pod("a", "new", false, "Running");
        assert!(run(&pods).delete.is_empty(), "the new one is not available yet");
        pods[0] = pod("a", "new", true, "Running");
        assert_eq!(run(&pods).delete.len(), 1);
        assert_eq!(run(&all(false)).delete.len(), 3, "pods that serve nobody all go at once");
    }
}
