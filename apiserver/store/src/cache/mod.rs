//! The watch cache: all objects of one prefix in memory, kept by a store watch, and the one source of LIST and WATCH.
//!
//! ```text
//!  store ── range, watch ──> feed (one task) ──> State { objects, ring of events } ──> get, list
//!                                                     │ wake-up                        └─> Watch (a cursor each)
//!                                                     └──────────────────────────────────────┘
//! ```
//!
//! Promises:
//! - A read [`At::Latest`] reflects every write that was answered before the read began: the cache asks the store for its
//!   revision and waits until it has got there.
//! - A [`Watch`] sees each event after its beginning once and in order, or ends with [`CacheError::Expired`]. A slow watcher
//!   costs the others nothing: there is no buffer of its own, it is expired when the ring has moved past it.
//! - A list [`At::Exact`] works as long as the store remembers the revision, not only as long as the ring does.
//! - Each state of an object is held once, as the bytes that are sent.
//! - When the store watch is lost the cache begins anew and all its watchers end, as upstream; clients list again.
//! - While an object cannot be read (with the keys that values are encrypted with) there is no cache, for nobody shall take a
//!   part for the whole. Single objects and lists of what is newest come from the store then, as far as they can be read.

mod feed;
mod object;
mod past;
mod state;
mod turns;
mod watch;

pub use object::{CacheEvent, Change, Extract, Indexed, Object};
pub use state::{Limits, Past};
pub use watch::{Piece, Watch};

use crate::{Revision, Store, StoreError};
use parking_lot::RwLock;
use state::State;
use std::sync::Arc;

/// Why a read of the cache failed.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// Older than what the ring holds (HTTP 410, reason Expired).
    #[error("too old resource version: {requested} ({oldest})")]
    Expired { requested: Revision, oldest: Revision },
    /// Not reached within the waiting time (HTTP 504, reason Timeout).
    #[error("Too large resource version: {requested}, current: {current}")]
    TooLarge { requested: Revision, current: Revision },
    /// The cache has not been filled yet, or lost its store (HTTP 503, or 429 with a retry).
    #[error("storage is (re)initializing")]
    NotReady,
    /// The cache cannot be filled, because what is stored cannot be read (HTTP 429).
    #[error("storage is (re)initializing: {0}")]
    Unreadable(Arc<str>),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which state a read wants; upstream's `resourceVersion` and `resourceVersionMatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Unset: everything committed before the read.
    Latest,
    /// Whatever the cache has, once it has been filled (`0`), or at least this revision.
    NotOlderThan(Revision),
    /// Exactly this revision: `resourceVersionMatch=Exact`, and the further pages of a list.
    Exact(Revision),
}

/// What to list.
#[derive(Clone, Copy)]
pub struct ListQuery<'a> {
    pub at: At,
    /// The cache's prefix, or a longer one: `/registry/pods/default/`.
    pub prefix: &'a str,
    /// The key to begin with (inclusive): [`List::next`] of the page before.
    pub start: Option<&'a str>,
    /// 0: all.
    pub limit: usize,
    /// The selectors.
    pub filter: Option<&'a (dyn Fn(&Object) -> bool + Send + Sync)>,
}

/// A page of a list, sorted by key.
#[derive(Clone, Debug)]
pub struct List {
    pub items: Vec<Arc<Object>>,
    /// The revision it was read at: the list's `resourceVersion`, and the `At::Exact` of the next page.
    pub revision: Revision,
    /// The first key of the next page.
    pub next: Option<String>,
    /// How many follow this page (upstream tells clients only when there are no selectors).
    pub remaining: u64,
}

/// The cache of one prefix. Cloning it shares it; when the last clone is gone its task ends.
#[derive(Clone)]
pub struct WatchCache {
    shared: Arc<Shared>,
    /// Ends the feed when the last clone is dropped.
    _feed: Arc<feed::Handle>,
}

