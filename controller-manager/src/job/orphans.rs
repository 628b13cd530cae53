//! Frees pods that carry the tracking finalizer while no Job counts them: its Job is over, gone, or has let them go.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;

use super::template::{TRACKING, is_tracked};
use super::view::finished;
use crate::context::Context;
use crate::framework::meta::{controller_of, key_of, selects};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};

struct Orphans {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let on_pod = queue.clone();
    kinds.pods.on_change(move |change| {
        if let Some(pod) = change.new.filter(|pod| is_tracked(pod)) {
            on_pod.add(key_of(&pod.metadata));
        }
    });
    let (on_job, pods) = (queue.clone(), kinds.pods.clone());
    kinds.jobs.on_change(move |change| {
        if change.new.is_none_or(|job| finished(job).is_some()) {
            let uid = change.object().metadata.uid.as_deref().unwrap_or_default();
            let tracked = pods.controlled_by(uid).into_iter().filter(|pod| is_tracked(pod));
            tracked.for_each(|pod| on_job.add(key_of(&pod.metadata)));
        }
    });
    drive(&context.gate(), &Arc::new(Orphans { context: context.clone() }), &queue, 2);
}

impl Controller for Orphans {
    const NAME: &'static str = "job-orphan-pods";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(pod) = kinds.pods.get(key).filter(|pod| is_tracked(pod)) else { return Ok(None) };
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let counted = match controller_of(&pod.metadata) {
            Some(owner) if owner.kind == "Job" => kinds
                .jobs
                .get(&format!("{namespace}/{}", owner.name))
                .is_some_and(|job| job.metadata.uid.as_deref() == Some(&owner.uid) && finished(&job).is_none()),
            // Somebody else's, whatever its finalizers.
            Some(_) => true,
            None => {
                let labels = pod.metadata.labels.as_ref();
                let adopts = |job: &k8s_openapi::api::batch::v1::Job| {
                    finished(job).is_none() && selects(job.spec.as_ref().and_then(|s| s.selector.as_ref()), labels)
                };
                !kinds.jobs.filter_in(namespace, adopts).is_empty()
            }
        };
        if !counted {
            release(&self.context, &pod).await?;
        }
        Ok(None)
    }
}

/// Takes the tracking finalizer off a pod; that the pod is gone is success.
pub async fn release(context: &Context, pod: &Arc<Pod>) -> Result<(), kube::Error> {
    let pods = &context.kinds.pods;
    // The cache may know a newer state, by our own deletion, say: a patch on an old one would conflict.
    let pod = pods.get(&key_of(&pod.metadata)).filter(|known| known.uid() == pod.uid()).unwrap_or_else(|| pod.clone());
    if !is_tracked(&pod) {
        return Ok(());
    }
    let kept: Vec<_> = pod.finalizers().iter().filter(|finalizer| *finalizer != TRACKING).collect();
    let patch = json!({ "metadata": {
        "finalizers": kept, "uid": pod.metadata.uid, "resourceVersion": pod.metadata.resource_version,
    }});
    match pods.merge(&pod.metadata, None, &patch).await {
        Err(error) if !error.is_not_found() => Err(error),
        _ => Ok(()),
    }
}
