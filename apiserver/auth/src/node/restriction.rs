//! NodeRestriction: what a kubelet may write. A pure check of one write; the API server calls it in admission for users that
//! are nodes, before the other validating plugins.
//!
//! Follows upstream's `plugin/pkg/admission/noderestriction`, and its messages.

#[cfg(test)]
mod tests;

use crate::csr;
use crate::request::Resource;
use crate::user::NODE_USER_PREFIX;
use serde_json::{Map, Value};
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

/// What a kubelet may change of a PersistentVolumeClaim, and what need not be the same: an update may leave out the version, and
/// managedFields follow from the rest. Inside, upstream's objects do not say their kind.
const CLAIM_FIELDS: [(&str, &[&str]); 3] = [
    ("", &["apiVersion", "kind"]),
    ("/metadata", &["managedFields", "resourceVersion"]),
    ("/status", &["allocatedResourceStatuses", "allocatedResources", "capacity", "conditions"]),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A write to be judged.
#[derive(Clone, Copy, Debug)]
pub struct Write<'a> {
    pub operation: Operation,
    /// Its name is the object's, as far as it has one yet, and empty where a collection is deleted.
    pub resource: Resource<'a>,
    /// As it is to be; none for a deletion.
    pub object: Option<&'a Value>,
    /// As it is; none for a creation.
    pub old: Option<&'a Value>,
    /// The pod that [`pod_meant`] names, as it is now.
    pub pod: Option<&'a Value>,
    /// The kubelet's node as it is now, where a pod is created.
    pub node: Option<&'a Value>,
}

/// Why a kubelet may not do a write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// 403.
    #[error("{0}")]
    Forbidden(String),
    /// 403: more of a PersistentVolumeClaim was changed than may be; the caller adds what.
    #[error("{why}: ")]
    Changed { why: String, old: Value, new: Value },
    /// 404: what the write is about or leads to is not there.
    #[error("{kind} {name:?} not found")]
    Missing { kind: &'static str, name: String },
}

impl From<String> for Refusal {
    fn from(why: String) -> Self {
        Self::Forbidden(why)
    }
}

impl From<&str> for Refusal {
    fn from(why: &str) -> Self {
        Self::Forbidden(why.to_owned())
    }
}

/// The name of the pod that is to be evicted, or that a token is to be bound to; "" for other writes, and where none is named.
pub fn pod_meant<'a>(resource: &Resource<'a>, object: &'a Value) -> &'a str {
    let text = |value: &'a Value| value.as_str().unwrap_or_default();
    match (resource.group, resource.resource, resource.subresource) {
        ("", "pods", "eviction") if resource.name.is_empty() => text(&object["metadata"]["name"]),
        ("", "pods", "eviction") => resource.name,
        ("", "serviceaccounts", "token") => text(&object["spec"]["boundObjectRef"]["name"]),
        _ => "",
    }
}

/// Whether the kubelet of `node` may do the write; `node` is empty for one that does not say whose it is.
///
/// # Errors
/// Why it may not.
pub fn restrict(node: &str, write: &Write<'_>) -> Result<(), Refusal> {
    if node.is_empty() {
        return Err(format!("could not determine node from user {NODE_USER_PREFIX:?}").into());
    }
    let none = Value::Null;
    let (object, old) = (write.object.unwrap_or(&none), write.old.unwrap_or(&none));
    match (write.resource.group, write.resource.resource, write.resource.subresource) {
        ("", "pods", "") => pod(node, write, object, old),
        ("", "pods", "status") => Ok(pod_status(node, write.operation, object, old)?),
        ("", "pods", "eviction") => eviction(node, write, object),
        ("", "pods", other) => {
            Err(format!("unexpected pod subresource {other:?}, only 'status' and 'eviction' are allowed").into())
        }
        ("", "nodes", _) => Ok(own_node(node, write, object, old)?),
        ("", "persistentvolumeclaims", "status") => claim_status(node, write.operation, object, old),
        ("", "persistentvolumeclaims", _) => Err("may only update PVC status".into()),
        ("", "serviceaccounts", "token") if write.operation == Operation::Create => token(node, write, object),
        // Behind a gate that is closed.
        ("certificates.k8s.io", "podcertificaterequests", _) => {
            Err("PodCertificateRequest feature gate is disabled".into())
        }
        ("certificates.k8s.io", "certificatesigningrequests", _) if write.operation == Operation::Create => {
            Ok(certificate(node, object)?)
        }
        ("coordination.k8s.io", "leases", _) if write.resource.namespace != super::LEASES => {
            Err(format!("can only access leases in the {:?} system namespace", super::LEASES).into())
        }
        ("coordination.k8s.io", "leases", _) if name_of(write, object) != node => {
            Err("can only access node lease with the same name as the requesting node".into())
        }
        ("storage.k8s.io", "csinodes", _) if name_of(write, object) != node => {
            Err("can only access CSINode with the same name as the requesting node".into())
        }
        ("resource.k8s.io", "resourceslices", _) => Ok(slice(node, write.operation, object, old)?),
        _ => Ok(()),
    }
}

