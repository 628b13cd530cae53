//! Which nodes are alive (upstream `pkg/controller/nodelifecycle`).
//!
//! A node lives while its Lease or its Ready condition keeps changing. When neither has for the grace period, its
//! conditions turn Unknown; conditions turn into taints; taints drive pods away (see [`eviction`](super::eviction)).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod, Taint};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use runtime::events::{EventType, Recorder};
use serde_json::json;

use super::taints::{NOT_READY, UNREACHABLE};
use crate::context::{Context, reference, tell};
use crate::framework::meta::to_seconds;
use crate::framework::{ApiError, Controller, Outcome, Queue, drive, pods};

const LEASES: &str = "kube-node-lease";
const UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";

/// The last change of a node's Ready condition: what it looked like, and when *we* saw it, so that no clock need agree with
/// ours.
#[derive(Clone, Debug)]
struct Sign {
    of_life: String,
    seen: Timestamp,
}

/// When we saw each node's Lease being renewed last.
type Heard = Arc<Mutex<HashMap<String, Timestamp>>>;

struct Health {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    grace: Duration,
    signs: Mutex<HashMap<String, Sign>>,
    heard: Heard,
}

pub fn start(context: &Arc<Context>, grace: Duration) {
    let queue = Arc::new(Queue::default());
    let on_node = queue.clone();
    context.kinds.nodes.on_change(move |change| {
        on_node.add(change.object().metadata.name.clone().unwrap_or_default());
    });
    // A Lease that is renewed is only noted; one that appears after a silence is work.
    let heard = Heard::default();
    let (on_lease, nodes, note, own) = (queue.clone(), context.kinds.nodes.clone(), heard.clone(), context.clone());
    context.kinds.leases.on_change(move |change| {
        let lease = change.object();
        let name = lease.metadata.name.as_deref().unwrap_or_default();
        let renewed = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.renew_time.clone());
        let before = change.old.as_ref().map(|old| renewed(old));
        // A list that tells it again is no sign of life.
        if lease.metadata.namespace.as_deref() != Some(LEASES) || before == Some(renewed(lease)) {
            return;
        }
        note.lock().insert(name.to_owned(), own.now());
        let silent = || nodes.get(name).is_some_and(|node| status_of(&node, "Ready") == "Unknown");
        if before.is_none() || silent() {
            on_lease.add(name);
        }
    });
    let recorder = context.recorder("node-controller");
    let health = Health { context: context.clone(), recorder, grace, signs: Mutex::default(), heard };
    drive(&context.gate(), &Arc::new(health), &queue, 2);
}

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == kind)
}

fn status_of<'a>(node: &'a Node, kind: &str) -> &'a str {
    condition(node, kind).map_or("Unknown", |condition| condition.status.as_str())
}

impl Controller for Health {
    const NAME: &'static str = "node-lifecycle-controller";

    async fn sync(&self, name: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(node) = kinds.nodes.get(name) else {
            self.heard.lock().remove(name);
            if self.signs.lock().remove(name).is_some() {
                tracing::info!(node = name, "node removed");
            }
            return Ok(None);
        };
        let now = self.context.now();
        let left = self.time_left(&node, now);
        let mut current = node.clone();
        if left.is_none() {
            let mut wanted = (*node).clone();
            declare_unknown(&mut wanted, now);
            current = kinds.nodes.update_status(&node, &wanted).await?;
        }
        let mut wanted = (*current).clone();
        wanted.spec.get_or_insert_default().taints = wanted_taints(&current, now);
        let tainted = kinds.nodes.update(&current, &wanted).await?;
        // A kubelet that says "False" speaks for its pods itself.
        if status_of(&tainted, "Ready") == "Unknown" {
            self.mark_pods(&node, &tainted).await?;
        }
        // A silent node is looked at again when it speaks.
        Ok(left.map(|left| left + Duration::from_millis(50)))
    }
}

