//! Namespaces being deleted: their pods go, then everything else, then they themselves (upstream `pkg/controller/namespace`,
//! KEP-5080: what guards pods, a NetworkPolicy say, must not go before them).
//!
//! What waits for somebody else (pods for their kubelet, objects for their finalizers) is looked at again when an object of
//! the namespace is gone; and, in case nobody tells of that, after upstream's estimate of how long it may take.

mod conditions;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::Resource;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::core::Request;

use crate::context::Context;
use crate::discovery::{Discovery, Served};
use crate::framework::meta::is_deleting;
use crate::framework::{ApiError, Controller, Outcome, Queue, drive};
use conditions::Remains;

/// The finalizer in `spec.finalizers` that this controller takes off.
const FINALIZER: &str = "kubernetes";
/// Upstream's guess of the seconds that finalizers take.
const FINALIZERS: i64 = 15;

struct Namespaces {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_namespace = queue.clone();
    context.kinds.namespaces.on_change(move |change| {
        if let Some(namespace) = change.new.filter(|namespace| is_deleting(&namespace.metadata)) {
            on_namespace.add(namespace.metadata.name.clone().unwrap_or_default());
        }
    });
    let (on_removal, namespaces) = (queue.clone(), context.kinds.namespaces.clone());
    let removed = move |namespace: &str| {
        if namespaces.get(namespace).is_some_and(|found| is_deleting(&found.metadata)) {
            on_removal.add(namespace);
        }
    };
    let on_pod = removed.clone();
    context.kinds.pods.on_change(move |change| {
        if change.new.is_none() {
            on_pod(change.object().metadata.namespace.as_deref().unwrap_or_default());
        }
    });
    context.on_removed(move |object| removed(&object.namespace));
    drive(&context.gate(), &Arc::new(Namespaces { context: context.clone() }), &queue, 4);
}

impl Controller for Namespaces {
    const NAME: &'static str = "namespace-controller";

    async fn sync(&self, name: &str) -> Outcome {
        let kind = &self.context.kinds.namespaces;
        let Some(namespace) = kind.get(name).filter(|namespace| is_deleting(&namespace.metadata)) else {
            return Ok(None);
        };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
        if !finalizers.iter().any(|finalizer| finalizer == FINALIZER) {
            return Ok(None);
        }
        let discovery = Discovery::fetch(&self.context.client).await?;
        let mut remains = Remains { discovery_failures: discovery.failed.clone(), ..Remains::default() };
        let all = || {
            discovery.kinds.values().filter(|served| served.namespaced && served.can("delete") && served.can("list"))
        };
        let (pods, others): (Vec<_>, Vec<_>) = all().partition(|served| served.group_resource() == PODS);
        let (mut left, mut failed) = (Vec::new(), None);
        for served in [pods, others] {
            for result in join_all(served.into_iter().map(|served| self.empty(served, name))).await {
                match result {
                    Ok(found) => left.extend(found),
                    Err((resource, error)) => {
                        remains.failures.push(format!("{resource}: {error}"));
                        failed = failed.or(Some(error));
                    }
                }
            }
            if !left.is_empty() {
                break;
            }
        }
        // As upstream's, the conditions count what is left only when it is the others' turn.
        if !left.iter().any(|left| left.resource == PODS) {
            remains.content = left.iter().map(|left| (left.resource.clone(), left.finalizers.clone())).collect();
        }
        let mut wanted = (*namespace).clone();
        conditions::write(wanted.status.get_or_insert_default(), &remains, self.context.now());
        let namespace = match kind.update_status(&namespace, &wanted).await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        if let Some(error) = failed {
            return Err(error);
        }
        if let Some((group, why)) = remains.discovery_failures.first() {
            return Err(kube::Error::Service(format!("unable to discover {group}: {why}").into()));
        }
        if !left.is_empty() {
            let grace = self.grace(&namespace);
            return estimate(&left, grace).map(|seconds| Some(Duration::from_secs(seconds / 2 + 1)));
        }
        match self.finalize(&namespace).await {
            Err(error) if error.is_not_found() => Ok(None),
            other => other.map(|()| None),
        }
    }
}

