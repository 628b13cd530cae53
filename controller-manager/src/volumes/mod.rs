//! Claims and volumes find each other (upstream `pkg/controller/volume/persistentvolume`).
//!
//! ```text
//!  claim ──► claim::judge ──► bind | wait | lost | provision      (which volume: scheduler::core::volumes::matching)
//!  volume ─► volume::judge ─► phase | reclaim | unbind            reclaim Delete ─► clear::next ─► a pod that removes
//! ```
//!
//! A binding is four writes, volume before claim; any of them may be lost, for each is made good by the next look.

pub mod claim;
pub mod clear;
pub mod ephemeral;
pub mod expand;
pub mod provision;
pub mod volume;
mod write;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Resource;
use kube::api::Api;
use runtime::events::{EventType, Recorder};
pub use scheduler::core::volumes::matching::SELECTED_NODE;
use scheduler::core::volumes::matching::{claim_ref, class_of_claim, is_bound, volume_name};
use scheduler::core::volumes::used;

use crate::context::{Context, reference, tell};
use crate::framework::meta::{annotation, created, is_deleting, key_of, split_key};
use crate::framework::{Controller, Outcome, Queue, drive};

/// On a volume: who made it.
pub const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";
/// Ours.
pub const PROVISIONER: &str = "knetsim.dev/local";
/// Keeps a volume until its folder is removed; the name is that of upstream's provisioner library.
pub const FINALIZER: &str = "external-provisioner.volume.kubernetes.io/finalizer";
/// On a claim: who is to make its volume.
const STORAGE_PROVISIONER: [&str; 2] =
    ["volume.beta.kubernetes.io/storage-provisioner", "volume.kubernetes.io/storage-provisioner"];
/// On a class: claims that name none get it.
const DEFAULT: [&str; 2] =
    ["storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"];
/// Before a volume's key, which could else be a claim's.
const VOLUME: &str = "volume ";

/// An Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tale {
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

impl Tale {
    pub fn new(kind: EventType, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, reason, message: message.into() }
    }
}

struct Binder {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    queue: Arc<Queue>,
}

/// Binds claims to volumes, and makes and removes those of our own provisioner.
pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let (on_claim, volumes) = (queue.clone(), kinds.volumes.clone());
    kinds.claims.on_change(move |change| {
        let key = key_of(&change.object().metadata);
        for volume in volumes.filter(|volume| claim_key(volume).is_some_and(|claim| claim == key)) {
            on_claim.add(format!("{VOLUME}{}", key_of(&volume.metadata)));
        }
        on_claim.add(key);
    });
    let (on_volume, claims) = (queue.clone(), kinds.claims.clone());
    kinds.volumes.on_change(move |change| {
        let name = key_of(&change.object().metadata);
        // Those it is for, and those that wait for any.
        let waiting = claims.filter(|claim| !is_bound(claim) || volume_name(claim) == name);
        waiting.iter().for_each(|claim| on_volume.add(key_of(&claim.metadata)));
        on_volume.add(format!("{VOLUME}{name}"));
    });
    let (on_class, claims) = (queue.clone(), kinds.claims.clone());
    kinds.storage_classes.on_change(move |_| {
        claims.filter(|claim| !is_bound(claim)).iter().for_each(|claim| on_class.add(key_of(&claim.metadata)));
    });
    let on_pod = queue.clone();
    kinds.pods.on_change(move |change| {
        if let Some(volume) = clear::volume_of(&key_of(&change.object().metadata)) {
            on_pod.add(format!("{VOLUME}{volume}"));
        }
    });
    let recorder = context.recorder("persistentvolume-controller");
    let binder = Binder { context: context.clone(), recorder, queue: queue.clone() };
    // One worker: two at a time could give one volume to two claims.
    drive(&context.gate(), &Arc::new(binder), &queue, 1);
}

/// The key of the claim a volume refers to.
fn claim_key(volume: &PersistentVolume) -> Option<String> {
    let claim = claim_ref(volume)?;
    Some(format!("{}/{}", claim.namespace.as_deref()?, claim.name.as_deref()?))
}

/// Of several defaults the newest wins.
fn default_class(classes: &[Arc<StorageClass>]) -> Option<String> {
    let marked = |class: &&Arc<StorageClass>| {
        DEFAULT.iter().any(|name| annotation(&class.metadata, name) == Some("true")) && !is_deleting(&class.metadata)
    };
    let newest = classes
        .iter()
        .filter(marked)
        .max_by_key(|class| (created(&class.metadata), std::cmp::Reverse(class.metadata.name.clone())));
    newest.and_then(|class| class.metadata.name.clone())
}

fn uses(pod: &Pod, claim: &str) -> bool {
    used::by(pod).iter().any(|used| used.name == claim)
}

