//! Reading: everything is answered from one snapshot of the database, so an answer is never a mixture of revisions.
//!
//! The past is the present with the later records undone: the first record of a key after revision R names the record that
//! was its state at R.

use super::layout::{self, INDEX, META, RECORDS, Record};
use crate::{Event, KeyValue, RangeResult, Revision, StoreError};
use redb::{Database, ReadOnlyTable, ReadableDatabase};
use std::collections::BTreeMap;

pub(super) struct Snapshot {
    index: ReadOnlyTable<&'static str, (Revision, Revision)>,
    records: ReadOnlyTable<Revision, &'static [u8]>,
    revision: Revision,
    compacted: Revision,
}

pub(super) fn unavailable(error: impl Into<anyhow::Error>) -> StoreError {
    StoreError::Unavailable(error.into())
}

impl Snapshot {
    pub fn take(database: &Database) -> Result<Self, StoreError> {
        let transaction = database.begin_read().map_err(unavailable)?;
        let meta = transaction.open_table(META).map_err(unavailable)?;
        let records = transaction.open_table(RECORDS).map_err(unavailable)?;
        let (revision, compacted) = layout::counters(&meta, &records).map_err(unavailable)?;
        let index = transaction.open_table(INDEX).map_err(unavailable)?;
        Ok(Self { index, records, revision, compacted })
    }

    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// That `revision` can be read.
    pub fn check(&self, revision: Revision) -> Result<(), StoreError> {
        match revision {
            requested if requested < self.compacted => Err(StoreError::Compacted { requested, oldest: self.compacted }),
            requested if requested > self.revision => Err(StoreError::Future { requested, newest: self.revision }),
            _ => Ok(()),
        }
    }

    pub fn get(&self, key: &str, revision: Option<Revision>) -> Result<Option<KeyValue>, StoreError> {
        if let Some(revision) = revision {
            self.check(revision)?;
            if let Some(previous) = self.undone(revision, key)?.get(key) {
                return self.state(*previous);
            }
        }
        match self.index.get(key).map_err(unavailable)? {
            Some(found) => self.state(found.value().0),
            None => Ok(None),
        }
    }

    pub fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError> {
        let at = revision.unwrap_or(self.revision);
        self.check(at)?;
        let start = start.filter(|start| *start > prefix).unwrap_or(prefix);
        // Key → record of its state; keys undone to nothing are 0.
        let mut past = self.undone(at, prefix)?.into_iter().filter(|(key, _)| &**key >= start).peekable();
        let mut present = self
            .index
            .range(start..)
            .map_err(unavailable)?
            .map_while(|entry| match entry {
                Ok((key, found)) => {
                    key.value().starts_with(prefix).then(|| Ok((key.value().to_owned(), found.value().0)))
                }
                Err(error) => Some(Err(unavailable(error))),
            })
            .peekable();

        let mut result = RangeResult { items: Vec::new(), revision: at, more: false, count: 0 };
        loop {
            let record = match (past.peek(), present.peek()) {
                (Some((undone, _)), Some(Ok((key, _)))) if undone > key => present.next().transpose()?,
                (Some((undone, _)), Some(Ok((key, _)))) if undone == key => {
                    present.next();
                    past.next()
                }
                (Some(_), Some(Ok(_)) | None) => past.next(),
                (_, Some(_)) => present.next().transpose()?,
                (None, None) => return Ok(result),
            };
            let Some((_, record)) = record.filter(|(_, record)| *record > 0) else { continue };
            result.count += 1;
            if limit == 0 || result.items.len() < limit {
                result.items.extend(self.state(record)?);
            } else {
                result.more = true;
            }
        }
    }

    /// At most `limit` records after `after`, as events of `prefix`, and the revision they reach to.
    pub fn events(&self, prefix: &str, after: Revision, limit: usize) -> Result<(Vec<Event>, Revision), StoreError> {
        self.check(after)?;
        let (mut events, mut reached) = (Vec::new(), after);
        for entry in self.records.range(after + 1..).map_err(unavailable)?.take(limit) {
            let (revision, bytes) = entry.map_err(unavailable)?;
            let revision = revision.value();
            reached = revision;
            let record = Record::decode(bytes.value()).map_err(unavailable)?;
            if record.key.starts_with(prefix) {
                let previous = self.state(record.previous)?;
                events.push(match record.state(revision) {
                    Some(kv) => Event::Put { kv, previous },
                    None => Event::Delete { key: record.key.to_owned(), revision, previous },
                });
            }
        }
        Ok((events, reached))
    }

    /// The keys under `prefix` changed after `revision`, each with the record of its state at `revision`, or 0.
    fn undone(&self, revision: Revision, prefix: &str) -> Result<BTreeMap<String, Revision>, StoreError> {
        let mut undone = BTreeMap::new();
        if revision >= self.revision {
            return Ok(undone);
        }
        for entry in self.records.range(revision + 1..).map_err(unavailable)? {
            let (_, bytes) = entry.map_err(unavailable)?;
            let record = Record::decode(bytes.value()).map_err(unavailable)?;
            if record.key.starts_with(prefix) && !undone.contains_key(record.key) {
                undone.insert(record.key.to_owned(), record.previous);
            }
        }
        Ok(undone)
    }

    /// The state that the record of `revision` left; none for 0.
    fn state(&self, revision: Revision) -> Result<Option<KeyValue>, StoreError> {
        if revision == 0 {
            return Ok(None);
        }
        let bytes = self.records.get(revision).map_err(unavailable)?;
        let bytes =
            bytes.ok_or_else(|| unavailable(anyhow::anyhow!("the record of revision {revision} is missing")))?;
        Ok(Record::decode(bytes.value()).map_err(unavailable)?.state(revision))
    }
}
