//! NodeRestriction: a kubelet writes its own node, its own pods, and what belongs to them, nothing else. The rules are
//! `auth::node::restrict`.

use auth::Resource;
use auth::node::{Operation, Write, restrict};
use serde_json::Value;

use super::Verb;
use crate::app::Call;
use crate::http::status::ApiResult;

/// `pod`: the one an eviction is about, or a token is to be bound to.
pub fn admit(call: &Call, verb: Verb, object: Option<&Value>, old: Option<&Value>, pod: Option<&Value>) -> ApiResult<()> {
    let Some(node) = call.user.node() else { return Ok(()) };
    let write = Write {
        operation: match verb {
            Verb::Create => Operation::Create,
            Verb::Update => Operation::Update,
            Verb::Delete => Operation::Delete,
        },
        resource: Resource {
            group: &call.resource.group,
            resource: &call.resource.plural,
            subresource: &call.info.subresource,
            namespace: &call.info.namespace,
            name: &call.info.name,
        },
        object,
        old,
        pod,
    };
    restrict(node, &write).map_err(|why| call.forbidden(&call.info.name, &why))
}
