//! A store whose values are encrypted in the store below it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Failure, Fetch, Plain};
use crate::{Event, KeyValue, RangeResult, Revision, Store, StoreError, WriteOutcome};

/// How the values of the store's keys are encrypted, and decrypted.
pub trait AtRest: Send + Sync + 'static {
    /// What must be waited for before the value can be [`read`](AtRest::read).
    fn fetch(&self, key: &str, stored: &Bytes) -> Option<Fetch>;

    /// # Errors
    /// The value cannot be read with the keys there are.
    fn read(&self, key: &str, stored: Bytes) -> Result<Plain, Failure>;

    /// # Errors
    /// The value cannot be encrypted.
    fn write(&self, key: &str, value: &Bytes) -> Result<Bytes, Failure>;
}

/// Whoever asks sees the values as they are; the store below has them as `at_rest` says.
///
/// A list or watch fails as a whole when one of its values cannot be read, as upstream: nobody shall take what he was told
/// for all there is.
pub struct Encrypted {
    store: Arc<dyn Store>,
    at_rest: Arc<dyn AtRest>,
}

impl Encrypted {
    #[must_use]
    pub fn new(store: Arc<dyn Store>, at_rest: Arc<dyn AtRest>) -> Self {
        Self { store, at_rest }
    }

    fn write(&self, key: &str, value: &Bytes) -> Result<Bytes, StoreError> {
        self.at_rest.write(key, value).map_err(|why| StoreError::Unreadable(why.to_string()))
    }

    async fn outcome(&self, outcome: WriteOutcome) -> WriteOutcome {
        match outcome {
            WriteOutcome::Done(revision) => WriteOutcome::Done(revision),
            WriteOutcome::Conflict(found) => WriteOutcome::Conflict(readable(&*self.at_rest, found).await),
        }
    }
}

/// The value, if there is one that can be read.
async fn readable(at_rest: &dyn AtRest, found: Option<KeyValue>) -> Option<KeyValue> {
    let mut kv = found?;
    decrypt(at_rest, &mut kv).await.ok()?;
    Some(kv)
}

async fn decrypt(at_rest: &dyn AtRest, kv: &mut KeyValue) -> Result<(), Failure> {
    if let Some(fetch) = at_rest.fetch(&kv.key, &kv.value) {
        fetch.await?;
    }
    let Plain { value, stale } = at_rest.read(&kv.key, std::mem::take(&mut kv.value))?;
    (kv.value, kv.stale) = (value, stale);
    Ok(())
}

/// One of several values; which one is said where it cannot be read.
async fn listed(at_rest: &dyn AtRest, mut kv: KeyValue) -> Result<KeyValue, StoreError> {
    match decrypt(at_rest, &mut kv).await {
        Ok(()) => Ok(kv),
        Err(why) => Err(StoreError::Unreadable(format!("unable to transform key {:?}: {why}", kv.key))),
    }
}

async fn event(at_rest: &dyn AtRest, event: Event) -> Result<Event, StoreError> {
    Ok(match event {
        Event::Put { kv, previous } => {
            Event::Put { kv: listed(at_rest, kv).await?, previous: readable(at_rest, previous).await }
        }
        Event::Delete { key, revision, previous } => {
            Event::Delete { key, revision, previous: readable(at_rest, previous).await }
        }
        Event::Progress { revision } => Event::Progress { revision },
    })
}

#[async_trait]
impl Store for Encrypted {
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let (mut found, revision) = self.store.get(key, revision).await?;
        if let Some(kv) = &mut found {
            decrypt(&*self.at_rest, kv).await.map_err(|why| StoreError::Unreadable(why.to_string()))?;
        }
        Ok((found, revision))
    }

    async fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError> {
        let range = self.store.range(prefix, start, limit, revision).await?;
        let mut items = Vec::with_capacity(range.items.len());
        for kv in range.items {
            items.push(listed(&*self.at_rest, kv).await?);
        }
        Ok(RangeResult { items, ..range })
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.put(key, self.write(key, &value)?, expected).await?;
        Ok(self.outcome(outcome).await)
    }

    async fn put_for(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        life: Duration,
    ) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.put_for(key, self.write(key, &value)?, expected, life).await?;
        Ok(self.outcome(outcome).await)
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.delete(key, expected).await?;
        Ok(self.outcome(outcome).await)
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        let events = self.store.watch(prefix, after).await?;
        let at_rest = self.at_rest.clone();
        let events = events.then(move |one| {
            let at_rest = at_rest.clone();
            async move { event(&*at_rest, one?).await }
        });
        Ok(crate::hub::until_error(events))
    }

    fn request_progress(&self, prefix: &str, revision: Revision) {
        self.store.request_progress(prefix, revision);
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.store.compact(revision).await
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.store.revision().await
    }
}
