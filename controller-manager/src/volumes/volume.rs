//! What is to become of a volume (upstream `syncVolume`): a pure function of what is seen.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use runtime::events::EventType;
use scheduler::core::volumes::matching::{claim_ref, same_mode, volume_name};

use super::{PROVISIONED_BY, Tale};
use crate::framework::meta::annotation;

#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is in this phase.
    Phase(&'static str),
    /// Its claim is gone: released, and dealt with by its reclaim policy.
    Reclaim,
    /// Its claim has another one: it is free again, or reserved for a claim of that name.
    Unbind,
    /// Its claim does not know yet.
    TellClaim,
    /// It can never be its claim's: what the volume, and what the claim is told.
    Mismatch(Tale, Tale),
}

/// `claim` is the one of the name that the volume refers to, whatever its uid.
#[must_use]
pub fn judge(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Verdict {
    let reference = claim_ref(volume);
    let Some(uid) = reference.and_then(|claim| claim.uid.as_deref()).filter(|uid| !uid.is_empty()) else {
        return Verdict::Phase("Available");
    };
    let Some(claim) = claim.filter(|claim| claim.metadata.uid.as_deref() == Some(uid)) else {
        return Verdict::Reclaim;
    };
    let (own, wanted) = (volume.metadata.name.as_deref().unwrap_or_default(), volume_name(claim));
    if wanted == own {
        return Verdict::Phase("Bound");
    }
    if wanted.is_empty() {
        if same_mode(volume, claim) {
            return Verdict::TellClaim;
        }
        let name = claim.metadata.name.as_deref().unwrap_or_default();
        let tale = |words| Tale::new(EventType::Warning, "VolumeMismatch", words);
        let (volume, claim) = (
            format!(
                "Cannot bind PersistentVolume to requested PersistentVolumeClaim {name:?} due to incompatible volumeMode."
            ),
            format!(
                "Cannot bind PersistentVolume {own:?} to requested PersistentVolumeClaim due to incompatible volumeMode."
            ),
        );
        return Verdict::Mismatch(tale(volume), tale(claim));
    }
    let made = annotation(&volume.metadata, PROVISIONED_BY).is_some();
    if made && policy(volume) == "Delete" { Verdict::Reclaim } else { Verdict::Unbind }
}

#[must_use]
pub fn policy(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref();
    spec.and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()).unwrap_or("Retain")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn verdicts() {
        let volume = |claim: Value, more: Value, annotations: Value| -> PersistentVolume {
            let mut volume =
                json!({ "metadata": { "name": "v", "annotations": annotations }, "spec": { "claimRef": claim } });
            volume["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(volume).unwrap()
        };
        let claim = |volume: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({ "metadata": { "name": "c", "uid": "u" }, "spec": { "volumeName": volume } }))
                .unwrap()
        };
        let to = |uid: &str| json!({ "namespace": "n", "name": "c", "uid": uid });
        let made = json!({ PROVISIONED_BY: "x" });
        let (delete, none) = (json!({ "persistentVolumeReclaimPolicy": "Delete" }), json!({}));
        let plain = |claim: Value| volume(claim, none.clone(), none.clone());
        let cases = [
            (plain(Value::Null), None, Verdict::Phase("Available")),
            (plain(json!({ "namespace": "n", "name": "c" })), None, Verdict::Phase("Available")),
            (plain(to("u")), None, Verdict::Reclaim),
            (plain(to("before")), Some(claim("v")), Verdict::Reclaim),
            (plain(to("u")), Some(claim("v")), Verdict::Phase("Bound")),
            (plain(to("u")), Some(claim("")), Verdict::TellClaim),
            (plain(to("u")), Some(claim("w")), Verdict::Unbind),
            (volume(to("u"), delete.clone(), none.clone()), Some(claim("w")), Verdict::Unbind),
            (volume(to("u"), delete, made), Some(claim("w")), Verdict::Reclaim),
        ];
        for (volume, claim, wanted) in cases {
            assert_eq!(judge(&volume, claim.as_ref()), wanted, "{volume:?} {claim:?}");
        }
        let device = volume(to("u"), json!({ "volumeMode": "Block" }), none);
        assert!(matches!(judge(&device, Some(&claim(""))), Verdict::Mismatch(..)));
    }
}
