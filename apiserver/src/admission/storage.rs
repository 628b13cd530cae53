//! StorageObjectInUseProtection and PersistentVolumeClaimResize (`plugin/pkg/admission/storage`).

use schema::quantity::Quantity;
use serde_json::{Value, json};

use super::{Attributes, Operation};
use crate::app::text;
use crate::http::answer::value_of;
use crate::http::status::ApiResult;
use crate::registry::object;

/// What is in use is not removed before its users are: a finalizer that the protection controllers take away.
pub fn protect(a: &Attributes<'_>, object: &mut Value) {
    let finalizer = match (a.resource().group.as_str(), a.resource().plural.as_str()) {
        ("", "persistentvolumes") => "kubernetes.io/pv-protection",
        ("", "persistentvolumeclaims") => "kubernetes.io/pvc-protection",
        ("storage.k8s.io", "volumeattributesclasses") => "kubernetes.io/vac-protection",
        _ => return,
    };
    let mut finalizers = object::finalizers(object);
    if !finalizers.iter().any(|name| name == finalizer) {
        finalizers.push(finalizer.to_owned());
        object::set(object, "finalizers", json!(finalizers));
    }
}

/// A claim grows only when it is bound, and its class allows it.
pub async fn resize(a: &Attributes<'_>, new: &Value) -> ApiResult<()> {
    let Some(old) = a.old.filter(|_| a.is(Operation::Update, "", "persistentvolumeclaims")) else { return Ok(()) };
    let size =
        |claim: &Value| Quantity::parse(text(claim, "/spec/resources/requests/storage")).unwrap_or(Quantity::ZERO);
    if size(old) >= size(new) {
        return Ok(());
    }
    if text(old, "/status/phase") != "Bound" {
        return Err(a.forbidden(new, "Only bound persistent volume claims can be expanded"));
    }
    let (class, before) = (class_of(new), class_of(old));
    let allowed = !class.is_empty() && class == before && {
        let resource = a.app().resource("storage.k8s.io", "storageclasses")?;
        match a.app().caches.peek(&resource, "", class).await? {
            Some(found) => value_of(&resource, &found)?["allowVolumeExpansion"] == true,
            None => false,
        }
    };
    if allowed {
        return Ok(());
    }
    let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize";
    Err(a.forbidden(new, why))
}

fn class_of(claim: &Value) -> &str {
    let legacy = text(claim, "/metadata/annotations/volume.beta.kubernetes.io~1storage-class");
    if legacy.is_empty() { text(claim, "/spec/storageClassName") } else { legacy }
}
