//! The cache's memory and its pure operations: the objects by key, and a ring of recent events.
//!
//! The ring serves three purposes: watchers read it with a cursor each (so there is no buffer per watcher), a watch can begin
//! in the past, and a list at an earlier revision is the present with the later events undone.

use super::object::{CacheEvent, Object};
use super::{At, CacheError, List, ListQuery};
use crate::Revision;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What a cache allows itself.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// So many recent events are kept in any case.
    pub min: usize,
    /// So many at most.
    pub max: usize,
    /// How long more than the minimum is kept. Upstream's `DefaultEventFreshDuration`: a little more than the interval of bookmarks.
    pub fresh: Duration,
    /// How long a read waits for the cache to reach its revision (upstream: 3 s).
    pub catch_up: Duration,
    pub past: Past,
}

/// How far before the ring a watch may begin: the store is asked for what was between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Past {
    /// Not at all.
    Ring,
    /// As if the cache had been filled at this revision, which it was not, for nobody had asked for it yet.
    Since(Revision),
    /// As far as the store remembers: so it is upstream with kinds that have no watch cache.
    Store,
}

impl Default for Limits {
    fn default() -> Self {
        let (fresh, catch_up) = (Duration::from_secs(75), Duration::from_secs(3));
        Self { min: 512, max: 16 * 1024, fresh, catch_up, past: Past::Ring }
    }
}

/// So many of the newest events keep what was encoded for their watchers; further back nearly all have read them.
const ENCODED_EVENTS: usize = 64;

/// One step of the store, its object read already.
pub(super) enum Applied {
    Put(Arc<Object>),
    Delete { key: String, revision: Revision },
    Progress(Revision),
}

struct Slot {
    event: Arc<CacheEvent>,
    at: Instant,
}

/// Objects and recent events of one prefix, as of [`State::revision`].
pub(super) struct State {
    objects: BTreeMap<Arc<str>, Arc<Object>>,
    /// The bytes of all objects.
    bytes: usize,
    ring: VecDeque<Slot>,
    /// The position of the ring's first event, counted from the cache's beginning; never goes back.
    first: u64,
    /// Events after this revision are all in the ring.
    floor: Revision,
    /// How often it began anew, and at which revision last.
    fillings: u64,
    filled: Revision,
    revision: Revision,
    limits: Limits,
}

impl State {
    pub fn new(limits: Limits) -> Self {
        Self {
            objects: BTreeMap::new(),
            bytes: 0,
            ring: VecDeque::new(),
            first: 0,
            floor: 0,
            fillings: 0,
            filled: 0,
            revision: 0,
            limits,
        }
    }

    /// Everything up to this revision is in.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// The revision a watch can begin after at the earliest.
    pub fn floor(&self) -> Revision {
        self.floor
    }

    /// The cursor behind the newest event.
    pub fn end(&self) -> u64 {
        self.first + self.ring.len() as u64
    }

    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// The bytes of all objects.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Begins anew with what a range found. Cursors into the old ring are invalid from now on.
    pub fn reset(&mut self, objects: Vec<Arc<Object>>, revision: Revision) {
        self.first = self.end() + 1;
        self.ring.clear();
        self.bytes = objects.iter().map(|object| object.bytes().len()).sum();
        self.objects = objects.into_iter().map(|object| (object.key.clone(), object)).collect();
        self.floor = revision;
        self.revision = revision;
        self.fillings += 1;
        self.filled = revision;
    }

    /// Whether a watch from before the ring may be told what the store remembers.
    pub fn may_remember(&self, after: Revision) -> bool {
        match self.limits.past {
            Past::Ring => false,
            // An older cache would have lost what this one has lost.
            Past::Since(begin) => after >= begin && self.fillings == 1 && self.floor == self.filled,
            Past::Store => true,
        }
    }

    pub fn apply(&mut self, change: Applied, now: Instant) {
        match change {
            Applied::Put(object) => {
                self.revision = self.revision.max(object.mod_revision);
                let old = self.objects.insert(object.key.clone(), object.clone());
                self.bytes += object.bytes().len();
                self.bytes -= old.as_ref().map_or(0, |old| old.bytes().len());
                self.push(CacheEvent::put(object, old), now);
            }
            Applied::Delete { key, revision } => {
                self.revision = self.revision.max(revision);
                if let Some(old) = self.objects.remove(key.as_str()) {
                    self.bytes -= old.bytes().len();
                    self.push(CacheEvent::deletion(old, revision), now);
                }
            }
            Applied::Progress(revision) => self.revision = self.revision.max(revision),
        }
    }