/// The name of what is written; of what is made, the one it gives itself.
fn name_of<'a>(write: &Write<'a>, object: &'a Value) -> &'a str {
    match write.operation {
        Operation::Create => object["metadata"]["name"].as_str().unwrap_or_default(),
        Operation::Update | Operation::Delete => write.resource.name,
    }
}

/// Whether two values are the same to Go: a list or map without entries is as good as none.
fn same(a: &Value, b: &Value) -> bool {
    let empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.values().all(Value::is_null),
        _ => false,
    };
    let none = Value::Null;
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let mut names = a.keys().chain(b.keys());
            names.all(|name| same(a.get(name).unwrap_or(&none), b.get(name).unwrap_or(&none)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        _ => a == b || (empty(a) && empty(b)),
    }
}

fn pod(node: &str, write: &Write<'_>, object: &Value, old: &Value) -> Result<(), Refusal> {
    match write.operation {
        Operation::Create => super::mirror::check(node, object, write.node),
        Operation::Delete if old["spec"]["nodeName"] == node => Ok(()),
        Operation::Delete => Err(format!("node {node:?} can only delete pods with spec.nodeName set to itself").into()),
        Operation::Update => {
            let word = write.operation.word();
            Err(format!("unexpected operation {word:?}, node {node:?} can only create and delete mirror pods").into())
        }
    }
}

fn pod_status(node: &str, operation: Operation, object: &Value, old: &Value) -> Result<(), String> {
    if operation != Operation::Update {
        return Err(format!("unexpected operation {:?}", operation.word()));
    }
    if old["spec"]["nodeName"] != node {
        return Err(format!("node {node:?} can only update pod status for pods with spec.nodeName set to itself"));
    }
    // Which devices a pod gets is for those to say who allocate them. The typo is upstream's.
    for (pointer, what) in [
        ("/metadata/labels", "labels through pod status"),
        ("/status/resourceClaimStatuses", "resource claim statues"),
        ("/status/extendedResourceClaimStatus", "extended resource claim status"),
    ] {
        let of = |pod: &Value| pod.pointer(pointer).cloned().unwrap_or_default();
        if !same(&of(object), &of(old)) {
            return Err(format!("node {node:?} cannot update {what}"));
        }
    }
    Ok(())
}

fn eviction(node: &str, write: &Write<'_>, object: &Value) -> Result<(), Refusal> {
    if write.operation != Operation::Create {
        return Err(format!("unexpected operation {}", write.operation.word()).into());
    }
    let name = pod_meant(&write.resource, object);
    if name.is_empty() {
        return Err("could not determine pod from request data".into());
    }
    let pod = write.pod.ok_or_else(|| Refusal::Missing { kind: "pod", name: name.to_owned() })?;
    if pod["spec"]["nodeName"] != node {
        return Err(format!("node {node} can only evict pods with spec.nodeName set to itself").into());
    }
    Ok(())
}

