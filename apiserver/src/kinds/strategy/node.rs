//! Nodes. A kubelet registers with its status, so a create keeps it.

use serde_json::Value;

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::WITH_STATUS;

/// A kubelet's configuration out of a ConfigMap, which no kubelet reads any more: only a node that has one from then keeps one.
const CONFIG_SOURCE: &str = "spec.configSource";
const CONFIG: &str = "status.config";

fn keep_unless_new(new: &mut Value, old: &Value, field: &str) {
    if !old.has(field) {
        new.remove(field);
    }
}

pub const NODE: Strategy = Strategy {
    status_on_create: true,
    default: Some(default),
    prepare_create: Some(|node| {
        node.remove(CONFIG_SOURCE);
        node.remove(CONFIG);
    }),
    prepare_update: Some(|new, old| {
        new.take_from("status", old);
        keep_unless_new(new, old, CONFIG_SOURCE);
    }),
    prepare_path: &[("status", |new, old| {
        new.take_from("spec", old);
        keep_unless_new(new, old, CONFIG);
    })],
    validate: Some(validate::node::node),
    warnings: Some(validate::node::warnings),
    validate_update: Some(validate::node::update),
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
        (one, Some(first)) if one != first => node.put("spec.podCIDRs", vec![one]),
        _ => {}
    }
}
