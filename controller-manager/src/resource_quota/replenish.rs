//! What frees quota (`pkg/quota/v1/install/update_filter.go`): a pod that ended, that has another scope now or got other
//! resources, a Service or claim that asks for less, and the removal of anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ContainerStatus, PersistentVolumeClaim, Pod, Service};
use quota::Evaluator;

use crate::context::Context;
use crate::framework::Queue;
use crate::framework::meta::key_of;

pub fn start(context: &Arc<Context>, queue: &Arc<Queue>) {
    let kinds = &context.kinds;
    let replenish = Replenish { context: context.clone(), queue: queue.clone() };
    let on_pod = replenish.clone();
    kinds.pods.on_change(move |change| {
        if change.new.is_none_or(|pod| change.old.is_some_and(|old| is_charged_otherwise(pod, old))) {
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

fn is_charged_otherwise(pod: &Pod, old: &Pod) -> bool {
    let ends =
        |pod: &Pod| pod.spec.as_ref().and_then(|spec| spec.active_deadline_seconds).is_some_and(|left| left >= 0);
    let resized = |pod: &Pod, old: &Pod| {
        let before: BTreeMap<_, _> = statuses(old).map(|status| (&status.name, &status.resources)).collect();
        statuses(pod).any(|status| before.get(&status.name).is_some_and(|before| **before != status.resources))
    };
    (has_ended(pod) && !has_ended(old)) || ends(pod) != ends(old) || resized(pod, old)
}

fn has_ended(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    let status = pod.status.iter();
    status.flat_map(|status| [&status.container_statuses, &status.init_container_statuses]).flatten().flatten()
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_changes_a_pods_charge() {
        let pod = |spec: Value, status: Value| -> Pod {
            let mut pod = json!({ "spec": { "containers": [] }, "status": status });
            pod["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
            serde_json::from_value(pod).unwrap()
        };
        let plain = || pod(json!({}), json!({ "phase": "Running" }));
        let got = |field: &str, cpu: &str| {
            let status = json!({ "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": 0,
                "resources": { "requests": { "cpu": cpu } } });
            pod(json!({}), json!({ field: [status] }))
        };
        for (old, new, expected) in [
            (plain(), plain(), false),
            (plain(), pod(json!({}), json!({ "phase": "Failed" })), true),
            (pod(json!({}), json!({ "phase": "Failed" })), plain(), false),
            (plain(), pod(json!({ "activeDeadlineSeconds": 3 }), json!({})), true),
            (
                pod(json!({ "activeDeadlineSeconds": 3 }), json!({})),
                pod(json!({ "activeDeadlineSeconds": 2 }), json!({})),
                false,
            ),
            (plain(), got("containerStatuses", "1"), false),
            (got("containerStatuses", "1"), got("containerStatuses", "2"), true),
            (got("initContainerStatuses", "1"), got("initContainerStatuses", "2"), true),
            (got("containerStatuses", "1"), got("containerStatuses", "1"), false),
        ] {
            assert_eq!(is_charged_otherwise(&new, &old), expected, "{old:?} {new:?}");
        }
    }
}
