//! Nodes. A kubelet registers with its status, so a create keeps it.

use serde_json::Value;

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::WITH_STATUS;

pub const NODE: Strategy = Strategy {
    status_on_create: true,
    default: Some(default),
    prepare_update: Some(|new, old| new.take_from("status", old)),
    validate: Some(validate::system::node),
    warnings: Some(validate::system::node_warnings),
    validate_update: Some(validate::system::node_update),
    ..WITH_STATUS
};

fn default(node: &mut Value) {
    if !node.has("status.allocatable") && node.has("status.capacity") {
        let capacity = node.at("status.capacity").clone();
        node.put("status.allocatable", capacity);
    }
    // Both forms of the pod range say the same, whichever was given.
    let first = node.texts("spec.podCIDRs").first().map(|s| (*s).to_owned());
    match (node.text("spec.podCIDR").to_owned(), first) {
        (one, None) if !one.is_empty() => node.put("spec.podCIDRs", vec![one]),
        (one, Some(first)) if one.is_empty() => node.put("spec.podCIDR", first),
        _ => {}
    }
}
