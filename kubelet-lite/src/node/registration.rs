//! Registering the node and keeping its status.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ContainerImage, Node as NodeObject, NodeCondition, NodeStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use runtime::events::EventType;
use tokio::sync::Notify;

use super::{Node, status};

/// Upstream's `nodeStatusReportFrequency`: the longest time without a report.
const REPORT: Duration = Duration::from_secs(300);
/// The longest delay between tries while the API server is away.
const RETRY: Duration = Duration::from_millis(500);

/// The Node as this kubelet knows it by itself, before the API server has answered.
///
/// # Errors
/// Only for flags that make no Node.
pub fn own(node: &Node) -> Result<NodeObject, status::Error> {
    let mut object = status::object(&node.name, &node.flags, &node.machine)?;
    // With its status: the scheduler takes a node for what its first version says.
    object.status = Some(status_now(node, &[]));
    Ok(object)
}

/// Creates the Node object, or takes over the one there is. Tries until the API server answers.
///
/// # Errors
/// Only for flags that make no Node.
pub async fn register(node: &Node) -> Result<NodeObject, status::Error> {
    let api: Api<NodeObject> = Api::all(node.client.clone());
    let object = own(node)?;
    let mut said = false;
    loop {
        match attempt(&api, &node.name, &object).await {
            Ok(registered) => return Ok(registered),
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    tracing::info!(%error, "waiting for the API server to register this node");
                }
                tokio::time::sleep(RETRY / 5).await;
            }
        }
    }
}

async fn attempt(api: &Api<NodeObject>, name: &str, object: &NodeObject) -> kube::Result<NodeObject> {
    match api.create(&PostParams::default(), object).await {
        Err(kube::Error::Api(error)) if error.code == 409 => {
            // Labels and annotations of ours are brought up to date; taints are left to whoever changed them since.
            let metadata = serde_json::json!({ "metadata": {
                "labels": object.metadata.labels, "annotations": object.metadata.annotations,
            }});
            api.patch(name, &PatchParams::default(), &Patch::Merge(metadata)).await
        }
        other => other,
    }
}

/// Follows the Node object, and tells when somebody else (the node controller) says that its readiness is unknown, or has
/// deleted it: we know better, and say so at once.
fn doubts(node: &Arc<Node>) -> Arc<Notify> {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", node.name));
    let events = watcher(Api::<NodeObject>::all(node.client.clone()), config).default_backoff();
    let told = Arc::new(Notify::new());
    let (tell, own) = (told.clone(), node.clone());
    tokio::spawn(async move {
        let mut events = std::pin::pin!(events);
        while let Some(event) = events.next().await {
            let doubted = match event {
                Ok(watcher::Event::Apply(node) | watcher::Event::InitApply(node)) => {
                    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_deref());
                    let unknown = conditions
                        .unwrap_or_default()
                        .iter()
                        .any(|condition| condition.type_ == "Ready" && condition.status == "Unknown");
                    own.object.send_replace(Arc::new(node));
                    unknown
                }
                Ok(watcher::Event::Delete(_)) => true,
                _ => false,
            };
            if doubted {
                tell.notify_one();
            }
        }
    });
    told
}

/// Writes the status now, whenever the network's readiness changes or somebody doubts it, and every [`REPORT`].
pub async fn report(node: Arc<Node>) {
    let mut readiness = node.network.clone();
    let doubted = doubts(&node);
    let api: Api<NodeObject> = Api::all(node.client.clone());
    let found = api.get(&node.name).await.ok().and_then(|found| found.status).unwrap_or_default();
    let booted = &node.machine.boot_id;
    if found.node_info.is_some_and(|info| !info.boot_id.is_empty() && info.boot_id != *booted) {
        let text = format!("Node {} has been rebooted, boot id: {booted}", node.name);
        node.events.node(&node.name, EventType::Warning, "Rebooted", text);
    }
    let mut before = found.conditions.unwrap_or_default();
    loop {
        readiness.mark_unchanged();
        let status = status_now(&node, &before);
        let was_ready = is_ready(&before);
        let conditions = status.conditions.clone().unwrap_or_default();
        let mut wait = REPORT;
        let patch = serde_json::json!({ "status": status });
        match api.patch_status(&node.name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                before = conditions;
                if is_ready(&before) != was_ready {
                    let (reason, text) =
                        if was_ready { ("NodeNotReady", "NodeNotReady") } else { ("NodeReady", "NodeReady") };
                    node.events.node(
                        &node.name,
                        EventType::Normal,
                        reason,
                        format!("Node {} status is now: {text}", node.name),
                    );
                }
            }
            Err(kube::Error::Api(error)) if error.code == 404 => {
                // Somebody deleted our Node: come back, as upstream does.
                if let Err(error) = register(&node).await {
                    tracing::error!(%error, "the node cannot be registered again");
                }
                wait = Duration::ZERO;
            }
            Err(error) => {
                tracing::warn!(%error, "the node's status is not written");
                wait = RETRY;
            }
        }
        tokio::select! {
            changed = readiness.changed() => if changed.is_err() { return },
            () = doubted.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The status as it is now; `before` keeps transition times.
fn status_now(node: &Node, before: &[NodeCondition]) -> NodeStatus {
    let not_ready = node.network.borrow().clone();
    let (name, images) = (&node.name, images(node));
    status::status(name, &node.flags, &node.machine, images, not_ready.as_deref(), before, Timestamp::now())
}

fn is_ready(conditions: &[NodeCondition]) -> bool {
    conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn images(node: &Node) -> Vec<ContainerImage> {
    let stored = crate::images::store::list(&node.flags.image_store).unwrap_or_default();
    // Upstream reports at most 50.
    let bytes = |size: u64| i64::try_from(size).unwrap_or(i64::MAX);
    let image = |(name, size): (String, u64)| ContainerImage { names: Some(vec![name]), size_bytes: Some(bytes(size)) };
    stored.into_iter().take(50).map(image).collect()
}
