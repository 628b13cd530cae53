//! Pods leave nodes with NoExecute taints they do not tolerate, or no longer (upstream `pkg/controller/tainteviction`).

use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use runtime::events::{EventType, Recorder};
use serde_json::json;

use super::health::disruption;
use super::taints::{Fate, fate};
use crate::context::{Context, reference, tell};
use crate::framework::meta::{is_deleting, key_of};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive, pods};

struct Eviction {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    /// Pods (by key, with their UIDs) that are to leave some time, and since when that is known. What is gone or may stay is
    /// forgotten when its time has come.
    seen: Mutex<HashMap<String, (String, Timestamp)>>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let (on_pod, nodes) = (queue.clone(), context.kinds.nodes.clone());
    context.kinds.pods.on_change(move |change| {
        let Some(pod) = change.new else { return };
        let moved = change.old.is_none_or(|old| {
            let tolerations =
                |pod: &k8s_openapi::api::core::v1::Pod| pod.spec.as_ref().and_then(|s| s.tolerations.clone());
            pods::node_name(old) != pods::node_name(pod) || tolerations(old) != tolerations(pod)
        });
        let tainted = || pods::node_name(pod).and_then(|name| nodes.get(name)).is_some_and(|n| !driving(&n).is_empty());
        if moved && tainted() {
            on_pod.add(key_of(&pod.metadata));
        }
    });
    let (on_node, all) = (queue.clone(), context.kinds.pods.clone());
    context.kinds.nodes.on_change(move |change| {
        let before = change.old.map(|node| driving(node)).unwrap_or_default();
        let after = change.new.map(|node| driving(node)).unwrap_or_default();
        if before != after {
            let name = change.object().metadata.name.as_deref();
            let here = all.filter(|pod| pods::node_name(pod) == name);
            here.iter().for_each(|pod| on_node.add(key_of(&pod.metadata)));
        }
    });
    let recorder = context.recorder(Eviction::NAME);
    drive(
        &context.gate(),
        &Arc::new(Eviction { context: context.clone(), recorder, seen: Mutex::default() }),
        &queue,
        4,
    );
}

/// The taints that drive pods away.
fn driving(node: &Node) -> Vec<Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").cloned().collect()
}

impl Eviction {
    fn first_seen(&self, key: &str, uid: &str, now: Timestamp) -> Timestamp {
        let mut seen = self.seen.lock();
        match seen.get(key) {
            Some((known, since)) if known == uid => *since,
            _ => {
                seen.insert(key.to_owned(), (uid.to_owned(), now));
                now
            }
        }
    }

    fn forget(&self, key: &str) {
        self.seen.lock().remove(key);
    }
}

impl Controller for Eviction {
    const NAME: &'static str = "taint-eviction-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let pod = kinds.pods.get(key).filter(|pod| !is_deleting(&pod.metadata));
        let node = pod.as_ref().and_then(|pod| pods::node_name(pod)).and_then(|name| kinds.nodes.get(name));
        let (Some(pod), Some(node)) = (pod, node) else {
            self.forget(key);
            return Ok(None);
        };
        let tolerations = pod.spec.as_ref().and_then(|spec| spec.tolerations.clone()).unwrap_or_default();
        let now = self.context.now();
        let seen = self.first_seen(key, pod.metadata.uid.as_deref().unwrap_or_default(), now);
        match fate(&tolerations, &driving(&node), seen, now) {
            Fate::Stays => {
                self.forget(key);
                Ok(None)
            }
            Fate::Leaves(delay) if !delay.is_zero() => Ok(Some(delay)),
            Fate::Leaves(_) => {
                let message = format!("Marking for deletion Pod {key}");
                tell(&self.recorder, reference(&*pod), EventType::Normal, "TaintManagerEviction", message);
                let why = "Taint manager: deleting due to NoExecute taint";
                let mut conditions = json!(pod.status.as_ref().and_then(|s| s.conditions.clone()).unwrap_or_default());
                if let Some(list) = conditions.as_array_mut() {
                    list.retain(|condition| condition["type"] != "DisruptionTarget");
                    list.push(disruption("DeletionByTaintManager", why, now));
                }
                let patch = json!({
                    "metadata": { "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version },
                    "status": { "conditions": conditions },
                });
                match kinds.pods.merge(&pod.metadata, Some("status"), &patch).await {
                    Err(error) if !error.is_not_found() => return Err(error),
                    _ => {}
                }
                kinds.pods.delete(&pod.metadata, None).await?;
                self.forget(key);
                Ok(None)
            }
        }
    }
}
