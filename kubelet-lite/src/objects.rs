//! ConfigMaps and Secrets that pods mount: each is watched once, however many pods of the node mount it, and for as long as
//! one does (upstream's watch-based manager, `pkg/kubelet/util/manager`). So a change reaches its volumes at once, and the
//! next pod that mounts it asks nobody.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Client;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::sources::{Data, Kind, config_map_data, secret_data};

/// Kind, namespace, name.
pub type Key = (Kind, String, String);

/// What is known of an object.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Known {
    /// The first list is under way.
    #[default]
    Nothing,
    Missing,
    Present(Arc<Data>),
}

/// A watched object; the watch ends with the last holder.
#[derive(Debug)]
pub struct Subject {
    content: watch::Receiver<Known>,
    task: AbortHandle,
}

impl Drop for Subject {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A look at an object, and where its next change shows.
#[derive(Clone, Debug)]
pub struct Followed {
    changes: watch::Receiver<Known>,
    _subject: Arc<Subject>,
}

impl Followed {
    /// Resolves at the first change after the look.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // Nobody watches any more, which only happens when the process ends.
            std::future::pending::<()>().await;
        }
    }
}

/// All that is watched on this node.
#[derive(Debug)]
pub struct Objects<F> {
    begin: F,
    known: Mutex<HashMap<Key, Weak<Subject>>>,
}

/// Watches by way of the API server.
pub type Watched = Objects<Box<dyn Fn(Key, watch::Sender<Known>) -> AbortHandle + Send + Sync>>;

impl Watched {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Objects::with(Box::new(move |key, sender| tokio::spawn(follow(client.clone(), key, sender)).abort_handle()))
    }
}

impl<F: Fn(Key, watch::Sender<Known>) -> AbortHandle> Objects<F> {
    fn with(begin: F) -> Self {
        Self { begin, known: Mutex::default() }
    }

    /// What the object holds now (`None`: there is none), and how to hear of its next change.
    pub fn look(&self, key: Key) -> impl Future<Output = (Option<Arc<Data>>, Followed)> + Send + use<F> {
        let subject = {
            let mut known = self.known.lock();
            known.retain(|_, subject| subject.strong_count() > 0);
            match known.get(&key).and_then(Weak::upgrade) {
                Some(subject) => subject,
                None => {
                    let (sender, content) = watch::channel(Known::Nothing);
                    let subject = Arc::new(Subject { content, task: (self.begin)(key.clone(), sender) });
                    known.insert(key, Arc::downgrade(&subject));
                    subject
                }
            }
        };
        async move {
            let mut changes = subject.content.clone();
            let found = match changes.wait_for(|known| *known != Known::Nothing).await.as_deref() {
                Ok(Known::Present(data)) => Some(data.clone()),
                _ => None,
            };
            (found, Followed { changes, _subject: subject })
        }
    }
}

async fn follow(client: Client, (kind, namespace, name): Key, sender: watch::Sender<Known>) {
    match kind {
        Kind::ConfigMap => {
            follow_as::<ConfigMap>(Api::namespaced(client, &namespace), &name, config_map_data, sender).await
        }
        Kind::Secret => follow_as::<Secret>(Api::namespaced(client, &namespace), &name, secret_data, sender).await,
    }
}

async fn follow_as<K>(api: Api<K>, name: &str, data: fn(&K) -> Data, sender: watch::Sender<Known>)
where
    K: kube::Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut events = std::pin::pin!(watcher(api, config).default_backoff());
    let mut listed = None;
    while let Some(event) = events.next().await {
        let now = match event {
            Ok(watcher::Event::Init) => {
                listed = None;
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed = Some(object);
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.take().map_or(Known::Missing, |object| present(data(&object))),
            Ok(watcher::Event::Apply(object)) => present(data(&object)),
            Ok(watcher::Event::Delete(_)) => Known::Missing,
            Err(error) => {
                tracing::debug!(%error, name, "the watch of an object goes on in a moment");
                continue;
            }
        };
        sender.send_if_modified(|known| {
            if *known == now {
                return false;
            }
            *known = now;
            true
        });
    }
}

fn present(data: Data) -> Known {
    Known::Present(Arc::new(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (Kind::ConfigMap, "ns".to_owned(), name.to_owned())
    }

    fn data(text: &str) -> Known {
        present(Data::from([("key".to_owned(), text.as_bytes().to_vec())]))
    }

    #[tokio::test]
    async fn one_watch_for_all_who_look_and_none_afterwards() {
        let begun = Arc::new(Mutex::new(Vec::new()));
        let senders = begun.clone();
        let objects = Objects::with(move |key: Key, sender: watch::Sender<Known>| {
            let waits = sender.clone();
            senders.lock().push((key, sender));
            tokio::spawn(async move { waits.closed().await }).abort_handle()
        });
        let (first, second) = (objects.look(key("a")), objects.look(key("a")));
        assert_eq!(begun.lock().len(), 1);
        begun.lock()[0].1.send_replace(data("old"));
        let ((found, mut followed), (same, _)) = (first.await, second.await);
        assert_eq!((found.clone().unwrap()["key"].as_slice(), found == same), (&b"old"[..], true));
        begun.lock()[0].1.send_replace(Known::Missing);
        followed.changed().await;
        assert_eq!(objects.look(key("a")).await.0, None, "it is gone");
        drop(followed);
        assert!(begun.lock()[0].1.is_closed(), "nobody looks any more");
        drop(objects.look(key("a")));
        assert_eq!(begun.lock().len(), 2, "and whoever looks again begins anew");
    }
}
