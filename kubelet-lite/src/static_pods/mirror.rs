//! Mirror pods: a static pod as the API shows it (upstream `pkg/kubelet/pod/mirror_client.go`). A mirror is made anew
//! when somebody has deleted it, and goes when its pod has gone; what is done to it changes nothing of the pod.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::ResourceExt;
use kube::api::{Api, PostParams};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{HASH, MIRROR, annotation, is_mirror};
use crate::node::Node;
use crate::pod::status::is_contested;
use crate::pod::writer::{self, Wanted};

/// Between tries while the API server does not answer.
const RETRY: Duration = Duration::from_millis(500);
/// Between somebody's deletion of a mirror and the next one. `kubectl delete` looks at names, not uids, once it watches: when
/// the next mirror is there before its watch begins, it waits for that one's end. Upstream's next one comes with the pod's
/// next turn.
const MOMENT: Duration = Duration::from_secs(1);
/// How often a mirror's deletion is tried. After that it is the manager's, who finds it without its pod when the API server is
/// back.
const DELETIONS: u32 = 10;

/// Namespace and name.
pub type Key = (String, String);

/// The mirrors there are, as the watch and our own writes say. Bounded by the node's static pods.
#[derive(Debug, Default)]
pub struct Mirrors(Mutex<HashMap<Key, watch::Sender<Option<Arc<Pod>>>>>);

/// The pod's namespace and name.
#[must_use]
pub fn key(pod: &Pod) -> Key {
    (pod.namespace().unwrap_or_default(), pod.name_any())
}

impl Mirrors {
    fn follow(&self, key: &Key) -> watch::Receiver<Option<Arc<Pod>>> {
        self.0.lock().entry(key.clone()).or_default().subscribe()
    }

    /// Takes in how a mirror is now; nothing when nobody is interested.
    pub fn put(&self, pod: &Arc<Pod>) {
        if let Some(sender) = self.0.lock().get(&key(pod)) {
            sender.send_replace(Some(pod.clone()));
        }
    }

    /// A mirror is gone.
    pub fn lose(&self, pod: &Pod) {
        if let Some(sender) = self.0.lock().get(&key(pod)) {
            sender.send_if_modified(|known| known.take_if(|known| known.metadata.uid == pod.metadata.uid).is_some());
        }
    }

    /// After a list: what is not in it is gone.
    pub fn keep(&self, listed: &[Key]) {
        for sender in self.0.lock().iter().filter(|(key, _)| !listed.contains(key)).map(|(_, sender)| sender) {
            sender.send_if_modified(|known| known.take().is_some());
        }
    }

    /// Nobody is interested any more.
    fn forget(&self, key: &Key) {
        let mut mirrors = self.0.lock();
        if mirrors.get(key).is_some_and(|sender| sender.receiver_count() == 0) {
            mirrors.remove(key);
        }
    }
}

/// What the API is to have for a static pod on the node of this UID.
fn mirror_of(pod: &Pod, node: &str, node_uid: &str) -> Pod {
    let mut annotations = pod.metadata.annotations.clone().unwrap_or_default();
    annotations.insert(MIRROR.to_owned(), annotation(pod, HASH).unwrap_or_default().to_owned());
    Pod {
        metadata: ObjectMeta {
            name: pod.metadata.name.clone(),
            namespace: pod.metadata.namespace.clone(),
            labels: pod.metadata.labels.clone(),
            annotations: Some(annotations),
            owner_references: Some(vec![OwnerReference {
                api_version: "v1".to_owned(),
                kind: "Node".to_owned(),
                name: node.to_owned(),
                uid: node_uid.to_owned(),
                controller: Some(true),
                block_owner_deletion: None,
            }]),
            ..ObjectMeta::default()
        },
        spec: pod.spec.clone(),
        status: None,
    }
}

fn shows(mirror: &Pod, pod: &Pod) -> bool {
    mirror.metadata.deletion_timestamp.is_none() && annotation(mirror, MIRROR) == annotation(pod, HASH)
}

/// Deletes a mirror whose pod is not there.
pub async fn remove(node: Arc<Node>, mirror: Arc<Pod>) {
    let api: Api<Pod> = Api::namespaced(node.client.clone(), &mirror.namespace().unwrap_or_default());
    if let Err(error) = writer::delete(&api, &mirror.name_any(), &mirror.uid().unwrap_or_default()).await {
        tracing::warn!(%error, pod = mirror.name_any(), "a mirror without its pod is not deleted");
    }
}

