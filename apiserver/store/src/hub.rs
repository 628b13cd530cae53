//! Fan-out of committed events to watchers, the same for every backend.
//!
//! The backend publishes each revision once and in order. A watcher has a bounded queue; when it is full the watcher is
//! cut off with [`StoreError::SlowWatcher`] and nobody else notices. Registering and publishing exclude each other, so a
//! watcher knows exactly which revision its live events begin after, and the backend replays what lies before.

use crate::{Event, Revision, StoreError};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many events a watcher may be behind. The watch cache reads quickly; only a stuck one gets here.
const QUEUE: usize = 8 * 1024;

/// The registered watchers and how far the store has been published.
pub(crate) struct Hub {
    inner: Mutex<Inner>,
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
        .boxed()
}

impl Hub {
    pub fn new(published: Revision) -> Self {
        Self::with_queue(published, QUEUE)
    }

    pub fn with_queue(published: Revision, queue: usize) -> Self {
        Self { inner: Mutex::new(Inner { published, wanted: 0, watchers: Vec::new() }), queue }
    }

    /// The newest revision that has been published.
    pub fn published(&self) -> Revision {
        self.inner.lock().published
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
