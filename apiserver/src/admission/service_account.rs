//! ServiceAccount: every pod runs as one, and finds its token, the CA and its namespace in a projected volume
//! (`plugin/pkg/admission/serviceaccount`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use store::cache::{At, CacheEvent, Change, ListQuery};

use super::{Attributes, Operation};
use crate::app::text;
use crate::http::status::{ApiError, ApiResult};
use crate::registry::object;
use crate::registry::write::live;

const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and some seconds, by which kubelets know tokens they may extend.
const TOKEN_SECONDS: i64 = 3607;
/// How long a pod waits for its namespace's own account: upstream asks for it ten times, at most a fifth of a second apart.
const PATIENCE: Duration = Duration::from_millis(1800);
const MIRROR: &str = "kubernetes.io/config.mirror";

pub async fn admit(a: &Attributes<'_>, pod: &mut Value) -> ApiResult<()> {
    // A mirror pod stands for one that runs already. What is wrong with it is told before other plugins look.
    if pod["metadata"]["annotations"][MIRROR].is_string() {
        return validate(a, pod);
    }
    if text(pod, "/spec/serviceAccountName").is_empty() {
        pod["spec"]["serviceAccountName"] = "default".into();
    }
    let name = text(pod, "/spec/serviceAccountName").to_owned();
    pod["spec"]["serviceAccount"] = name.clone().into();
    let Some(account) = find(a, &name).await? else {
        let namespace = a.namespace();
        let why = format!("error looking up service account {namespace}/{name}: serviceaccount {name:?} not found");
        return Err(a.forbidden(pod, &why));
    };
    let mounts = pod["spec"]["automountServiceAccountToken"]
        .as_bool()
        .or(account["automountServiceAccountToken"].as_bool())
        .unwrap_or(true);
    if mounts {
        mount(pod);
    }
    let none = pod["spec"]["imagePullSecrets"].as_array().is_none_or(Vec::is_empty);
    if none && account["imagePullSecrets"].as_array().is_some_and(|list| !list.is_empty()) {
        pod["spec"]["imagePullSecrets"] = account["imagePullSecrets"].clone();
    }
    Ok(())
}

/// From the store, not the cache: a namespace's first pod often comes right behind its ServiceAccount. Where that is the one that
/// every namespace gets, the pod waits for it a little, for it may have come too soon.
async fn find(a: &Attributes<'_>, name: &str) -> ApiResult<Option<Value>> {
    let found = live(a.app(), "serviceaccounts", a.namespace(), name).await?;
    if found.is_some() || name != "default" {
        return Ok(found);
    }
    tokio::time::timeout(PATIENCE, made(a, name)).await.unwrap_or(Ok(None))
}

/// The account as soon as there is one.
async fn made(a: &Attributes<'_>, name: &str) -> ApiResult<Option<Value>> {
    let resource = a.app().resource("", "serviceaccounts")?;
    let key = resource.key(a.namespace(), name);
    let query = ListQuery { at: At::Latest, prefix: &key, start: None, limit: 0, filter: None };
    let (list, mut watch) = a.app().caches.of(&resource).list_and_watch(query).await?;
    let mut found = list.items.into_iter().find(|object| *object.key == *key);
    loop {
        if let Some(object) = found {
            return serde_json::from_slice(object.bytes()).map(Some).map_err(ApiError::internal);
        }
        let events = watch.next().await?;
        let is_it = |event: &&Arc<CacheEvent>| event.change != Change::Deleted && *event.object.key == *key;
        found = events.iter().find(is_it).map(|event| event.object.clone());
    }
}

/// A mirror pod is made by whoever runs it: it gets nothing that an API object gives.
pub fn validate(a: &Attributes<'_>, pod: &Value) -> ApiResult<()> {
    if !a.is(Operation::Create, "", "pods") || !pod["metadata"]["annotations"][MIRROR].is_string() {
        return Ok(());
    }
    match given(pod) {
        Some(why) => Err(a.forbidden(pod, why)),
        None => Ok(()),
    }
}

