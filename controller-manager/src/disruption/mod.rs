//! PodDisruptionBudgets: how many pods may be evicted now (upstream `pkg/controller/disruption`).
//!
//! The eviction subresource reads the status written here and counts it down; this controller sets it anew.

mod plan;

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use kube::api::{Api, DynamicObject};
use kube::core::{ApiResource, GroupVersion, GroupVersionKind};
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::meta::{controller_of, key_of, selects};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};
use plan::Scales;

struct Disruption {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let on_budget = queue.clone();
    kinds.budgets.on_change(move |change| on_budget.add(key_of(&change.object().metadata)));
    let (on_pod, budgets) = (queue.clone(), kinds.budgets.clone());
    kinds.pods.on_change(move |change| {
        for pod in [change.old, change.new].into_iter().flatten() {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let labels = pod.metadata.labels.as_ref();
            let selecting = |budget: &PodDisruptionBudget| selects(selector(budget), labels);
            budgets.filter_in(namespace, selecting).iter().for_each(|budget| on_pod.add(key_of(&budget.metadata)));
        }
    });
    // A new scale is mostly followed by pods that come or go, but not when there is no room for them.
    macro_rules! on_scale {
        ($kind:ident: $type:ty) => {
            let (queue, budgets) = (queue.clone(), kinds.budgets.clone());
            kinds.$kind.on_change(move |change| {
                let replicas = |object: &Arc<$type>| object.spec.as_ref().map(|spec| spec.replicas);
                if change.old.map(replicas) != change.new.map(replicas) {
                    enqueue_namespace(&queue, &budgets, &change.object().metadata);
                }
            });
        };
    }
    on_scale!(deployments: Deployment);
    on_scale!(replica_sets: ReplicaSet);
    on_scale!(replication_controllers: ReplicationController);
    on_scale!(stateful_sets: StatefulSet);
    let recorder = context.recorder("controllermanager");
    drive(&context.gate(), &Arc::new(Disruption { context: context.clone(), recorder }), &queue, 2);
}

fn enqueue_namespace(queue: &Queue, budgets: &crate::framework::Kind<PodDisruptionBudget>, meta: &ObjectMeta) {
    let namespace = meta.namespace.as_deref().unwrap_or_default();
    budgets.in_namespace(namespace).iter().for_each(|budget| queue.add(key_of(&budget.metadata)));
}

fn selector(budget: &PodDisruptionBudget) -> Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector> {
    budget.spec.as_ref()?.selector.as_ref()
}

impl Controller for Disruption {
    const NAME: &'static str = "disruption-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(budget) = kinds.budgets.get(key) else { return Ok(None) };
        let namespace = budget.metadata.namespace.as_deref().unwrap_or_default();
        let selected = kinds.pods.filter_in(namespace, |pod| selects(selector(&budget), pod.metadata.labels.as_ref()));
        if selected.is_empty() {
            self.tell(&budget, EventType::Normal, "NoPods", "No matching pods found".into());
        }
        let scales = if plan::needs_scales(&budget) { self.scales(&selected).await } else { Ok(Scales::new()) };
        let now = self.context.now();
        let mut wanted = (*budget).clone();
        match scales {
            Err(why) => {
                let message = format!("Failed to calculate the number of expected pods: {why}");
                self.tell(&budget, EventType::Warning, "CalculateExpectedPodCountFailed", message);
                wanted.status = Some(plan::unknown(&budget, &why, now));
                kinds.budgets.update_status(&budget, &wanted).await?;
                Ok(None)
            }
            Ok(scales) => {
                let plan = plan::plan(&budget, &selected, &scales, now);
                if plan.unmanaged {
                    self.tell(&budget, EventType::Warning, "UnmanagedPods", unmanaged_message(&budget));
                }
                for pod in &plan.not_deleted {
                    let message = format!("Pod was expected by PDB {key} to be deleted but it wasn't");
                    tell(&self.recorder, reference(&**pod), EventType::Warning, "NotDeleted", message);
                }
                wanted.status = Some(plan.status);
                kinds.budgets.update_status(&budget, &wanted).await?;
                Ok(plan.recheck.map(|left| left.unsigned_abs()))
            }
        }
    }
}

fn unmanaged_message(budget: &PodDisruptionBudget) -> String {
    let selector = selector(budget).map(|selector| serde_json::json!(selector).to_string()).unwrap_or_default();
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

impl Disruption {
    fn tell(&self, budget: &PodDisruptionBudget, kind: EventType, reason: &'static str, message: String) {
        tell(&self.recorder, reference(budget), kind, reason, message);
    }

    /// What the controllers of these pods want; a controller that has gone counts nothing.
    async fn scales(&self, selected: &[Arc<Pod>]) -> Result<Scales, String> {
        let mut scales = Scales::new();
        for pod in selected {
            let Some(owner) = controller_of(&pod.metadata).filter(|owner| !scales.contains_key(&owner.uid)) else {
                continue;
            };
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            if let Some(replicas) = self.scale_of(namespace, owner).await? {
                scales.insert(owner.uid.clone(), replicas);
            }
        }
        Ok(scales)
    }

    async fn scale_of(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<i32>, String> {
        let kinds = &self.context.kinds;
        let key = format!("{namespace}/{}", owner.name);
        macro_rules! replicas_of {
            ($kind:ident) => {
                kinds
                    .$kind
                    .get(&key)
                    .filter(|known| known.metadata.uid.as_ref() == Some(&owner.uid))
                    .map(|known| known.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1))
            };
        }
        match (group(&owner.api_version), owner.kind.as_str()) {
            ("apps", "ReplicaSet") => {
                let Some(set) = kinds.replica_sets.get(&key) else { return Ok(None) };
                let deployment = controller_of(&set.metadata).filter(|owner| owner.kind == "Deployment");
                // While a Deployment rolls, its ReplicaSets want less and more than it does.
                let by_deployment = deployment
                    .and_then(|owner| kinds.deployments.get(&format!("{namespace}/{}", owner.name)))
                    .map(|known| known.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1));
                Ok(by_deployment.or(replicas_of!(replica_sets)))
            }
            ("", "ReplicationController") => Ok(replicas_of!(replication_controllers)),
            ("apps", "StatefulSet") => Ok(replicas_of!(stateful_sets)),
            _ => self.scale_subresource(namespace, owner).await,
        }
    }

    /// Any other kind says by its `scale` subresource what it wants.
    async fn scale_subresource(&self, namespace: &str, owner: &OwnerReference) -> Result<Option<i32>, String> {
        let version =
            GroupVersion { group: group(&owner.api_version).into(), version: version(&owner.api_version).into() };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(&version.group, &version.version, &owner.kind));
        let api: Api<DynamicObject> = Api::namespaced_with(self.context.client.clone(), namespace, &resource);
        match api.get_scale(&owner.name).await {
            Ok(scale) => Ok(scale.spec.and_then(|spec| spec.replicas)),
            Err(error) if !error.is_not_found() => Err(error.to_string()),
            Err(_) => match api.get_opt(&owner.name).await {
                Ok(None) => Ok(None),
                Ok(Some(_)) => {
                    let dot = if resource.group.is_empty() { "" } else { "." };
                    Err(format!("{}{dot}{} does not implement the scale subresource", resource.plural, resource.group))
                }
                Err(error) => Err(error.to_string()),
            },
        }
    }
}

fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

fn version(api_version: &str) -> &str {
    api_version.split_once('/').map_or(api_version, |(_, version)| version)
}
