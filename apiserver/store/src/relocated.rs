//! A store whose keys are elsewhere than at `/registry`, so that several clusters can share an etcd (`--etcd-prefix`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use crate::{Event, KeyValue, RangeResult, Revision, Store, StoreError, WriteOutcome};

/// Where keys are for those who ask, and usually.
pub const USUAL: &str = "/registry";

/// Whoever asks sees the keys at [`USUAL`].
pub struct Relocated {
    store: Arc<dyn Store>,
    names: Names,
}

/// Where the keys are in the store below.
#[derive(Clone)]
struct Names(Arc<str>);

impl Relocated {
    /// The store as it is, or one whose keys are at `prefix`, with or without slashes around it.
    #[must_use]
    pub fn at(prefix: &str, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let prefix = format!("/{}", prefix.trim_matches('/'));
        if prefix == USUAL { store } else { Arc::new(Self { store, names: Names(prefix.into()) }) }
    }
}

fn moved(from: &str, to: &str, key: &str) -> String {
    key.strip_prefix(from).map_or_else(|| key.to_owned(), |rest| format!("{to}{rest}"))
}

impl Names {
    fn there(&self, key: &str) -> String {
        moved(USUAL, &self.0, key)
    }

    fn here(&self, key: &str) -> String {
        moved(&self.0, USUAL, key)
    }

    fn key_value(&self, kv: KeyValue) -> KeyValue {
        KeyValue { key: self.here(&kv.key), ..kv }
    }

    fn outcome(&self, outcome: WriteOutcome) -> WriteOutcome {
        match outcome {
            WriteOutcome::Done(revision) => WriteOutcome::Done(revision),
            WriteOutcome::Conflict(found) => WriteOutcome::Conflict(found.map(|kv| self.key_value(kv))),
        }
    }

    fn event(&self, event: Event) -> Event {
        match event {
            Event::Put { kv, previous } => {
                Event::Put { kv: self.key_value(kv), previous: previous.map(|kv| self.key_value(kv)) }
            }
            Event::Delete { key, revision, previous } => {
                Event::Delete { key: self.here(&key), revision, previous: previous.map(|kv| self.key_value(kv)) }
            }
            Event::Progress { revision } => Event::Progress { revision },
        }
    }
}

#[async_trait]
impl Store for Relocated {
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let (found, revision) = self.store.get(&self.names.there(key), revision).await?;
        Ok((found.map(|kv| self.names.key_value(kv)), revision))
    }

    async fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError> {
        let start = start.map(|start| self.names.there(start));
        let range = self.store.range(&self.names.there(prefix), start.as_deref(), limit, revision).await?;
        let items = range.items.into_iter().map(|kv| self.names.key_value(kv)).collect();
        Ok(RangeResult { items, ..range })
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.put(&self.names.there(key), value, expected).await?;
        Ok(self.names.outcome(outcome))
    }

    async fn put_for(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        life: Duration,
    ) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.put_for(&self.names.there(key), value, expected, life).await?;
        Ok(self.names.outcome(outcome))
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.delete(&self.names.there(key), expected).await?;
        Ok(self.names.outcome(outcome))
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        let events = self.store.watch(&self.names.there(prefix), after).await?;
        let names = self.names.clone();
        Ok(events.map(move |event| event.map(|event| names.event(event))).boxed())
    }

    fn request_progress(&self, prefix: &str, revision: Revision) {
        self.store.request_progress(&self.names.there(prefix), revision);
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
}
