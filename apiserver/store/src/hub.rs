//! Fan-out of committed events to watchers, the same for every backend.
//!
//! The backend publishes each revision once and in order. A watcher has a bounded queue; when it is full the watcher is
//! cut off with [`StoreError::SlowWatcher`] and nobody else notices. Registering and publishing exclude each other, so a
//! watcher knows exactly which revision its live events begin after, and the backend replays what lies before.

use crate::{Event, Revision, StoreError};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::sync::mpsc;

/// How many events a watcher may be behind. The watch cache reads quickly; only a stuck one gets here.
const QUEUE: usize = 8 * 1024;

/// The registered watchers and how far the store has been published.
pub(crate) struct Hub {
    inner: Mutex<Inner>,
    /// [`Inner::published`] for readers: every linearizable read asks.
    published: AtomicI64,
    queue: usize,
}

struct Inner {
    published: Revision,
    /// The highest revision someone asked progress for; a watcher registered later must answer it too.
    wanted: Revision,
    watchers: Vec<Watcher>,
}

struct Watcher {
    prefix: Box<str>,
    /// Its events begin after this revision.
    from: Revision,
    /// The last revision it has been told of.
    sent: Revision,
    /// Until this revision it is told of every published one.
    eager_until: Revision,
    queue: mpsc::Sender<Event>,
    ending: Ending,
}

/// Why a watch ended, left for its reader to find behind the last event.
type Ending = Arc<Mutex<Option<StoreError>>>;

/// The live part of a watch.
pub(crate) struct Subscription {
    /// The live events are those after this revision.
    pub from: Revision,
    events: mpsc::Receiver<Event>,
    ending: Ending,
}

impl Subscription {
    /// The events; at the end the reason.
    pub fn into_stream(self) -> impl Stream<Item = Result<Event, StoreError>> + Send {
        stream::unfold(Some(self), |subscription| async move {
            let mut subscription = subscription?;
            match subscription.events.recv().await {
                Some(event) => Some((Ok(event), Some(subscription))),
                None => {
                    let reason = subscription.ending.lock().take();
                    let reason =
                        reason.unwrap_or_else(|| StoreError::Unavailable(anyhow::anyhow!("the store was closed")));
                    Some((Err(reason), None))
                }
            }
        })
    }
}

/// `events` up to and with the first error: a watch that misses something is over.
pub(crate) fn until_error(
    events: impl Stream<Item = Result<Event, StoreError>> + Send + 'static,
) -> BoxStream<'static, Result<Event, StoreError>> {
    events
        .scan(false, |failed, event| {
            let over = std::mem::replace(failed, event.is_err());
            std::future::ready((!over).then_some(event))
        })
        .fuse()
        .boxed()
}

impl Hub {
    pub fn new(published: Revision) -> Self {
        Self::with_queue(published, QUEUE)
    }

    pub fn with_queue(published: Revision, queue: usize) -> Self {
        let inner = Mutex::new(Inner { published, wanted: 0, watchers: Vec::new() });
        Self { inner, published: published.into(), queue }
    }

    /// The newest revision that has been published.
    pub fn published(&self) -> Revision {
        self.published.load(Ordering::Acquire)
    }

    /// A watch of the events after `after`, and after what has been published.
    pub fn subscribe(&self, prefix: &str, after: Revision) -> Subscription {
        let (queue, events) = mpsc::channel(self.queue);
        let ending = Ending::default();
        let mut inner = self.inner.lock();
        let from = inner.published.max(after);
        let watcher = Watcher {
            prefix: prefix.into(),
            from,
            sent: from,
            eager_until: inner.wanted,
            queue,
            ending: ending.clone(),
        };
        inner.watchers.push(watcher);
        Subscription { from, events, ending }
    }

    /// Hands out `events`, sorted by revision and all those up to `revision`.
    pub fn publish(&self, events: &[Event], revision: Revision) {
        let mut inner = self.inner.lock();
        inner.published = revision;
        // Before the events are handed out: who reads in between waits for them, as it should.
        self.published.store(revision, Ordering::Release);
        inner.watchers.retain_mut(|watcher| watcher.publish(events, revision));
    }

    /// See [`crate::Store::request_progress`].
    pub fn request_progress(&self, prefix: &str, wanted: Revision) {
        let mut inner = self.inner.lock();
        let published = inner.published;
        inner.wanted = inner.wanted.max(wanted);
        inner.watchers.retain_mut(|watcher| {
            if *watcher.prefix != *prefix || watcher.sent >= wanted {
                return true;
            }
            watcher.eager_until = watcher.eager_until.max(wanted);
            watcher.sent >= published || watcher.send(Event::Progress { revision: published }, published)
        });
    }

