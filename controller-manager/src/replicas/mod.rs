//! ReplicaSets and ReplicationControllers: keep the wanted number of pods (upstream `pkg/controller/replicaset`).
//!
//! Both kinds are one controller here, as upstream; [`Replicated`] says where they differ.

mod kinds;
mod plan;

use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::meta::{controller_reference, is_deleting, key_of, selects};
use crate::framework::{ApiError, Controller, Kind, Outcome, Queue, claim, drive, pods, queue_owners};
pub use kinds::Replicated;
use plan::{Plan, plan};

/// The most pods created or deleted in one go (upstream's `BurstReplicas`).
const BURST: usize = 500;

pub struct Replicas<R: Replicated> {
    context: Arc<Context>,
    sets: Arc<Kind<R>>,
    recorder: Arc<Recorder>,
}

/// Wires the controller for `R` to its informers.
pub fn start<R: Replicated>(context: &Arc<Context>, sets: &Arc<Kind<R>>) {
    let queue = Arc::new(Queue::default());
    let on_set = queue.clone();
    sets.on_change(move |change| on_set.add(key_of(change.object().meta())));
    queue_owners(&context.kinds.pods, sets, &queue, |set, labels| selects(Some(&set.selector()), labels));
    let recorder = context.recorder(R::COMPONENT);
    let controller = Arc::new(Replicas { context: context.clone(), sets: sets.clone(), recorder });
    drive(&context.gate(), &controller, &queue, 5);
}

impl<R: Replicated> Controller for Replicas<R> {
    const NAME: &'static str = R::COMPONENT;

    async fn sync(&self, key: &str) -> Outcome {
        let Some(set) = self.sets.get(key) else { return Ok(None) };
        let all = claim(&self.context.kinds.pods, &*set, &set.selector()).await?;
        let plan = plan(&*set, &all, self.context.now());
        let outcome = match &plan {
            _ if is_deleting(set.meta()) => Ok(()),
            Plan::Create(count) => self.create(&set, (*count).min(BURST)).await,
            Plan::Delete(pods) => self.delete(&set, &pods[..pods.len().min(BURST)]).await,
            Plan::Keep => Ok(()),
        };
        // The status speaks of what was found; what was just made is news of the next round.
        let failure = outcome.as_ref().err().map(|error| plan.failure(error));
        let wanted = set.with_status(plan::counts(&*set, &all, self.context.now()), failure, self.context.now());
        self.sets.update_status(&set, &wanted).await?;
        outcome?;
        Ok(all.iter().filter_map(|pod| pods::available_in(pod, set.min_ready_seconds(), self.context.now())).min())
    }
}

impl<R: Replicated> Replicas<R> {
    /// Creates in batches of 1, 2, 4 …: when the first one fails (a quota, a webhook), hundreds more need not.
    async fn create(&self, set: &R, count: usize) -> Result<(), kube::Error> {
        let namespace = set.meta().namespace.as_deref().unwrap_or_default();
        let pod = pods::from_template(&set.template(), namespace, controller_reference(set));
        let (mut left, mut batch) = (count, 1);
        while left > 0 {
            let size = batch.min(left);
            let results = join_all((0..size).map(|_| self.create_one(set, &pod))).await;
            results.into_iter().collect::<Result<(), _>>()?;
            left -= size;
            batch *= 2;
        }
        Ok(())
    }

    async fn create_one(&self, set: &R, pod: &Pod) -> Result<(), kube::Error> {
        match self.context.kinds.pods.create(pod).await {
            Ok(pod) => {
                let message = format!("Created pod: {}", pod.metadata.name.as_deref().unwrap_or_default());
                tell(&self.recorder, reference(set), EventType::Normal, "SuccessfulCreate", message);
                Ok(())
            }
            // Nothing can be created in a dying namespace, and this set dies with it.
            Err(error) if error.namespace_terminating() => Ok(()),
            Err(error) => {
                tell(&self.recorder, reference(set), EventType::Warning, "FailedCreate", refusal("creating", &error));
                Err(error)
            }
        }
    }

    async fn delete(&self, set: &R, doomed: &[Arc<Pod>]) -> Result<(), kube::Error> {
        let results = join_all(doomed.iter().map(async |pod| {
            let result = self.context.kinds.pods.delete(&pod.metadata, None).await;
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            match &result {
                Ok(()) => {
                    let message = format!("Deleted pod: {name}");
                    tell(&self.recorder, reference(set), EventType::Normal, "SuccessfulDelete", message);
                }
                Err(error) => {
                    let message = refusal("deleting", error);
                    tell(&self.recorder, reference(set), EventType::Warning, "FailedDelete", message);
                }
            }
            result
        }))
        .await;
        results.into_iter().collect()
    }
}

fn refusal(doing: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => format!("Error {doing}: {}", status.message),
        other => format!("Error {doing}: {other}"),
    }
}
