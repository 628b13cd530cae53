//! Nobody grants what they do not have (`registry/rbac/*/policybased`): a role or binding is refused unless its author holds
//! all of its rules, or may `escalate` (roles) or `bind` (bindings) them.

use auth::{Attributes, Resource, Target};
use serde_json::{Value, json};

use super::{Attributes as Admission, Operation};
use crate::access::decide;
use crate::access::policy::Refusal;
use crate::app::text;
use crate::http::status::{ApiError, ApiResult};

const GROUP: &str = "rbac.authorization.k8s.io";

pub async fn admit(a: &Admission<'_>, object: &Value) -> ApiResult<()> {
    let call = a.call;
    let plural = call.resource.plural.as_str();
    let grants =
        |o: &Value| (o["rules"].clone(), o["subjects"].clone(), o["roleRef"].clone(), o["aggregationRule"].clone());
    let writes = matches!(a.operation, Operation::Create | Operation::Update);
    if !writes || call.resource.group != GROUP || a.old.is_some_and(|old| grants(old) == grants(object)) {
        return Ok(());
    }
    let mut refusal = call.app.access.policy.may_grant(&call.user, plural, object).err();
    // What an aggregation takes in is not known beforehand.
    let aggregates = |o: &Value| !o["aggregationRule"].is_null();
    if refusal.is_none() && (aggregates(object) || a.old.is_some_and(aggregates)) {
        let everything = json!({"metadata": {"name": ""}, "rules": [
            {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}, {"verbs": ["*"], "nonResourceURLs": ["*"]}]});
        let all = call.app.access.policy.may_grant(&call.user, plural, &everything);
        refusal =
            all.err().map(|_| Refusal::Why("must have cluster-admin privileges to use the aggregationRule".into()));
    }
    let Some(refusal) = refusal else { return Ok(()) };
    let name = text(object, "/metadata/name");
    let (verb, resource, target) = if plural.ends_with("bindings") {
        let kind = if text(object, "/roleRef/kind") == "Role" { "roles" } else { "clusterroles" };
        ("bind", kind, text(object, "/roleRef/name"))
    } else {
        ("escalate", plural, name)
    };
    let namespace = call.info.namespace.as_str();
    let resource = Resource { group: GROUP, resource, namespace, name: target, subresource: "" };
    let attributes = Attributes { user: &call.user, verb, target: Target::Resource(resource) };
    if decide(&call.app, &attributes).await.allowed() {
        return Ok(());
    }
    Err(match refusal {
        Refusal::NoRole => call.not_found(target),
        Refusal::Unreadable(why) => ApiError::new(500, "", why),
        Refusal::Why(why) => call.forbidden(name, &why),
    })
}
