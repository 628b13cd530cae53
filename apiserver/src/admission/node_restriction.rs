//! NodeRestriction: a kubelet writes its own node, its own pods, and what belongs to them, nothing else. The rules are
//! `auth::node::restrict`.

use auth::node::{Operation as Kind, Write, mounts_token_for, restrict};
use auth::{Resource, Target};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::access;
use crate::app::text;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::write::live;

pub async fn admit(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let Some(node) = a.user().node() else { return Ok(()) };
    let operation = match a.operation {
        Operation::Create => Kind::Create,
        Operation::Update => Kind::Update,
        Operation::Delete => Kind::Delete,
        Operation::Connect => return Ok(()),
    };
    let (resource, info) = (a.resource(), &a.call.info);
    // The pod an eviction is about, or a token is to be bound to.
    let pod = match (resource.plural.as_str(), a.subresource()) {
        ("pods", "eviction") => live(a.app(), "pods", a.namespace(), &a.name).await?,
        ("serviceaccounts", "token") if text(object, "/spec/boundObjectRef/kind") == "Pod" => {
            let name = text(object, "/spec/boundObjectRef/name");
            let pod = live(a.app(), "pods", a.namespace(), name).await?;
            Some(pod.ok_or_else(|| ApiError::not_found("", "pods", name))?)
        }
        _ => None,
    };
    // The node a pod is to belong to.
    let own = match (resource.plural.as_str(), a.subresource(), operation) {
        ("pods", "", Kind::Create) => live(a.app(), "nodes", "", node).await?,
        _ => None,
    };
    let write = Write {
        operation,
        resource: Resource {
            group: &resource.group,
            resource: &resource.plural,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
        },
        object: Some(object).filter(|object| !object.is_null()),
        old: a.old,
        pod: pod.as_ref(),
        node: own.as_ref(),
    };
    restrict(node, &write).map_err(|why| a.forbidden(object, &why))?;
    match pod.filter(|_| a.subresource() == "token") {
        Some(pod) => audience(a, object, &pod).await.map_err(|why| a.forbidden(object, &why)),
        None => Ok(()),
    }
}

/// A kubelet asks for tokens for whom the pod names in its volumes, or whom it is allowed to ask for by the verb made for that.
async fn audience(a: &Attributes<'_>, request: &Value, pod: &Value) -> Result<(), String> {
    let audiences: Vec<&str> =
        request["spec"]["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let audience = match audiences.as_slice() {
        // Who names nobody has been given the server's own.
        all if *all == *a.app().access.audiences() => "",
        [] => "",
        [only] => only,
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    if mounts_token_for(pod, audience) {
        return Ok(());
    }
    let (user, namespace, name) = (a.user(), a.namespace(), a.call.info.name.as_str());
    let target = Target::Resource(Resource { group: "", resource: audience, subresource: "", namespace, name });
    let asked = auth::Attributes { user, verb: "request-serviceaccounts-token-audience", target };
    if access::decide(&a.call.app, &asked).await.allowed() {
        return Ok(());
    }
    Err(format!(
        "audience {audience:?} not found in pod spec volume, {} is not authorized to request tokens for this audience",
        user.username
    ))
}
