//! A store whose values are encrypted in the store below it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

use super::{Failure, Plain};
use crate::{Event, KeyValue, RangeResult, Revision, Store, StoreError, WriteOutcome};

/// How the values of the store's keys are encrypted, and decrypted.
pub trait AtRest: Send + Sync + 'static {
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

    fn outcome(&self, outcome: WriteOutcome) -> WriteOutcome {
        match outcome {
            WriteOutcome::Done(revision) => WriteOutcome::Done(revision),
            WriteOutcome::Conflict(found) => {
                WriteOutcome::Conflict(found.and_then(|kv| plain(&*self.at_rest, kv).ok()))
            }
        }
    }
}

fn plain(at_rest: &dyn AtRest, mut kv: KeyValue) -> Result<KeyValue, Failure> {
    decrypt(at_rest, &mut kv)?;
    Ok(kv)
}

fn decrypt(at_rest: &dyn AtRest, kv: &mut KeyValue) -> Result<(), Failure> {
    let Plain { value, stale } = at_rest.read(&kv.key, std::mem::take(&mut kv.value))?;
    (kv.value, kv.stale) = (value, stale);
    Ok(())
}

/// One of several values; which one is said where it cannot be read.
fn listed(at_rest: &dyn AtRest, mut kv: KeyValue) -> Result<KeyValue, StoreError> {
    match decrypt(at_rest, &mut kv) {
        Ok(()) => Ok(kv),
        Err(why) => Err(StoreError::Unreadable(format!("unable to transform key {:?}: {why}", kv.key))),
    }
}

fn event(at_rest: &dyn AtRest, event: Event) -> Result<Event, StoreError> {
    let before = |previous: Option<KeyValue>| previous.and_then(|kv| plain(at_rest, kv).ok());
    Ok(match event {
        Event::Put { kv, previous } => Event::Put { kv: listed(at_rest, kv)?, previous: before(previous) },
        Event::Delete { key, revision, previous } => Event::Delete { key, revision, previous: before(previous) },
        Event::Progress { revision } => Event::Progress { revision },
    })
}

#[async_trait]
impl Store for Encrypted {
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let (found, revision) = self.store.get(key, revision).await?;
        let found = found.map(|kv| plain(&*self.at_rest, kv)).transpose();
        Ok((found.map_err(|why| StoreError::Unreadable(why.to_string()))?, revision))
    }

    async fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError> {
        let range = self.store.range(prefix, start, limit, revision).await?;
        let items = range.items.into_iter().map(|kv| listed(&*self.at_rest, kv)).collect::<Result<_, _>>()?;
        Ok(RangeResult { items, ..range })
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.put(key, self.write(key, &value)?, expected).await?;
        Ok(self.outcome(outcome))
    }

    async fn put_for(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        life: Duration,
    ) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.put_for(key, self.write(key, &value)?, expected, life).await?;
        Ok(self.outcome(outcome))
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<WriteOutcome, StoreError> {
        let outcome = self.store.delete(key, expected).await?;
        Ok(self.outcome(outcome))
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        let events = self.store.watch(prefix, after).await?;
        let at_rest = self.at_rest.clone();
        Ok(crate::hub::until_error(events.map(move |one| one.and_then(|one| event(&*at_rest, one)))))
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