impl Namespaces {
    /// Deletes all objects of a kind in the namespace. Returns the number left, by their finalizers.
    async fn empty(&self, served: &Served, namespace: &str) -> Result<Option<Left>, (String, kube::Error)> {
        let name = served.group_resource();
        let api = served.api(&self.context.client, Some(namespace));
        let fail = |error| (name.clone(), error);
        let list = match api.list_metadata(&ListParams::default()).await {
            // Kinds can vanish between discovery and here (their CRD was deleted): then they have no objects.
            Err(error) if error.is_not_found() => return Ok(None),
            other => other.map_err(fail)?,
        };
        if list.items.is_empty() {
            return Ok(None);
        }
        let params = DeleteParams::background();
        if served.can("deletecollection") {
            api.delete_collection(&params, &ListParams::default()).await.map_err(fail)?;
        } else {
            for object in &list.items {
                match api.delete(object.metadata.name.as_deref().unwrap_or_default(), &params).await {
                    Err(error) if !error.is_not_found() => return Err(fail(error)),
                    _ => {}
                }
            }
        }
        let left = match api.list_metadata(&ListParams::default()).await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other.map_err(fail)?,
        };
        let finalizers: Vec<_> = left.items.iter().map(|o| o.metadata.finalizers.clone().unwrap_or_default()).collect();
        Ok((!finalizers.is_empty()).then_some(Left { resource: name, finalizers }))
    }

    /// The longest grace period of the namespace's running pods, in seconds; 0 when it is over.
    fn grace(&self, namespace: &Namespace) -> i64 {
        let ended = |pod: &Pod| {
            let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
            matches!(phase, Some("Succeeded" | "Failed"))
        };
        let pods = self.context.kinds.pods.in_namespace(namespace.metadata.name.as_deref().unwrap_or_default());
        let running = pods.iter().filter(|pod| !ended(pod)).filter_map(|pod| pod.spec.as_ref());
        let longest = running.filter_map(|spec| spec.termination_grace_period_seconds).max().unwrap_or(0);
        let since = namespace
            .metadata
            .deletion_timestamp
            .as_ref()
            .map_or(0, |at| self.context.now().as_second() - at.0.as_second());
        if since >= longest { 0 } else { longest }
    }

    /// Takes our finalizer off through the subresource made for it.
    async fn finalize(&self, namespace: &Namespace) -> Result<(), kube::Error> {
        let mut wanted = namespace.clone();
        if let Some(finalizers) = wanted.spec.as_mut().and_then(|spec| spec.finalizers.as_mut()) {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        let name = namespace.metadata.name.as_deref().unwrap_or_default();
        let body = serde_json::to_vec(&wanted).map_err(kube::Error::SerdeError)?;
        let request = Request::new(Namespace::url_path(&(), None))
            .replace_subresource("finalize", name, &PostParams::default(), body)
            .map_err(kube::Error::BuildRequest)?;
        self.context.client.request::<serde_json::Value>(request).await.map(drop)
    }
}

const PODS: &str = "pods";

/// A kind (`deployments.apps`) and the finalizers of each of its objects that is left.
#[derive(Debug)]
struct Left {
    resource: String,
    finalizers: Vec<Vec<String>>,
}

/// How many seconds it may take until what is left is gone; pods have `grace`.
///
/// # Errors
/// Something is left that nothing holds.
fn estimate(left: &[Left], grace: i64) -> Result<u64, kube::Error> {
    let mut longest = 0;
    for Left { resource, finalizers } in left {
        let own = match resource.as_str() {
            PODS if grace > 0 => grace,
            _ if finalizers.iter().any(|finalizers| !finalizers.is_empty()) => FINALIZERS,
            _ => return Err(kube::Error::Service(format!("unexpected items still remain: {resource}").into())),
        };
        longest = longest.max(own);
    }
    Ok(longest.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_it_may_take() {
        let left = |resource: &str, finalizers: &[&str]| Left {
            resource: resource.to_owned(),
            finalizers: vec![Vec::new(), finalizers.iter().map(ToString::to_string).collect()],
        };
        let seconds = |left: &[Left], grace| estimate(left, grace).ok();
        assert_eq!(seconds(&[left("pods", &[])], 30), Some(30));
        assert_eq!(seconds(&[left("pods", &["a/b"])], 0), Some(15));
        assert_eq!(seconds(&[left("pods", &[])], 0), None, "its time is over, and nothing holds it");
        assert_eq!(seconds(&[left("configmaps", &["a/b"]), left("secrets", &["a/b"])], 30), Some(15));
        assert_eq!(seconds(&[left("configmaps", &["a/b"]), left("secrets", &[])], 0), None);
    }
}