impl Controller for Binder {
    const NAME: &'static str = "persistentvolume-binder-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        match key.strip_prefix(VOLUME) {
            Some(name) => match kinds.volumes.get(name) {
                Some(volume) => self.sync_volume(volume).await,
                None => Ok(None),
            },
            None => match kinds.claims.get(key) {
                Some(claim) => self.sync_claim(claim).await,
                None => Ok(None),
            },
        }
    }
}

impl Binder {
    fn tell<K: Resource<DynamicType = ()>>(&self, object: &K, tale: Tale) {
        tell(&self.recorder, reference(object), tale.kind, tale.reason, tale.message);
    }

    async fn sync_claim(&self, claim: Arc<PersistentVolumeClaim>) -> Outcome {
        let kinds = &self.context.kinds;
        let class = kinds.storage_classes.get(class_of_claim(&claim));
        let default_class = default_class(&kinds.storage_classes.all());
        let (namespace, name) = (
            claim.metadata.namespace.as_deref().unwrap_or_default(),
            claim.metadata.name.as_deref().unwrap_or_default(),
        );
        let unplaced =
            |pod: &Pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.as_deref().unwrap_or_default().is_empty());
        let consumers: Vec<String> = if volume_name(&claim).is_empty() {
            let pods = kinds.pods.filter_in(namespace, |pod| unplaced(pod) && uses(pod, name));
            pods.iter().filter_map(|pod| pod.metadata.name.clone()).collect()
        } else {
            Vec::new()
        };
        let seen = claim::Seen {
            claim: &claim,
            volumes: &kinds.volumes.all(),
            class: class.as_deref(),
            default_class: default_class.as_deref(),
            consumers: &consumers,
        };
        match claim::judge(seen) {
            claim::Verdict::Bind(volume) => self.bind(volume, claim).await?,
            claim::Verdict::Pending(tale) => {
                if let Some(tale) = tale {
                    self.tell(&*claim, tale);
                }
                self.claim_phase(&claim, "Pending", None).await?;
            }
            claim::Verdict::Lost(tale) => {
                if claim.status.as_ref().and_then(|status| status.phase.as_deref()) != Some("Lost") {
                    self.tell(&*claim, tale);
                }
                self.claim_phase(&claim, "Lost", None).await?;
            }
            claim::Verdict::Classify(name) => {
                let mut changed = (*claim).clone();
                changed.spec.get_or_insert_default().storage_class_name = Some(name);
                kinds.claims.update(&claim, &changed).await?;
            }
            claim::Verdict::Provision => self.provision(&claim, class.as_deref()).await?,
        }
        Ok(None)
    }

    /// The claim a volume refers to. What the cache does not have, or has otherwise, is asked of the API: a volume whose
    /// claim is merely not seen yet must not be reclaimed.
    async fn claim_of(&self, volume: &PersistentVolume) -> Result<Option<Arc<PersistentVolumeClaim>>, kube::Error> {
        let (Some(key), Some(wanted)) = (claim_key(volume), claim_ref(volume)) else { return Ok(None) };
        let known = self.context.kinds.claims.get(&key);
        let sure = wanted.uid.as_deref().is_none_or(str::is_empty)
            || known.as_ref().is_some_and(|claim| claim.metadata.uid == wanted.uid)
            || matches!(write::phase(volume), "Released" | "Failed");
        if sure {
            return Ok(known);
        }
        let (namespace, name) = split_key(&key);
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(self.context.client.clone(), namespace);
        Ok(claims.get_opt(name).await?.map(Arc::new))
    }

    async fn sync_volume(&self, volume: Arc<PersistentVolume>) -> Outcome {
        let claim = self.claim_of(&volume).await?;
        match volume::judge(&volume, claim.as_deref()) {
            volume::Verdict::Phase(phase) => drop(self.volume_phase(&volume, phase, "").await?),
            volume::Verdict::Unbind => self.unbind(&volume).await?,
            volume::Verdict::TellClaim => {
                if let Some(claim) = claim {
                    self.queue.add(key_of(&claim.metadata));
                }
            }
            volume::Verdict::Mismatch(of_volume, of_claim) => {
                self.tell(&*volume, of_volume);
                if let Some(claim) = claim {
                    self.tell(&*claim, of_claim);
                }
            }
            volume::Verdict::Reclaim => {
                let volume = match write::phase(&volume) {
                    "Released" | "Failed" => volume,
                    _ => self.volume_phase(&volume, "Released", "").await?,
                };
                self.reclaim(&volume).await?;
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_default_wins() {
        let class = |name: &str, default: &str, time: &str| -> Arc<StorageClass> {
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": { "name": name, "annotations": { DEFAULT[0]: default }, "creationTimestamp": time },
                    "provisioner": "x",
                }))
                .unwrap(),
            )
        };
        let (old, new) = ("2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z");
        assert_eq!(default_class(&[]), None);
        let classes =
            [class("a", "true", old), class("c", "true", new), class("b", "true", new), class("d", "false", new)];
        assert_eq!(default_class(&classes).as_deref(), Some("b"));
        assert_eq!(default_class(&classes[3..]), None);
    }
}
