//! Whether this node takes a pod it was given (upstream `pkg/kubelet/lifecycle/predicate.go`): the scheduler's own rules once more,
//! for pods that never met the scheduler, and for what it could not know yet.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use scheduler::core::filter;
use scheduler::core::node::NodeInfo;
use scheduler::core::pod::PodInfo;

/// Why a pod is refused: what its status and an Event say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    pub reason: String,
    pub message: String,
}

impl Rejection {
    fn predicate(name: &str, why: &str) -> Self {
        Self { reason: name.to_owned(), message: format!("Predicate {name} failed: {why}") }
    }
}

/// The verdict on `pod`, with `others` on the node already.
///
/// # Errors
/// The first reason against it, in upstream's order and words.
pub fn admit(pod: &Pod, node: &Arc<Node>, others: impl IntoIterator<Item = Arc<PodInfo>>) -> Result<(), Rejection> {
    if pod.spec.as_ref().and_then(|spec| spec.os.as_ref()).is_some_and(|os| os.name != "linux") {
        return Err(Rejection {
            reason: "PodOSNotSupported".into(),
            message: "Failed to admit pod as the OS field doesn't match node OS".into(),
        });
    }
    let mut there = NodeInfo::new(node.clone());
    others.into_iter().for_each(|other| there.add(other));
    let pod = PodInfo::granted(pod);
    if let Some((resource, wanted, used, capacity)) = lacking(&pod, &there) {
        return Err(Rejection {
            reason: format!("OutOf{resource}"),
            message: format!(
                "Node didn't have enough resource: {resource}, requested: {wanted}, used: {used}, capacity: {capacity}"
            ),
        });
    }
    let refusal = filter::affinity(&pod, &there).map(|refusal| ("NodeAffinity", refusal));
    let refusal = refusal.or_else(|| filter::name(&pod, &there).map(|refusal| ("NodeName", refusal)));
    let refusal = refusal.or_else(|| filter::ports(&pod, &there).map(|refusal| ("NodePorts", refusal)));
    if let Some((name, refusal)) = refusal {
        return Err(Rejection::predicate(name, &refusal.reasons.join(", ")));
    }
    match filter::evicting_taint(&pod, &there) {
        Some(_) => Err(Rejection::predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")),
        None => Ok(()),
    }
}

/// The first resource that does not suffice: its name, what the pod wants, what others have, what there is. Extended
/// resources that the node does not know are somebody else's to give.
fn lacking<'a>(pod: &'a PodInfo, node: &NodeInfo) -> Option<(&'a str, i64, i64, i64)> {
    let count = i64::try_from(node.pods.len()).unwrap_or(i64::MAX);
    if count + 1 > node.most_pods {
        return Some(("pods", 1, count, node.most_pods));
    }
    pod.requests
        .each()
        .filter(|(_, wanted)| *wanted > 0)
        .filter(|(name, _)| !name.contains('/') || node.allocatable.others.contains_key(*name))
        .map(|(name, wanted)| (name, wanted, node.requested.get(name), node.allocatable.get(name)))
        .find(|(_, wanted, used, capacity)| *wanted > capacity - used)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, spec: Value) -> Pod {
        let pod = json!({ "metadata": { "name": name, "namespace": "default", "uid": name }, "spec": spec });
        serde_json::from_value(pod).expect("a pod")
    }

    fn asking(cpu: &str, port: Option<u16>) -> Value {
        let ports: Vec<Value> = port.map(|port| json!({ "containerPort": 80, "hostPort": port })).into_iter().collect();
        json!({ "containers": [{ "name": "c", "resources": { "requests": { "cpu": cpu } }, "ports": ports }] })
    }

    fn with(mut spec: Value, field: &str, value: Value) -> Value {
        spec[field] = value;
        spec
    }

    #[test]
    fn what_a_node_takes() {
        let node = json!({
            "metadata": { "name": "w1", "labels": { "disk": "ssd" } },
            "spec": { "taints": [{ "key": "gone", "effect": "NoExecute" }, { "key": "full", "effect": "NoSchedule" }] },
            "status": { "allocatable": { "cpu": "2", "memory": "1Gi", "pods": "2" } },
        });
        let node: Arc<Node> = Arc::new(serde_json::from_value(node).expect("a node"));
        let there = || PodInfo::granted(&pod("there", asking("1500m", Some(21017))));
        let lives = json!([{ "operator": "Exists" }]);
        let tolerant = |spec| with(spec, "tolerations", lives.clone());
        for (spec, others, expected) in [
            (tolerant(asking("500m", Some(8080))), vec![there()], None),
            (
                tolerant(asking("600m", None)),
                vec![there()],
                Some(("OutOfcpu", "Node didn't have enough resource: cpu, requested: 600, used: 1500, capacity: 2000")),
            ),
            (
                tolerant(asking("0", Some(21017))),
                vec![there()],
                Some((
                    "NodePorts",
                    "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
                )),
            ),
            (
                tolerant(asking("0", None)),
                vec![there(), PodInfo::granted(&pod("too", asking("0", None)))],
                Some(("OutOfpods", "Node didn't have enough resource: pods, requested: 1, used: 2, capacity: 2")),
            ),
            (
                with(tolerant(asking("0", None)), "nodeSelector", json!({ "disk": "hdd" })),
                vec![],
                Some((
                    "NodeAffinity",
                    "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
                )),
            ),
            (
                asking("0", None),
                vec![],
                Some((
                    "TaintToleration",
                    "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate",
                )),
            ),
            (
                with(tolerant(asking("0", None)), "os", json!({ "name": "windows" })),
                vec![],
                Some(("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")),
            ),
        ] {
            let expected = expected
                .map(|(reason, message): (&str, &str)| Rejection { reason: reason.into(), message: message.into() });
            let others = others.into_iter().map(Arc::new);
            assert_eq!(admit(&pod("new", spec.clone()), &node, others).err(), expected, "{spec}");
        }
    }
}
