//! TaintNodesByCondition: a node that registers is not ready until its kubelet says so, and nothing is placed on it before
//! (`plugin/pkg/admission/nodetaint`).

use serde_json::{Value, json};

use crate::app::text;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub fn admit(node: &mut Value) {
    let mut taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    let there = |taint: &Value| text(taint, "/key") == NOT_READY && text(taint, "/effect") == "NoSchedule";
    if !taints.iter().any(there) {
        taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
        node["spec"]["taints"] = Value::Array(taints);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_node_is_tainted_once() {
        let mut node = json!({ "metadata": { "name": "n" } });
        admit(&mut node);
        let once = node.clone();
        admit(&mut node);
        assert_eq!(node, once);
        assert_eq!(node["spec"]["taints"], json!([{ "key": NOT_READY, "effect": "NoSchedule" }]));
    }
}
