//! DefaultStorageClass and DefaultIngressClass: the class marked as default, where the object names none.

use serde_json::Value;

use super::Attributes;
use crate::app::text;
use crate::http::status::ApiResult;

const STORAGE: &str = "storageclass.kubernetes.io/is-default-class";
const INGRESS: &str = "ingressclass.kubernetes.io/is-default-class";

pub async fn storage(a: &Attributes<'_>, claim: &mut Value) -> ApiResult<()> {
    let legacy = claim["metadata"]["annotations"]["volume.beta.kubernetes.io/storage-class"].is_string();
    if claim["spec"]["storageClassName"].is_string() || legacy {
        return Ok(());
    }
    // Of several defaults the newest wins.
    if let Some(class) = defaults(a, "storage.k8s.io", "storageclasses", STORAGE).await?.pop() {
        claim["spec"]["storageClassName"] = class.into();
    }
    Ok(())
}

pub async fn ingress(a: &Attributes<'_>, ingress: &mut Value) -> ApiResult<()> {
    let legacy = ingress["metadata"]["annotations"]["kubernetes.io/ingress.class"].is_string();
    if ingress["spec"]["ingressClassName"].is_string() || legacy {
        return Ok(());
    }
    let mut classes = defaults(a, "networking.k8s.io", "ingressclasses", INGRESS).await?;
    if classes.len() > 1 {
        classes.sort();
        let why = format!("{} default IngressClasses were found, only 1 allowed", classes.len());
        return Err(a.forbidden(ingress, &why));
    }
    if let Some(class) = classes.pop() {
        ingress["spec"]["ingressClassName"] = class.into();
    }
    Ok(())
}

/// The names of the classes marked as default, the oldest first.
async fn defaults(a: &Attributes<'_>, group: &str, plural: &str, annotation: &str) -> ApiResult<Vec<String>> {
    let mut found = Vec::new();
    for class in a.list(group, plural, "").await? {
        if class["metadata"]["annotations"][annotation] == "true" {
            let of = |pointer: &str| text(&class, pointer).to_owned();
            found.push((of("/metadata/creationTimestamp"), of("/metadata/name")));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}