impl Health {
    /// How long the node may still be silent, or nothing when it has been for too long.
    fn time_left(&self, node: &Node, now: Timestamp) -> Option<Duration> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        // Our own verdict "Unknown" takes a sign away; that is none.
        let ready = condition(node, "Ready").filter(|ready| ready.status != "Unknown");
        let of_life = ready.map(|ready| format!("{:?} {}", ready.last_heartbeat_time, ready.status));
        let mut signs = self.signs.lock();
        let sign = signs.entry(name.to_owned()).or_insert_with(|| {
            let message = format!("Node {name} event: Registered Node {name} in Controller");
            tell(&self.recorder, reference(node), EventType::Normal, "RegisteredNode", message);
            Sign { of_life: String::new(), seen: now }
        });
        if let Some(of_life) = of_life.filter(|of_life| *of_life != sign.of_life) {
            *sign = Sign { of_life, seen: now };
        }
        let last = self.heard.lock().get(name).map_or(sign.seen, |heard| sign.seen.max(*heard));
        let grace = SignedDuration::try_from(self.grace).unwrap_or(SignedDuration::MAX);
        let left = grace - now.duration_since(last);
        left.is_positive().then(|| left.unsigned_abs())
    }

    /// Pods of a node that does not answer are not ready: Services stop sending to them.
    async fn mark_pods(&self, before: &Node, node: &Node) -> Result<(), kube::Error> {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        if status_of(before, "Ready") == "True" {
            let message = format!("Node {name} status is now: NodeNotReady");
            tell(&self.recorder, reference(node), EventType::Normal, "NodeNotReady", message);
        }
        let ready = self.context.kinds.pods.filter(|pod| pods::node_name(pod) == Some(name) && pods::is_ready(pod));
        for pod in ready {
            let mut wanted: Pod = (*pod).clone();
            let conditions = wanted.status.get_or_insert_default().conditions.get_or_insert_default();
            for condition in conditions.iter_mut().filter(|condition| condition.type_ == "Ready") {
                condition.status = "False".into();
                condition.last_transition_time = Some(to_seconds(self.context.now()));
            }
            match self.context.kinds.pods.update_status(&pod, &wanted).await {
                Err(error) if error.is_not_found() => {}
                other => drop(other?),
            }
            let message = "Node is not ready".to_owned();
            tell(&self.recorder, reference(&*pod), EventType::Warning, "NodeNotReady", message);
        }
        Ok(())
    }
}

fn declare_unknown(node: &mut Node, now: Timestamp) {
    let created = node.metadata.creation_timestamp.clone();
    let conditions = node.status.get_or_insert_default().conditions.get_or_insert_default();
    for kind in ["Ready", "MemoryPressure", "DiskPressure", "PIDPressure"] {
        match conditions.iter_mut().find(|condition| condition.type_ == kind) {
            Some(condition) if condition.status != "Unknown" => {
                condition.status = "Unknown".into();
                condition.reason = Some("NodeStatusUnknown".into());
                condition.message = Some("Kubelet stopped posting node status.".into());
                condition.last_transition_time = Some(to_seconds(now));
            }
            Some(_) => {}
            None => conditions.push(NodeCondition {
                type_: kind.into(),
                status: "Unknown".into(),
                reason: Some("NodeStatusNeverUpdated".into()),
                message: Some("Kubelet never posted node status.".into()),
                last_heartbeat_time: created.clone(),
                last_transition_time: Some(to_seconds(now)),
            }),
        }
    }
}

