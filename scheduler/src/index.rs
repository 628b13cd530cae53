//! Watches, turned into messages for the one loop that owns all state.

use std::fmt::Debug;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use crate::core::budget::Budget;
use crate::core::pod::PodInfo;

/// How many messages may wait; a watch that is faster than the loop is slowed down by this.
const BACKLOG: usize = 1024;

/// One change, already reduced to what scheduling needs.
pub enum Message {
    Pod(Box<PodNews>),
    PodGone(String),
    Node(Arc<Node>),
    NodeGone(String),
    Claim(Arc<PersistentVolumeClaim>),
    ClaimGone(String),
    Volume(Arc<PersistentVolume>),
    VolumeGone(String),
    Class(Arc<StorageClass>),
    ClassGone(String),
    Namespace(Box<Namespace>),
    NamespaceGone(String),
    Budget(String, Box<Budget>),
    BudgetGone(String),
    /// A kind has been listed completely; these are all that exist (uids of pods, names of nodes and others).
    Listed(Kind, Vec<String>),
}

pub struct PodNews {
    pub info: PodInfo,
    pub scheduler: String,
    /// Ended: it holds no resources any more.
    pub finished: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Pods,
    Nodes,
    Claims,
    Volumes,
    Classes,
    Namespaces,
    Budgets,
}

/// Every kind there must be a first list of before anything is decided.
pub const KINDS: [Kind; 7] =
    [Kind::Pods, Kind::Nodes, Kind::Claims, Kind::Volumes, Kind::Classes, Kind::Namespaces, Kind::Budgets];

/// Starts all watches.
pub fn watch(client: &Client) -> mpsc::Receiver<Message> {
    let (sender, receiver) = mpsc::channel(BACKLOG);
    feed::<Pod>(
        client,
        &sender,
        Kind::Pods,
        pod_message,
        |pod| Message::PodGone(pod.uid().unwrap_or_default()),
        |pod| pod.uid().unwrap_or_default(),
    );
    feed::<Node>(
        client,
        &sender,
        Kind::Nodes,
        node_message,
        |node| Message::NodeGone(node.name_any()),
        |node| node.name_any(),
    );
    feed::<PersistentVolumeClaim>(
        client,
        &sender,
        Kind::Claims,
        |claim| Message::Claim(trimmed(claim)),
        |claim| Message::ClaimGone(key(claim)),
        key,
    );
    feed::<PersistentVolume>(
        client,
        &sender,
        Kind::Volumes,
        |volume| Message::Volume(trimmed(volume)),
        |volume| Message::VolumeGone(volume.name_any()),
        |volume| volume.name_any(),
    );
    feed::<StorageClass>(
        client,
        &sender,
        Kind::Classes,
        |class| Message::Class(trimmed(class)),
        |class| Message::ClassGone(class.name_any()),
        |class| class.name_any(),
    );
    feed::<Namespace>(
        client,
        &sender,
        Kind::Namespaces,
        |namespace| Message::Namespace(Box::new(namespace)),
        |namespace| Message::NamespaceGone(namespace.name_any()),
        |namespace| namespace.name_any(),
    );
    feed::<PodDisruptionBudget>(
        client,
        &sender,
        Kind::Budgets,
        |budget| Message::Budget(key(&budget), Box::new(Budget::new(&budget))),
        |budget| Message::BudgetGone(key(budget)),
        key,
    );
    receiver
}

fn key(object: &impl ResourceExt) -> String {
    format!("{}/{}", object.namespace().unwrap_or_default(), object.name_any())
}

/// Without what nobody here reads.
fn trimmed<K: Resource>(mut object: K) -> Arc<K> {
    object.meta_mut().managed_fields = None;
    Arc::new(object)
}

fn pod_message(pod: Pod) -> Message {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    Message::Pod(Box::new(PodNews {
        scheduler: pod.spec.as_ref().and_then(|spec| spec.scheduler_name.clone()).unwrap_or_default(),
        finished: matches!(phase, Some("Succeeded" | "Failed")),
        info: PodInfo::new(&pod),
    }))
}

fn node_message(mut node: Node) -> Message {
    node.metadata.managed_fields = None;
    node.metadata.annotations = None;
    if let Some(status) = &mut node.status {
        status.images = None;
        status.conditions = None;
    }
    Message::Node(Arc::new(node))
}

fn feed<K>(
    client: &Client,
    sender: &mpsc::Sender<Message>,
    kind: Kind,
    here: fn(K) -> Message,
    gone: fn(&K) -> Message,
    identity: fn(&K) -> String,
) where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let (api, sender) = (Api::<K>::all(client.clone()), sender.clone());
    tokio::spawn(async move {
        let mut stream = watcher(api, Config::default()).default_backoff().boxed();
        let mut listed = Vec::new();
        while let Some(event) = stream.next().await {
            let messages = match event {
                Ok(Event::Init) => {
                    listed.clear();
                    None
                }
                Ok(Event::InitApply(object)) => {
                    listed.push(identity(&object));
                    Some(here(object))
                }
                Ok(Event::InitDone) => Some(Message::Listed(kind, std::mem::take(&mut listed))),
                Ok(Event::Apply(object)) => Some(here(object)),
                Ok(Event::Delete(object)) => Some(gone(&object)),
                Err(error) => {
                    tracing::warn!(?kind, %error, "watch interrupted");
                    None
                }
            };
            if let Some(message) = messages
                && sender.send(message).await.is_err()
            {
                return;
            }
        }
    });
}
