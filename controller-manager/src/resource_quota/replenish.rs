//! What frees quota: a pod that ended, a Service or claim that asks for less, and the removal of anything.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Service};
use quota::Evaluator;

use crate::context::Context;
use crate::framework::Queue;
use crate::framework::meta::key_of;

pub fn start(context: &Arc<Context>, queue: &Arc<Queue>) {
    let kinds = &context.kinds;
    let replenish = Replenish { context: context.clone(), queue: queue.clone() };
    let on_pod = replenish.clone();
    kinds.pods.on_change(move |change| {
        let gone = change.new.is_none_or(|pod| has_ended(pod) && change.old.is_some_and(|old| !has_ended(old)));
        if gone {
            on_pod.namespace(change.object().metadata.namespace.as_deref(), &Evaluator::Pods);
        }
    });
    let on_service = replenish.clone();
    kinds.services.on_change(move |change| {
        if change.new.map(|service| asks(service)) != change.old.map(|service| asks(service)) && change.old.is_some() {
            on_service.namespace(change.object().metadata.namespace.as_deref(), &Evaluator::Services);
        }
    });
    let on_claim = replenish.clone();
    kinds.claims.on_change(move |change| {
        if change.new.map(|claim| allocated(claim)) != change.old.map(|claim| allocated(claim)) && change.old.is_some()
        {
            on_claim.namespace(change.object().metadata.namespace.as_deref(), &Evaluator::VolumeClaims);
        }
    });
    context.on_removed(move |removed| {
        replenish.namespace(Some(&removed.namespace), &Evaluator::of(&removed.group, &removed.plural));
    });
}

#[derive(Clone)]
struct Replenish {
    context: Arc<Context>,
    queue: Arc<Queue>,
}

impl Replenish {
    /// Has the namespace's quotas counted anew that limit what `evaluator` counts.
    fn namespace(&self, namespace: Option<&str>, evaluator: &Evaluator) {
        for quota in self.context.kinds.quotas.in_namespace(namespace.unwrap_or_default()) {
            if super::hard(&quota).names().any(|name| evaluator.tracks(name)) {
                self.queue.add(key_of(&quota.metadata));
            }
        }
    }
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The type and number of ports: what a Service is charged by.
fn asks(service: &Service) -> (Option<&str>, usize) {
    let spec = service.spec.as_ref();
    (spec.and_then(|spec| spec.type_.as_deref()), spec.and_then(|spec| spec.ports.as_ref()).map_or(0, Vec::len))
}

type Storage<'a> = Option<&'a k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

fn allocated(claim: &PersistentVolumeClaim) -> (Storage<'_>, Option<&str>) {
    let status = claim.status.as_ref();
    let storage = status.and_then(|status| status.allocated_resources.as_ref()).and_then(|all| all.get("storage"));
    (storage, status.and_then(|status| status.current_volume_attributes_class_name.as_deref()))
}
