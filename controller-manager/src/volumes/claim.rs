//! What is to become of a claim (upstream `syncClaim`): a pure function of what is seen.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use runtime::events::EventType;
use scheduler::core::volumes::matching::{
    self, BIND_COMPLETED, SELECTED_NODE, Seeker, claim_ref, class_of_claim, is_meant_for, names_class, volume_name,
};

use super::Tale;
use crate::framework::meta::annotation;

/// What a claim is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    pub claim: &'a PersistentVolumeClaim,
    pub volumes: &'a [Arc<PersistentVolume>],
    /// The class that the claim names, if there is one.
    pub class: Option<&'a StorageClass>,
    /// The class for claims that say nothing of theirs.
    pub default_class: Option<&'a str>,
    /// Names of pods that use the claim and have no node yet.
    pub consumers: &'a [String],
}

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// To this volume; where it is bound already, what is missing is made good.
    Bind(Arc<PersistentVolume>),
    Pending(Option<Tale>),
    Lost(Tale),
    /// It shall have the class of this name.
    Classify(String),
    /// Its class's provisioner shall make one.
    Provision,
}

#[must_use]
pub fn judge(seen: Seen<'_>) -> Verdict {
    match annotation(&seen.claim.metadata, BIND_COMPLETED) {
        None => unbound(seen),
        Some(_) => bound(seen.claim, seen.volumes),
    }
}

fn named<'a>(volumes: &'a [Arc<PersistentVolume>], name: &str) -> Option<&'a Arc<PersistentVolume>> {
    volumes.iter().find(|volume| volume.metadata.name.as_deref() == Some(name))
}

fn unbound(seen: Seen<'_>) -> Verdict {
    let claim = seen.claim;
    let wanted = volume_name(claim);
    if !wanted.is_empty() {
        return asked(claim, named(seen.volumes, wanted));
    }
    let waits = seen.class.is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
    if let Some(volume) = matching::find(claim, seen.volumes, Seeker::Binder { waits }) {
        return Verdict::Bind(volume.clone());
    }
    if let Some(class) = seen.default_class.filter(|_| !names_class(claim)) {
        return Verdict::Classify(class.to_owned());
    }
    if waits && annotation(&claim.metadata, SELECTED_NODE).is_none() {
        return Verdict::Pending(Some(waiting(seen.consumers)));
    }
    if !class_of_claim(claim).is_empty() {
        return Verdict::Provision;
    }
    let words = "no persistent volumes available for this claim and no storage class is set";
    Verdict::Pending(Some(Tale::new(EventType::Normal, "FailedBinding", words)))
}

fn waiting(consumers: &[String]) -> Tale {
    let (reason, words) = match consumers {
        [] => ("WaitForFirstConsumer", "waiting for first consumer to be created before binding".to_owned()),
        [pod] => ("WaitForPodScheduled", format!("waiting for pod {pod} to be scheduled")),
        pods => ("WaitForPodScheduled", format!("waiting for pods {} to be scheduled", pods.join(","))),
    };
    Tale::new(EventType::Normal, reason, words)
}

/// The user asks for one volume by name.
fn asked(claim: &PersistentVolumeClaim, volume: Option<&Arc<PersistentVolume>>) -> Verdict {
    let Some(volume) = volume else { return Verdict::Pending(None) };
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    if claim_ref(volume).is_none() {
        return match matching::satisfies(volume, claim) {
            Ok(()) => Verdict::Bind(volume.clone()),
            Err(why) => {
                let words = format!("Cannot bind to requested volume {name:?}: {why}");
                Verdict::Pending(Some(Tale::new(EventType::Warning, "VolumeMismatch", words)))
            }
        };
    }
    if is_meant_for(volume, claim) {
        return Verdict::Bind(volume.clone());
    }
    let words = format!("volume {name:?} already bound to a different claim.");
    Verdict::Pending(Some(Tale::new(EventType::Warning, "FailedBinding", words)))
}

