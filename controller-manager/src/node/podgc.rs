//! Pods nobody will ever end: those of nodes that no longer exist (upstream `pkg/controller/podgc`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::health::disruption;
use crate::context::Context;
use crate::framework::{ApiError, Controller, Outcome, Queue, drive, pods};

/// How long a node must be missing before its pods are removed (upstream's quarantine).
const QUARANTINE: Duration = Duration::from_secs(40);

struct PodGc {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_node = queue.clone();
    context.kinds.nodes.on_change(move |change| {
        if change.new.is_none() {
            on_node.add_after(change.object().metadata.name.as_deref().unwrap_or_default(), QUARANTINE);
        }
    });
    // Also pods that were bound to a node that went while nobody looked.
    let (on_pod, nodes) = (queue.clone(), context.kinds.nodes.clone());
    context.kinds.pods.on_change(move |change| {
        let Some(node) = change.new.and_then(|pod| pods::node_name(pod)) else { return };
        if change.old.is_none_or(|old| pods::node_name(old).is_none()) && nodes.get(node).is_none() {
            on_pod.add_after(node, QUARANTINE);
        }
    });
    drive(&context.gate(), &Arc::new(PodGc { context: context.clone() }), &queue, 1);
}

impl Controller for PodGc {
    const NAME: &'static str = "pod-garbage-collector-controller";

    async fn sync(&self, node: &str) -> Outcome {
        let kinds = &self.context.kinds;
        if kinds.nodes.get(node).is_some() {
            return Ok(None);
        }
        for pod in kinds.pods.filter(|pod| pods::node_name(pod) == Some(node)) {
            if !pods::is_finished(&pod) {
                let mut conditions = json!(pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default());
                if let Some(list) = conditions.as_array_mut() {
                    list.retain(|condition| condition["type"] != "DisruptionTarget");
                    let why = "PodGC: node no longer exists";
                    list.push(disruption("DeletionByPodGC", why, self.context.now()));
                }
                let patch = json!({
                    "metadata": { "uid": pod.metadata.uid },
                    "status": { "phase": "Failed", "conditions": conditions },
                });
                match kinds.pods.merge(&pod.metadata, Some("status"), &patch).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
            }
            kinds.pods.delete_now(&pod.metadata).await?;
        }
        Ok(None)
    }
}
