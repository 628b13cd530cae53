//! Namespaces being deleted: their pods go, then everything else, then they themselves (upstream `pkg/controller/namespace`,
//! KEP-5080: what guards pods, a NetworkPolicy say, must not go before them).

mod conditions;

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1::Namespace;
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
/// How long to wait before looking again at content that waits for somebody else. Pods and most others wake us earlier.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

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
    let (on_pod, namespaces) = (queue.clone(), context.kinds.namespaces.clone());
    context.kinds.pods.on_change(move |change| {
        let namespace = change.object().metadata.namespace.as_deref().unwrap_or_default();
        if change.new.is_none() && namespaces.get(namespace).is_some_and(|found| is_deleting(&found.metadata)) {
            on_pod.add(namespace);
        }
    });
    drive(context.gate(), &Arc::new(Namespaces { context: context.clone() }), &queue, 4);
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
        let (pods, others): (Vec<_>, Vec<_>) = all().partition(|served| served.group_resource() == "pods");
        let mut pods_left = false;
        for result in join_all(pods.into_iter().map(|served| self.empty(served, name))).await {
            pods_left |= matches!(result, Ok(Some(_)));
            if let Err((resource, error)) = result {
                remains.failures.push(format!("{resource}: {error}"));
            }
        }
        // As upstream's, the conditions count what is left only when it is the others' turn.
        if !pods_left {
            for result in join_all(others.into_iter().map(|served| self.empty(served, name))).await {
                match result {
                    Ok(Some((resource, finalizers))) => remains.content.push((resource, finalizers)),
                    Ok(None) => {}
                    Err((resource, error)) => remains.failures.push(format!("{resource}: {error}")),
                }
            }
        }
        let mut wanted = (*namespace).clone();
        conditions::write(wanted.status.get_or_insert_default(), &remains, self.context.now());
        let namespace = match kind.update_status(&namespace, &wanted).await {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        if pods_left || !remains.is_empty() {
            return Ok(Some(LOOK_AGAIN));
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
        Ok((!finalizers.is_empty()).then_some((name, finalizers)))
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

/// A kind (`deployments.apps`) and the finalizers of each of its objects that is left.
type Left = (String, Vec<Vec<String>>);
