//! What the scheduler tells the API server: bindings, evictions, conditions, Events.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use kube::runtime::wait::await_condition;
use kube::{Client, Resource};
use runtime::events::{EventType, Recorder};
use serde_json::{Value, json};

use crate::core::pod::PodInfo;
use crate::core::volumes::Assumed;
use crate::core::volumes::matching::{BOUND_BY_CONTROLLER, SELECTED_NODE, annotation, claim_ref, is_bound};

/// How long a pod's claims may take to be bound (upstream's `bindTimeoutSeconds`).
const BIND_TIMEOUT: Duration = Duration::from_secs(600);

/// Why a pod was not bound after all.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Its claims were not, and why.
    #[error("{0}")]
    Volumes(String),
    /// It is gone.
    #[error("the pod is gone")]
    CalledOff,
}

#[derive(Clone)]
pub struct Writer {
    client: Client,
    recorder: Arc<Recorder>,
}

fn reference(pod: &PodInfo) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        namespace: Some(pod.namespace.clone()),
        name: Some(pod.name.clone()),
        uid: Some(pod.uid.clone()),
        ..ObjectReference::default()
    }
}

impl Writer {
    #[must_use]
    pub fn new(client: Client, component: &str) -> Self {
        let recorder = Arc::new(Recorder::new(client.clone(), component, None));
        Self { client, recorder }
    }

