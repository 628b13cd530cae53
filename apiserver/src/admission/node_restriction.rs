//! NodeRestriction: a kubelet writes its own node, its own pods, and what belongs to them, nothing else. The rules are
//! `auth::node::restrict`.

use auth::Resource;
use auth::node::{Operation as Kind, Write, restrict};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::app::text;
use crate::http::status::ApiResult;
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
            live(a.app(), "pods", a.namespace(), text(object, "/spec/boundObjectRef/name")).await?
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
    restrict(node, &write).map_err(|why| a.forbidden(object, &why))
}
