//! Volumes made on demand: a folder of the node that the claim's first pod goes to, as kind's and k3s' `standard` class has
//! it. The object is made here, the folder by the kubelet that mounts it first.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, Node, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{FINALIZER, PROVISIONED_BY, PROVISIONER, SELECTED_NODE};
use crate::framework::meta::label;

/// The folder of a node in which its volumes are; it is kept with the node's other files, so it outlives the sandbox.
pub const FOLDER: &str = "/var/lib/kubelet/local-volumes";
const HOST_NAME: &str = "kubernetes.io/hostname";

/// The volume for `claim` on `node`.
///
/// # Errors
/// Why there can be none.
pub fn volume(
    claim: &PersistentVolumeClaim,
    class: &StorageClass,
    node: Option<&Node>,
) -> Result<PersistentVolume, String> {
    let spec = claim.spec.clone().unwrap_or_default();
    let modes = spec.access_modes.clone().unwrap_or_default();
    if !modes.iter().all(|mode| matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod")) {
        return Err("only the access modes ReadWriteOnce and ReadWriteOncePod are supported".to_owned());
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err("block volumes are not supported".to_owned());
    }
    if spec.selector.is_some() {
        return Err("claim.Spec.Selector is not supported".to_owned());
    }
    let node = node.ok_or("no node was specified: the class's volumeBindingMode must be WaitForFirstConsumer")?;
    let node_name = node.metadata.name.clone().unwrap_or_default();
    let host = label(&node.metadata, HOST_NAME).unwrap_or(&node_name).to_owned();
    let name = name(claim);
    let annotations = [(PROVISIONED_BY, PROVISIONER), (SELECTED_NODE, &node_name)];
    let on_host = NodeSelectorRequirement { key: HOST_NAME.into(), operator: "In".into(), values: Some(vec![host]) };
    let term = NodeSelectorTerm { match_expressions: Some(vec![on_host]), ..NodeSelectorTerm::default() };
    let path = format!("{FOLDER}/{name}");
    let requests = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    Ok(PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name),
            annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()),
            finalizers: Some(vec![FINALIZER.to_owned()]),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            access_modes: Some(modes),
            capacity: Some(requests.into_iter().filter(|(name, _)| name == "storage").collect::<BTreeMap<_, _>>()),
            claim_ref: Some(reference(claim)),
            host_path: Some(HostPathVolumeSource { path, type_: Some("DirectoryOrCreate".into()) }),
            mount_options: class.mount_options.clone(),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector { node_selector_terms: vec![term] }),
            }),
            persistent_volume_reclaim_policy: Some(class.reclaim_policy.clone().unwrap_or_else(|| "Delete".into())),
            storage_class_name: class.metadata.name.clone(),
            volume_mode: Some("Filesystem".into()),
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    })
}

/// The volume's name follows from the claim, so that it is made once.
#[must_use]
pub fn name(claim: &PersistentVolumeClaim) -> String {
    format!("pvc-{}", claim.metadata.uid.as_deref().unwrap_or_default())
}

/// How a volume refers to its claim.
#[must_use]
pub fn reference(claim: &PersistentVolumeClaim) -> ObjectReference {
    let meta = &claim.metadata;
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("PersistentVolumeClaim".into()),
        namespace: meta.namespace.clone(),
        name: meta.name.clone(),
        uid: meta.uid.clone(),
        resource_version: meta.resource_version.clone(),
        ..ObjectReference::default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_folder_of_the_node() {
        let node: Node =
            serde_json::from_value(json!({ "metadata": { "name": "w1", "labels": { HOST_NAME: "host" } } })).unwrap();
        let class: StorageClass = serde_json::from_value(
            json!({ "metadata": { "name": "standard" }, "provisioner": PROVISIONER, "reclaimPolicy": "Retain" }),
        )
        .unwrap();
        let claim = |more: Value| -> PersistentVolumeClaim {
            let mut claim = json!({
                "metadata": { "namespace": "n", "name": "c", "uid": "1-2" },
                "spec": { "accessModes": ["ReadWriteOnce"], "resources": { "requests": { "storage": "1Gi" } } },
            });
            claim["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(claim).unwrap()
        };
        let made = serde_json::to_value(volume(&claim(json!({})), &class, Some(&node)).unwrap()).unwrap();
        assert_eq!(made["metadata"]["name"], "pvc-1-2");
        assert_eq!(made["metadata"]["annotations"], json!({ PROVISIONED_BY: PROVISIONER, SELECTED_NODE: "w1" }));
        let path = "/var/lib/kubelet/local-volumes/pvc-1-2";
        assert_eq!(made["spec"]["hostPath"], json!({ "path": path, "type": "DirectoryOrCreate" }));
        assert_eq!(made["spec"]["capacity"], json!({ "storage": "1Gi" }));
        assert_eq!(made["spec"]["persistentVolumeReclaimPolicy"], "Retain");
        let term = &made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0];
        assert_eq!(*term, json!({ "key": HOST_NAME, "operator": "In", "values": ["host"] }));
        let refused = [
            (json!({ "accessModes": ["ReadWriteMany"] }), Some(&node), "access modes"),
            (json!({ "volumeMode": "Block" }), Some(&node), "block volumes"),
            (json!({ "selector": {} }), Some(&node), "Selector"),
            (json!({}), None, "no node was specified"),
        ];
        for (more, node, words) in refused {
            let error = volume(&claim(more), &class, node).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