    fn pods(&self, namespace: &str) -> Api<Pod> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Binds `pod` to `node`. The uid makes sure that it is this pod, not a later one of its name.
    ///
    /// # Errors
    /// The API server's refusal, or a transport error.
    pub async fn bind(&self, pod: &PodInfo, node: &str) -> Result<(), kube::Error> {
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding",
            "metadata": { "namespace": pod.namespace, "name": pod.name, "uid": pod.uid },
            "target": { "apiVersion": "v1", "kind": "Node", "name": node },
        });
        let body = serde_json::to_vec(&binding).map_err(kube::Error::SerdeError)?;
        let request = Request::new(Pod::url_path(&(), Some(&pod.namespace)))
            .create_subresource("binding", &pod.name, &PostParams::default(), body)
            .map_err(kube::Error::BuildRequest)?;
        self.client.request::<Value>(request).await?;
        let message = format!("Successfully assigned {} to {node}", pod.key());
        self.recorder.record(&reference(pod), EventType::Normal, "Scheduled", &message).await;
        Ok(())
    }

    /// Reserves volumes for claims, and asks for volumes to be made.
    ///
    /// # Errors
    /// The API server's refusal, a conflict above all, or a transport error.
    pub async fn bind_volumes(&self, assumed: &Assumed) -> Result<(), kube::Error> {
        let params = PatchParams::default();
        for (volume, _) in &assumed.volumes {
            let meta = &volume.metadata;
            let patch = json!({
                "metadata": { "resourceVersion": meta.resource_version, "annotations":
                    annotation(meta, BOUND_BY_CONTROLLER).map(|value| json!({ BOUND_BY_CONTROLLER: value })) },
                "spec": { "claimRef": claim_ref(volume) },
            });
            let volumes: Api<PersistentVolume> = Api::all(self.client.clone());
            volumes.patch(meta.name.as_deref().unwrap_or_default(), &params, &Patch::Strategic(patch)).await?;
        }
        for (claim, _) in &assumed.claims {
            let meta = &claim.metadata;
            let patch = json!({ "metadata": { "resourceVersion": meta.resource_version,
                "annotations": { SELECTED_NODE: annotation(meta, SELECTED_NODE) } } });
            let claims = self.claims(meta.namespace.as_deref());
            claims.patch(meta.name.as_deref().unwrap_or_default(), &params, &Patch::Strategic(patch)).await?;
        }
        Ok(())
    }

    fn claims(&self, namespace: Option<&str>) -> Api<PersistentVolumeClaim> {
        Api::namespaced(self.client.clone(), namespace.unwrap_or_default())
    }

    /// Waits until the controller has bound the claims.
    ///
    /// # Errors
    /// When it will not: a claim is gone, its node is no longer wanted, or time is up.
    pub async fn await_volumes(&self, assumed: &Assumed, node: &str) -> Result<(), BindError> {
        let all = async {
            for claim in &assumed.awaited {
                let meta = &claim.metadata;
                let provisioned = annotation(meta, SELECTED_NODE).is_some();
                let name = meta.name.as_deref().unwrap_or_default();
                let is_off = move |claim: &PersistentVolumeClaim| {
                    provisioned && annotation(&claim.metadata, SELECTED_NODE) != Some(node)
                };
                let decided = move |claim: Option<&PersistentVolumeClaim>| {
                    claim.is_none_or(|claim| claim.metadata.uid != meta.uid || is_bound(claim) || is_off(claim))
                };
                let claims = self.claims(meta.namespace.as_deref());
                match await_condition(claims, name, decided).await {
                    Ok(Some(claim)) if claim.metadata.uid == meta.uid && !is_off(&claim) => {}
                    Ok(Some(claim)) if claim.metadata.uid == meta.uid => {
                        return Err(BindError::Volumes(format!("provisioning failed for PVC {name:?}")));
                    }
                    Ok(_) => return Err(BindError::Volumes(format!("persistentvolumeclaim {name:?} not found"))),
                    Err(error) => return Err(BindError::Volumes(error.to_string())),
                }
            }
            Ok(())
        };
        let late = |_| Err(BindError::Volumes("context deadline exceeded".to_owned()));
        tokio::time::timeout(BIND_TIMEOUT, all).await.unwrap_or_else(late)
    }

    /// Tells why the pod waits: Event and condition; and where it will go once its victims are gone.
    pub async fn refuse(&self, pod: &PodInfo, message: &str, nominated: Option<&str>) {
        self.recorder.record(&reference(pod), EventType::Warning, "FailedScheduling", message).await;
        self.condition(pod, "Unschedulable", message, nominated).await;
    }

    /// Tells that the pod waits for its scheduling gates.
    pub async fn gated(&self, pod: &PodInfo) {
        let message = "Scheduling is blocked due to non-empty scheduling gates";
        self.condition(pod, "SchedulingGated", message, None).await;
    }

    async fn condition(&self, pod: &PodInfo, reason: &str, message: &str, nominated: Option<&str>) {
        let now = Timestamp::from_second(Timestamp::now().as_second()).expect("whole seconds of a timestamp");
        let mut status = json!({ "conditions": [waits(pod.generation, reason, message, now)] });
        if let Some(node) = nominated {
            status["nominatedNodeName"] = json!(node);
        }
        self.patch_status(pod, &status, "the condition PodScheduled").await;
    }

    async fn patch_status(&self, pod: &PodInfo, status: &Value, what: &str) {
        let patch = Patch::Strategic(json!({ "metadata": { "uid": pod.uid }, "status": status }));
        match self.pods(&pod.namespace).patch_status(&pod.name, &PatchParams::default(), &patch).await {
            Ok(_) => {}
            // Deleted, or replaced by another of its name: nobody is interested in its status any more.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(pod = pod.key(), %error, "cannot write {what}"),
        }
    }

    /// Evicts `victim` to make room for `pod`.
    pub async fn evict(&self, victim: &PodInfo, pod: &PodInfo, node: &str, scheduler: &str) {
        let now = Timestamp::from_second(Timestamp::now().as_second()).expect("whole seconds of a timestamp");
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
            "lastTransitionTime": now.to_string(),
        });
        self.patch_status(victim, &json!({ "conditions": [condition] }), "the condition DisruptionTarget").await;
        let params = DeleteParams {
            preconditions: Some(Preconditions { uid: Some(victim.uid.clone()), resource_version: None }),
            ..DeleteParams::default()
        };
        match self.pods(&victim.namespace).delete(&victim.name, &params).await {
            Ok(_) => {
                let message = format!("Preempted by pod {} on node {node}", pod.uid);
                self.recorder.record(&reference(victim), EventType::Normal, "Preempted", &message).await;
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => tracing::warn!(victim = victim.key(), %error, "cannot evict"),
        }
    }
}

/// The condition of a pod that waits, whose spec was of `generation` when it was looked at (KEP-5067).
fn waits(generation: i64, reason: &str, message: &str, now: Timestamp) -> Value {
    json!({
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message, "observedGeneration": generation,
        "lastProbeTime": null, "lastTransitionTime": now.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_says_which_spec_it_is_about() {
        let condition = waits(3, "Unschedulable", "no room", Timestamp::UNIX_EPOCH);
        assert_eq!(condition["observedGeneration"], 3);
        assert_eq!(condition["lastTransitionTime"], "1970-01-01T00:00:00Z");
    }
}
