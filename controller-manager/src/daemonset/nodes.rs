//! Which nodes want a pod of a DaemonSet, and how that pod is bound to its node.

use k8s_openapi::api::core::v1::{
    Affinity, Node, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, Toleration,
};
use scheduler::core::matching::{untolerated, wants_node};

/// What a node is to a DaemonSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// A pod should be started there.
    pub run: bool,
    /// A pod that is there may stay.
    pub keep: bool,
}

/// Judges by name, selector, affinity and taints, as upstream's `NodeShouldRunDaemonPod`.
pub fn wish(template: &PodSpec, node: &Node) -> Wish {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    if template.node_name.as_deref().is_some_and(|wanted| !wanted.is_empty() && wanted != name) {
        return Wish { run: false, keep: false };
    }
    if !wants_node(template, node) {
        return Wish { run: false, keep: false };
    }
    let mut tolerations = template.tolerations.clone().unwrap_or_default();
    tolerations.extend(added_tolerations(template.host_network == Some(true)));
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let welcome = |effects: &[&str]| untolerated(&tolerations, taints, effects).is_none();
    Wish { run: welcome(&["NoSchedule", "NoExecute"]), keep: welcome(&["NoExecute"]) }
}

/// The taints every daemon pod tolerates: a node in trouble needs its daemons most.
fn added_tolerations(host_network: bool) -> impl Iterator<Item = Toleration> {
    let always = [
        ("node.kubernetes.io/not-ready", "NoExecute"),
        ("node.kubernetes.io/unreachable", "NoExecute"),
        ("node.kubernetes.io/disk-pressure", "NoSchedule"),
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        ("node.kubernetes.io/pid-pressure", "NoSchedule"),
        ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ];
    let network = host_network.then_some(("node.kubernetes.io/network-unavailable", "NoSchedule"));
    always.into_iter().chain(network).map(|(key, effect)| Toleration {
        key: Some(key.into()),
        operator: Some("Exists".into()),
        effect: Some(effect.into()),
        ..Toleration::default()
    })
}

/// Binds the pod to `node` by its name, whatever else its affinity says about nodes is already judged; adds the
/// tolerations daemons have.
pub fn pin(spec: &mut PodSpec, node: &str) {
    let by_name = NodeSelectorRequirement {
        key: "metadata.name".into(),
        operator: "In".into(),
        values: Some(vec![node.to_owned()]),
    };
    let affinity: &mut Affinity = spec.affinity.get_or_insert_default();
    let node_affinity: &mut NodeAffinity = affinity.node_affinity.get_or_insert_default();
    let required = &mut node_affinity.required_during_scheduling_ignored_during_execution;
    match required {
        Some(selector) if !selector.node_selector_terms.is_empty() => {
            for term in &mut selector.node_selector_terms {
                term.match_fields = Some(vec![by_name.clone()]);
            }
        }
        _ => {
            let term = NodeSelectorTerm { match_fields: Some(vec![by_name]), match_expressions: None };
            *required = Some(NodeSelector { node_selector_terms: vec![term] });
        }
    }
    let tolerations = spec.tolerations.get_or_insert_default();
    for added in added_tolerations(spec.host_network == Some(true)) {
        if !tolerations.contains(&added) {
            tolerations.push(added);
        }
    }
}

#[cfg(test)]
mod tests {
    use scheduler::core::matching::selects_node;
    use serde_json::json;

    use super::*;

    #[test]
    fn nodes_are_judged_by_labels_and_taints() {
        let node: Node = serde_json::from_value(json!({
            "metadata": { "name": "c0w1", "labels": { "disk": "ssd" } },
            "spec": { "taints": [{ "key": "gpu", "effect": "NoSchedule" },
                                  { "key": "node.kubernetes.io/not-ready", "effect": "NoExecute" }] },
        }))
        .unwrap();
        let cases = [
            (json!({}), (false, true)),
            (json!({ "tolerations": [{ "operator": "Exists" }] }), (true, true)),
            (json!({ "tolerations": [{ "key": "gpu", "operator": "Exists" }] }), (true, true)),
            (json!({ "tolerations": [{ "operator": "Exists" }], "nodeSelector": { "disk": "hdd" } }), (false, false)),
            (json!({ "tolerations": [{ "operator": "Exists" }], "nodeName": "c0w2" }), (false, false)),
        ];
        for (mut template, (run, keep)) in cases {
            template["containers"] = json!([]);
            let spec: PodSpec = serde_json::from_value(template.clone()).unwrap();
            assert_eq!(wish(&spec, &node), Wish { run, keep }, "{template}");
        }
    }

    #[test]
    fn a_pinned_pod_matches_its_node_only() {
        let mut spec = PodSpec::default();
        pin(&mut spec, "c0w1");
        pin(&mut spec, "c0w1");
        let selector =
            spec.affinity.unwrap().node_affinity.unwrap().required_during_scheduling_ignored_during_execution.unwrap();
        let node = |name: &str| -> Node { serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap() };
        assert!(selects_node(&selector, &node("c0w1")) && !selects_node(&selector, &node("c0w2")));
        assert_eq!(spec.tolerations.unwrap().len(), 6);
    }
}
