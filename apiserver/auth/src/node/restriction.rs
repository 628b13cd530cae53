//! NodeRestriction: what a kubelet may write. A pure check of one write; the API server calls it in admission for users that
//! are nodes, before the other validating plugins.
//!
//! Follows upstream's `plugin/pkg/admission/noderestriction`, and its messages.

use crate::csr;
use crate::request::Resource;
use crate::user::NODE_USER_PREFIX;
use serde_json::Value;
use std::collections::BTreeSet;

/// Labels of the Kubernetes domains that a kubelet may set on its node.
const KUBELET_LABELS: [&str; 11] = [
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "failure-domain.beta.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "kubernetes.io/arch",
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];
/// And the domains in which it may set any.
const KUBELET_DOMAINS: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

/// A write to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub operation: Operation,
    pub resource: Resource<'a>,
    /// As it is to be; none for a deletion.
    pub object: Option<&'a Value>,
    /// As it is; none for a creation.
    pub old: Option<&'a Value>,
    /// The pod an eviction is about, or a requested token is bound to, as it is now.
    pub pod: Option<&'a Value>,
    /// The kubelet's node as it is now, where a pod is created.
    pub node: Option<&'a Value>,
}

/// Whether the kubelet of `node` may do the write.
///
/// # Errors
/// The message of the 403.
pub fn restrict(node: &str, write: &Write<'_>) -> Result<(), String> {
    let none = Value::Null;
    let (object, old) = (write.object.unwrap_or(&none), write.old.unwrap_or(&none));
    match (write.resource.group, write.resource.resource, write.resource.subresource) {
        ("", "pods", "") => pod(node, write, object, old),
        ("", "pods", "status") => pod_status(node, write.operation, object, old),
        ("", "pods", "eviction") => match write.pod {
            Some(pod) if pod["spec"]["nodeName"] == node => Ok(()),
            _ => Err(format!("node {node} can only evict pods with spec.nodeName set to itself")),
        },
        ("", "nodes", "" | "status") => own_node(node, write, object, old),
        ("", "serviceaccounts", "token") => token(node, object, write.pod),
        ("certificates.k8s.io", "certificatesigningrequests", "") if write.operation == Operation::Create => {
            certificate(node, object)
        }
        ("coordination.k8s.io", "leases", _) => {
            let name = object["metadata"]["name"].as_str().unwrap_or(write.resource.name);
            match (write.resource.namespace == super::LEASES, name == node) {
                (false, _) => Err(format!("can only access leases in the {:?} system namespace", super::LEASES)),
                (true, false) => Err("can only access node lease with the same name as the requesting node".into()),
                (true, true) => Ok(()),
            }
        }
        ("storage.k8s.io", "csinodes", _) => {
            let name = object["metadata"]["name"].as_str().unwrap_or(write.resource.name);
            let own = || format!("can only access CSINode with the same name as the requesting node {node:?}");
            (name == node).then_some(()).ok_or_else(own)
        }
        _ => Ok(()),
    }
}

fn pod(node: &str, write: &Write<'_>, object: &Value, old: &Value) -> Result<(), String> {
    match write.operation {
        Operation::Create => super::mirror::check(node, object, write.node),
        Operation::Delete if old["spec"]["nodeName"] == node => Ok(()),
        Operation::Delete => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself")),
        Operation::Update => {
            Err(format!("unexpected operation \"UPDATE\", node {node:?} can only create and delete mirror pods"))
        }
    }
}

fn pod_status(node: &str, operation: Operation, object: &Value, old: &Value) -> Result<(), String> {
    if operation != Operation::Update {
        return Err(format!("unexpected operation, node {node:?} can only update the status of pods"));
    }
    if old["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    for (field, what) in [("labels", "labels"), ("ownerReferences", "owner references")] {
        if object["metadata"][field] != old["metadata"][field] {
            return Err(format!("node {node:?} cannot update {what} through pod status"));
        }
    }
    Ok(())
}

