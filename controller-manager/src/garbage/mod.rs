//! The garbage collector: objects whose owners are gone go, too (upstream `pkg/controller/garbagecollector`).
//!
//! [`watch`] feeds the [`graph`] with the metadata of every kind there is; this file acts on it. That an owner is gone is
//! always asked of the API server before anything is deleted for it: the graph may be behind, the answer is not.

mod graph;
mod watch;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions, PropagationPolicy};
use parking_lot::{Mutex, RwLock};
use serde_json::json;

use crate::context::{Context, Removed};
use crate::discovery::{Discovery, Served};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};
use graph::{FOREGROUND, Graph, Node, ORPHAN, Standing, Verdict, judge};

/// How many uids known to be gone are remembered; one list of siblings asks for the same owner many times.
const ABSENT: usize = 500;

/// What the collector's tasks share.
pub struct Shared {
    context: Arc<Context>,
    queue: Arc<Queue>,
    graph: Mutex<Graph>,
    discovery: RwLock<Discovery>,
    absent: Mutex<HashSet<String>>,
    /// Told when the set of kinds may have changed.
    rediscover: tokio::sync::Notify,
}

struct Collector {
    shared: Arc<Shared>,
}

pub fn start(context: &Arc<Context>) {
    let shared = Arc::new(Shared {
        context: context.clone(),
        queue: Arc::default(),
        graph: Mutex::default(),
        discovery: RwLock::default(),
        absent: Mutex::default(),
        rediscover: tokio::sync::Notify::new(),
    });
    watch::start(&shared);
    drive(&context.gate(), &Arc::new(Collector { shared: shared.clone() }), &shared.queue, 8);
}

impl Shared {
    fn put(&self, kind: &(String, String), meta: &ObjectMeta) {
        let uid = meta.uid.as_deref().unwrap_or_default();
        let look = self.graph.lock().put(uid, Node::new(kind.clone(), meta));
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn remove(&self, uid: &str) {
        let (gone, look) = {
            let mut graph = self.graph.lock();
            (graph.get(uid).cloned(), graph.remove(uid))
        };
        if let Some(node) = gone
            && let Some(served) = self.discovery.read().kinds.get(&node.kind)
        {
            let resource = &served.resource;
            let (group, plural) = (resource.group.clone(), resource.plural.clone());
            self.context.removed(&Removed { group, plural, namespace: node.namespace });
        }
        look.into_iter().for_each(|uid| self.queue.add(uid));
    }
}

impl Controller for Collector {
    const NAME: &'static str = "garbage-collector-controller";

    async fn sync(&self, uid: &str) -> Outcome {
        let Some(node) = self.shared.graph.lock().get(uid).cloned() else { return Ok(None) };
        let Some(served) = self.shared.discovery.read().kinds.get(&node.kind).cloned() else {
            // Not discovered yet; a kind that is gone for good takes its objects out of the graph.
            return Ok(Some(Duration::from_secs(1)));
        };
        if node.deleting {
            if node.orphan {
                self.orphan(uid, &node, &served).await?;
            } else if node.foreground {
                self.foreground(uid, &node, &served).await?;
            }
            return Ok(None);
        }
        let mut owners = Vec::new();
        for owner in &node.owners {
            owners.push((owner.uid.clone(), self.standing(&node, owner).await?));
        }
        let has_dependents = self.shared.graph.lock().dependents(uid).next().is_some();
        match judge(&owners, has_dependents) {
            Verdict::Keep => {}
            Verdict::Forget(lost) => self.forget_owners(uid, &node, &served, &lost).await?,
            Verdict::DeleteForeground => {
                // A dependent that waits for us while we would wait for it: one of the circle must not block.
                let circle =
                    self.shared.graph.lock().dependents(uid).any(|(_, dependent)| dependent.awaits_dependents());
                if circle {
                    self.unblock_owners(uid, &node, &served).await?;
                }
                self.delete(uid, &node, &served, PropagationPolicy::Foreground).await?;
            }
            Verdict::Delete => {
                let policy = match (node.orphan, node.foreground) {
                    (true, _) => PropagationPolicy::Orphan,
                    (_, true) => PropagationPolicy::Foreground,
                    _ => PropagationPolicy::Background,
                };
                self.delete(uid, &node, &served, policy).await?;
            }
        }
        Ok(None)
    }
}

impl Collector {
    async fn standing(&self, node: &Node, owner: &OwnerReference) -> Result<Standing, kube::Error> {
        if let Some(known) = self.shared.graph.lock().get(&owner.uid) {
            return Ok(if known.awaits_dependents() { Standing::Waiting } else { Standing::Solid });
        }
        if self.shared.absent.lock().contains(&owner.uid) {
            return Ok(Standing::Absent);
        }
        let found = self.shared.discovery.read().find(&owner.api_version, &owner.kind).cloned();
        let Some(served) = found else {
            // A kind nobody serves: upstream, too, waits for it to be served again rather than delete for it.
            tracing::debug!(kind = owner.kind, owner = owner.name, "an owner's kind is not served");
            return Ok(Standing::Solid);
        };
        let api = served.api(&self.shared.context.client, Some(&node.namespace));
        match api.get_metadata(&owner.name).await {
            Ok(found) if found.metadata.uid.as_ref() == Some(&owner.uid) => {
                let waits = Node::new(node.kind.clone(), &found.metadata).awaits_dependents();
                Ok(if waits { Standing::Waiting } else { Standing::Solid })
            }
            Err(error) if !error.is_not_found() => Err(error),
            _ => {
                let mut absent = self.shared.absent.lock();
                if absent.len() >= ABSENT {
                    absent.clear();
                }
                absent.insert(owner.uid.clone());
                Ok(Standing::Absent)
            }
        }
    }

