//! A kind of object as controllers use it: cached reads, written-through writes.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{Api, DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::request::{Error as RequestError, Request as Path};
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, watcher::Event};
use kube::{Client, Resource};
use parking_lot::RwLock;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::difference;
use super::errors::ApiError;
use super::meta::key_of;
use super::store::{Change, Changed, Store};

/// What a typed API object must be for a controller to use it.
pub trait Object:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Object for K where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

type Request = http::Request<Vec<u8>>;
type Handler<K> = Box<dyn Fn(&Change<'_, K>) + Send + Sync>;

/// All objects of one kind: the only watch on it in this process, and the only way this process writes it.
pub struct Kind<K: Object> {
    client: Client,
    store: RwLock<Store<K>>,
    handlers: RwLock<Vec<Handler<K>>>,
    synced: watch::Sender<bool>,
}

impl<K: Object> Kind<K> {
    pub fn new(client: Client) -> Arc<Self> {
        Arc::new(Self {
            client,
            store: RwLock::new(Store::new(|object| object.meta())),
            handlers: RwLock::default(),
            synced: watch::Sender::new(false),
        })
    }

    /// Calls `handler` at every change, whoever made it. Handlers run inside the feed: they only add keys to queues.
    pub fn on_change(&self, handler: impl Fn(&Change<'_, K>) + Send + Sync + 'static) {
        self.handlers.write().push(Box::new(handler));
    }

    /// Starts the watch, restricted to `config`'s selectors. It never ends; errors are retried with back-off.
    pub fn watch(self: &Arc<Self>, config: watcher::Config) {
        let this = self.clone();
        let stream = watcher::watcher(Api::<K>::all(this.client.clone()), config).default_backoff();
        tokio::spawn(async move {
            let mut stream = stream.map_err(|error| this.report(&error)).boxed();
            let mut listed = Vec::new();
            while let Some(event) = stream.next().await {
                match event {
                    Ok(Event::Init) => listed.clear(),
                    Ok(Event::InitApply(object)) => listed.push(trimmed(object)),
                    Ok(Event::InitDone) => {
                        let changes = this.store.write().replace(std::mem::take(&mut listed));
                        this.tell(changes);
                        this.synced.send_replace(true);
                    }
                    Ok(Event::Apply(object)) => this.observe(trimmed(object)),
                    Ok(Event::Delete(object)) => this.forget(object.meta()),
                    Err(()) => {}
                }
            }
        });
    }

    fn report(&self, error: &watcher::Error) {
        let unserved = matches!(error, watcher::Error::InitialListFailed(e) if e.is_not_found());
        if unserved {
            // An API server without this kind has none of its objects: nobody should wait for them.
            self.synced.send_replace(true);
        }
        tracing::warn!(kind = %K::kind(&()), %error, "watch interrupted");
    }

    /// Resolves when the first list is in the cache.
    pub async fn synced(&self) {
        let mut synced = self.synced.subscribe();
        let _ = synced.wait_for(|done| *done).await;
    }

    fn tell(&self, changes: impl IntoIterator<Item = Changed<K>>) {
        let handlers = self.handlers.read();
        for (old, new) in changes {
            let change = Change { old: old.as_ref(), new: new.as_ref() };
            handlers.iter().for_each(|handler| handler(&change));
        }
    }

    fn observe(&self, object: Arc<K>) {
        let changes = self.store.write().apply(object);
        self.tell(changes);
    }

    fn forget(&self, meta: &ObjectMeta) {
        let change = self.store.write().remove(&key_of(meta), meta.uid.as_deref().unwrap_or_default());
        self.tell(change);
    }

    pub fn get(&self, key: &str) -> Option<Arc<K>> {
        self.store.read().get(key)
    }

    pub fn all(&self) -> Vec<Arc<K>> {
        self.store.read().all().cloned().collect()
    }

    pub fn filter(&self, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.store.read().all().filter(|object| keep(object)).cloned().collect()
    }

    pub fn in_namespace(&self, namespace: &str) -> Vec<Arc<K>> {
        self.store.read().in_namespace(namespace).cloned().collect()
    }

    /// The objects of `namespace` for which `keep` holds; the rest is not even counted up.
    pub fn filter_in(&self, namespace: &str, keep: impl Fn(&K) -> bool) -> Vec<Arc<K>> {
        self.store.read().in_namespace(namespace).filter(|object| keep(object)).cloned().collect()
    }

    /// The objects whose controller is the owner with this uid.
    pub fn controlled_by(&self, uid: &str) -> Vec<Arc<K>> {
        self.store.read().controlled_by(uid).cloned().collect()
    }

    /// The objects of `namespace` that no controller owns.
    pub fn orphans_in(&self, namespace: &str) -> Vec<Arc<K>> {
        let store = self.store.read();
        store
            .controlled_by("")
            .filter(|object| object.meta().namespace.as_deref() == Some(namespace))
            .cloned()
            .collect()
    }

    fn request(namespace: Option<&str>) -> Path {
        Path::new(K::url_path(&(), namespace.filter(|ns| !ns.is_empty())))
    }

    fn request_for(meta: &ObjectMeta) -> Path {
        Self::request(meta.namespace.as_deref())
    }

    /// An object as it is, asked of the API server, where the cache may not know yet what others have written; `None` where there
    /// is none any more.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn fresh(&self, meta: &ObjectMeta) -> Result<Option<Arc<K>>, kube::Error> {
        let name = meta.name.as_deref().unwrap_or_default();
        match self.send(Self::request_for(meta).get(name, &GetParams::default())).await {
            Err(error) if error.is_not_found() => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Creates `object` and returns it as the API server stored it.
    ///
    /// # Errors
    /// The API server's refusal, or a transport error.
    pub async fn create(&self, object: &K) -> Result<Arc<K>, kube::Error> {
        let body = serde_json::to_vec(object).map_err(kube::Error::SerdeError)?;
        let request = Self::request_for(object.meta()).create(&PostParams::default(), body);
        self.send(request).await
    }

    /// Sends what differs between `old` and `new`, on condition that `old` is still current.
    ///
    /// # Errors
    /// A conflict when it is not; otherwise as [`create`](Self::create).
    pub async fn update(&self, old: &Arc<K>, new: &K) -> Result<Arc<K>, kube::Error> {
        self.patch(old, new, None).await
    }

    /// As [`update`](Self::update), for the `status` subresource.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn update_status(&self, old: &Arc<K>, new: &K) -> Result<Arc<K>, kube::Error> {
        self.patch(old, new, Some("status")).await
    }

    /// As [`update`](Self::update), for any subresource that is a view of the whole object.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub async fn update_part(&self, old: &Arc<K>, new: &K, part: &str) -> Result<Arc<K>, kube::Error> {
        self.patch(old, new, Some(part)).await
    }

    async fn patch(&self, old: &Arc<K>, new: &K, part: Option<&str>) -> Result<Arc<K>, kube::Error> {
        let before = serde_json::to_value(&**old).map_err(kube::Error::SerdeError)?;
        let after = serde_json::to_value(new).map_err(kube::Error::SerdeError)?;
        let Some(mut patch) = difference(&before, &after) else { return Ok(old.clone()) };
        if let Some(version) = &old.meta().resource_version {
            patch["metadata"]["resourceVersion"] = json!(version);
        }
        self.merge(old.meta(), part, &patch).await
    }

    /// Sends a merge patch as it is, to the object or to one of its subresources.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn merge(&self, meta: &ObjectMeta, part: Option<&str>, patch: &Value) -> Result<Arc<K>, kube::Error> {
        let (request, name) = (Self::request_for(meta), meta.name.as_deref().unwrap_or_default());
        let (params, patch) = (PatchParams::default(), Patch::Merge(patch));
        self.send(match part {
            Some(part) => request.patch_subresource(part, name, &params, &patch),
            None => request.patch(name, &params, &patch),
        })
        .await
    }

    /// Deletes this very object (by uid); that it is gone already is success.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn delete(&self, meta: &ObjectMeta, policy: Option<PropagationPolicy>) -> Result<(), kube::Error> {
        self.delete_with(meta, DeleteParams { propagation_policy: policy, ..DeleteParams::default() }).await
    }

    /// As [`delete`](Self::delete), without waiting for anybody: grace period 0.
    ///
    /// # Errors
    /// As [`create`](Self::create).
    pub async fn delete_now(&self, meta: &ObjectMeta) -> Result<(), kube::Error> {
        self.delete_with(meta, DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await
    }

    async fn delete_with(&self, meta: &ObjectMeta, mut params: DeleteParams) -> Result<(), kube::Error> {
        params.preconditions = Some(Preconditions { uid: meta.uid.clone(), resource_version: None });
        let name = meta.name.as_deref().unwrap_or_default();
        let request = Self::request_for(meta).delete(name, &params).map_err(kube::Error::BuildRequest)?;
        match self.client.request::<Value>(request).await {
            // An object that goes on living (finalizers, grace period) is answered as itself, one that is gone as a Status.
            Ok(answer) => match serde_json::from_value::<K>(answer) {
                Ok(object) if object.meta().deletion_timestamp.is_some() && lives_on(object.meta()) => {
                    self.observe(trimmed(object));
                }
                _ => self.forget(meta),
            },
            Err(error) if error.is_not_found() => self.forget(meta),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn send(&self, request: Result<Request, RequestError>) -> Result<Arc<K>, kube::Error> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        let object = trimmed(self.client.request::<K>(request).await?);
        self.observe(object.clone());
        Ok(object)
    }
}

/// Whether a deleted object is still there: it waits for finalizers or for its grace period.
fn lives_on(meta: &ObjectMeta) -> bool {
    meta.finalizers.as_ref().is_some_and(|finalizers| !finalizers.is_empty())
        || meta.deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0)
}

/// Drops what no controller reads and what costs most memory.
fn trimmed<K: Resource>(mut object: K) -> Arc<K> {
    let meta = object.meta_mut();
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    Arc::new(object)
}
