//! Claims that ask for more than they have been given. Upstream splits this: the expand controller only says that others are
//! waited for (`pkg/controller/volume/expand`), and the provisioner's resizer does it (`kubernetes-csi/external-resizer`).
//! Here one controller is both, for volumes of our own provisioner. Those are folders: nothing is left to be done on the
//! node, so that no claim is ever in `FileSystemResizePending`.
//!
//! A step is three writes: the claim says what is under way, the volume has its new size, the claim has it. Any of them may
//! be lost: what is under way is finished first, whatever the claim asks for by then.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeClaimCondition, PersistentVolumeClaimStatus,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use runtime::events::{EventType, Recorder};
use scheduler::core::resources::units;
use scheduler::core::volumes::matching::{capacity, claim_ref, given, request, volume_name};

use super::{PROVISIONED_BY, PROVISIONER};
use crate::context::{Context, reference, tell};
use crate::framework::meta::{annotation, key_of, to_seconds};
use crate::framework::{Controller, Outcome, Queue, drive};

/// On a claim: who expands it.
const RESIZER: &str = "volume.kubernetes.io/storage-resizer";
const STORAGE: &str = "storage";
/// What an expansion may say of a claim, and takes back at its end.
const CONDITIONS: [&str; 4] = ["FileSystemResizePending", "Resizing", "ControllerResizeError", "NodeResizeError"];
const UNDER_WAY: &str = "ControllerResizeInProgress";

struct Expander {
    context: Arc<Context>,
    /// Speaks as upstream's controller.
    waiting: Arc<Recorder>,
    /// Speaks as the resizer.
    resizer: Arc<Recorder>,
}

/// Expands claims, or says that somebody else has to.
pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_claim = queue.clone();
    context.kinds.claims.on_change(move |change| {
        let Some(claim) = change.new else { return };
        let grown = change.old.is_none_or(|old| request(claim) > request(old) || given(claim) > given(old));
        if grown && is_bound(claim) {
            on_claim.add(key_of(&claim.metadata));
        }
    });
    let expander = Expander {
        context: context.clone(),
        waiting: context.recorder("volume_expand"),
        resizer: context.recorder(&format!("external-resizer {PROVISIONER}")),
    };
    drive(&context.gate(), &Arc::new(expander), &queue, 2);
}

fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound")
}

/// What is to become of a claim.
#[derive(Clone, Debug, PartialEq)]
enum Verdict {
    /// It has what it asks for, or its volume is another's.
    Nothing,
    /// It waits for whoever made its volume.
    Foreign,
    /// To this size.
    Expand(Quantity),
}

fn judge(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> Verdict {
    let bound = claim_ref(volume).is_some_and(|known| known.uid == claim.metadata.uid);
    if !bound || !is_bound(claim) || request(claim) <= given(claim) {
        return Verdict::Nothing;
    }
    if annotation(&volume.metadata, PROVISIONED_BY) != Some(PROVISIONER) {
        return Verdict::Foreign;
    }
    let status = claim.status.as_ref();
    let begun = status.and_then(|status| status.allocated_resources.as_ref()).and_then(|list| list.get(STORAGE));
    let state =
        status.and_then(|status| status.allocated_resource_statuses.as_ref()).and_then(|list| list.get(STORAGE));
    // What an earlier attempt has promised, unless that came to its end and the volume is still too small.
    let resumed = begun.filter(|_| match state {
        Some(_) => true,
        None => capacity(volume) >= request(claim),
    });
    let asked = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref()?.requests.as_ref()?.get(STORAGE));
    resumed.or(asked).map_or(Verdict::Nothing, |size| Verdict::Expand(size.clone()))
}

fn set(list: &mut Option<BTreeMap<String, Quantity>>, size: &Quantity) {
    list.get_or_insert_default().insert(STORAGE.to_owned(), size.clone());
}

/// The claim while it is being expanded to `size`.
fn under_way(claim: &PersistentVolumeClaim, size: &Quantity, now: Time) -> PersistentVolumeClaim {
    let mut claim = claim.clone();
    claim.metadata.annotations.get_or_insert_default().insert(RESIZER.to_owned(), PROVISIONER.to_owned());
    let status = claim.status.get_or_insert_default();
    status.allocated_resource_statuses.get_or_insert_default().insert(STORAGE.to_owned(), UNDER_WAY.to_owned());
    set(&mut status.allocated_resources, size);
    let known = status.conditions.iter().flatten().find(|known| known.type_ == "Resizing" && known.status == "True");
    let resizing = known.cloned().unwrap_or_else(|| PersistentVolumeClaimCondition {
        type_: "Resizing".to_owned(),
        status: "True".to_owned(),
        last_transition_time: Some(now),
        ..PersistentVolumeClaimCondition::default()
    });
    let mut conditions = others(status);
    conditions.push(resizing);
    status.conditions = Some(conditions);
    claim
}

/// The claim that has been expanded to `size`.
fn finished(claim: &PersistentVolumeClaim, size: &Quantity) -> PersistentVolumeClaim {
    let mut claim = claim.clone();
    let status = claim.status.get_or_insert_default();
    set(&mut status.capacity, size);
    if let Some(states) = &mut status.allocated_resource_statuses {
        states.remove(STORAGE);
    }
    status.allocated_resource_statuses.take_if(|states| states.is_empty());
    let conditions = others(status);
    status.conditions = (!conditions.is_empty()).then_some(conditions);
    claim
}

/// The conditions that no expansion has set.
fn others(status: &PersistentVolumeClaimStatus) -> Vec<PersistentVolumeClaimCondition> {
    let conditions = status.conditions.iter().flatten();
    conditions.filter(|known| !CONDITIONS.contains(&known.type_.as_str())).cloned().collect()
}

