//! The pods a kubelet may create: images of its static ones, which its own node owns and which lead to no other object of the
//! API (upstream's admitPodCreate, and `podutil.HasAPIObjectReference`).

use serde_json::Value;

use super::{Referred, Refusal};

pub(super) const MIRROR: &str = "kubernetes.io/config.mirror";

/// Volumes that have their contents from elsewhere, or from the node alone.
const HARMLESS: [&str; 22] = [
    "awsElasticBlockStore",
    "azureDisk",
    "cephfs",
    "cinder",
    "downwardAPI",
    "emptyDir",
    "fc",
    "flexVolume",
    "flocker",
    "gcePersistentDisk",
    "gitRepo",
    "hostPath",
    "image",
    "iscsi",
    "nfs",
    "photonPersistentDisk",
    "portworxVolume",
    "quobyte",
    "rbd",
    "scaleIO",
    "storageos",
    "vsphereVolume",
];
/// Volumes that lead to objects, and to which.
const TELLING: [(&str, &str); 7] = [
    ("configMap", "configmaps (via configmap volumes)"),
    ("secret", "secrets (via secret volumes)"),
    ("csi", "csidrivers (via CSI volumes)"),
    ("glusterfs", "endpoints (via glusterFS volumes)"),
    ("persistentVolumeClaim", "persistentvolumeclaims"),
    ("ephemeral", "persistentvolumeclaims (via ephemeral volumes)"),
    ("azureFile", "secrets (via azureFile volumes)"),
];
/// The same of the sources of a projected volume.
const PROJECTED: [(&str, &str); 5] = [
    ("configMap", "configmaps (via projected volumes)"),
    ("secret", "secrets (via projected volumes)"),
    ("serviceAccountToken", "serviceaccounts (via projected volumes)"),
    ("clusterTrustBundle", "clustertrustbundles"),
    ("podCertificate", "podcertificates"),
];

/// Whether the kubelet of `node`, whose object is `object`, may create the pod.
///
/// # Errors
/// Why it may not.
pub(super) fn check(node: &str, pod: &Value, object: Option<&Value>) -> Result<(), Refusal> {
    if pod["metadata"]["annotations"][MIRROR].is_null() {
        return Err(
            format!("pod does not have {MIRROR:?} annotation, node {node:?} can only create mirror pods").into()
        );
    }
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only create pods with spec.nodeName set to itself").into());
    }
    let only = |what: &str| Err(format!("node {node:?} can only create pods with {what} set to itself").into());
    let owner = match pod["metadata"]["ownerReferences"].as_array().map_or(&[][..], Vec::as_slice) {
        [] => return only("an owner reference"),
        [owner] => owner,
        _ => return only("a single owner reference"),
    };
    if owner["apiVersion"] != "v1" || owner["kind"] != "Node" || owner["name"] != node {
        return only("an owner reference");
    }
    if owner["controller"] != true {
        return only("a controller owner reference");
    }
    if owner["blockOwnerDeletion"] == true {
        return Err(format!("node {node:?} must not set blockOwnerDeletion on an owner reference").into());
    }
    let Some(object) = object else {
        return Err(Refusal::Missing { kind: "node", name: node.to_owned() });
    };
    let uid = |value: &Value| value["uid"].as_str().unwrap_or_default().to_owned();
    let (expected, got) = (uid(owner), uid(&object["metadata"]));
    if expected != got {
        return Err(format!("node {node} UID mismatch: expected {expected} got {got}").into());
    }
    match reference(&pod["spec"])? {
        Some(what) => Err(format!("node {node:?} can not create pods that reference {what}").into()),
        None => Ok(()),
    }
}

