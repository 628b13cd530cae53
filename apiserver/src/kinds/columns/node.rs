//! Nodes and Namespaces.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, condition, or, text, wide};

pub const NODES: &[Column] = &[
    text("Status", |node, _| status(node).into()),
    text("Roles", |node, _| roles(node).into()),
    AGE,
    text("Version", |node, _| node.text("status.nodeInfo.kubeletVersion").into()),
    wide("Internal-IP", |node, _| address(node, "InternalIP").into()),
    wide("External-IP", |node, _| address(node, "ExternalIP").into()),
    wide("OS-Image", |node, _| or(node.text("status.nodeInfo.osImage"), "<unknown>").into()),
    wide("Kernel-Version", |node, _| or(node.text("status.nodeInfo.kernelVersion"), "<unknown>").into()),
    wide("Container-Runtime", |node, _| or(node.text("status.nodeInfo.containerRuntimeVersion"), "<unknown>").into()),
];

pub const NAMESPACES: &[Column] = &[text("Status", |object, _| object.text("status.phase").into()), AGE];

fn status(node: &Value) -> String {
    let mut parts = vec![match condition(node, "Ready").text("status") {
        "" => "Unknown",
        "True" => "Ready",
        _ => "NotReady",
    }];
    if node.yes("spec.unschedulable") {
        parts.push("SchedulingDisabled");
    }
    parts.join(",")
}

fn roles(node: &Value) -> String {
    let roles: BTreeSet<&str> = node
        .entries("metadata.labels")
        .iter()
        .filter_map(|(key, value)| match key.strip_prefix("node-role.kubernetes.io/") {
            Some(role) => Some(role),
            None if key == "kubernetes.io/role" => value.as_str(),
            None => None,
        })
        .filter(|role| !role.is_empty())
        .collect();
    if roles.is_empty() { "<none>".to_owned() } else { roles.into_iter().collect::<Vec<_>>().join(",") }
}

fn address<'a>(node: &'a Value, kind: &str) -> &'a str {
    let found = node.list("status.addresses").iter().find(|a| a.text("type") == kind);
    found.map_or("<none>", |a| a.text("address"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn node_cells() {
        let node = json!({
            "metadata": {"labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "a"}},
            "spec": {"unschedulable": true},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}]},
        });
        assert_eq!(status(&node), "Ready,SchedulingDisabled");
        assert_eq!(roles(&node), "a,control-plane");
        assert_eq!((address(&node, "InternalIP"), address(&node, "ExternalIP")), ("10.0.0.11", "<none>"));
        assert_eq!((status(&json!({})).as_str(), roles(&json!({})).as_str()), ("Unknown", "<none>"));
        let lost = json!({"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}});
        assert_eq!(status(&lost), "NotReady");
    }
}
