//! OwnerReferencesPermissionEnforcement: who ties a living object to an owner must be allowed to delete the object, and who
//! has the owner wait for it, to hold the owner back (`plugin/pkg/admission/gc`). Off unless asked for, as upstream.

use auth::{Attributes, Resource, Target};
use serde_json::Value;

use super::Attributes as Request;
use super::Operation;
use crate::access::decide;
use crate::app::text;
use crate::http::status::ApiResult;

pub async fn admit(a: &Request<'_>, object: &Value) -> ApiResult<()> {
    let (call, old) = (a.call, a.old);
    if !matches!(a.operation, Operation::Create | Operation::Update) || !changed(object, old) {
        return Ok(());
    }
    let own = Resource {
        group: &call.resource.group,
        resource: &call.resource.plural,
        namespace: &call.info.namespace,
        name: text(object, "/metadata/name"),
        subresource: "",
    };
    // Who creates an object might as well not have: its life is theirs to tie.
    if a.operation == Operation::Update {
        let attributes = Attributes { user: &call.user, verb: "delete", target: Target::Resource(own) };
        let decision = decide(&call.app, &attributes).await;
        if !decision.allowed() {
            let why = format!("cannot set an ownerRef on a resource you can't delete: {}, <nil>", decision.reason());
            return Err(a.forbidden(object, &why));
        }
    }
    for owner in newly_blocking(object, old) {
        let group = text(owner, "/apiVersion").split_once('/').map_or("", |(group, _)| group);
        let catalogue = call.app.catalogue.load_full();
        let kind = text(owner, "/kind");
        let Some(found) = catalogue.all().find(|resource| resource.group == group && resource.kind == kind) else {
            let why = format!(
                "cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion {} Kind {kind}: no matches for kind {kind:?} in version {:?}",
                text(owner, "/apiVersion"),
                text(owner, "/apiVersion")
            );
            return Err(a.forbidden(object, &why));
        };
        let finalizers = Resource {
            group,
            resource: &found.plural,
            namespace: if found.namespaced { &call.info.namespace } else { "" },
            name: text(owner, "/name"),
            subresource: "finalizers",
        };
        let attributes = Attributes { user: &call.user, verb: "update", target: Target::Resource(finalizers) };
        let decision = decide(&call.app, &attributes).await;
        if !decision.allowed() {
            let why = format!(
                "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on: {}, <nil>",
                decision.reason()
            );
            return Err(a.forbidden(object, &why));
        }
    }
    Ok(())
}

fn owners(object: &Value) -> &[Value] {
    object["metadata"]["ownerReferences"].as_array().map_or(&[], Vec::as_slice)
}

fn changed(object: &Value, old: Option<&Value>) -> bool {
    owners(object) != old.map_or(&[][..], owners)
}

/// The owners that will wait for this object and did not before.
fn newly_blocking<'a>(object: &'a Value, old: Option<&'a Value>) -> Vec<&'a Value> {
    let blocks = |owner: &&Value| owner["blockOwnerDeletion"] == true;
    let before: Vec<&str> =
        old.map_or(&[][..], owners).iter().filter(blocks).map(|owner| text(owner, "/uid")).collect();
    owners(object).iter().filter(blocks).filter(|owner| !before.contains(&text(owner, "/uid"))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_counts_as_a_change() {
        let object = |owners: Value| json!({ "metadata": { "ownerReferences": owners } });
        let (free, blocking) = (json!([{ "uid": "a" }]), json!([{ "uid": "a", "blockOwnerDeletion": true }]));
        assert!(!changed(&object(Value::Null), None) && changed(&object(free.clone()), None));
        assert!(!changed(&object(free.clone()), Some(&object(free.clone()))));
        assert!(newly_blocking(&object(free.clone()), None).is_empty());
        assert_eq!(newly_blocking(&object(blocking.clone()), Some(&object(free))).len(), 1);
        assert!(newly_blocking(&object(blocking.clone()), Some(&object(blocking))).is_empty());
    }
}