/// The taints the node must have: those somebody else put on it, and ours by its conditions.
fn wanted_taints(node: &Node, now: Timestamp) -> Option<Vec<Taint>> {
    let known = node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
    let unschedulable = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
    let ready = status_of(node, "Ready");
    let holds = [
        (NOT_READY, "NoSchedule", ready == "False"),
        (NOT_READY, "NoExecute", ready == "False"),
        (UNREACHABLE, "NoSchedule", ready == "Unknown"),
        (UNREACHABLE, "NoExecute", ready == "Unknown"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule", status_of(node, "MemoryPressure") == "True"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule", status_of(node, "DiskPressure") == "True"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule", status_of(node, "PIDPressure") == "True"),
        ("node.kubernetes.io/network-unavailable", "NoSchedule", status_of(node, "NetworkUnavailable") == "True"),
        (UNSCHEDULABLE, "NoSchedule", unschedulable),
    ];
    let is = |taint: &Taint, key: &str, effect: &str| taint.key == key && taint.effect == effect;
    let mut taints: Vec<Taint> = known
        .iter()
        .filter(|taint| !holds.iter().any(|(key, effect, holds)| !holds && is(taint, key, effect)))
        .cloned()
        .collect();
    for (key, effect, _) in holds.iter().filter(|(_, _, holds)| *holds) {
        if !taints.iter().any(|taint| is(taint, key, effect)) {
            taints.push(Taint {
                key: (*key).into(),
                effect: (*effect).into(),
                time_added: Some(to_seconds(now)),
                value: None,
            });
        }
    }
    (!taints.is_empty()).then_some(taints)
}

/// The condition a pod gets that is deleted for a reason outside of it (KEP-3329).
#[must_use]
pub fn disruption(reason: &str, message: &str, now: Timestamp) -> serde_json::Value {
    json!({
        "type": "DisruptionTarget", "status": "True", "reason": reason, "message": message,
        "lastTransitionTime": to_seconds(now),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(ready: &str, unschedulable: bool) -> Node {
        serde_json::from_value(json!({
            "metadata": { "name": "c0w1" },
            "spec": { "unschedulable": unschedulable, "taints": [{ "key": "mine", "effect": "NoSchedule" }] },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        }))
        .unwrap()
    }

    fn keys(node: &Node) -> Vec<String> {
        let taints = wanted_taints(node, Timestamp::UNIX_EPOCH).unwrap_or_default();
        taints
            .iter()
            .map(|taint| format!("{}:{}", taint.key.trim_start_matches("node.kubernetes.io/"), taint.effect))
            .collect()
    }

    #[test]
    fn conditions_become_taints_and_go_with_them() {
        let cases = [
            (node("True", false), vec!["mine:NoSchedule"]),
            (node("True", true), vec!["mine:NoSchedule", "unschedulable:NoSchedule"]),
            (node("False", false), vec!["mine:NoSchedule", "not-ready:NoSchedule", "not-ready:NoExecute"]),
            (node("Unknown", false), vec!["mine:NoSchedule", "unreachable:NoSchedule", "unreachable:NoExecute"]),
        ];
        for (node, expected) in cases {
            assert_eq!(keys(&node), expected);
            let mut tainted = node.clone();
            tainted.spec.as_mut().unwrap().taints = wanted_taints(&node, Timestamp::UNIX_EPOCH);
            assert_eq!(wanted_taints(&tainted, Timestamp::MAX), wanted_taints(&node, Timestamp::UNIX_EPOCH));
            let conditions = tainted.status.as_mut().unwrap().conditions.as_mut().unwrap();
            conditions[0].status = "True".into();
            tainted.spec.as_mut().unwrap().unschedulable = None;
            assert_eq!(keys(&tainted), ["mine:NoSchedule"]);
        }
    }

    #[test]
    fn a_silent_node_is_unknown() {
        let mut silent = node("True", false);
        declare_unknown(&mut silent, Timestamp::UNIX_EPOCH);
        assert_eq!(status_of(&silent, "Ready"), "Unknown");
        assert_eq!(
            condition(&silent, "Ready").unwrap().message.as_deref(),
            Some("Kubelet stopped posting node status.")
        );
        assert_eq!(condition(&silent, "PIDPressure").unwrap().reason.as_deref(), Some("NodeStatusNeverUpdated"));
    }
}
