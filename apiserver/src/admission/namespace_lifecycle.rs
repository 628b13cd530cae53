//! NamespaceLifecycle: nothing is created in a namespace that is missing or going away, and the three that the system
//! lives in cannot be deleted.

use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::http::status::{ApiError, ApiResult};
use crate::registry::object::is_deleting;
use crate::registry::write;

const IMMORTAL: [&str; 3] = ["default", "kube-system", "kube-public"];

pub async fn admit(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let call = a.call;
    if a.operation == Operation::Delete {
        let name = &call.info.name;
        if call.resource.is("", "namespaces") && IMMORTAL.contains(&name.as_str()) {
            return Err(call.forbidden(name, "this namespace may not be deleted"));
        }
        return Ok(());
    }
    let foreign = call.app.options.foreign_namespaces;
    if a.operation != Operation::Create || !call.resource.namespaced || is_review(a) || foreign {
        return Ok(());
    }
    let namespace = &call.info.namespace;
    let Some(found) = write::namespace(&call.app, namespace).await? else {
        return Err(ApiError::not_found("", "namespaces", namespace));
    };
    if !is_deleting(&found) {
        return Ok(());
    }
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut refusal = a.forbidden(object, &why);
    refusal.details["causes"] = json!([{
        "reason": "NamespaceTerminating",
        "message": format!("namespace {namespace} is being terminated"),
        "field": "metadata.namespace",
    }]);
    Err(refusal)
}

/// Questions about access are answered for any namespace.
fn is_review(a: &Attributes<'_>) -> bool {
    a.resource().group == "authorization.k8s.io"
}
