//! Deployments: revisions of ReplicaSets, rolled out step by step (upstream `pkg/controller/deployment`).
//!
//! [`plan`] is a pure function from the Deployment and its ReplicaSets to what must change; this file carries it out. One
//! step at a time: each change of a ReplicaSet brings the Deployment back here, so the plan never looks ahead.

mod plan;
mod progress;
mod revision;
mod rolling;
mod scale;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet};
use kube::Resource;
use kube::api::PropagationPolicy;
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::meta::{is_deleting, key_of, selects};
use crate::framework::{ApiError, Controller, Outcome, Queue, claim, drive, owner_key, queue_owners};
use plan::{Action, plan};

pub struct Deployments {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
}

/// Wires the controller to its informers.
pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_deployment = queue.clone();
    context.kinds.deployments.on_change(move |change| on_deployment.add(key_of(change.object().meta())));
    queue_owners(&context.kinds.replica_sets, &context.kinds.deployments, &queue, |deployment, labels| {
        selects(plan::selector(deployment), labels)
    });
    // Recreate waits for the last old pod: its end is news although no ReplicaSet changes then.
    let (on_pod, sets) = (queue.clone(), context.kinds.replica_sets.clone());
    context.kinds.pods.on_change(move |change| {
        if change.new.is_some() {
            return;
        }
        let set = owner_key(&change.object().metadata, "ReplicaSet").and_then(|key| sets.get(&key));
        if let Some(key) = set.and_then(|set| owner_key(&set.metadata, "Deployment")) {
            on_pod.add(key);
        }
    });
    let recorder = context.recorder(Deployments::NAME);
    drive(&context.gate(), &Arc::new(Deployments { context: context.clone(), recorder }), &queue, 5);
}

impl Controller for Deployments {
    const NAME: &'static str = "deployment-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(deployment) = kinds.deployments.get(key) else { return Ok(None) };
        let Some(selector) = plan::selector(&deployment) else { return Ok(None) };
        let sets = claim(&kinds.replica_sets, &*deployment, selector).await?;
        let old_pods_run = plan::is_recreate(&deployment) && self.old_pods_run(&deployment, &sets);
        let plan = plan(&deployment, &sets, old_pods_run, self.context.now());
        let mut current = deployment.clone();
        for action in plan.actions {
            self.apply(&mut current, action).await?;
        }
        if is_deleting(&deployment.metadata) {
            return Ok(None);
        }
        let mut wanted = (*current).clone();
        wanted.status = Some(plan.status);
        kinds.deployments.update_status(&current, &wanted).await?;
        // A second more: the API keeps whole seconds, and a deadline must have passed to count.
        Ok(plan.deadline_in.map(|left| left + Duration::from_secs(1)))
    }
}

impl Deployments {
    fn old_pods_run(&self, deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> bool {
        let current = revision::find_new(deployment, sets).and_then(|set| set.metadata.uid.clone());
        sets.iter().filter(|set| set.metadata.uid != current).any(|set| {
            let pods = self.context.kinds.pods.controlled_by(set.metadata.uid.as_deref().unwrap_or_default());
            pods.iter().any(|pod| !crate::framework::pods::is_finished(pod))
        })
    }

    async fn apply(&self, deployment: &mut Arc<Deployment>, action: Action) -> Result<(), kube::Error> {
        let kinds = &self.context.kinds;
        match action {
            Action::Create(set) => match kinds.replica_sets.create(&set).await {
                Ok(set) => {
                    let size = set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0);
                    if size > 0 {
                        let name = set.metadata.name.as_deref().unwrap_or_default();
                        self.say_scaled(deployment, "up", name, 0, size);
                    }
                }
                Err(error) if error.namespace_terminating() => {}
                Err(error) if error.already_exists() => {
                    let status = deployment.status.clone().unwrap_or_default();
                    let mut wanted = (**deployment).clone();
                    wanted.status.get_or_insert_default().collision_count =
                        Some(status.collision_count.unwrap_or(0) + 1);
                    // Another template has this hash: count the collision, and the next round makes another name.
                    kinds.deployments.update_status(deployment, &wanted).await?;
                    return Err(error);
                }
                Err(error) => {
                    let message = format!("Failed to create new replica set: {error}");
                    tell(
                        &self.recorder,
                        reference(&**deployment),
                        EventType::Warning,
                        "ReplicaSetCreateError",
                        message,
                    );
                    return Err(error);
                }
            },
            Action::Update { old, new } => {
                let size = |set: &ReplicaSet| set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                kinds.replica_sets.update(&old, &new).await?;
                let (from, to) = (size(&old), size(&new));
                if from != to {
                    let name = old.metadata.name.as_deref().unwrap_or_default();
                    self.say_scaled(deployment, if from < to { "up" } else { "down" }, name, from, to);
                }
            }
            Action::Delete(set) => {
                kinds.replica_sets.delete(&set.metadata, Some(PropagationPolicy::Background)).await?;
            }
            Action::Annotate(new) => *deployment = kinds.deployments.update(deployment, &new).await?,
        }
        Ok(())
    }

    fn say_scaled(&self, deployment: &Deployment, direction: &str, set: &str, from: i32, to: i32) {
        let message = format!("Scaled {direction} replica set {set} from {from} to {to}");
        tell(&self.recorder, reference(deployment), EventType::Normal, "ScalingReplicaSet", message);
    }
}
