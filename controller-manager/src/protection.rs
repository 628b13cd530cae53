//! Volumes, claims and classes of volume attributes in use are not removed before their users are (upstream
//! `pkg/controller/volume/{pvc,pv,vac}protection`): the API server gives each a finalizer, and this takes it away when
//! nothing needs the object any more.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::VolumeAttributesClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scheduler::core::volumes::used;

use crate::context::Context;
use crate::framework::meta::{is_deleting, key_of, split_key};
use crate::framework::{Controller, Outcome, Queue, drive};

const CLAIM: &str = "kubernetes.io/pvc-protection";
const VOLUME: &str = "kubernetes.io/pv-protection";
const CLASS: &str = "kubernetes.io/vac-protection";

struct Claims {
    context: Arc<Context>,
}

struct Volumes {
    context: Arc<Context>,
}

struct Classes {
    context: Arc<Context>,
}

/// Protects claims that pods use.
pub fn start_claims(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_claim = queue.clone();
    context.kinds.claims.on_change(move |change| {
        if change.new.is_some_and(|claim| wants_attention(&claim.metadata, CLAIM)) {
            on_claim.add(key_of(&change.object().metadata));
        }
    });
    let on_pod = queue.clone();
    context.kinds.pods.on_change(move |change| {
        // A pod frees its claims when it ends, when it is gone, or when another has its name.
        if change.new.is_none_or(has_ended) {
            for claim in change.object().spec.iter().flat_map(|_| claims_of(change.object())) {
                on_pod.add(claim);
            }
        }
    });
    drive(&context.gate(), &Arc::new(Claims { context: context.clone() }), &queue, 1);
}

/// Protects volumes that are bound.
pub fn start_volumes(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_volume = queue.clone();
    context.kinds.volumes.on_change(move |change| {
        if change.new.is_some_and(|volume| wants_attention(&volume.metadata, VOLUME)) {
            on_volume.add(key_of(&change.object().metadata));
        }
    });
    drive(&context.gate(), &Arc::new(Volumes { context: context.clone() }), &queue, 1);
}

/// Protects classes of volume attributes that claims or volumes have, or are to have.
pub fn start_classes(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_class = queue.clone();
    context.kinds.attributes_classes.on_change(move |change| {
        if change.new.is_some_and(|class| wants_attention(&class.metadata, CLASS)) {
            on_class.add(key_of(&change.object().metadata));
        }
    });
    let on_claim = queue.clone();
    context.kinds.claims.on_change(move |change| {
        change.old.iter().flat_map(|claim| classes_of(claim)).for_each(|class| on_claim.add(class));
    });
    let on_volume = queue.clone();
    context.kinds.volumes.on_change(move |change| {
        change.old.iter().filter_map(|volume| class_of(volume)).for_each(|class| on_volume.add(class));
    });
    drive(&context.gate(), &Arc::new(Classes { context: context.clone() }), &queue, 1);
}

/// The classes a claim has, wants, or is on its way to.
fn classes_of(claim: &PersistentVolumeClaim) -> Vec<String> {
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.clone());
    let status = claim.status.as_ref();
    let current = status.and_then(|status| status.current_volume_attributes_class_name.clone());
    let target = status
        .and_then(|status| status.modify_volume_status.as_ref())
        .and_then(|modify| modify.target_volume_attributes_class_name.clone());
    [wanted, current, target].into_iter().flatten().filter(|name| !name.is_empty()).collect()
}

fn class_of(volume: &PersistentVolume) -> Option<String> {
    volume.spec.as_ref()?.volume_attributes_class_name.clone()
}

fn protected(meta: &ObjectMeta, finalizer: &str) -> bool {
    meta.finalizers.iter().flatten().any(|name| name == finalizer)
}

/// Being deleted and held back by us, or made before there was protection.
fn wants_attention(meta: &ObjectMeta, finalizer: &str) -> bool {
    is_deleting(meta) == protected(meta, finalizer)
}

fn has_ended(pod: &Arc<Pod>) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The keys of the claims a pod uses.
fn claims_of(pod: &Pod) -> Vec<String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    used::by(pod).into_iter().map(|used| format!("{namespace}/{}", used.name)).collect()
}

fn with(meta: &ObjectMeta, finalizer: &str) -> Vec<String> {
    meta.finalizers.iter().flatten().cloned().chain([finalizer.to_owned()]).collect()
}

fn without(meta: &ObjectMeta, finalizer: &str) -> Vec<String> {
    meta.finalizers.iter().flatten().filter(|name| *name != finalizer).cloned().collect()
}

impl Controller for Claims {
    const NAME: &'static str = "persistentvolumeclaim-protection-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(claim) = kinds.claims.get(key).filter(|claim| wants_attention(&claim.metadata, CLAIM)) else {
            return Ok(None);
        };
        let mut changed: PersistentVolumeClaim = (*claim).clone();
        if is_deleting(&claim.metadata) {
            // A pod that is placed nowhere uses nothing yet; its end is told by the watch.
            let placed = |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some());
            let uses = |pod: &Arc<Pod>| !has_ended(pod) && placed(pod) && claims_of(pod).iter().any(|used| used == key);
            if kinds.pods.in_namespace(split_key(key).0).iter().any(uses) {
                return Ok(None);
            }
            changed.metadata.finalizers = Some(without(&claim.metadata, CLAIM));
        } else {
            changed.metadata.finalizers = Some(with(&claim.metadata, CLAIM));
        }
        kinds.claims.update(&claim, &changed).await.map(|_| None)
    }
}

impl Controller for Volumes {
    const NAME: &'static str = "persistentvolume-protection-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(volume) = kinds.volumes.get(key).filter(|volume| wants_attention(&volume.metadata, VOLUME)) else {
            return Ok(None);
        };
        let mut changed: PersistentVolume = (*volume).clone();
        if is_deleting(&volume.metadata) {
            let bound = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
            if bound {
                return Ok(None);
            }
            changed.metadata.finalizers = Some(without(&volume.metadata, VOLUME));
        } else {
            changed.metadata.finalizers = Some(with(&volume.metadata, VOLUME));
        }
        kinds.volumes.update(&volume, &changed).await.map(|_| None)
    }
}

impl Controller for Classes {
    const NAME: &'static str = "volumeattributesclass-protection-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let class = kinds.attributes_classes.get(key).filter(|class| wants_attention(&class.metadata, CLASS));
        let Some(class) = class else { return Ok(None) };
        let mut changed: VolumeAttributesClass = (*class).clone();
        if is_deleting(&class.metadata) {
            let claimed = kinds.claims.all().iter().any(|claim| classes_of(claim).iter().any(|name| name == key));
            if claimed || kinds.volumes.all().iter().any(|volume| class_of(volume).as_deref() == Some(key)) {
                return Ok(None);
            }
            changed.metadata.finalizers = Some(without(&class.metadata, CLASS));
        } else {
            changed.metadata.finalizers = Some(with(&class.metadata, CLASS));
        }
        kinds.attributes_classes.update(&class, &changed).await.map(|_| None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalizers() {
        let meta = ObjectMeta { finalizers: Some(vec!["a".to_owned(), CLAIM.to_owned()]), ..ObjectMeta::default() };
        assert!(!wants_attention(&meta, CLAIM) && wants_attention(&ObjectMeta::default(), CLAIM));
        assert_eq!(without(&meta, CLAIM), ["a"]);
        assert_eq!(with(&ObjectMeta::default(), CLAIM), [CLAIM]);
    }
}
