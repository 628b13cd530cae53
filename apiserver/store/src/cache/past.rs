//! Lists and events of a past that only the store remembers. Nothing of it is kept: it is read, filtered and given away.

use super::object::CacheEvent;
use super::state::Applied;
use super::{List, ListQuery, Shared, feed};
use crate::{Event, KeyValue, Revision, StoreError};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};

/// How many keys are read at once where a filter may leave most of them out.
const PAGE: usize = 500;

/// A page as of `revision`.
pub(super) async fn list(shared: &Shared, query: &ListQuery<'_>, revision: Revision) -> Result<List, StoreError> {
    let mut list = List { items: Vec::new(), revision, next: None, remaining: 0 };
    let mut start = query.start.filter(|start| *start > query.prefix).map(str::to_owned);
    loop {
        // Without a filter, one more than wanted tells where the next page begins.
        let wanted = if query.limit > 0 && query.filter.is_none() { query.limit - list.items.len() + 1 } else { PAGE };
        let page = shared.store.range(query.prefix, start.as_deref(), wanted.min(PAGE), Some(revision)).await?;
        let mut left = page.count;
        for kv in &page.items {
            let object = feed::object(shared, kv).filter(|object| query.filter.is_none_or(|filter| filter(object)));
            if let Some(object) = object {
                if query.limit > 0 && list.items.len() == query.limit {
                    list.next = Some(kv.key.clone());
                    list.remaining = left;
                    return Ok(list);
                }
                list.items.push(object);
            }
            left = left.saturating_sub(1);
        }
        match page.items.last() {
            // The first key behind the last one in byte order.
            Some(last) if page.more => start = Some(format!("{}\0", last.key)),
            _ => return Ok(list),
        }
        tokio::task::consume_budget().await;
    }
}

/// What happened after one revision and up to another.
pub(super) struct Events {
    events: BoxStream<'static, Result<Event, StoreError>>,
    until: Revision,
}

impl Events {
    /// `until` is a revision that the cache has reached. What the store does not remember is told by [`Events::next`].
    pub async fn begin(shared: &Shared, after: Revision, until: Revision) -> Result<Self, StoreError> {
        let events = match shared.store.watch(&shared.prefix, after).await {
            Err(error @ StoreError::Compacted { .. }) => stream::iter([Err(error)]).boxed(),
            events => events?,
        };
        // Whatever was written last may be of another prefix.
        shared.store.request_progress(&shared.prefix, until);
        Ok(Self { events, until })
    }

    /// The next one, `None` behind the last. It can be dropped and called again without losing any.
    pub async fn next(&mut self, shared: &Shared) -> Result<Option<CacheEvent>, StoreError> {
        while let Some(event) = self.events.try_next().await? {
            let over = match &event {
                Event::Put { kv, .. } => kv.mod_revision > self.until,
                Event::Delete { revision, .. } => *revision > self.until,
                Event::Progress { revision } => *revision >= self.until,
            };
            if over {
                return Ok(None);
            }
            if let Some(event) = told(shared, event) {
                return Ok(Some(event));
            }
        }
        Err(StoreError::Unavailable(anyhow::anyhow!("the store's watch ended")))
    }
}

fn told(shared: &Shared, event: Event) -> Option<CacheEvent> {
    let old = |previous: &Option<KeyValue>| feed::object(shared, previous.as_ref()?);
    let old = match &event {
        Event::Put { previous, .. } | Event::Delete { previous, .. } => old(previous),
        Event::Progress { .. } => None,
    };
    match feed::read(shared, event) {
        Applied::Put(object) => Some(CacheEvent::put(object, old)),
        Applied::Delete { revision, .. } => old.map(|old| CacheEvent::deletion(old, revision)),
        Applied::Progress(_) => None,
    }
}