    fn push(&mut self, event: CacheEvent, now: Instant) {
        self.ring.push_back(Slot { event: Arc::new(event), at: now });
        if let Some(settled) = self.ring.len().checked_sub(ENCODED_EVENTS + 1) {
            self.ring[settled].event.forget_encodings();
        }
        while self.ring.len() > self.limits.min {
            let stale = self.ring.front().is_some_and(|slot| now.duration_since(slot.at) > self.limits.fresh);
            if !stale && self.ring.len() <= self.limits.max {
                break;
            }
            if let Some(slot) = self.ring.pop_front() {
                self.floor = slot.event.revision;
                self.first += 1;
            }
        }
    }

    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.objects.get(key).cloned()
    }

    /// The cursor of the first event after `revision`.
    pub fn cursor_after(&self, revision: Revision) -> Result<u64, CacheError> {
        if revision < self.floor {
            return Err(CacheError::Expired { requested: revision, oldest: self.floor });
        }
        Ok(self.first + self.ring.partition_point(|slot| slot.event.revision <= revision) as u64)
    }

    /// The events from `cursor` on and before `end`; `None` when they are no longer, or not yet, all there.
    pub fn events(&self, cursor: u64, end: u64) -> Option<Vec<Arc<CacheEvent>>> {
        let at = |cursor: u64| usize::try_from(cursor.checked_sub(self.first)?).ok();
        let (from, to) = (at(cursor)?, at(end)?);
        (from <= to && to <= self.ring.len())
            .then(|| self.ring.range(from..to).map(|slot| slot.event.clone()).collect())
    }

    /// Lists the present, or for [`At::Exact`] an earlier revision.
    pub fn list(&self, query: &ListQuery<'_>) -> Result<List, CacheError> {
        let (revision, undone) = match query.at {
            At::Exact(revision) if revision < self.revision => (revision, self.undone(revision)?),
            _ => (self.revision, BTreeMap::new()),
        };
        let start = query.start.filter(|start| *start > query.prefix).unwrap_or(query.prefix);
        let present = self
            .objects
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(query.prefix))
            .filter(|(key, _)| !undone.contains_key(&***key))
            .map(|(_, object)| object);
        let past = undone
            .range::<str, _>((Bound::Included(start), Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(query.prefix))
            .filter_map(|(_, object)| *object);
        let mut objects = merge(present, past).filter(|object| query.filter.is_none_or(|filter| filter(object)));

        let mut list = List { items: Vec::new(), revision, next: None, remaining: 0 };
        if query.limit == 0 {
            list.items = objects.cloned().collect();
            return Ok(list);
        }
        list.items = objects.by_ref().take(query.limit).cloned().collect();
        if let Some(next) = objects.next() {
            list.next = Some(next.key.to_string());
            list.remaining = 1 + objects.count() as u64;
        }
        Ok(list)
    }

    /// The keys changed after `revision`, each with its state at `revision`.
    fn undone(&self, revision: Revision) -> Result<BTreeMap<&str, Option<&Arc<Object>>>, CacheError> {
        let mut undone = BTreeMap::new();
        let cursor = self.cursor_after(revision)?;
        for slot in self.ring.iter().skip((cursor - self.first) as usize) {
            undone.entry(&*slot.event.object.key).or_insert(slot.event.old.as_ref());
        }
        Ok(undone)
    }
}

/// Two sequences sorted by key, without common keys, as one.
fn merge<'a>(
    left: impl Iterator<Item = &'a Arc<Object>>,
    right: impl Iterator<Item = &'a Arc<Object>>,
) -> impl Iterator<Item = &'a Arc<Object>> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    std::iter::from_fn(move || match (left.peek(), right.peek()) {
        (Some(a), Some(b)) if b.key < a.key => right.next(),
        (Some(_), _) => left.next(),
        (None, _) => right.next(),
    })
}
