//! The identity of a StatefulSet's pods: names, labels, volumes.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ControllerRevision, StatefulSet};
use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimVolumeSource, Pod, PodTemplateSpec, Volume,
};

use crate::framework::meta::{controller_reference, label};
use crate::framework::pods;

pub const POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
pub const REVISION: &str = "controller-revision-hash";

/// The ordinal a pod of `set` has by its name.
pub fn ordinal_of(set: &StatefulSet, pod: &Pod) -> Option<i32> {
    let (parent, ordinal) = pod.metadata.name.as_deref()?.rsplit_once('-')?;
    let canonical = ordinal == "0" || !ordinal.starts_with(['0', '+']);
    (set.metadata.name.as_deref() == Some(parent) && canonical).then(|| ordinal.parse().ok()).flatten()
}

pub fn pod_name(set: &StatefulSet, ordinal: i32) -> String {
    format!("{}-{ordinal}", set.metadata.name.as_deref().unwrap_or_default())
}

/// The name of the revision a pod was made from.
pub fn revision_of(pod: &Pod) -> &str {
    label(&pod.metadata, REVISION).unwrap_or_default()
}

/// The template as a revision keeps it; the set's present one when the revision cannot be read.
pub fn template_of(set: &StatefulSet, revision: &ControllerRevision) -> PodTemplateSpec {
    let stored = revision.data.as_ref().map(|data| data.0["spec"]["template"].clone());
    stored
        .and_then(|template| serde_json::from_value(template).ok())
        .unwrap_or_else(|| set.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default())
}

pub fn pod_for(set: &StatefulSet, ordinal: i32, revision: &Arc<ControllerRevision>) -> Pod {
    let namespace = set.metadata.namespace.as_deref().unwrap_or_default();
    let mut pod = pods::from_template(&template_of(set, revision), namespace, controller_reference(set));
    let name = pod_name(set, ordinal);
    pod.metadata.generate_name = None;
    let labels = pod.metadata.labels.get_or_insert_default();
    labels.insert(POD_NAME.into(), name.clone());
    labels.insert(POD_INDEX.into(), ordinal.to_string());
    labels.insert(REVISION.into(), revision.metadata.name.clone().unwrap_or_default());
    let spec = pod.spec.get_or_insert_default();
    spec.hostname = Some(name.clone());
    spec.subdomain = set.spec.as_ref().and_then(|spec| spec.service_name.clone()).filter(|name| !name.is_empty());
    let claims = claims_for(set, ordinal);
    let mut volumes: Vec<Volume> = claims
        .iter()
        .map(|(template, claim)| Volume {
            name: template.clone(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name: claim.metadata.name.clone().unwrap_or_default(),
                read_only: None,
            }),
            ..Volume::default()
        })
        .collect();
    // A claim's volume replaces one of its name in the template.
    let others = spec.volumes.take().unwrap_or_default();
    volumes.extend(others.into_iter().filter(|volume| claims.iter().all(|(template, _)| *template != volume.name)));
    spec.volumes = (!volumes.is_empty()).then_some(volumes);
    pod.metadata.name = Some(name);
    pod
}

/// The claims of one ordinal, each with the name of its template.
pub fn claims_for(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let Some(spec) = &set.spec else { return Vec::new() };
    let claim = |template: &PersistentVolumeClaim| {
        let mut claim = template.clone();
        let name = template.metadata.name.clone().unwrap_or_default();
        claim.metadata.name = Some(format!("{name}-{}", pod_name(set, ordinal)));
        claim.metadata.namespace = set.metadata.namespace.clone();
        claim.metadata.labels.get_or_insert_default().extend(spec.selector.match_labels.clone().unwrap_or_default());
        claim.status = None;
        (name, claim)
    };
    spec.volume_claim_templates.iter().flatten().map(claim).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set() -> StatefulSet {
        serde_json::from_value(json!({
            "metadata": { "name": "db", "namespace": "ns", "uid": "u" },
            "spec": {
                "serviceName": "db", "selector": { "matchLabels": { "app": "db" } },
                "template": { "metadata": { "labels": { "app": "db" } },
                              "spec": { "containers": [], "volumes": [{ "name": "data" }, { "name": "tmp" }] } },
                "volumeClaimTemplates": [{ "metadata": { "name": "data" }, "spec": {} }],
            },
        }))
        .unwrap()
    }

    #[test]
    fn ordinals_are_read_from_names() {
        for (name, ordinal) in
            [("db-0", Some(0)), ("db-12", Some(12)), ("db-x", None), ("other-1", None), ("db-01", None)]
        {
            let pod: Pod = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
            assert_eq!(ordinal_of(&set(), &pod), ordinal, "{name}");
        }
    }

    #[test]
    fn pods_have_a_stable_name_and_their_own_claims() {
        let revision: ControllerRevision =
            serde_json::from_value(json!({ "metadata": { "name": "db-abc" }, "revision": 1 })).unwrap();
        let pod = serde_json::to_value(pod_for(&set(), 1, &Arc::new(revision))).unwrap();
        assert_eq!(pod["metadata"]["name"], "db-1");
        assert_eq!(
            pod["metadata"]["labels"],
            json!({ "app": "db", "apps.kubernetes.io/pod-index": "1", "controller-revision-hash": "db-abc",
                    "statefulset.kubernetes.io/pod-name": "db-1" })
        );
        assert_eq!((&pod["spec"]["hostname"], &pod["spec"]["subdomain"]), (&json!("db-1"), &json!("db")));
        assert_eq!(
            pod["spec"]["volumes"],
            json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-db-1" } }, { "name": "tmp" }])
        );
    }
}