/// What of the API a pod leads to.
fn reference(spec: &Value) -> Result<Option<&'static str>, String> {
    let unknown = |what: String| format!("error checking mirror pod for API references: {what}");
    let referred = super::graph::references(spec);
    for (kind, what) in [
        (Referred::ServiceAccount, "serviceaccounts"),
        (Referred::Secret, "secrets"),
        (Referred::ConfigMap, "configmaps"),
    ] {
        if referred.iter().any(|(found, _)| *found == kind) {
            return Ok(Some(what));
        }
    }
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    if !list(&spec["resourceClaims"]).is_empty() {
        return Ok(Some("resourceclaims"));
    }
    for volume in list(&spec["volumes"]) {
        let name = volume["name"].as_str().unwrap_or_default();
        let has = |field: &str| !volume[field].is_null();
        // One that is of several kinds is for validation to refuse; upstream looks for these first.
        if HARMLESS.iter().any(|field| has(field)) {
            continue;
        }
        if let Some((_, what)) = TELLING.iter().find(|(field, _)| has(field)) {
            return Ok(Some(what));
        }
        if has("projected") {
            for source in list(&volume["projected"]["sources"]) {
                if let Some((_, what)) = PROJECTED.iter().find(|(field, _)| !source[field].is_null()) {
                    return Ok(Some(what));
                }
                if source["downwardAPI"].is_null() {
                    return Err(unknown(format!("unknown source for projected volume {name:?}")));
                }
            }
        } else {
            return Err(unknown(format!("unknown volume type for volume  {name:?}")));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mirrors_are_owned_by_their_node_and_lead_nowhere() {
        let object = json!({"metadata": {"name": "w1", "uid": "n"}});
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": "w1", "uid": "n", "controller": true});
        let good = json!({"metadata": {"annotations": {MIRROR: "x"}, "ownerReferences": [owner]},
            "spec": {"nodeName": "w1", "volumes": [{"name": "a", "emptyDir": {}},
                {"name": "b", "projected": {"sources": [{"downwardAPI": {}}]}}]}});
        assert_eq!(check("w1", &good, Some(&object)), Ok(()));
        let mut double = good.clone();
        double["spec"]["volumes"][0] = json!({"name": "a", "hostPath": {"path": "/"}, "csi": {"driver": "d"}});
        assert_eq!(check("w1", &double, Some(&object)), Ok(()), "its validation is to tell what is wrong");
        assert_eq!(check("w1", &good, None).unwrap_err(), Refusal::Missing { kind: "node", name: "w1".to_owned() });
        let owners = "/metadata/ownerReferences";
        for (pointer, value, expected) in [
            (owners, json!([]), "can only create pods with an owner reference set to itself"),
            (owners, json!([owner, owner]), "can only create pods with a single owner reference set to itself"),
            ("/metadata/ownerReferences/0/name", json!("w2"), "with an owner reference set to itself"),
            ("/metadata/ownerReferences/0/apiVersion", json!("v2"), "with an owner reference set to itself"),
            ("/metadata/ownerReferences/0/controller", json!(false), "with a controller owner reference set to itself"),
            ("/metadata/ownerReferences/0/uid", json!("o"), "node w1 UID mismatch: expected o got n"),
            ("/spec/nodeName", json!("w2"), "can only create pods with spec.nodeName set to itself"),
            ("/metadata/annotations", json!({}), "can only create mirror pods"),
            ("/spec/serviceAccountName", json!("a"), "can not create pods that reference serviceaccounts"),
            ("/spec/resourceClaims", json!([{}]), "can not create pods that reference resourceclaims"),
            ("/spec/volumes/0", json!({"name": "a", "csi": {}}), "reference csidrivers (via CSI volumes)"),
            ("/spec/volumes/0", json!({"name": "a", "secret": {"secretName": "s"}}), "reference secrets"),
            ("/spec/volumes/0", json!({"name": "a", "new": {}}), "unknown volume type for volume  \"a\""),
            (
                "/spec/volumes/1/projected/sources/0",
                json!({"clusterTrustBundle": {}}),
                "can not create pods that reference clustertrustbundles",
            ),
        ] {
            let mut pod = good.clone();
            if let Some((parent, key)) = pointer.rsplit_once('/') {
                match pod.pointer_mut(parent).unwrap() {
                    Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
                    parent => parent[key] = value,
                }
            }
            let refused = check("w1", &pod, Some(&object)).unwrap_err().to_string();
            assert!(refused.ends_with(expected), "{pointer}: {refused}");
        }
        let mut blocking = good;
        blocking["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(true);
        assert!(
            check("w1", &blocking, Some(&object)).unwrap_err().to_string().contains("must not set blockOwnerDeletion")
        );
    }
}
