//! DaemonSets: one pod on every node that wants it (upstream `pkg/controller/daemon`).
//!
//! [`nodes`] says which nodes want one, [`plan`] compares that with the pods there are, this file carries it out.

mod nodes;
mod plan;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::{DaemonSet, DaemonSetStatus};
use k8s_openapi::api::core::v1::{Node, Pod};
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::history::{self, hash_of};
use crate::framework::meta::{controller_reference, is_deleting, key_of, selects};
use crate::framework::{ApiError, Controller, Outcome, Queue, claim, drive, owner_key, pods, queue_owners};

pub const HASH_LABEL: &str = "controller-revision-hash";
const GENERATION_LABEL: &str = "pod-template-generation";

struct DaemonSets {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let on_set = queue.clone();
    kinds.daemon_sets.on_change(move |change| on_set.add(key_of(&change.object().metadata)));
    queue_owners(&kinds.pods, &kinds.daemon_sets, &queue, |set, labels| {
        selects(set.spec.as_ref().map(|spec| &spec.selector), labels)
    });
    let (on_revision, on_node, sets) = (queue.clone(), queue.clone(), kinds.daemon_sets.clone());
    kinds.revisions.on_change(move |change| {
        if let Some(key) = owner_key(&change.object().metadata, "DaemonSet") {
            on_revision.add(key);
        }
    });
    kinds.nodes.on_change(move |change| {
        // Heartbeats change nothing for us; labels, taints, and coming or going do.
        let eligible =
            |node: &Arc<Node>| (node.metadata.labels.clone(), node.spec.as_ref().and_then(|s| s.taints.clone()));
        if change.old.map(eligible) != change.new.map(eligible) {
            sets.all().iter().for_each(|set| on_node.add(key_of(&set.metadata)));
        }
    });
    let recorder = context.recorder(DaemonSets::NAME);
    drive(&context.gate(), &Arc::new(DaemonSets { context: context.clone(), recorder }), &queue, 2);
}

impl Controller for DaemonSets {
    const NAME: &'static str = "daemonset-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(set) = kinds.daemon_sets.get(key) else { return Ok(None) };
        let Some(spec) = &set.spec else { return Ok(None) };
        if is_deleting(&set.metadata) {
            return Ok(None);
        }
        let collisions = set.status.as_ref().and_then(|status| status.collision_count);
        let history = match history::sync(
            &kinds.revisions,
            &*set,
            &spec.selector,
            &spec.template,
            HASH_LABEL,
            collisions,
        )
        .await
        {
            Err(error) if error.already_exists() => {
                let mut wanted = (*set).clone();
                wanted.status.get_or_insert_default().collision_count = Some(collisions.unwrap_or(0) + 1);
                kinds.daemon_sets.update_status(&set, &wanted).await?;
                return Err(error);
            }
            Err(error) if error.namespace_terminating() => return Ok(None),
            other => other?,
        };
        let hash = hash_of(&history.current).to_owned();
        let owned = claim(&kinds.pods, &*set, &spec.selector).await?;
        let nodes = kinds.nodes.all();
        let now = self.context.now();
        let plan = plan::plan(&set, &nodes, &owned, &hash, now);
        let outcome = self.carry_out(&set, &plan, &hash).await;
        let mut wanted = (*set).clone();
        wanted.status = Some(DaemonSetStatus {
            observed_generation: set.metadata.generation,
            collision_count: collisions,
            conditions: set.status.as_ref().and_then(|status| status.conditions.clone()),
            ..plan.status
        });
        kinds.daemon_sets.update_status(&set, &wanted).await?;
        outcome?;
        let limit = spec.revision_history_limit.unwrap_or(10);
        history::truncate(&kinds.revisions, &history, limit, |revision| {
            owned.iter().any(|pod| plan::is_of_revision(pod, hash_of(revision)))
        })
        .await?;
        let wait = spec.min_ready_seconds.unwrap_or(0);
        Ok(owned.iter().filter_map(|pod| pods::available_in(pod, wait, now)).min())
    }
}

impl DaemonSets {
    async fn carry_out(&self, set: &DaemonSet, plan: &plan::Plan, hash: &str) -> Result<(), kube::Error> {
        for (pod, why) in &plan.failed {
            tell(&self.recorder, reference(set), EventType::Warning, "FailedDaemonPod", why.clone());
            self.delete(set, pod).await?;
        }
        let deletions = join_all(plan.delete.iter().map(|pod| self.delete(set, pod))).await;
        let creations = join_all(plan.create.iter().map(|node| self.create(set, node, hash))).await;
        deletions.into_iter().chain(creations).collect()
    }

    async fn create(&self, set: &DaemonSet, node: &str, hash: &str) -> Result<(), kube::Error> {
        match self.context.kinds.pods.create(&pod_for(set, node, hash)).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.metadata.name.as_deref().unwrap_or_default());
                tell(&self.recorder, reference(set), EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            Err(error) if error.namespace_terminating() => Ok(()),
            Err(error) => {
                let message = format!("Error creating: {error}");
                tell(&self.recorder, reference(set), EventType::Warning, "FailedCreate", message);
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &DaemonSet, pod: &Pod) -> Result<(), kube::Error> {
        self.context.kinds.pods.delete(&pod.metadata, None).await?;
        let message = format!("Deleted pod: {}", pod.metadata.name.as_deref().unwrap_or_default());
        tell(&self.recorder, reference(set), EventType::Normal, "SuccessfulDelete", message);
        Ok(())
    }
}

/// The pod for one node: bound there by affinity, so that the scheduler still has the last word on resources.
fn pod_for(set: &DaemonSet, node: &str, hash: &str) -> Pod {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let template = set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default();
    let mut pod = pods::from_template(&template, namespace, controller_reference(set));
    let labels: &mut BTreeMap<String, String> = pod.metadata.labels.get_or_insert_default();
    labels.insert(HASH_LABEL.into(), hash.to_owned());
    let generation = set.metadata.annotations.as_ref().and_then(|a| a.get("deprecated.daemonset.template.generation"));
    if let Some(generation) = generation {
        labels.insert(GENERATION_LABEL.into(), generation.clone());
    }
    nodes::pin(pod.spec.get_or_insert_default(), node);
    pod
}
