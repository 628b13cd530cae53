//! DefaultStorageClass and DefaultIngressClass: the class marked as default, where the object names none.

use serde_json::Value;
use store::cache::{At, ListQuery};

use crate::app::{Call, text};
use crate::http::answer::value_of;
use crate::http::status::ApiResult;

const STORAGE: &str = "storageclass.kubernetes.io/is-default-class";
const INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";

pub async fn storage(call: &Call, claim: &mut Value) -> ApiResult<()> {
    let legacy = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].is_string();
    if claim["spec"]["storageClassName"].is_string() || legacy {
        return Ok(());
    }
    // Of several defaults the newest wins.
    if let Some(class) = defaults(call, "storage.k8s.io", "storageclasses", STORAGE).await?.pop() {
        claim["spec"]["storageClassName"] = class.into();
    }
    Ok(())
}

pub async fn ingress(call: &Call, ingress: &mut Value) -> ApiResult<()> {
    let legacy = ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_string();
    if ingress["spec"]["ingressClassName"].is_string() || legacy {
        return Ok(());
    }
    let mut classes = defaults(call, "networking.k8s.io", "ingressclasses", INGRESS).await?;
    if classes.len() > 1 {
        classes.sort();
        let why = format!("{} default IngressClasses were found, only 1 allowed", classes.len());
        return Err(call.forbidden(text(ingress, "/metadata/name"), &why));
    }
    if let Some(class) = classes.pop() {
        ingress["spec"]["ingressClassName"] = class.into();
    }
    Ok(())
}

/// The names of the classes marked as default, the oldest first.
async fn defaults(call: &Call, group: &str, plural: &str, annotation: &str) -> ApiResult<Vec<String>> {
    let resource = call.app.resource(group, plural)?;
    let query = ListQuery { at: At::NotOlderThan(0), prefix: &resource.prefix, start: None, limit: 0, filter: None };
    let list = call.app.caches.of(&resource).list(query).await?;
    let mut found = Vec::new();
    for item in &list.items {
        let class = value_of(&resource, item)?;
        if class["metadata"]["annotations"][annotation] == "true" {
            found.push((text(&class, "/metadata/creationTimestamp").to_owned(), item.name().to_owned()));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}