    /// Ends all watches and goes on at `revision`; the backend lost the thread of events.
    pub fn reset(&self, revision: Revision, reason: &str) {
        let mut inner = self.inner.lock();
        (inner.published, inner.wanted) = (revision, 0);
        self.published.store(revision, Ordering::Release);
        for watcher in inner.watchers.drain(..) {
            *watcher.ending.lock() = Some(StoreError::Unavailable(anyhow::anyhow!("{reason}")));
        }
    }
}

impl Watcher {
    /// False when the watcher is gone.
    fn publish(&mut self, events: &[Event], revision: Revision) -> bool {
        for event in events {
            let (key, at) = match event {
                Event::Put { kv, .. } => (&kv.key, kv.mod_revision),
                Event::Delete { key, revision, .. } => (key, *revision),
                Event::Progress { .. } => continue,
            };
            // Several events may share a revision (a transaction of another etcd client), so `sent` is no bound here.
            if key.starts_with(&*self.prefix) && at > self.from && !self.send(event.clone(), at) {
                return false;
            }
        }
        if self.sent < revision && self.sent < self.eager_until {
            return self.send(Event::Progress { revision }, revision);
        }
        !self.queue.is_closed()
    }

    fn send(&mut self, event: Event, revision: Revision) -> bool {
        self.sent = self.sent.max(revision);
        match self.queue.try_send(event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                *self.ending.lock() = Some(StoreError::SlowWatcher);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KeyValue;
    use bytes::Bytes;
    use futures::FutureExt;

    fn put(key: &str, revision: Revision) -> Event {
        let kv = KeyValue {
            key: key.into(),
            value: Bytes::new(),
            create_revision: revision,
            mod_revision: revision,
            stale: false,
        };
        Event::Put { kv, previous: None }
    }

    /// What is there to read, as revisions; progress is negative.
    fn drain(watch: &mut BoxStream<'static, Result<Event, StoreError>>) -> Vec<Result<Revision, String>> {
        let mut seen = Vec::new();
        while let Some(Some(event)) = watch.next().now_or_never() {
            seen.push(event.map_err(|error| error.to_string()).map(|event| match event {
                Event::Put { kv, .. } => kv.mod_revision,
                Event::Delete { revision, .. } => revision,
                Event::Progress { revision } => -revision,
            }));
        }
        seen
    }

    #[test]
    fn a_slow_watcher_is_cut_and_the_others_go_on() {
        let hub = Hub::with_queue(1, 2);
        let mut slow = until_error(hub.subscribe("/a/", 1).into_stream());
        let mut quick = until_error(hub.subscribe("/a/", 1).into_stream());
        for revision in 2..6 {
            hub.publish(&[put("/a/x", revision)], revision);
            assert_eq!(drain(&mut quick), [Ok(revision)]);
        }
        assert_eq!(drain(&mut slow), [Ok(2), Ok(3), Err(StoreError::SlowWatcher.to_string())]);
        assert!(slow.next().now_or_never().unwrap().is_none(), "nothing comes after an error");
        assert_eq!(hub.inner.lock().watchers.len(), 1);
        drop(quick);
        hub.publish(&[], 6);
        assert!(hub.inner.lock().watchers.is_empty(), "dropped watchers are forgotten");
    }

    #[test]
    fn progress_comes_when_wanted_and_only_then() {
        let hub = Hub::new(5);
        let mut watch = until_error(hub.subscribe("/a/", 5).into_stream());
        hub.publish(&[put("/b/x", 6)], 6);
        assert_eq!(drain(&mut watch), []);
        hub.request_progress("/b/", 6);
        assert_eq!(drain(&mut watch), []);
        hub.request_progress("/a/", 6);
        hub.request_progress("/a/", 6);
        assert_eq!(drain(&mut watch), [Ok(-6)], "told once");
        // Asked for before the backend got there.
        hub.request_progress("/a/", 8);
        hub.publish(&[put("/b/x", 7)], 7);
        hub.publish(&[put("/b/x", 8)], 8);
        hub.publish(&[put("/b/x", 9)], 9);
        assert_eq!(drain(&mut watch), [Ok(-7), Ok(-8)]);
        // Asked for before the watcher was there.
        hub.request_progress("/c/", 10);
        let mut late = until_error(hub.subscribe("/c/", 9).into_stream());
        hub.publish(&[put("/b/x", 10)], 10);
        assert_eq!(drain(&mut late), [Ok(-10)]);
    }

    #[test]
    fn a_watch_from_the_future_skips_what_it_must() {
        let hub = Hub::new(5);
        let mut watch = until_error(hub.subscribe("/a/", 7).into_stream());
        for revision in 6..9 {
            hub.publish(&[put("/a/x", revision)], revision);
        }
        assert_eq!(drain(&mut watch), [Ok(8)]);
        hub.reset(20, "gone");
        assert_eq!(drain(&mut watch).len(), 1);
    }
}