    async fn delete(
        &self,
        uid: &str,
        node: &Node,
        served: &Served,
        policy: PropagationPolicy,
    ) -> Result<(), kube::Error> {
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
            ..DeleteParams::default()
        };
        tracing::debug!(kind = node.kind.1, namespace = node.namespace, name = node.name, "deleting an orphan");
        match served.api(&self.shared.context.client, Some(&node.namespace)).delete(&node.name, &params).await {
            // Gone, or another object by now.
            Err(error) if !error.is_not_found() && !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    /// Changes the metadata of an object, seen fresh, on condition that nobody else does meanwhile.
    async fn change(
        &self,
        uid: &str,
        node: &Node,
        served: &Served,
        change: impl Fn(&mut ObjectMeta),
    ) -> Result<(), kube::Error> {
        let api = served.api(&self.shared.context.client, Some(&node.namespace));
        let found = match api.get_metadata(&node.name).await {
            Err(error) if error.is_not_found() => return Ok(()),
            other => other?,
        };
        if found.metadata.uid.as_deref() != Some(uid) {
            return Ok(());
        }
        let mut wanted = found.metadata.clone();
        change(&mut wanted);
        if wanted == found.metadata {
            return Ok(());
        }
        let patch = Patch::Merge(json!({ "metadata": {
            "uid": uid,
            "resourceVersion": found.metadata.resource_version,
            "ownerReferences": wanted.owner_references,
            "finalizers": wanted.finalizers,
        }}));
        match api.patch_metadata(&node.name, &PatchParams::default(), &patch).await {
            Err(error) if !error.is_not_found() => Err(error),
            _ => Ok(()),
        }
    }

    async fn forget_owners(&self, uid: &str, node: &Node, served: &Served, lost: &[String]) -> Result<(), kube::Error> {
        self.change(uid, node, served, |meta| {
            let owners = meta.owner_references.get_or_insert_default();
            owners.retain(|owner| !lost.contains(&owner.uid));
        })
        .await
    }

    /// Lets the owners go before this object does.
    async fn unblock_owners(&self, uid: &str, node: &Node, served: &Served) -> Result<(), kube::Error> {
        self.change(uid, node, served, |meta| {
            for owner in meta.owner_references.iter_mut().flatten() {
                owner.block_owner_deletion = owner.block_owner_deletion.map(|_| false);
            }
        })
        .await
    }

    async fn drop_finalizer(&self, uid: &str, node: &Node, served: &Served, name: &str) -> Result<(), kube::Error> {
        self.change(uid, node, served, |meta| {
            meta.finalizers.get_or_insert_default().retain(|finalizer| finalizer != name);
        })
        .await
    }

    /// Lets all dependents go, then the owner.
    async fn orphan(&self, uid: &str, node: &Node, served: &Served) -> Result<(), kube::Error> {
        let dependents: Vec<(String, Node)> =
            self.shared.graph.lock().dependents(uid).map(|(uid, node)| (uid.clone(), node.clone())).collect();
        for (dependent, found) in dependents {
            let kind = self.shared.discovery.read().kinds.get(&found.kind).cloned();
            if let Some(kind) = kind {
                self.forget_owners(&dependent, &found, &kind, &[uid.to_owned()]).await?;
            }
        }
        self.drop_finalizer(uid, node, served, ORPHAN).await
    }

    /// Lets the owner go when no dependent blocks it any more; until then sees to it that they go.
    async fn foreground(&self, uid: &str, node: &Node, served: &Served) -> Result<(), kube::Error> {
        let (blocked, going) = {
            let graph = self.shared.graph.lock();
            let blocks = |dependent: &Node| {
                dependent.owners.iter().any(|owner| owner.uid == uid && owner.block_owner_deletion == Some(true))
            };
            let blocked = graph.dependents(uid).any(|(_, dependent)| blocks(dependent));
            let going = graph.dependents(uid).filter(|(_, d)| !d.deleting).map(|(uid, _)| uid.clone());
            (blocked, going.collect::<Vec<_>>())
        };
        going.into_iter().for_each(|dependent| self.shared.queue.add(dependent));
        if blocked { Ok(()) } else { self.drop_finalizer(uid, node, served, FOREGROUND).await }
    }
}