/// A kubelet tells of a claim how large its volume has become.
fn claim_status(node: &str, operation: Operation, object: &Value, old: &Value) -> Result<(), Refusal> {
    if operation != Operation::Update {
        return Err(format!("unexpected operation {:?}", operation.word()).into());
    }
    let rest = |claim: &Value| {
        let mut rest = claim.clone();
        for (parent, fields) in CLAIM_FIELDS {
            if let Some(parent) = rest.pointer_mut(parent).and_then(Value::as_object_mut) {
                parent.retain(|field, _| !fields.contains(&field.as_str()));
            }
        }
        rest
    };
    let (old, new) = (rest(old), rest(object));
    if same(&old, &new) {
        return Ok(());
    }
    // Upstream calls the capacity so.
    let why = format!("node {node:?} is not allowed to update fields other than status.quantity and status.conditions");
    Err(Refusal::Changed { why, old, new })
}

fn own_node(node: &str, write: &Write<'_>, object: &Value, old: &Value) -> Result<(), String> {
    let name = write.resource.name;
    if name != node {
        return Err(format!("node {node:?} is not allowed to modify node {name:?}"));
    }
    let none = Map::new();
    let before = old["metadata"]["labels"].as_object().unwrap_or(&none);
    let after = object["metadata"]["labels"].as_object().unwrap_or(&none);
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = names.into_iter().filter(|name| before.get(name.as_str()) != after.get(name.as_str()));
    let forbidden: Vec<&str> = changed.map(String::as_str).filter(|label| !may_set(label)).collect();
    let forbidden = forbidden.join(", ");
    // What a node's configuration comes from, its kubelet could read.
    let source = &object["spec"]["configSource"];
    match write.operation {
        Operation::Create if !source.is_null() => {
            Err(format!("node {node:?} is not allowed to create pods with a non-nil configSource"))
        }
        Operation::Create if !forbidden.is_empty() => {
            Err(format!("node {node:?} is not allowed to set the following labels: {forbidden}"))
        }
        Operation::Update => {
            let old_source = &old["spec"]["configSource"];
            if !source.is_null() && (old_source.is_null() || !same(source, old_source)) {
                return Err(format!(
                    "node {node:?} is not allowed to update configSource to a new non-nil configSource"
                ));
            }
            for (parent, field) in [("spec", "taints"), ("metadata", "ownerReferences")] {
                if !same(&object[parent][field], &old[parent][field]) {
                    return Err(format!("node {node:?} is not allowed to modify {field}"));
                }
            }
            if forbidden.is_empty() { Ok(()) } else { Err(format!("is not allowed to modify labels: {forbidden}")) }
        }
        Operation::Create | Operation::Delete => Ok(()),
    }
}

/// The authorizer knows nothing of a slice that is yet to be made, nor of those of a collection.
fn slice(node: &str, operation: Operation, object: &Value, old: &Value) -> Result<(), String> {
    let (slice, verb) = match operation {
        Operation::Create => (object, "create"),
        Operation::Delete => (old, "delete"),
        Operation::Update => return Ok(()),
    };
    if slice["spec"]["nodeName"] != node {
        return Err(format!("can only {verb} ResourceSlice with the same NodeName as the requesting node"));
    }
    Ok(())
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

fn token(node: &str, write: &Write<'_>, request: &Value) -> Result<(), Refusal> {
    let bound = &request["spec"]["boundObjectRef"];
    let name = pod_meant(&write.resource, request);
    if bound["apiVersion"] != "v1" || bound["kind"] != "Pod" || name.is_empty() {
        return Err("node requested token not bound to a pod".into());
    }
    let Some(uid) = bound["uid"].as_str().filter(|uid| !uid.is_empty()) else {
        return Err("node requested token with a pod binding without a uid".into());
    };
    let pod = write.pod.ok_or_else(|| Refusal::Missing { kind: "pod", name: name.to_owned() })?;
    if pod["metadata"]["uid"] != uid {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been \
             deleted and then recreated"
        );
        return Err(why.into());
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