fn bound(claim: &PersistentVolumeClaim, volumes: &[Arc<PersistentVolume>]) -> Verdict {
    let lost = |reason, words: &str| Verdict::Lost(Tale::new(EventType::Warning, reason, words));
    let name = volume_name(claim);
    if name.is_empty() {
        let words = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!";
        return lost("ClaimLost", words);
    }
    let Some(volume) = named(volumes, name) else {
        return lost("ClaimLost", "Bound claim has lost its PersistentVolume. Data on the volume is lost!");
    };
    match claim_ref(volume) {
        Some(reference) if reference.uid != claim.metadata.uid => {
            lost("ClaimMisbound", "Two claims are bound to the same volume, this one is bound incorrectly")
        }
        _ => Verdict::Bind(volume.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(name: &str, spec: Value) -> Arc<PersistentVolume> {
        let mut volume = json!({
            "metadata": { "name": name }, "status": { "phase": "Available" },
            "spec": { "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "storageClassName": name },
        });
        volume["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(volume).unwrap())
    }

    fn claim(spec: Value, annotations: Value) -> PersistentVolumeClaim {
        let mut claim = json!({
            "metadata": { "namespace": "n", "name": "c", "uid": "u", "annotations": annotations },
            "spec": { "resources": { "requests": { "storage": "1Gi" } }, "accessModes": ["ReadWriteOnce"] },
        });
        claim["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn verdicts() {
        let taken = json!({ "claimRef": { "namespace": "n", "name": "c", "uid": "other" } });
        let volumes = [
            volume("free", json!({})),
            volume("taken", taken),
            volume(
                "mine",
                json!({ "claimRef": { "namespace": "n", "name": "c", "uid": "u" }, "storageClassName": "x" }),
            ),
        ];
        let free = &volumes[..2];
        let later =
            StorageClass { volume_binding_mode: Some("WaitForFirstConsumer".into()), ..StorageClass::default() };
        let done = json!({ BIND_COMPLETED: "yes" });
        let chosen = json!({ SELECTED_NODE: "w1" });
        let class = |name: &str| json!({ "storageClassName": name });
        let of = |name: &str| json!({ "storageClassName": name, "volumeName": name });
        let pods = ["a".to_owned(), "b".to_owned()];
        let none = json!({});
        // Volumes, claim, its class, the default class, pods; what is to be done.
        let cases = [
            (free, claim(class("free"), none.clone()), None, None, 0, "bind free"),
            (&volumes, claim(class("free"), none.clone()), None, None, 0, "bind mine"),
            (
                free,
                claim(class("free"), none.clone()),
                Some(&later),
                None,
                0,
                "pending WaitForFirstConsumer: waiting for first consumer to be created before binding",
            ),
            (
                free,
                claim(class("free"), none.clone()),
                Some(&later),
                None,
                1,
                "pending WaitForPodScheduled: waiting for pod a to be scheduled",
            ),
            (
                free,
                claim(class("free"), none.clone()),
                Some(&later),
                None,
                2,
                "pending WaitForPodScheduled: waiting for pods a,b to be scheduled",
            ),
            (free, claim(class("free"), chosen), Some(&later), None, 0, "provision"),
            (free, claim(class("new"), none.clone()), None, None, 0, "provision"),
            (free, claim(none.clone(), none.clone()), None, Some("standard"), 0, "class standard"),
            (
                free,
                claim(class(""), none.clone()),
                None,
                Some("standard"),
                0,
                "pending FailedBinding: no persistent volumes available for this claim and no storage class is set",
            ),
            (free, claim(of("free"), none.clone()), None, None, 0, "bind free"),
            (free, claim(of("none"), none.clone()), None, None, 0, "pending"),
            (
                free,
                claim(json!({ "volumeName": "free" }), none.clone()),
                None,
                None,
                0,
                "pending VolumeMismatch: Cannot bind to requested volume \"free\": storageClassName does not match",
            ),
            (
                free,
                claim(of("taken"), none),
                None,
                None,
                0,
                "pending FailedBinding: volume \"taken\" already bound to a different claim.",
            ),
            (&volumes, claim(of("mine"), done.clone()), None, None, 0, "bind mine"),
            (free, claim(of("free"), done.clone()), None, None, 0, "bind free"),
            (
                free,
                claim(of("taken"), done.clone()),
                None,
                None,
                0,
                "lost ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly",
            ),
            (
                free,
                claim(of("gone"), done.clone()),
                None,
                None,
                0,
                "lost ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            ),
            (
                free,
                claim(class("free"), done),
                None,
                None,
                0,
                "lost ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            ),
        ];
        for (volumes, claim, class, default_class, count, wanted) in cases {
            let seen = Seen { claim: &claim, volumes, class, default_class, consumers: &pods[..count] };
            let told = |tale: &Tale| format!("{}: {}", tale.reason, tale.message);
            let got = match judge(seen) {
                Verdict::Bind(volume) => format!("bind {}", volume.metadata.name.as_deref().unwrap()),
                Verdict::Pending(None) => "pending".to_owned(),
                Verdict::Pending(Some(tale)) => format!("pending {}", told(&tale)),
                Verdict::Lost(tale) => format!("lost {}", told(&tale)),
                Verdict::Classify(name) => format!("class {name}"),
                Verdict::Provision => "provision".to_owned(),
            };
            assert_eq!(got, wanted);
        }
    }
}
