//! Writing a pod's status: one patch at a time, always the newest; what it overtook is never sent. What somebody else made of
//! our conditions since (the node controller, say, while the node was silent) is put right, as upstream's status manager does.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::Client;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, Preconditions};
use tokio::sync::watch;

use super::status::OWN;

/// Between tries while the API server does not answer.
const RETRY: Duration = Duration::from_millis(500);

/// Which network namespace is the pod's.
pub const NETNS_ANNOTATION: &str = "knetsim.dev/netns";

/// What the actor wants written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    pub status: Option<PodStatus>,
    /// The pod's network namespace below /run/netns, for `knetsim exec NAMESPACE/POD`.
    pub netns: Option<String>,
    /// The pod is over: remove the object after its last status.
    pub delete: bool,
    /// The version of the object in which our conditions were seen to be other than `status` says. It may be older than
    /// our last write.
    pub contested: Option<u64>,
}

/// The version of an object, as a number ([KEP-5504](https://kep.k8s.io/5504)).
pub fn version(pod: &Pod) -> Option<u64> {
    pod.metadata.resource_version.as_deref()?.parse().ok()
}

/// Writes until the object is gone or the actor ends.
pub async fn run(client: Client, pod: Pod, mut wanted: watch::Receiver<Wanted>) {
    let api: Api<Pod> = Api::namespaced(client, &pod.namespace().unwrap_or_default());
    let (name, uid) = (pod.name_any(), pod.uid().unwrap_or_default());
    // What was written last, and the version that made.
    let mut written: Option<(Wanted, u64)> = None;
    loop {
        let now = wanted.borrow_and_update().clone();
        if let Some(status) = &now.status
            && written.as_ref().is_none_or(|(old, version)| {
                old.status != now.status || old.netns != now.netns || now.contested > Some(*version)
            })
        {
            match write(&api, &name, &uid, status, now.netns.as_deref()).await {
                Ok(Some(pod)) => written = Some((now.clone(), version(&pod).unwrap_or(u64::MAX))),
                Ok(None) => return,
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

/// Nothing when the object is gone, or is another one of the same name.
pub(crate) async fn write(
    api: &Api<Pod>,
    name: &str,
    uid: &str,
    status: &PodStatus,
    netns: Option<&str>,
) -> kube::Result<Option<Pod>> {
    let mut body = serde_json::json!({ "metadata": { "uid": uid }, "status": status });
    // Conditions are merged by their type: of others' we may not have heard yet, so that ours alone are sent, those that
    // are over among them.
    if let Some(conditions) = body["status"]["conditions"].as_array_mut() {
        conditions.retain(|condition| condition["type"].as_str().is_some_and(|name| OWN.contains(&name)));
        for name in OWN {
            if !conditions.iter().any(|condition| condition["type"] == *name) {
                conditions.push(serde_json::json!({ "$patch": "delete", "type": name }));
            }
        }
    }
    // Addresses would be merged, too, and an old one would stay.
    if let Some(addresses) = body["status"]["podIPs"].as_array_mut() {
        addresses.insert(0, serde_json::json!({ "$patch": "replace" }));
    }
    // A patch keeps what it does not name: fields that went away are named.
    for field in ["podIP", "podIPs", "reason", "message"] {
        if body["status"].get(field).is_none() {
            body["status"][field] = serde_json::Value::Null;
        }
    }
    if let Some(netns) = netns {
        body["metadata"]["annotations"] = serde_json::json!({ NETNS_ANNOTATION: netns });
    }
    match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(body)).await {
        Ok(pod) => Ok(Some(pod)),
        Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) async fn delete(api: &Api<Pod>, name: &str, uid: &str) -> kube::Result<()> {
    let only_this = Preconditions { uid: Some(uid.to_owned()), ..Default::default() };
    let at_once = DeleteParams { grace_period_seconds: Some(0), preconditions: Some(only_this), ..Default::default() };
    match api.delete(name, &at_once).await {
        Err(kube::Error::Api(error)) if error.code == 404 || error.code == 409 => Ok(()),
        other => other.map(drop),
    }
}