fn given(pod: &Value) -> Option<&'static str> {
    if !text(pod, "/spec/serviceAccountName").is_empty() {
        return Some("a mirror pod may not reference service accounts");
    }
    let list = |pointer: &str| pod.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let volumes = list("/spec/volumes");
    let sources = |volume: &Value| volume["projected"]["sources"].as_array().cloned().unwrap_or_default();
    let projected: Vec<Value> = volumes.iter().flat_map(sources).collect();
    let secret = volumes.iter().any(|volume| volume["secret"].is_object())
        || projected.iter().any(|source| source["secret"].is_object())
        || auth::node::secrets(&pod["spec"]).next().is_some();
    if secret {
        return Some("a mirror pod may not reference secrets");
    }
    let token = projected.iter().any(|source| source["serviceAccountToken"].is_object());
    token.then_some("a mirror pod may not use ServiceAccountToken volume projections")
}

fn mount(pod: &mut Value) {
    let volumes = pod["spec"]["volumes"].as_array();
    let existing = volumes.into_iter().flatten().map(|volume| text(volume, "/name"));
    let own = existing.into_iter().find(|name| name.starts_with("kube-api-access-")).map(str::to_owned);
    let volume = own.clone().unwrap_or_else(|| format!("kube-api-access-{}", object::suffix(5)));
    let mut used = false;
    for list in ["initContainers", "containers"] {
        let containers = pod.pointer_mut(&format!("/spec/{list}")).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let mounts = container["volumeMounts"].as_array().cloned().unwrap_or_default();
            // A container that mounts something of its own there keeps it.
            if mounts.iter().any(|mount| text(mount, "/mountPath") == MOUNT) {
                continue;
            }
            let mut mounts = mounts;
            mounts.push(json!({ "name": volume, "readOnly": true, "mountPath": MOUNT }));
            container["volumeMounts"] = Value::Array(mounts);
            used = true;
        }
    }
    if used && own.is_none() {
        let mut volumes = pod["spec"]["volumes"].as_array().cloned().unwrap_or_default();
        volumes.push(json!({ "name": volume, "projected": { "defaultMode": 420, "sources": [
            { "serviceAccountToken": { "expirationSeconds": TOKEN_SECONDS, "path": "token" } },
            { "configMap": { "name": "kube-root-ca.crt", "items": [{ "key": "ca.crt", "path": "ca.crt" }] } },
            { "downwardAPI": { "items": [
                { "path": "namespace", "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.namespace" } }] } },
        ] } }));
        pod["spec"]["volumes"] = Value::Array(volumes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_pod_is_given_nothing() {
        let rows = [
            (json!({}), None),
            (json!({ "serviceAccountName": "x" }), Some("a mirror pod may not reference service accounts")),
            (json!({ "volumes": [{ "secret": {} }] }), Some("a mirror pod may not reference secrets")),
            (
                json!({ "containers": [{ "envFrom": [{ "secretRef": { "name": "s" } }] }] }),
                Some("a mirror pod may not reference secrets"),
            ),
            (
                json!({ "volumes": [{ "projected": { "sources": [{ "serviceAccountToken": {} }] } }] }),
                Some("a mirror pod may not use ServiceAccountToken volume projections"),
            ),
        ];
        for (spec, expected) in rows {
            assert_eq!(given(&json!({ "spec": spec })), expected, "{spec}");
        }
    }

    #[test]
    fn the_token_is_mounted_once_in_every_container() {
        let mut pod = json!({ "spec": { "containers": [{ "name": "a" }, { "name": "b", "volumeMounts": [{ "name": "x", "mountPath": MOUNT }] }] } });
        mount(&mut pod);
        let again = pod.clone();
        mount(&mut pod);
        assert_eq!(pod, again);
        assert!(pod["spec"].get("initContainers").is_none());
        assert_eq!(pod["spec"]["volumes"].as_array().unwrap().len(), 1);
        assert_eq!(pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"], MOUNT);
        assert_eq!(pod["spec"]["containers"][1]["volumeMounts"][0]["name"], "x");
    }
}
