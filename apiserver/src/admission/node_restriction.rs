//! NodeRestriction: a kubelet writes its own node, its own pods, and what belongs to them, nothing else. The rules are
//! `auth::node::restrict`.

use auth::node::{
    Operation as Kind, Refusal, Through, Write, driver, drivers, mounts_token_for, pod_meant, restrict, wants_token_for,
};
use auth::{Resource, Target};
use serde_json::Value;

use super::{Attributes, Operation};
use crate::access;
use crate::access::file::aggregate;
use crate::app::text;
use crate::http::status::{ApiError, ApiResult};
use crate::kinds::internal;
use crate::registry::write::{live, live_in};

/// As it is shown where one was changed; inside, objects do not say their kind.
const CLAIM: (&str, [&str; 2]) = ("api.core.v1.PersistentVolumeClaim", ["apiVersion", "kind"]);

pub async fn admit(a: &Attributes<'_>, object: &Value) -> ApiResult<()> {
    let Some(node) = a.user().node_identity() else { return Ok(()) };
    let operation = match a.operation {
        Operation::Create => Kind::Create,
        Operation::Update => Kind::Update,
        Operation::Delete => Kind::Delete,
        // Upstream's plugin does not see these.
        Operation::Connect => return Ok(()),
    };
    let (resource, info) = (a.resource(), &a.call.info);
    let target = Resource {
        group: &resource.group,
        resource: &resource.plural,
        subresource: &info.subresource,
        namespace: &info.namespace,
        name: &a.name,
    };
    let pod = match pod_meant(&target, object) {
        "" => None,
        name => live(a.app(), "pods", a.namespace(), name).await?,
    };
    let own = match a.is(Operation::Create, "", "pods") {
        true => live(a.app(), "nodes", "", node).await?,
        false => None,
    };
    let write = Write {
        operation,
        resource: target,
        object: Some(object).filter(|object| !object.is_null()),
        old: a.old,
        pod: pod.as_ref(),
        node: own.as_ref(),
    };
    restrict(node, &write).map_err(|why| refused(a, object, &why))?;
    match pod.filter(|_| a.subresource() == "token") {
        Some(pod) => audience(a, object, &pod).await.map_err(|why| a.forbidden(object, &why)),
        None => Ok(()),
    }
}

fn refused(a: &Attributes<'_>, object: &Value, why: &Refusal) -> ApiError {
    match why {
        Refusal::Forbidden(why) => a.forbidden(object, why),
        Refusal::Changed { old, new, .. } => {
            let (of, but) = CLAIM;
            a.forbidden(object, &format!("{why}{}", internal::diff_without(old, new, of, &but)))
        }
        Refusal::Missing { kind, name } => ApiError::not_found("", kind, name),
    }
}

/// A kubelet asks for tokens for whom the pod names in its volumes, whom the drivers of these want some for, or whom it is allowed
/// to ask for by the verb made for that.
async fn audience(a: &Attributes<'_>, request: &Value, pod: &Value) -> Result<(), String> {
    let audiences: Vec<&str> =
        request["spec"]["audiences"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let audience = match audiences.as_slice() {
        // The server's own: it names itself only later.
        [] => "",
        [only] => only,
        _ => return Err("node may only request 0 or 1 audiences".to_owned()),
    };
    let unknown = |why| format!("error validating audience {audience:?}: {why}");
    if mounts_token_for(pod, audience) || driver_wants_token(a, pod, audience).await.map_err(unknown)? {
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

/// Whether the driver of one of the pod's volumes wants tokens for this audience.
///
/// # Errors
/// None does, and of some it is not known.
async fn driver_wants_token(a: &Attributes<'_>, pod: &Value, audience: &str) -> Result<bool, String> {
    let mut wrong: Vec<String> = Vec::new();
    for through in drivers(pod) {
        match wants_token(a, &through, audience).await {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(why) => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(false) } else { Err(aggregate(&wrong)) }
}

async fn wants_token(a: &Attributes<'_>, through: &Through, audience: &str) -> Result<bool, String> {
    const CORE: &str = "";
    let claim_of = async |name: &str| {
        let claim =
            looked_up(a, (CORE, "persistentvolumeclaims", "persistentvolumeclaim"), a.namespace(), name).await?;
        let volume = text(&claim, "/spec/volumeName");
        let volume = looked_up(a, (CORE, "persistentvolumes", "persistentvolume"), "", volume).await?;
        Ok::<_, String>(driver(&volume["spec"]).map(str::to_owned))
    };
    let name = match through {
        Through::Driver(name) => Some(name.clone()),
        Through::Claim(name) => claim_of(name).await?,
    };
    let Some(name) = name else { return Ok(false) };
    let driver = looked_up(a, ("storage.k8s.io", "csidrivers", "csidriver"), "", &name).await?;
    Ok(wants_token_for(&driver, audience))
}

/// An object of a kind, given as its group, its plural, and how it is called where there is none.
async fn looked_up(
    a: &Attributes<'_>,
    (group, plural, kind): (&str, &str, &str),
    namespace: &str,
    name: &str,
) -> Result<Value, String> {
    let found = live_in(a.app(), group, plural, namespace, name).await.map_err(|error| error.to_string())?;
    found.ok_or_else(|| ApiError::not_found(group, kind, name).to_string())
}
