//! A claim for each `ephemeral` volume of a pod (upstream `pkg/controller/volume/ephemeral`, KEP-1698): named
//! `POD-VOLUME`, owned by the pod, so that the garbage collector takes it away with it.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use runtime::events::{EventType, Recorder};
use scheduler::core::volumes::used;

use crate::context::{Context, reference, tell};
use crate::framework::meta::{controller_of, controller_reference, is_deleting, key_of, split_key};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};

struct Maker {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
}

/// Makes claims for pods with `ephemeral` volumes.
pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let (on_pod, on_claim, pods) = (queue.clone(), queue.clone(), context.kinds.pods.clone());
    context.kinds.pods.on_change(move |change| {
        // A pod's volumes never change, and its end is the garbage collector's.
        if let (None, Some(pod)) = (change.old, change.new)
            && used::by(pod).iter().any(|used| used.ephemeral)
        {
            on_pod.add(key_of(&pod.metadata));
        }
    });
    context.kinds.claims.on_change(move |change| {
        // The name is free, or has another owner: somebody may have waited for that.
        let owner = |claim: Option<&Arc<PersistentVolumeClaim>>| {
            claim.and_then(|claim| controller_of(&claim.metadata).map(|owner| owner.uid.clone()))
        };
        if change.old.is_some() && (change.new.is_none() || owner(change.old) != owner(change.new)) {
            let key = key_of(&change.object().metadata);
            candidates(&key).filter(|pod| pods.get(pod).is_some()).for_each(|pod| on_claim.add(pod));
        }
    });
    let maker = Maker { context: context.clone(), recorder: context.recorder("ephemeral_volume") };
    drive(&context.gate(), &Arc::new(maker), &queue, 5);
}

/// The keys of all pods that a claim's name could be made for: what stands before any of its hyphens.
fn candidates(claim: &str) -> impl Iterator<Item = String> {
    let name = split_key(claim).1;
    let start = claim.len() - name.len();
    name.match_indices('-').map(move |(at, _)| claim[..start + at].to_owned())
}

/// What the claim behind an `ephemeral` volume is made of; `None` for any other volume.
fn claim(pod: &Pod, volume: &Volume) -> Option<PersistentVolumeClaim> {
    let template = volume.ephemeral.as_ref()?.volume_claim_template.clone()?;
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    let wanted = template.metadata.unwrap_or_default();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(used::behind(pod_name, volume)?.name),
            namespace: pod.metadata.namespace.clone(),
            annotations: wanted.annotations,
            labels: wanted.labels,
            owner_references: Some(vec![controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: Some(template.spec),
        status: None,
    })
}

impl Maker {
    fn complain(&self, pod: &Pod, volume: &Volume, why: &str) {
        let message = format!("ephemeral volume {}: {why}", volume.name);
        tell(&self.recorder, reference(pod), EventType::Warning, "FailedBinding", message);
    }
}

impl Controller for Maker {
    const NAME: &'static str = "ephemeral-volume-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(pod) = kinds.pods.get(key).filter(|pod| !is_deleting(&pod.metadata)) else { return Ok(None) };
        let (namespace, name) = split_key(key);
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            let Some(wanted) = claim(&pod, volume) else { continue };
            if let Some(known) = kinds.claims.get(&key_of(&wanted.metadata)) {
                if let Err(why) = used::is_made_for(&known, namespace, name, uid) {
                    // The claim's end brings the pod back here.
                    self.complain(&pod, volume, &why);
                    return Ok(None);
                }
                continue;
            }
            if let Err(error) = kinds.claims.create(&wanted).await {
                let claim = wanted.metadata.name.as_deref().unwrap_or_default();
                self.complain(&pod, volume, &format!("create PVC {claim}: {}", error.words()));
                return Err(error);
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
    fn claims_are_as_the_template_says_and_the_pods_own() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "p", "uid": "u" },
            "spec": { "containers": [], "volumes": [
                { "name": "named", "persistentVolumeClaim": { "claimName": "data" } },
                { "name": "v", "ephemeral": { "volumeClaimTemplate": {
                    "metadata": { "labels": { "a": "b" }, "annotations": { "c": "d" } },
                    "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "x" } } } }] },
        }))
        .unwrap();
        let volumes = pod.spec.as_ref().unwrap().volumes.as_deref().unwrap();
        assert_eq!(claim(&pod, &volumes[0]), None);
        assert_eq!(
            serde_json::to_value(claim(&pod, &volumes[1]).unwrap()).unwrap(),
            json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {
                    "name": "p-v", "namespace": "n", "labels": { "a": "b" }, "annotations": { "c": "d" },
                    "ownerReferences": [{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u",
                                          "controller": true, "blockOwnerDeletion": true }],
                },
                "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "x" },
            })
        );
    }

    #[test]
    fn whose_claim_a_name_could_be() {
        assert_eq!(candidates("n/a-b-c").collect::<Vec<_>>(), ["n/a", "n/a-b"]);
        assert_eq!(candidates("my-ns/plain").count(), 0);
    }
}
