//! A watcher: a cursor into the cache's ring.

use super::object::CacheEvent;
use super::past::Events;
use super::{CacheError, Pulse, WatchCache};
use crate::{Revision, StoreError};
use bytes::Bytes;
use std::sync::Arc;

/// So many events are handed out at once, so that the lock is not taken for each.
const BATCH: u64 = 256;
/// What is joined is kept for the others up to this size.
const KEPT: usize = 256 * 1024;

/// Events in one piece.
#[derive(Clone, Debug, Default)]
pub struct Piece {
    pub bytes: Bytes,
    /// How many of the bytes are each event's.
    pub sizes: Arc<[usize]>,
}

/// The events between two cursors in one piece; see [`Watch::next_joined`].
pub(super) struct Joined {
    at: (u64, u64),
    form: String,
    /// Of the last event.
    revision: Revision,
    piece: Piece,
}

/// The events of a cache from some revision on.
pub struct Watch {
    cache: WatchCache,
    /// When it is this watcher's turn; see [`super::turns`].
    turn: tokio::sync::watch::Receiver<Pulse>,
    generation: u64,
    cursor: u64,
    revision: Revision,
    /// It begins with a revision that is yet to come.
    early: bool,
    /// What comes before the cursor, where that is further back than the ring was.
    pub(super) past: Option<Events>,
}

impl Watch {
    /// The caller holds the state's lock, so that `cursor` and the generation belong together.
    pub(super) fn new(cache: WatchCache, cursor: u64, revision: Revision, early: bool) -> Self {
        // Groups stay of about the same size.
        let turns = cache.shared.turns.iter().min_by_key(|turn| turn.receiver_count());
        let turn = turns.expect("there are groups").subscribe();
        let generation = turn.borrow().generation;
        Self { cache, turn, generation, cursor, revision, early, past: None }
    }

    /// The next events, at least one, in order. It can be dropped and called again without losing any.
    ///
    /// # Errors
    /// [`CacheError::Expired`] when this watcher was too slow, [`CacheError::NotReady`] when the cache lost its store. Both
    /// end the watch.
    pub async fn next(&mut self) -> Result<Vec<Arc<CacheEvent>>, CacheError> {
        if let Some(event) = self.remembered().await? {
            return Ok(vec![event]);
        }
        let end = self.turn().await?;
        let events = self.events(end)?;
        self.advance(end, events.last().map(|event| event.revision));
        Ok(events)
    }

    /// The same as one piece, which `join` makes of the events. Watchers of one `form` (which says what `join` does) that are
    /// told of the same events share what the first of them made.
    ///
    /// # Errors
    /// See [`Watch::next`].
    pub async fn next_joined(
        &mut self,
        form: &str,
        join: impl FnOnce(&[Arc<CacheEvent>]) -> Piece,
    ) -> Result<Piece, CacheError> {
        if let Some(event) = self.remembered().await? {
            return Ok(join(&[event]));
        }
        let end = self.turn().await?;
        let shared = self.cache.shared.clone();
        // While one makes it the others wait: they need the same.
        let mut kept = shared.joined.lock();
        if let Some(joined) = kept.as_ref().filter(|have| have.at == (self.cursor, end) && have.form == form) {
            let (piece, revision) = (joined.piece.clone(), joined.revision);
            self.advance(end, Some(revision));
            return Ok(piece);
        }
        let events = self.events(end)?;
        let piece = join(&events);
        let at = (self.cursor, end);
        self.advance(end, events.last().map(|event| event.revision));
        if piece.bytes.len() <= KEPT {
            *kept = Some(Joined { at, form: form.to_owned(), revision: self.revision, piece: piece.clone() });
        }
        Ok(piece)
    }

    /// The next event of the past, `None` once that is over.
    async fn remembered(&mut self) -> Result<Option<Arc<CacheEvent>>, CacheError> {
        let Some(past) = &mut self.past else { return Ok(None) };
        match past.next(&self.cache.shared).await {
            Ok(Some(event)) => {
                self.revision = event.revision;
                Ok(Some(Arc::new(event)))
            }
            Ok(None) => {
                self.past = None;
                Ok(None)
            }
            Err(StoreError::Compacted { requested, oldest }) => Err(CacheError::Expired { requested, oldest }),
            Err(_) => Err(CacheError::NotReady),
        }
    }

    /// Waits until there are events for this watcher: the cursor behind those it is to have now.
    async fn turn(&mut self) -> Result<u64, CacheError> {
        loop {
            let cursor = self.cursor;
            // Cursors only grow, also when the cache begins anew.
            let turn = *self.turn.wait_for(|turn| turn.end > cursor).await.map_err(|_| CacheError::NotReady)?;
            if turn.generation != self.generation {
                return Err(CacheError::NotReady);
            }
            if !self.early {
                return Ok(turn.end.min(cursor + BATCH));
            }
            // What comes before the revision that was asked for is passed over.
            self.cursor = self.cache.shared.state.read().cursor_after(self.revision)?.max(cursor);
            self.early = self.cursor >= turn.end;
        }
    }

    fn events(&self, end: u64) -> Result<Vec<Arc<CacheEvent>>, CacheError> {
        let state = self.cache.shared.state.read();
        let events = state.events(self.cursor, end);
        events.ok_or_else(|| CacheError::Expired { requested: self.revision, oldest: state.floor() })
    }

    fn advance(&mut self, end: u64, revision: Option<Revision>) {
        self.cursor = end;
        self.revision = revision.unwrap_or(self.revision);
    }

    /// Everything up to this revision has been handed out: what a bookmark may say. It grows without events too, when the
    /// cache learns that nothing happened (see [`WatchCache::sync`]). `None` while the revision that was asked for is yet to come.
    pub fn revision(&mut self) -> Option<Revision> {
        let state = self.cache.shared.state.read();
        if self.past.is_none() && state.end() == self.cursor && self.turn.borrow().generation == self.generation {
            self.revision = self.revision.max(state.revision());
        }
        (self.revision <= state.revision()).then_some(self.revision)
    }
}