impl Controller for Expander {
    const NAME: &'static str = "persistentvolume-expander-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(claim) = kinds.claims.get(key) else { return Ok(None) };
        let Some(volume) = kinds.volumes.get(volume_name(&claim)) else { return Ok(None) };
        let verdict = judge(&claim, &volume);
        if verdict == Verdict::Nothing {
            return Ok(None);
        }
        let words = "waiting for an external controller to expand this PVC".to_owned();
        tell(&self.waiting, reference(&*claim), EventType::Normal, "ExternalExpanding", words);
        let Verdict::Expand(size) = verdict else { return Ok(None) };

        let claim =
            kinds.claims.update_status(&claim, &under_way(&claim, &size, to_seconds(self.context.now()))).await?;
        let words = format!("External resizer is resizing volume {}", key_of(&volume.metadata));
        tell(&self.resizer, reference(&*claim), EventType::Normal, "Resizing", words);
        if units(&size.0) > Some(capacity(&volume)) {
            let mut larger = (*volume).clone();
            set(&mut larger.spec.get_or_insert_default().capacity, &size);
            kinds.volumes.update(&volume, &larger).await?;
        }
        let claim = kinds.claims.update_status(&claim, &finished(&claim, &size)).await?;
        let words = "Resize volume succeeded".to_owned();
        tell(&self.resizer, reference(&*claim), EventType::Normal, "VolumeResizeSuccessful", words);
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(size: &str, maker: &str, uid: &str) -> PersistentVolume {
        serde_json::from_value(json!({
            "metadata": { "name": "v", "annotations": { PROVISIONED_BY: maker } },
            "spec": { "capacity": { "storage": size }, "claimRef": { "namespace": "n", "name": "c", "uid": uid } },
        }))
        .unwrap()
    }

    fn claim(asked: &str, has: &str, status: Value) -> PersistentVolumeClaim {
        let mut claim = json!({
            "metadata": { "namespace": "n", "name": "c", "uid": "u" },
            "spec": { "volumeName": "v", "resources": { "requests": { "storage": asked } } },
            "status": { "phase": "Bound", "capacity": { "storage": has } },
        });
        claim["status"].as_object_mut().unwrap().extend(status.as_object().unwrap().clone());
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn what_becomes_of_a_claim() {
        let to = |size: &str| Verdict::Expand(Quantity(size.to_owned()));
        let begun = json!({ "allocatedResources": { "storage": "4Gi" },
                            "allocatedResourceStatuses": { "storage": UNDER_WAY } });
        let ended = json!({ "allocatedResources": { "storage": "2Gi" } });
        let (ours, none) = (PROVISIONER, json!({}));
        let cases = [
            ("content", claim("2Gi", "2Gi", none.clone()), volume("2Gi", ours, "u"), Verdict::Nothing),
            ("has more", claim("1Gi", "2Gi", none.clone()), volume("2Gi", ours, "u"), Verdict::Nothing),
            ("asks", claim("5Gi", "2Gi", none.clone()), volume("2Gi", ours, "u"), to("5Gi")),
            ("asks again", claim("5Gi", "2Gi", ended), volume("2Gi", ours, "u"), to("5Gi")),
            ("another's", claim("5Gi", "2Gi", none.clone()), volume("2Gi", ours, "w"), Verdict::Nothing),
            ("foreign", claim("5Gi", "2Gi", none.clone()), volume("2Gi", "x", "u"), Verdict::Foreign),
            ("not bound", claim("5Gi", "2Gi", json!({ "phase": "Lost" })), volume("2Gi", ours, "u"), Verdict::Nothing),
            ("begun", claim("9Gi", "2Gi", begun.clone()), volume("2Gi", ours, "u"), to("4Gi")),
            ("half done", claim("3Gi", "2Gi", begun), volume("4Gi", ours, "u"), to("4Gi")),
            ("large already", claim("3Gi", "2Gi", none), volume("4Gi", ours, "u"), to("3Gi")),
        ];
        for (what, claim, volume, wanted) in cases {
            assert_eq!(judge(&claim, &volume), wanted, "{what}");
        }
    }

    #[test]
    fn what_is_said_meanwhile_is_taken_back() {
        let other = json!({ "type": "ModifyingVolume", "status": "True" });
        let before = claim("5Gi", "2Gi", json!({ "conditions": [other] }));
        let size = Quantity("5Gi".to_owned());
        let time = Time("2024-01-02T03:04:05Z".parse().unwrap());
        let during = under_way(&before, &size, time.clone());
        assert_eq!(during.metadata.annotations.as_ref().unwrap()[RESIZER], PROVISIONER);
        let status = serde_json::to_value(&during.status).unwrap();
        assert_eq!(status["allocatedResourceStatuses"], json!({ "storage": UNDER_WAY }));
        assert_eq!(status["allocatedResources"], json!({ "storage": "5Gi" }));
        assert_eq!(status["capacity"], json!({ "storage": "2Gi" }));
        let resizing = json!({ "type": "Resizing", "status": "True", "lastTransitionTime": time });
        assert_eq!(status["conditions"], json!([other, resizing]));
        let later = Time("2025-01-02T03:04:05Z".parse().unwrap());
        assert_eq!(under_way(&during, &size, later), during, "a second attempt says the same");
        let after = serde_json::to_value(finished(&during, &size).status).unwrap();
        assert_eq!(after["capacity"], json!({ "storage": "5Gi" }));
        assert_eq!(after["conditions"], json!([other]));
        assert_eq!(after["allocatedResourceStatuses"], Value::Null);
    }
}