struct Shared {
    prefix: String,
    store: Arc<dyn Store>,
    extract: Box<Extract>,
    catch_up: std::time::Duration,
    state: RwLock<State>,
    /// Why the cache cannot be filled; told by `Pulse::unreadable`.
    unreadable: RwLock<Arc<str>>,
    /// Told after each change of `state`; the wake-up of readers.
    pulse: tokio::sync::watch::Sender<Pulse>,
    /// The same for watchers, who are woken in groups and not for each change; see [`turns`].
    turns: [tokio::sync::watch::Sender<Pulse>; turns::GROUPS],
    /// What a watcher made of the newest events, for those who are told of the same.
    joined: parking_lot::Mutex<Option<watch::Joined>>,
}

/// How far the cache is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Pulse {
    ready: bool,
    /// Filling the cache failed, and will until what is stored or the keys for it change.
    unreadable: bool,
    revision: Revision,
    /// Counts the beginnings; a watcher of an earlier one is over.
    generation: u64,
    /// The cursor behind the newest event.
    end: u64,
}

impl WatchCache {
    /// A cache of the keys under `prefix` (ending in `/`), filled by a task of the current tokio runtime.
    pub fn new<F>(store: Arc<dyn Store>, prefix: &str, extract: F) -> Self
    where
        F: Fn(&crate::KeyValue) -> anyhow::Result<Indexed> + Send + Sync + 'static,
    {
        Self::with_limits(store, prefix, extract, Limits::default())
    }

    /// As [`WatchCache::new`], with other limits.
    pub fn with_limits<F>(store: Arc<dyn Store>, prefix: &str, extract: F, limits: Limits) -> Self
    where
        F: Fn(&crate::KeyValue) -> anyhow::Result<Indexed> + Send + Sync + 'static,
    {
        let shared = Arc::new(Shared {
            prefix: prefix.to_owned(),
            store,
            extract: Box::new(extract),
            catch_up: limits.catch_up,
            state: RwLock::new(State::new(limits)),
            unreadable: RwLock::new("".into()),
            pulse: tokio::sync::watch::Sender::new(Pulse::default()),
            turns: std::array::from_fn(|_| tokio::sync::watch::Sender::new(Pulse::default())),
            joined: parking_lot::Mutex::default(),
        });
        let feed = Arc::new(feed::spawn(shared.clone()));
        Self { shared, _feed: feed }
    }

    pub fn prefix(&self) -> &str {
        &self.shared.prefix
    }

    /// One object by its key, and the cache's revision. [`At::Exact`] is not for single objects and means "not older".
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn get(&self, key: &str, at: At) -> Result<(Option<Arc<Object>>, Revision), CacheError> {
        match self.shared.reach(at).await {
            Ok(()) => {}
            Err(CacheError::Unreadable(_)) => {
                let (found, revision) = self.shared.store.get(key, None).await?;
                return Ok((found.and_then(|kv| feed::object(&self.shared, &kv)), revision));
            }
            Err(error) => return Err(error),
        }
        let state = self.shared.state.read();
        Ok((state.get(key), state.revision()))
    }

    /// One page of objects. A revision from before the ring is read from the store's history.
    ///
    /// # Errors
    /// See [`CacheError`]; [`StoreError::Compacted`] when the store does not remember either, [`StoreError::Future`] when
    /// nothing has been written at that very revision.
    pub async fn list(&self, query: ListQuery<'_>) -> Result<List, CacheError> {
        if let At::Exact(requested) = query.at
            && requested > self.revision()
        {
            let newest = self.shared.store.revision().await?;
            if requested > newest {
                return Err(StoreError::Future { requested, newest }.into());
            }
        }
        match (self.shared.reach(query.at).await, query.at) {
            (Ok(()), _) => {}
            (Err(CacheError::Unreadable(_)), At::Latest) => {
                let newest = self.shared.store.revision().await?;
                return Ok(past::list(&self.shared, &query, newest).await?);
            }
            (Err(CacheError::Unreadable(_)), At::Exact(revision)) => {
                return Ok(past::list(&self.shared, &query, revision).await?);
            }
            (Err(error), _) => return Err(error),
        }
        let listed = self.shared.state.read().list(&query);
        match (listed, query.at) {
            (Err(CacheError::Expired { .. }), At::Exact(revision)) => {
                Ok(past::list(&self.shared, &query, revision).await?)
            }
            // What the store has compacted is over, though a quiet kind's ring may still reach back that far.
            (Ok(list), At::Exact(revision)) if revision < self.revision() => {
                self.shared.store.range(query.prefix, None, 1, Some(revision)).await?;
                Ok(list)
            }
            (listed, _) => listed,
        }
    }

