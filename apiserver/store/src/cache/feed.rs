//! The task that fills a cache and keeps it: range, then watch, and both anew when the watch is lost.

use super::object::Object;
use super::state::Applied;
use super::turns::Turns;
use super::{Pulse, Shared};
use crate::{Event, KeyValue, Revision, StoreError};
use futures::{FutureExt, StreamExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How many objects a range of the filling asks for at once.
const PAGE: usize = 500;
/// How many events are applied before readers are woken.
const BATCH: usize = 256;
const FIRST_RETRY: Duration = Duration::from_millis(20);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// Ends the task when dropped.
pub(super) struct Handle(tokio::task::JoinHandle<()>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn spawn(shared: Arc<Shared>) -> Handle {
    Handle(tokio::spawn(async move {
        let mut retry = FIRST_RETRY;
        loop {
            let filled = fill_and_follow(&shared, &mut retry).await;
            let Err(error) = filled;
            let unreadable = matches!(error, StoreError::Unreadable(_));
            if unreadable {
                *shared.unreadable.write() = error.to_string().into();
            }
            shared.pulse.send_modify(|pulse| (pulse.ready, pulse.unreadable) = (false, unreadable));
            tracing::warn!(prefix = shared.prefix, "the watch cache begins anew: {error}");
            tokio::time::sleep(retry).await;
            retry = (retry * 2).min(LAST_RETRY);
        }
    }))
}

async fn fill_and_follow(shared: &Shared, retry: &mut Duration) -> Result<std::convert::Infallible, StoreError> {
    let (objects, revision) = range_all(shared).await?;
    let mut events = shared.store.watch(&shared.prefix, revision).await?.fuse();
    {
        let mut state = shared.state.write();
        state.reset(objects, revision);
        let generation = shared.pulse.borrow().generation + 1;
        let pulse = Pulse { ready: true, unreadable: false, revision, generation, end: state.end() };
        shared.pulse.send_replace(pulse);
        for turn in &shared.turns {
            turn.send_replace(pulse);
        }
    }
    *retry = FIRST_RETRY;
    let mut turns = Turns::default();
    loop {
        let first = tokio::select! {
            event = events.next() => event,
            () = turns.due() => {
                wake(shared, &mut turns);
                continue;
            }
        };
        let Some(first) = first else { break };
        // Objects are read before the lock is taken; whatever else is there already goes along.
        let mut changes = vec![read(shared, first?)];
        let mut failed = None;
        while changes.len() < BATCH {
            match events.next().now_or_never().flatten() {
                Some(Ok(event)) => changes.push(read(shared, event)),
                Some(Err(error)) => {
                    failed = Some(error);
                    break;
                }
                None => break,
            }
        }
        let mut state = shared.state.write();
        let now = Instant::now();
        for change in changes {
            state.apply(change, now);
        }
        let (revision, end) = (state.revision(), state.end());
        shared.pulse.send_modify(|pulse| (pulse.revision, pulse.end) = (revision, end));
        drop(state);
        wake(shared, &mut turns);
        if let Some(error) = failed {
            return Err(error);
        }
    }
    Err(StoreError::Unavailable(anyhow::anyhow!("the store's watch ended")))
}

/// Tells the watchers whose turn it is how far the cache is.
fn wake(shared: &Shared, turns: &mut Turns) {
    let pulse = *shared.pulse.borrow();
    let watchers = shared.turns.iter().map(tokio::sync::watch::Sender::receiver_count).sum();
    let told = turns.news(tokio::time::Instant::now(), watchers, |group| shared.turns[group].borrow().end < pulse.end);
    for turn in shared.turns.iter().zip(told).filter_map(|(turn, told)| told.then_some(turn)) {
        turn.send_replace(pulse);
    }
}

/// A stored value as an object. What cannot be read is left out, and said so in the log.
pub(super) fn object(shared: &Shared, kv: &KeyValue) -> Option<Arc<Object>> {
    match (shared.extract)(kv) {
        Ok(indexed) => Some(Arc::new(Object::new(kv, indexed))),
        Err(error) => {
            let (key, revision) = (&kv.key, kv.mod_revision);
            tracing::error!(key, revision, "a stored value cannot be read and is left out: {error:#}");
            None
        }
    }
}

pub(super) fn read(shared: &Shared, event: Event) -> Applied {
    match event {
        // A value that is no object hides the key, as if it had been deleted.
        Event::Put { kv, .. } => match object(shared, &kv) {
            Some(object) => Applied::Put(object),
            None => Applied::Delete { key: kv.key, revision: kv.mod_revision },
        },
        Event::Delete { key, revision, .. } => Applied::Delete { key, revision },
        Event::Progress { revision } => Applied::Progress(revision),
    }
}

/// All objects of the prefix at one revision.
async fn range_all(shared: &Shared) -> Result<(Vec<Arc<Object>>, Revision), StoreError> {
    let mut objects = Vec::new();
    let mut at = None;
    let mut start: Option<String> = None;
    loop {
        let page = shared.store.range(&shared.prefix, start.as_deref(), PAGE, at).await?;
        at = Some(page.revision);
        objects.extend(page.items.iter().filter_map(|kv| object(shared, kv)));
        match page.items.last() {
            // The first key behind the last one in byte order.
            Some(last) if page.more => start = Some(format!("{}\0", last.key)),
            _ => return Ok((objects, page.revision)),
        }
    }
}