fn own_node(node: &str, write: &Write<'_>, object: &Value, old: &Value) -> Result<(), String> {
    let name = object["metadata"]["name"].as_str().unwrap_or(write.resource.name);
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let forbidden = |changed: BTreeSet<&str>| {
        let forbidden: Vec<_> = changed.into_iter().filter(|label| !may_set(label)).collect();
        (!forbidden.is_empty()).then(|| forbidden.join(", "))
    };
    let labels = |object: &'_ Value| object["metadata"]["labels"].as_object().cloned().unwrap_or_default();
    let (before, after) = (labels(old), labels(object));
    match write.operation {
        Operation::Create => match forbidden(after.keys().map(String::as_str).collect()) {
            Some(labels) => Err(format!("node {node:?} is not allowed to set the following labels: {labels}")),
            None => Ok(()),
        },
        Operation::Update => {
            if object["spec"]["taints"] != old["spec"]["taints"] {
                return Err(format!("node {node:?} is not allowed to modify taints"));
            }
            if object["metadata"]["ownerReferences"] != old["metadata"]["ownerReferences"] {
                return Err(format!("node {node:?} is not allowed to modify ownerReferences"));
            }
            let names = before.keys().chain(after.keys()).map(String::as_str);
            match forbidden(names.filter(|name| before.get(*name) != after.get(*name)).collect()) {
                Some(labels) => Err(format!("is not allowed to modify labels: {labels}")),
                None => Ok(()),
            }
        }
        Operation::Delete => Ok(()),
    }
}

/// Any label outside the Kubernetes domains, and those inside that are about the machine itself.
fn may_set(label: &str) -> bool {
    let Some((domain, _)) = label.split_once('/') else { return true };
    let within = |parent: &str| domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'));
    if within("node-restriction.kubernetes.io") {
        return false;
    }
    !(within("kubernetes.io") || within("k8s.io"))
        || KUBELET_LABELS.contains(&label)
        || KUBELET_DOMAINS.iter().any(|domain| within(domain))
}

fn token(node: &str, request: &Value, pod: Option<&Value>) -> Result<(), String> {
    let bound = &request["spec"]["boundObjectRef"];
    if bound["kind"] != "Pod" || bound["apiVersion"] != "v1" {
        return Err("node requested token not bound to a pod".into());
    }
    let Some(uid) = bound["uid"].as_str().filter(|uid| !uid.is_empty()) else {
        return Err("node requested token with a pod binding without a uid".into());
    };
    let pod = pod.unwrap_or(&Value::Null);
    if pod["metadata"]["uid"] != uid {
        return Err(format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        ));
    }
    if pod["spec"]["nodeName"] != node {
        return Err("node requested token bound to a pod scheduled on a different node".into());
    }
    Ok(())
}

/// Whether a volume of the pod is to hold a token for this audience (empty: the API server's).
pub fn mounts_token_for(pod: &Value, audience: &str) -> bool {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let mut sources = volumes.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    sources.any(|source| {
        let token = &source["serviceAccountToken"];
        token.is_object() && token["audience"].as_str().unwrap_or_default() == audience
    })
}

