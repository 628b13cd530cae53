//! PodTopologyLabels: a pod learns the zone and region of its node as labels of its own (KEP-4742).

use serde_json::{Value, json};

use super::Attributes;
use crate::app::text;
use crate::http::answer::value_of;
use crate::http::status::ApiResult;

const LABELS: [&str; 2] = ["topology.kubernetes.io/zone", "topology.kubernetes.io/region"];

/// Labels a pod that already has its node.
///
/// # Errors
/// The node cannot be read.
pub async fn pod(a: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    let node = text(pod, "/spec/nodeName").to_owned();
    label(a, pod, &node).await
}

/// Labels a binding; the pod takes them over from there.
///
/// # Errors
/// The node cannot be read.
pub async fn binding(a: &Attributes<'_>, binding: &mut Value) -> ApiResult<()> {
    if text(binding, "/target/kind") != "Node" {
        return Ok(());
    }
    let node = text(binding, "/target/name").to_owned();
    label(a, binding, &node).await
}

async fn label(a: &Attributes<'_>, object: &mut Value, node: &str) -> ApiResult<()> {
    if node.is_empty() {
        return Ok(());
    }
    let resource = a.app().resource("", "nodes")?;
    let Some(node) = a.app().caches.peek(&resource, "", node).await? else { return Ok(()) };
    copy(&value_of(&resource, &node)?, object);
    Ok(())
}

fn copy(node: &Value, object: &mut Value) {
    for label in LABELS {
        if let Some(value) = node["metadata"]["labels"].get(label) {
            if !object["metadata"]["labels"].is_object() {
                object["metadata"]["labels"] = json!({});
            }
            object["metadata"]["labels"][label] = value.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_zone_and_region_and_they_win() {
        let node =
            json!({ "metadata": { "labels": { "topology.kubernetes.io/zone": "a", "kubernetes.io/os": "linux" } } });
        for (mut object, labels) in [
            (json!({ "metadata": {} }), json!({ "topology.kubernetes.io/zone": "a" })),
            (
                json!({ "metadata": { "labels": { "app": "x", "topology.kubernetes.io/zone": "b" } } }),
                json!({ "app": "x", "topology.kubernetes.io/zone": "a" }),
            ),
        ] {
            copy(&node, &mut object);
            assert_eq!(object["metadata"]["labels"], labels);
        }
    }
}