/// What was written of the status: to which mirror, and the version that made.
type Written = (String, Wanted, u64);

/// Keeps the mirror of `pod`, with the status that `wanted` says, until the pod is over.
pub async fn run(node: Arc<Node>, pod: Arc<Pod>, mut wanted: watch::Receiver<Wanted>) {
    let key = key(&pod);
    let mut seen = node.mirrors.follow(&key);
    let mut object = node.object.subscribe();
    let mut written: Option<Written> = None;
    let mut failures = 0;
    loop {
        let (now, mirror) = (wanted.borrow_and_update().clone(), seen.borrow_and_update().clone());
        object.mark_unchanged();
        match step(&node, &pod, &now, mirror, &mut written).await {
            Ok(Next::Over) => break,
            Ok(Next::Again) => continue,
            Ok(Next::Later) => {
                tokio::time::sleep(MOMENT).await;
                continue;
            }
            Ok(Next::Wait) => {}
            Err(error) => {
                tracing::debug!(%error, pod = key.1, "the mirror is not as it should be");
                failures += u32::from(now.delete);
                if failures >= DELETIONS {
                    break;
                }
                // News does not make the API server answer.
                tokio::time::sleep(RETRY).await;
                continue;
            }
        }
        tokio::select! {
            changed = wanted.changed() => if changed.is_err() { break },
            _ = seen.changed() => {}
            _ = object.changed() => {}
        }
    }
    drop(seen);
    node.mirrors.forget(&key);
}

enum Next {
    /// Until something changes.
    Wait,
    Again,
    /// In a [`MOMENT`].
    Later,
    Over,
}

async fn step(
    node: &Node,
    pod: &Pod,
    now: &Wanted,
    mirror: Option<Arc<Pod>>,
    written: &mut Option<Written>,
) -> kube::Result<Next> {
    let name = pod.name_any();
    let api: Api<Pod> = Api::namespaced(node.client.clone(), &pod.namespace().unwrap_or_default());
    let Some(mirror) = mirror else {
        let object = node.object.borrow().clone();
        let node_uid = object.metadata.uid.as_deref().filter(|_| object.metadata.deletion_timestamp.is_none());
        if now.delete {
            return Ok(Next::Over);
        }
        if written.take().is_some() {
            return Ok(Next::Later);
        }
        // The node is not registered yet, or not any more.
        let Some(node_uid) = node_uid else { return Ok(Next::Wait) };
        let made = match api.create(&PostParams::default(), &mirror_of(pod, &node.name, node_uid)).await {
            Err(kube::Error::Api(error)) if error.code == 409 => match api.get_opt(&name).await? {
                Some(known) if is_mirror(&known) => known,
                // Somebody else's pod has the name; it is not ours to delete.
                Some(_) => return Err(kube::Error::Api(error)),
                None => return Ok(Next::Again),
            },
            other => other?,
        };
        node.mirrors.put(&Arc::new(made));
        return Ok(Next::Again);
    };
    let uid = mirror.uid().unwrap_or_default();
    if now.delete && annotation(&mirror, MIRROR) != annotation(pod, HASH) {
        // It is the next one's already.
        return Ok(Next::Over);
    }
    if now.delete || !shows(&mirror, pod) {
        writer::delete(&api, &name, &uid).await?;
        node.mirrors.lose(&mirror);
        return Ok(if now.delete { Next::Over } else { Next::Again });
    }
    let Some(status) = &now.status else { return Ok(Next::Wait) };
    let version = writer::version(&mirror).unwrap_or_default();
    let as_wanted = written.as_ref().is_some_and(|(to, before, at)| {
        *to == uid
            && before.status == now.status
            && before.netns == now.netns
            && (version <= *at || !is_contested(mirror.status.as_ref(), status))
    });
    if as_wanted {
        return Ok(Next::Wait);
    }
    match writer::write(&api, &name, &uid, status, now.netns.as_deref()).await? {
        Some(made) => *written = Some((uid, now.clone(), writer::version(&made).unwrap_or(u64::MAX))),
        None => node.mirrors.lose(&mirror),
    }
    Ok(Next::Again)
}
