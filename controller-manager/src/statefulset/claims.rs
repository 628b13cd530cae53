//! Who a pod's claims belong to, by `persistentVolumeClaimRetentionPolicy`: an owner's end is the end of its claims.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::plan::ordinals;
use crate::framework::meta::controller_reference;

/// The owners the claim of `ordinal` should have; those that are neither the set nor its pod are left alone.
pub fn owners(
    set: &StatefulSet,
    ordinal: i32,
    pod: Option<&Pod>,
    claim: &PersistentVolumeClaim,
) -> Option<Vec<OwnerReference>> {
    let spec = set.spec.as_ref()?;
    let policy = spec.persistent_volume_claim_retention_policy.clone().unwrap_or_default();
    let condemned = !ordinals(spec).contains(&ordinal);
    let with_pod = policy.when_scaled.as_deref() == Some("Delete") && condemned;
    let with_set = policy.when_deleted.as_deref() == Some("Delete") && !with_pod;
    let foreign = |owner: &&OwnerReference| {
        owner.uid != set.metadata.uid.as_deref().unwrap_or_default()
            && !(owner.kind == "Pod" && owner.name == super::pod::pod_name(set, ordinal))
    };
    let mut owners: Vec<_> = claim.metadata.owner_references.iter().flatten().filter(foreign).cloned().collect();
    let set_owner = with_set.then(|| controller_reference(set));
    let pod_owner = pod.filter(|_| with_pod).map(controller_reference);
    owners.extend(
        set_owner.into_iter().chain(pod_owner).map(|owner| OwnerReference { block_owner_deletion: None, ..owner }),
    );
    Some(owners)
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
            let found = owners(&set, ordinal, Some(&pod), &PersistentVolumeClaim::default()).unwrap();
            let kinds: Vec<_> = found.iter().map(|owner| owner.kind.as_str()).collect();
            assert_eq!(kinds, expected, "{deleted} {scaled} {ordinal}");
        }
    }
}