    /// The events after `revision`, which may be one that is yet to come: nothing is told before it, as upstream.
    ///
    /// # Errors
    /// See [`CacheError`]; [`CacheError::Expired`] when the ring does not reach back that far. Where [`Limits::past`] lets it be, the watch
    /// itself ends with it, when the store does not remember either.
    pub async fn watch(&self, after: Revision) -> Result<Watch, CacheError> {
        let newest = if after > self.revision() { self.shared.store.revision().await? } else { after };
        self.shared.reach(At::NotOlderThan(after.min(newest))).await?;
        let (mut watch, reached) = {
            let state = self.shared.state.read();
            match state.cursor_after(after) {
                Ok(cursor) => return Ok(Watch::new(self.clone(), cursor, after, after > state.revision())),
                Err(error) if !state.may_remember(after) => return Err(error),
                Err(_) => (Watch::new(self.clone(), state.end(), after, false), state.revision()),
            }
        };
        watch.past = Some(past::Events::begin(&self.shared, after, reached).await?);
        Ok(watch)
    }

    /// A list and the events after it, with nothing between: a watch that begins with the present state.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn list_and_watch(&self, query: ListQuery<'_>) -> Result<(List, Watch), CacheError> {
        self.shared.reach(query.at).await?;
        let state = self.shared.state.read();
        let list = state.list(&query)?;
        let cursor = state.cursor_after(list.revision)?;
        let watch = Watch::new(self.clone(), cursor, list.revision, false);
        Ok((list, watch))
    }

    /// How far the cache is; a lower bound of the store's revision.
    pub fn revision(&self) -> Revision {
        self.shared.pulse.borrow().revision
    }

    /// Filled and following the store.
    pub fn ready(&self) -> bool {
        self.shared.pulse.borrow().ready
    }

    /// It cannot be filled, because what is stored cannot be read.
    pub fn unreadable(&self) -> bool {
        let pulse = self.shared.pulse.borrow();
        pulse.unreadable && !pulse.ready
    }

    /// Waits until the cache is filled, for however long what is stored cannot be read.
    pub async fn filled(&self) {
        // The sender is the cache's own: it does not end before this does.
        drop(self.shared.pulse.subscribe().wait_for(|pulse| pulse.ready).await);
    }

    /// Brings the cache up to everything committed now: for bookmarks that carry a fresh revision.
    ///
    /// # Errors
    /// See [`CacheError`].
    pub async fn sync(&self) -> Result<Revision, CacheError> {
        self.shared.reach(At::Latest).await?;
        Ok(self.revision())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.shared.state.read().len()
    }

    /// How many objects there are, and the bytes of all of them.
    pub fn size(&self) -> (usize, usize) {
        let state = self.shared.state.read();
        (state.len(), state.bytes())
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    /// Waits until the cache has what `at` asks for.
    async fn reach(&self, at: At) -> Result<(), CacheError> {
        let wanted = match at {
            At::Latest => self.store.revision().await?,
            At::NotOlderThan(revision) | At::Exact(revision) => revision,
        };
        let reached = |pulse: &Pulse| pulse.ready && pulse.revision >= wanted;
        if reached(&self.pulse.borrow()) {
            return Ok(());
        }
        let failed = |pulse: &Pulse| pulse.unreadable && !pulse.ready;
        let mut pulse = self.pulse.subscribe();
        // Nothing is asked for that has not been written, or one wrong number would keep the store sending progress.
        let newest = if at == At::Latest { wanted } else { self.store.revision().await? };
        self.store.request_progress(&self.prefix, wanted.min(newest));
        let arrived =
            tokio::time::timeout(self.catch_up, pulse.wait_for(|pulse| reached(pulse) || failed(pulse))).await;
        match arrived {
            Ok(Ok(pulse)) if failed(&pulse) => Err(CacheError::Unreadable(self.unreadable.read().clone())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(CacheError::NotReady),
            Err(_) => {
                let current = *self.pulse.borrow();
                match current.ready {
                    true => Err(CacheError::TooLarge { requested: wanted, current: current.revision }),
                    false => Err(CacheError::NotReady),
                }
            }
        }
    }
}
