//! The few kinds whose writes reach beyond the object: Services take addresses, definitions change what is served.

use schema::field::{Error, ErrorList};
use serde_json::Value;

use super::service::{self, Refusal, Reservation};
use crate::app::Call;
use crate::crd;
use crate::http::status::ApiResult;
use crate::kinds::validate::{self, pod_annotations, resource};

/// A certificate request says who made it, whatever it says itself.
pub fn sign_with_user(call: &Call, object: &mut Value) {
    if !call.resource.is("certificates.k8s.io", "certificatesigningrequests") || !object["spec"].is_object() {
        return;
    }
    let spec = &mut object["spec"];
    let user = &call.user;
    spec["username"] = user.username.as_str().into();
    spec["groups"] = user.groups.clone().into();
    if let Some(spec) = spec.as_object_mut() {
        spec.remove("uid");
        spec.remove("extra");
        if !user.uid.is_empty() {
            spec.insert("uid".to_owned(), user.uid.as_str().into());
        }
        if !user.extra.is_empty() {
            spec.insert("extra".to_owned(), serde_json::json!(user.extra));
        }
    }
}

/// A new pod's annotations of old become fields.
pub fn sync_app_armor(call: &Call, object: &mut Value) {
    if call.resource.is("", "pods") {
        pod_annotations::app_armor_fields(object).into_iter().for_each(|warning| call.warn(warning));
    }
}

/// What is wrong with an object beside other ones: devices for administrators are for namespaces that are marked so
/// (`AuthorizedForAdmin`).
pub async fn check(call: &Call, new: &Value, old: Option<&Value>) -> ApiResult<ErrorList> {
    let mut errors = ErrorList::new();
    if call.resource.is("", "services") && call.info.subresource.is_empty() {
        let errors = validate::service::addressing(new);
        if !errors.is_empty() {
            return Err(call.invalid(crate::app::text(new, "/metadata/name"), &errors));
        }
    }
    if call.resource.group != "resource.k8s.io" {
        return Ok(errors);
    }
    let Some(path) = resource::admin_access(&call.resource.plural, new, old) else { return Ok(errors) };
    let namespace = super::write::live(&call.app, "namespaces", "", &call.info.namespace).await?.unwrap_or_default();
    if namespace["metadata"]["labels"][resource::ADMIN_NAMESPACE] != "true" {
        let label = resource::ADMIN_NAMESPACE;
        let detail = format!("admin access to devices requires the `{label}: true` label on the containing namespace");
        errors.push(Error::forbidden(&path, detail));
    }
    Ok(errors)
}

/// Before an object is created; what it takes is given back unless the caller keeps it.
pub async fn before_create(call: &Call, object: &mut Value) -> ApiResult<Reservation> {
    reserve(call, object, None).await
}

/// Before an object is written over `old`.
pub async fn before_update(call: &Call, object: &mut Value, old: &Value) -> ApiResult<Reservation> {
    reserve(call, object, Some(old)).await
}

async fn reserve(call: &Call, object: &mut Value, old: Option<&Value>) -> ApiResult<Reservation> {
    if !call.resource.is("", "services") {
        return Ok(Reservation::default());
    }
    let name = crate::app::text(object, "/metadata/name").to_owned();
    service::assign(&call.app, object, old, call.dry_run()).await.map_err(|refusal| match refusal {
        Refusal::Fields(errors) => call.invalid(&name, &errors),
        Refusal::Failed(error) => error,
    })
}

pub async fn after_create(call: &Call, object: &Value) -> ApiResult<()> {
    if !call.dry_run() && call.resource.is(crd::GROUP, crd::PLURAL) {
        crd::changed(&call.app, object).await?;
    }
    Ok(())
}

pub async fn after_update(call: &Call, object: &Value, old: &Value) -> ApiResult<()> {
    if call.dry_run() {
        return Ok(());
    }
    if call.resource.is("", "services") {
        service::release_difference(&call.app, old, object).await;
    }
    if call.resource.is(crd::GROUP, crd::PLURAL) && !crate::registry::object::is_deleting(object) {
        crd::changed(&call.app, object).await?;
    }
    if call.resource.is(crd::GROUP, crd::PLURAL) && crate::registry::object::is_deleting(object) {
        crd::finalize(&call.app, object);
    }
    Ok(())
}

pub async fn after_delete(call: &Call, object: &Value) -> ApiResult<()> {
    if call.resource.is("", "services") {
        service::release(&call.app, object).await;
    }
    if call.resource.is(crd::GROUP, crd::PLURAL) {
        crd::removed(&call.app, object);
    }
    let own = call.resource.is("", "services")
        || call.resource.is("", "endpoints")
        || call.resource.is("discovery.k8s.io", "endpointslices");
    if own
        && crate::app::text(object, "/metadata/name") == "kubernetes"
        && crate::app::text(object, "/metadata/namespace") == "default"
    {
        crate::bootstrap::restore_kubernetes_service(&call.app);
    }
    Ok(())
}
