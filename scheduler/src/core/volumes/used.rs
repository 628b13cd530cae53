//! The claims a pod uses: those it names, and those made for its `ephemeral` volumes (upstream
//! `component-helpers/storage/ephemeral`). Controllers and kubelet ask here, too.

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};

/// A claim as a pod refers to it; it is in the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Used {
    pub name: String,
    /// It is made for the pod, and must be the pod's own.
    pub ephemeral: bool,
}

/// The claim behind a volume of the pod of this name; `None` where there is none.
#[must_use]
pub fn behind(pod: &str, volume: &Volume) -> Option<Used> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(Used { name: source.claim_name.clone(), ephemeral: false }),
        (None, Some(_)) => Some(Used { name: format!("{pod}-{}", volume.name), ephemeral: true }),
        (None, None) => None,
    }
}

/// All claims of a pod, in the order of its volumes.
#[must_use]
pub fn by(pod: &Pod) -> Vec<Used> {
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    volumes.filter_map(|volume| behind(name, volume)).collect()
}

/// Whether a claim is that of this very pod's ephemeral volume.
///
/// # Errors
/// When somebody else's claim has the name, in upstream's words.
pub fn is_made_for(claim: &PersistentVolumeClaim, namespace: &str, pod: &str, uid: &str) -> Result<(), String> {
    let meta = &claim.metadata;
    let owner = meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    if meta.namespace.as_deref() == Some(namespace) && owner.is_some_and(|owner| owner.uid == uid) {
        return Ok(());
    }
    Err(format!(
        "PVC {}/{} was not created for pod {namespace}/{pod} (pod is not owner)",
        meta.namespace.as_deref().unwrap_or_default(),
        meta.name.as_deref().unwrap_or_default()
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn by_name_and_made_for_it() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "namespace": "n", "name": "p" },
            "spec": { "containers": [], "volumes": [
                { "name": "a", "persistentVolumeClaim": { "claimName": "data" } },
                { "name": "b", "ephemeral": {} }, { "name": "c", "emptyDir": {} }] },
        }))
        .unwrap();
        let used = |name: &str, ephemeral| Used { name: name.to_owned(), ephemeral };
        assert_eq!(by(&pod), [used("data", false), used("p-b", true)]);
    }

    #[test]
    fn a_name_is_not_enough() {
        let owner = |uid: &str, controller: bool| json!([{ "apiVersion": "v1", "kind": "Pod", "name": "p", "uid": uid, "controller": controller }]);
        let cases = [
            ("n", owner("u", true), true),
            ("m", owner("u", true), false),
            ("n", owner("u", false), false),
            ("n", owner("v", true), false),
            ("n", Value::Null, false),
        ];
        for (namespace, owners, wanted) in cases {
            let claim: PersistentVolumeClaim = serde_json::from_value(json!({
                "metadata": { "namespace": namespace, "name": "p-v", "ownerReferences": owners } }))
            .unwrap();
            let words = format!("PVC {namespace}/p-v was not created for pod n/p (pod is not owner)");
            assert_eq!(is_made_for(&claim, "n", "p", "u"), wanted.then_some(()).ok_or(words));
        }
    }
}
