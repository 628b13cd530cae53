//! Writing a pod's status: one patch at a time, always the newest; what it overtook is never sent.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use tokio::sync::watch;

/// Between tries while the API server does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// What the actor wants written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub status: Option<PodStatus>,
    /// The pod is over: remove the object after its last status.
    pub delete: bool,
}

/// Writes until the object is gone or the actor ends.
pub async fn run(client: Client, pod: Pod, mut wanted: watch::Receiver<Wanted>) {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    let mut written: Option<PodStatus> = None;
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(status) = &now.status
            && written.as_ref() != Some(status)
        {
            match write(&api, &name, &uid, status).await {
                Ok(true) => written = Some(status.clone()),
                Ok(false) => return,
                Err(error) => {
                    tracing::warn!(%error, pod = name, "the pod's status is not written");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
            if *wanted.borrow() != now {
                continue;
            }
        }
        if now.delete {
            match delete(&api, &name, &uid).await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(%error, pod = name, "the pod is not deleted");
                    tokio::time::sleep(RETRY).await;
                    continue;
                }
            }
        }
        if wanted.changed().await.is_err() {
            return;
        }
    }
}

/// False when the object is gone, or is another one of the same name.
async fn write(api: &Api<Pod>, name: &str, uid: &str, status: &PodStatus) -> kube::Result<bool> {
    let mut body = serde_json::json!({ "metadata": { "uid": uid }, "status": status });
    // A merge patch keeps what it does not name: fields that went away are named.
    for field in ["podIP", "podIPs", "reason", "message"] {
        if body["status"].get(field).is_none() {
            body["status"][field] = serde_json::Value::Null;
        }
    }
    match api.patch_status(name, &PatchParams::default(), &Patch::Merge(body)).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}

async fn delete(api: &Api<Pod>, name: &str, uid: &str) -> kube::Result<()> {
    let only_this = Preconditions { uid: Some(uid.to_owned()), ..Default::default() };
    let at_once = DeleteParams { grace_period_seconds: Some(0), preconditions: Some(only_this), ..Default::default() };
    match api.delete(name, &at_once).await {
        Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(()),
        other => other.map(drop),
    }
}
