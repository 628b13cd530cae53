//! A store whose requests are counted, under etcd's names: it stands where etcd stands.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use store::{Event, KeyValue, RangeResult, Revision, Store, StoreError, WriteOutcome};

use super::Metrics;
use crate::audit::parts::{self, Part};

pub struct Measured {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

impl Measured {
    pub fn new(store: Arc<dyn Store>, metrics: Arc<Metrics>) -> Self {
        Self { store, metrics }
    }

    fn note<T>(
        &self,
        operation: &str,
        key: &str,
        since: Instant,
        outcome: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let took = since.elapsed();
        parts::note(Part::Store, took);
        let (group, resource) = resource_at(key);
        let labels = [group, operation, resource];
        self.metrics.store_requests.increase(&labels);
        if outcome.is_err() {
            self.metrics.store_errors.increase(&labels);
        }
        self.metrics.store_duration.observe(&labels, took.as_secs_f64());
        outcome
    }
}

/// The group and the resource that are stored at a key: those of the built-in kinds are kept under names of their own, of one
/// part or two, custom ones under both.
#[must_use]
pub fn resource_at(key: &str) -> (&str, &str) {
    let rest = key.strip_prefix("/registry/").unwrap_or(key);
    stored_below(rest).unwrap_or_else(|| ("", rest.split('/').next().unwrap_or_default()))
}

/// The same for what comes behind `/registry/`; `None`: what is stored there is no resource.
#[must_use]
pub fn stored_below(rest: &str) -> Option<(&str, &str)> {
    static BUILT_IN: LazyLock<HashMap<&str, (&str, &str)>> = LazyLock::new(|| {
        let stored = crate::kinds::all().iter().filter(|kind| kind.is_stored());
        // Of two groups' events the first ones are those that are stored.
        stored.rev().map(|kind| (kind.registry, (kind.group, kind.plural))).collect()
    });
    let (first, below) = rest.split_once('/').unwrap_or((rest, ""));
    let second = below.split('/').next().unwrap_or_default();
    let both = &rest[..rest.len().min(first.len() + 1 + second.len())];
    if let Some(known) = BUILT_IN.get(first).or_else(|| BUILT_IN.get(both)) {
        return Some(*known);
    }
    (first.contains('.') && !second.is_empty()).then_some((first, second))
}

#[async_trait]
impl Store for Measured {
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let since = Instant::now();
        self.note("get", key, since, self.store.get(key, revision).await)
    }

    async fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError> {
        let since = Instant::now();
        self.note("list", prefix, since, self.store.range(prefix, start, limit, revision).await)
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let since = Instant::now();
        let operation = if expected == 0 { "create" } else { "update" };
        self.note(operation, key, since, self.store.put(key, value, expected).await)
    }

    async fn put_for(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        life: Duration,
    ) -> Result<WriteOutcome, StoreError> {
        let since = Instant::now();
        let operation = if expected == 0 { "create" } else { "update" };
        self.note(operation, key, since, self.store.put_for(key, value, expected, life).await)
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let since = Instant::now();
        self.note("delete", key, since, self.store.delete(key, expected).await)
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        self.store.watch(prefix, after).await
    }

    fn request_progress(&self, prefix: &str, revision: Revision) {
        self.store.request_progress(prefix, revision);
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        let since = Instant::now();
        let revision = self.store.revision().await;
        parts::note(Part::Store, since.elapsed());
        revision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_of_resources() {
        for (key, expected) in [
            ("/registry/pods/a/b", ("", "pods")),
            ("/registry/pods/", ("", "pods")),
            ("/registry/deployments/a/b", ("apps", "deployments")),
            ("/registry/services/specs/a/b", ("", "services")),
            ("/registry/events/a/b", ("", "events")),
            ("/registry/minions/a", ("", "nodes")),
            ("/registry/stable.example.com/crontabs/a/b", ("stable.example.com", "crontabs")),
            ("/registry/services/endpoints/a/b", ("", "endpoints")),
            (
                "/registry/apiextensions.k8s.io/customresourcedefinitions/",
                ("apiextensions.k8s.io", "customresourcedefinitions"),
            ),
            ("/registry/masterleases/10.0.0.1", ("", "masterleases")),
        ] {
            assert_eq!(resource_at(key), expected, "{key}");
        }
    }
}