/// A kubelet asks for certificates in its own name only.
fn certificate(node: &str, object: &Value) -> Result<(), String> {
    let signer = object["spec"]["signerName"].as_str().unwrap_or_default();
    if ![csr::KUBELET_SERVING, csr::KUBE_APISERVER_CLIENT_KUBELET].contains(&signer) {
        return Ok(());
    }
    let request = csr::Request::parse(object["spec"]["request"].as_str().unwrap_or_default())
        .map_err(|error| format!("unable to parse csr: {error}"))?;
    let own = format!("{NODE_USER_PREFIX}{node}");
    (request.common_name == own).then_some(()).ok_or_else(|| format!("can only create a node CSR with CN={own}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(
        operation: Operation,
        resource: &str,
        object: Value,
        old: Value,
        pod: Option<Value>,
    ) -> Result<(), String> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let group = match resource {
            "leases" => "coordination.k8s.io",
            "csinodes" => "storage.k8s.io",
            _ => "",
        };
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default().to_owned();
        let resource = Resource { group, resource, subresource, namespace: &namespace, name: "" };
        let some = |value| if value == &Value::Null { None } else { Some(value) };
        let node = json!({"metadata": {"uid": "n"}});
        let (object, old, pod, node) = (some(&object), some(&old), pod.as_ref(), Some(&node));
        restrict("w1", &Write { operation, resource, object, old, pod, node })
    }

    fn pod(node: &str) -> Value {
        let owner = json!({"apiVersion": "v1", "kind": "Node", "name": node, "uid": "n", "controller": true});
        json!({"metadata": {"uid": "u", "annotations": {crate::node::mirror::MIRROR: "x"}, "ownerReferences": [owner]},
            "spec": {"nodeName": node}})
    }

    #[test]
    fn pods() {
        use Operation::{Create, Delete, Update};
        assert_eq!(check(Create, "pods", pod("w1"), Value::Null, None), Ok(()));
        assert!(
            check(Create, "pods", pod("w2"), Value::Null, None).unwrap_err().contains("spec.nodeName set to itself")
        );
        let mut plain = pod("w1");
        plain["metadata"]["annotations"] = Value::Null;
        assert!(check(Create, "pods", plain, Value::Null, None).unwrap_err().contains("can only create mirror pods"));
        assert_eq!(check(Delete, "pods", Value::Null, pod("w1"), None), Ok(()));
        assert!(check(Delete, "pods", Value::Null, pod("w2"), None).is_err());
        assert!(check(Update, "pods", pod("w1"), pod("w1"), None).is_err());
        assert_eq!(check(Update, "pods/status", pod("w1"), pod("w1"), None), Ok(()));
        assert!(check(Update, "pods/status", pod("w1"), pod("w2"), None).is_err());
        let mut relabelled = pod("w1");
        relabelled["metadata"]["labels"] = json!({"a": "b"});
        assert!(check(Update, "pods/status", relabelled, pod("w1"), None).unwrap_err().contains("labels"));
        assert_eq!(check(Create, "pods/eviction", json!({}), Value::Null, Some(pod("w1"))), Ok(()));
        assert!(check(Create, "pods/eviction", json!({}), Value::Null, Some(pod("w2"))).is_err());
    }

    #[test]
    fn nodes() {
        use Operation::{Create, Update};
        let node = |name: &str, labels: Value, taints: Value| json!({"metadata": {"name": name, "labels": labels}, "spec": {"taints": taints}});
        let good = node("w1", json!({"kubernetes.io/os": "linux", "disk": "ssd", "a.example/b": ""}), json!([]));
        assert_eq!(check(Create, "nodes", good.clone(), Value::Null, None), Ok(()));
        assert_eq!(
            check(Create, "nodes", node("w2", json!({}), json!([])), Value::Null, None).unwrap_err(),
            r#"node "w1" is not allowed to modify node "w2""#
        );
        for label in ["node-role.kubernetes.io/control-plane", "node-restriction.kubernetes.io/x", "x.k8s.io/y"] {
            let refused = check(Create, "nodes", node("w1", json!({label: ""}), json!([])), Value::Null, None);
            assert_eq!(
                refused.unwrap_err(),
                format!("node \"w1\" is not allowed to set the following labels: {label}")
            );
        }
        let tainted = node("w1", good["metadata"]["labels"].clone(), json!([{"key": "x"}]));
        assert!(check(Update, "nodes", good.clone(), tainted, None).unwrap_err().contains("taints"));
        let mut role = good.clone();
        role["metadata"]["labels"]["node-role.kubernetes.io/worker"] = "".into();
        assert_eq!(check(Update, "nodes/status", role.clone(), role.clone(), None), Ok(()), "what others set may stay");
        assert!(check(Update, "nodes", good, role, None).unwrap_err().contains("node-role.kubernetes.io/worker"));
    }

    #[test]
    fn tokens_and_leases() {
        use Operation::{Create, Update};
        let request = |reference: Value| json!({"spec": {"boundObjectRef": reference}});
        let bound = request(json!({"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "u"}));
        assert_eq!(check(Create, "serviceaccounts/token", bound.clone(), Value::Null, Some(pod("w1"))), Ok(()));
        assert!(check(Create, "serviceaccounts/token", bound.clone(), Value::Null, Some(pod("w2"))).is_err());
        assert!(check(Create, "serviceaccounts/token", bound, Value::Null, None).is_err());
        let mounts = json!({"spec": {"volumes": [{"name": "a"}, {"projected": {"sources": [{"serviceAccountToken": {}},
            {"serviceAccountToken": {"audience": "vault"}}]}}]}});
        let asked = ["", "vault", "other"].map(|audience| mounts_token_for(&mounts, audience));
        assert_eq!(asked, [true, true, false]);
        assert!(check(Create, "serviceaccounts/token", request(Value::Null), Value::Null, None).is_err());
        let lease = |namespace: &str, name: &str| json!({"metadata": {"namespace": namespace, "name": name}});
        assert_eq!(check(Update, "leases", lease("kube-node-lease", "w1"), Value::Null, None), Ok(()));
        assert!(check(Update, "leases", lease("kube-node-lease", "w2"), Value::Null, None).is_err());
        assert!(check(Create, "leases", lease("default", "w1"), Value::Null, None).is_err());
        assert_eq!(check(Create, "csinodes", lease("", "w1"), Value::Null, None), Ok(()));
    }
}
