//! Who a pod's claims belong to, by `persistentVolumeClaimRetentionPolicy`: an owner's end is the end of its claims.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::plan::ordinals;
use crate::framework::meta::controller_reference;

/// The owners the claim of `ordinal` should have, where they are not as they should be (`stateful_set_utils.go`,
/// isClaimOwnerUpToDate). A claim of an earlier set or pod of the name is left alone, and so is one that somebody else controls.
pub fn owners(
    set: &StatefulSet,
    ordinal: i32,
    pod: Option<&Pod>,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let spec = set.spec.as_ref()?;
    let policy = spec.persistent_volume_claim_retention_policy.clone().unwrap_or_default();
    let deletes = |when: Option<&str>| when == Some("Delete");
    let (when_scaled, when_deleted) = (deletes(policy.when_scaled.as_deref()), deletes(policy.when_deleted.as_deref()));
    let condemned = !ordinals(spec).contains(&ordinal);
    let with_pod = when_scaled && condemned;
    let with_set = when_deleted && !with_pod;

    let now = claim.metadata.owner_references.as_deref().unwrap_or_default();
    let of_set =
        |owner: &OwnerReference| owner.kind == "StatefulSet" && Some(&owner.name) == set.metadata.name.as_ref();
    let name = super::pod::pod_name(set, ordinal);
    let of_pod = |owner: &OwnerReference| owner.kind == "Pod" && owner.name == name;
    let (set_uid, pod_uid) = (set.metadata.uid.as_ref(), pod.and_then(|pod| pod.metadata.uid.as_ref()));
    let stale = |owner: &&OwnerReference| {
        (of_set(owner) && Some(&owner.uid) != set_uid)
            || (of_pod(owner) && pod.is_some() && Some(&owner.uid) != pod_uid)
    };
    if now.iter().any(|owner| stale(&owner)) {
        return None;
    }
    let ours = |owner: &&OwnerReference| of_set(owner) || of_pod(owner);
    let others = || now.iter().filter(|owner| !ours(owner)).cloned();
    // Where claims are kept it does not matter who has them.
    if (when_scaled || when_deleted) && others().any(|owner| owner.controller == Some(true)) {
        return now.iter().any(|owner| ours(&owner)).then(|| others().collect());
    }
    let held = |own: &dyn Fn(&OwnerReference) -> bool| now.iter().any(own);
    let led = now.iter().filter(ours).all(|owner| owner.controller == Some(true));
    if led && held(&of_set) == with_set && held(&of_pod) == (with_pod && pod.is_some()) {
        return None;
    }
    let set_owner = with_set.then(|| controller_reference(set));
    let pod_owner = pod.filter(|_| with_pod).map(controller_reference);
    Some(others().chain(set_owner).chain(pod_owner).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_go_with_the_set_with_the_pod_or_with_nobody() {
        let cases = [
            ("Retain", "Retain", 0, &[] as &[&str]),
            ("Retain", "Retain", 5, &[]),
            ("Delete", "Retain", 0, &["StatefulSet"]),
            ("Delete", "Retain", 5, &["StatefulSet"]),
            ("Retain", "Delete", 0, &[]),
            ("Retain", "Delete", 5, &["Pod"]),
            ("Delete", "Delete", 0, &["StatefulSet"]),
            ("Delete", "Delete", 5, &["Pod"]),
        ];
        for (deleted, scaled, ordinal, expected) in cases {
            let set: StatefulSet = serde_json::from_value(json!({
                "metadata": { "name": "s", "uid": "set" },
                "spec": { "replicas": 3, "selector": {}, "template": {},
                          "persistentVolumeClaimRetentionPolicy": { "whenDeleted": deleted, "whenScaled": scaled } },
            }))
            .unwrap();
            let pod: Pod =
                serde_json::from_value(json!({ "metadata": { "name": format!("s-{ordinal}"), "uid": "pod" } }))
                    .unwrap();
            let mut claim = PersistentVolumeClaim::default();
            let found = owners(&set, ordinal, Some(&pod), &claim).unwrap_or_default();
            let kinds: Vec<_> = found.iter().map(|owner| owner.kind.as_str()).collect();
            assert_eq!(kinds, expected, "{deleted} {scaled} {ordinal}");
            claim.metadata.owner_references = Some(found);
            assert_eq!(owners(&set, ordinal, Some(&pod), &claim), None, "it is as it should be");
        }
    }

    #[test]
    fn claims_that_somebody_else_has_are_left_to_him() {
        let set: StatefulSet = serde_json::from_value(json!({
            "metadata": { "name": "s", "uid": "set" },
            "spec": { "replicas": 3, "selector": {}, "template": {},
                      "persistentVolumeClaimRetentionPolicy": { "whenDeleted": "Delete", "whenScaled": "Retain" } },
        }))
        .unwrap();
        let own = |kind: &str, name: &str, uid: &str, controller: bool| OwnerReference {
            kind: kind.to_owned(),
            name: name.to_owned(),
            uid: uid.to_owned(),
            controller: Some(controller),
            ..OwnerReference::default()
        };
        let (map, other) = (own("ConfigMap", "m", "m", false), own("StatefulSet", "other", "x", true));
        let us = controller_reference(&set);
        for (now, expected) in [
            (vec![map.clone()], Some(vec![map.clone(), us.clone()])),
            (vec![us.clone(), map.clone()], None),
            (vec![other.clone()], None),
            (vec![us.clone(), other.clone()], Some(vec![other])),
            (vec![own("StatefulSet", "s", "set", false)], Some(vec![us])),
            (vec![own("StatefulSet", "s", "earlier", true)], None),
        ] {
            let mut claim = PersistentVolumeClaim::default();
            claim.metadata.owner_references = Some(now.clone());
            assert_eq!(owners(&set, 0, None, &claim), expected, "{now:?}");
        }
    }
}
