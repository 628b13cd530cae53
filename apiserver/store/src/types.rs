//! What the API server asks of a store.

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use std::time::Duration;

/// A store revision: positive, shared by all keys, growing by one with each committed write.
pub type Revision = i64;

/// One key at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    pub key: String,
    pub value: Bytes,
    /// The revision that created this incarnation of the key.
    pub create_revision: Revision,
    /// The revision of the last write; what clients see as `resourceVersion`.
    pub mod_revision: Revision,
    /// The value would be stored otherwise today, so that even a write that changes nothing is worth it.
    pub stale: bool,
}

/// An answer read at `revision`.
#[derive(Clone, Debug)]
pub struct RangeResult {
    pub items: Vec<KeyValue>,
    /// The revision the range was read at: the requested one, else the newest.
    pub revision: Revision,
    /// There are further keys behind the last item.
    pub more: bool,
    /// How many keys lie in the range from the start on, the returned ones included.
    pub count: u64,
}

/// What a conditional write did.
#[derive(Clone, Debug)]
pub enum WriteOutcome {
    /// Written (or deleted) at this revision, and as durable as the backend promises (fsynced).
    Done(Revision),
    /// The condition did not hold; nothing was written. The key as it is now, `None` when it does not exist or
    /// cannot be read.
    Conflict(Option<KeyValue>),
}

/// One change seen by a watch.
#[derive(Clone, Debug)]
pub enum Event {
    Put {
        kv: KeyValue,
        previous: Option<KeyValue>,
    },
    /// `revision` is that of the deletion; `previous` the last state.
    Delete {
        key: String,
        revision: Revision,
        previous: Option<KeyValue>,
    },
    /// All events up to `revision` have been sent; none carries this mark's revision later.
    Progress {
        revision: Revision,
    },
}

/// Why a store call failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The revision asked for is older than what is kept (HTTP 410 Expired).
    #[error("the required revision {requested} has been compacted (oldest kept: {oldest})")]
    Compacted { requested: Revision, oldest: Revision },
    /// The revision asked for has not been written yet.
    #[error("the required revision {requested} is in the future (newest: {newest})")]
    Future { requested: Revision, newest: Revision },
    /// What is stored cannot be decrypted, or what is to be stored not encrypted.
    #[error("{0}")]
    Unreadable(String),
    /// The value is larger than the backend takes (etcd: 1.5 MiB).
    #[error("the value of {size} bytes is larger than the limit of {limit}")]
    TooLarge { size: usize, limit: usize },
    /// The backend is not reachable, or failed; whether a write happened is unknown.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] anyhow::Error),
    /// The reader of a watch was too slow for its bounded buffer; the watch is over, the others go on.
    #[error("the watcher fell too far behind and was cut off")]
    SlowWatcher,
}

/// A backend. Reads without a revision are linearizable; writes are durable before they are answered.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One key, at `revision` or now, with the store's revision at the time of reading.
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError>;

    /// The keys that begin with `prefix`, in byte order, from `start` (inclusive, `None`: the first) on, at most `limit` (0: all).
    async fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError>;

    /// Writes `key` if its mod revision is `expected` (0: the key must not exist).
    async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<WriteOutcome, StoreError>;

    /// As [`Store::put`]; the key is deleted some time after `life` has passed, unless it is written again before.
    async fn put_for(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        life: Duration,
    ) -> Result<WriteOutcome, StoreError>;

    /// Deletes `key` if its mod revision is `expected`.
    async fn delete(&self, key: &str, expected: Revision) -> Result<WriteOutcome, StoreError>;

    /// Every event of keys under `prefix` after revision `after` (exclusive), in order, each once; a [`Event::Progress`]
    /// when the past has been replayed; then live ones. The stream ends with an error when it falls too far behind or
    /// the backend is lost; the caller begins anew.
    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError>;

    /// Asks that every watch of exactly `prefix` gets, as soon as it has been sent all events up to `revision`, an event or
    /// a [`Event::Progress`] of at least this revision. This is how a cache learns that nothing is missing.
    fn request_progress(&self, prefix: &str, revision: Revision);

    /// Forgets history older than `revision`; reads at `revision` itself still work.
    async fn compact(&self, revision: Revision) -> Result<(), StoreError>;

    /// The newest revision.
    async fn revision(&self) -> Result<Revision, StoreError>;
}
