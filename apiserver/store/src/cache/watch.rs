//! A watcher: a cursor into the cache's ring.

use super::object::CacheEvent;
use super::{CacheError, Pulse, WatchCache};
use crate::Revision;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// So many events are handed out at once, so that the lock is not taken for each.
const BATCH: usize = 128;
/// About what it costs to wake a watcher and send it something, whatever that is. No watcher is woken again before all of
/// them could have been: then a burst reaches many watchers in a few large pieces instead of many small ones.
const ROUND: Duration = Duration::from_micros(40);
/// A single event never waits, a burst no longer than this. Rounds shorter than the least are not worth a timer.
const LEAST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(8);

/// The events of a cache from some revision on.
pub struct Watch {
    cache: WatchCache,
    pulse: tokio::sync::watch::Receiver<Pulse>,
    generation: u64,
    cursor: u64,
    revision: Revision,
    /// When events were handed out last.
    woken: Option<Instant>,
}

impl Watch {
    /// The caller holds the state's lock, so that `cursor` and the generation belong together.
    pub(super) fn new(cache: WatchCache, cursor: u64, revision: Revision) -> Self {
        let pulse = cache.shared.pulse.subscribe();
        let generation = pulse.borrow().generation;
        Self { cache, pulse, generation, cursor, revision, woken: None }
    }

    /// The next events, at least one, in order. It can be dropped and called again without losing any.
    ///
    /// # Errors
    /// [`CacheError::Expired`] when this watcher was too slow, [`CacheError::NotReady`] when the cache lost its store. Both
    /// end the watch.
    pub async fn next(&mut self) -> Result<Vec<Arc<CacheEvent>>, CacheError> {
        loop {
            let cursor = self.cursor;
            let pulse = *self.pulse.wait_for(|pulse| pulse.end != cursor).await.map_err(|_| CacheError::NotReady)?;
            if pulse.generation != self.generation {
                return Err(CacheError::NotReady);
            }
            self.pause().await;
            let state = self.cache.shared.state.read();
            let Some(events) = state.events_from(self.cursor, BATCH) else {
                return Err(CacheError::Expired { requested: self.revision, oldest: state.floor() });
            };
            if let Some(last) = events.last() {
                self.cursor += events.len() as u64;
                self.woken = Some(Instant::now());
                self.revision = last.revision;
                return Ok(events);
            }
        }
    }

    /// Waits until it is this watcher's turn again; see [`ROUND`].
    async fn pause(&self) {
        let watchers = u32::try_from(self.cache.shared.pulse.receiver_count()).unwrap_or(u32::MAX);
        let round = ROUND.saturating_mul(watchers).min(LONGEST_PAUSE);
        if let Some(woken) = self.woken.filter(|_| round >= LEAST_PAUSE) {
            let turn = woken + round;
            if turn > Instant::now() {
                tokio::time::sleep_until(turn).await;
            }
        }
    }

    /// Everything up to this revision has been handed out: what a bookmark may say. It grows without events too, when the
    /// cache learns that nothing happened (see [`WatchCache::sync`]).
    pub fn revision(&mut self) -> Revision {
        let state = self.cache.shared.state.read();
        if state.end() == self.cursor && self.pulse.borrow().generation == self.generation {
            self.revision = self.revision.max(state.revision());
        }
        self.revision
    }
}
