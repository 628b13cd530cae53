//! A kind's watch as a component takes it in: in words of its own, without managedFields, and never at an end.

use futures::stream::{BoxStream, StreamExt};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as follow};
use kube::{Api, Client, Resource};

/// Follows all objects of a kind. What goes wrong is logged, and tried again ever more slowly.
pub fn all<K, T>(client: &Client, wrap: fn(Event<K>) -> T) -> BoxStream<'static, T>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
    T: Send + 'static,
{
    selected(client, watcher::Config::default(), wrap)
}

/// The same of those that `config` selects.
pub fn selected<K, T>(client: &Client, config: watcher::Config, wrap: fn(Event<K>) -> T) -> BoxStream<'static, T>
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + Send + Sync + serde::de::DeserializeOwned + 'static,
    T: Send + 'static,
{
    follow(Api::<K>::all(client.clone()), config)
        .default_backoff()
        .filter_map(move |event| {
            let watched = match event {
                Ok(event) => Some(wrap(event.modify(|object| object.meta_mut().managed_fields = None))),
                Err(error) => {
                    tracing::warn!(%error, kind = %K::kind(&()), "watch failed; trying again");
                    None
                }
            };
            std::future::ready(watched)
        })
        .boxed()
}
