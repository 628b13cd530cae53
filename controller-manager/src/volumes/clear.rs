//! Removing the folder of a released volume: it is on a node, so a pod there does it, as with rancher's local-path
//! provisioner. The pod belongs to the volume and goes with it.

use k8s_openapi::api::core::v1::{PersistentVolume, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use serde_json::json;

use super::provision::FOLDER;
use super::{PROVISIONED_BY, PROVISIONER, SELECTED_NODE};
use crate::framework::meta::annotation;

/// Where these pods are.
pub const NAMESPACE: &str = "kube-system";
const PREFIX: &str = "delete-";

/// What a released volume with the policy Delete needs.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Somebody else's, who deletes it.
    Foreign,
    /// Nobody can delete it.
    Impossible(String),
    /// This pod must run.
    Run(Box<Pod>),
    /// The pod is at work.
    Wait,
    /// The pod has ended without success: another has to try.
    Again,
    /// The folder is gone, or its node is.
    Done,
}

/// The pod's key in the cache.
#[must_use]
pub fn key(volume: &str) -> String {
    format!("{NAMESPACE}/{PREFIX}{volume}")
}

/// The volume a pod works for, by the pod's key.
#[must_use]
pub fn volume_of(key: &str) -> Option<&str> {
    key.strip_prefix(NAMESPACE)?.strip_prefix('/')?.strip_prefix(PREFIX)
}

/// `pod` is the one at work, `node_exists` tells of any node by name.
#[must_use]
pub fn next(volume: &PersistentVolume, pod: Option<&Pod>, node_exists: impl Fn(&str) -> bool) -> Step {
    let name = volume.metadata.name.as_deref().unwrap_or_default();
    match annotation(&volume.metadata, PROVISIONED_BY) {
        Some(PROVISIONER) => {}
        Some(_) => return Step::Foreign,
        None => {
            let words =
                format!("error getting deleter volume plugin for volume {name:?}: no deletable volume plugin matched");
            return Step::Impossible(words);
        }
    }
    let path = volume.spec.as_ref().and_then(|spec| spec.host_path.as_ref()).map(|host| host.path.as_str());
    if path != Some(&format!("{FOLDER}/{name}")) {
        // What the annotation says is no leave to remove any folder of a node.
        return Step::Impossible(format!("{} is no folder that {PROVISIONER} makes", path.unwrap_or("the volume")));
    }
    let node = annotation(&volume.metadata, SELECTED_NODE).unwrap_or_default();
    if !node_exists(node) {
        return Step::Done;
    }
    let phase = pod.map(|pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default());
    match phase {
        None => Step::Run(Box::new(remover(volume, name, node))),
        Some("Succeeded") => Step::Done,
        Some("Failed") => Step::Again,
        Some(_) => Step::Wait,
    }
}

fn remover(volume: &PersistentVolume, name: &str, node: &str) -> Pod {
    let owner = OwnerReference {
        api_version: "v1".into(),
        kind: "PersistentVolume".into(),
        name: name.to_owned(),
        uid: volume.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let pod = json!({
        "metadata": { "namespace": NAMESPACE, "name": format!("{PREFIX}{name}"), "ownerReferences": [owner] },
        "spec": {
            "nodeName": node,
            "hostNetwork": true,
            "restartPolicy": "OnFailure",
            "automountServiceAccountToken": false,
            "priorityClassName": "system-node-critical",
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{
                "name": "remove",
                "image": concat!("knetsim.dev/knetsim:v", env!("CARGO_PKG_VERSION")),
                "imagePullPolicy": "IfNotPresent",
                "command": ["rm", "-rf", "--one-file-system", format!("/volumes/{name}")],
                "volumeMounts": [{ "name": "volumes", "mountPath": "/volumes" }],
            }],
            "volumes": [{ "name": "volumes", "hostPath": { "path": FOLDER, "type": "DirectoryOrCreate" } }],
        },
    });
    serde_json::from_value(pod).expect("a pod's JSON is a pod")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn steps() {
        let volume = |annotations: Value, path: &str| -> PersistentVolume {
            serde_json::from_value(json!({
                "metadata": { "name": "pvc-1", "uid": "u", "annotations": annotations },
                "spec": { "hostPath": { "path": path } },
            }))
            .unwrap()
        };
        let pod = |phase: &str| -> Pod { serde_json::from_value(json!({ "status": { "phase": phase } })).unwrap() };
        let ours = json!({ PROVISIONED_BY: PROVISIONER, SELECTED_NODE: "w1" });
        let path = format!("{FOLDER}/pvc-1");
        let there = volume(ours.clone(), &path);
        let step = |volume: &PersistentVolume, pod: Option<&Pod>| next(volume, pod, |node| node == "w1");
        assert_eq!(step(&there, Some(&pod("Running"))), Step::Wait);
        assert_eq!(step(&there, Some(&pod("Failed"))), Step::Again);
        assert_eq!(step(&there, Some(&pod("Succeeded"))), Step::Done);
        assert_eq!(next(&there, None, |_| false), Step::Done, "its node is gone");
        assert_eq!(step(&volume(json!({ PROVISIONED_BY: "x" }), &path), None), Step::Foreign);
        assert!(matches!(step(&volume(json!({}), &path), None), Step::Impossible(_)));
        for elsewhere in ["/etc", "/var/lib/kubelet/local-volumes/pvc-2", "/var/lib/kubelet/local-volumes/pvc-1/.."] {
            assert!(matches!(step(&volume(ours.clone(), elsewhere), None), Step::Impossible(_)), "{elsewhere}");
        }
        let Step::Run(made) = step(&there, None) else { panic!("a pod must run") };
        let made = serde_json::to_value(*made).unwrap();
        assert_eq!(made["spec"]["nodeName"], "w1");
        assert_eq!(made["spec"]["containers"][0]["command"][3], "/volumes/pvc-1");
        assert_eq!(volume_of(&key("pvc-1")), Some("pvc-1"));
        assert_eq!(volume_of("default/delete-pvc-1"), None);
    }
}
