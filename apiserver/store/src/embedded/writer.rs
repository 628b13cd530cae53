//! Writing: one thread takes all waiting writes, commits them in one transaction, and only then answers (group commit).
//!
//! The thread is the only one that writes, so conditions are checked without locks, and the price of a sync to disk is
//! shared by all who wait. What is synced is the journal; the database is once that is full. Events are published after
//! the commit and before the answers, so that a writer that reads through a watch cache afterwards finds its own write.

use super::expiry::Deadlines;
use super::journal::Journal;
use super::layout::{self, EXPIRES, INDEX, META, RECORDS, Record};
use super::snapshot::unavailable;
use crate::hub::Hub;
use crate::{Event, KeyValue, Revision, StoreError, WriteOutcome};
use anyhow::Context;
use bytes::Bytes;
use redb::{Database, Durability, ReadableTable, Table};
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// So many writes share one commit at most; more would make the first of them wait noticeably.
const BATCH: usize = 512;
/// The past is forgotten once it is longer than asked for by this part: what is old lies side by side, so that to forget it piece
/// by piece would copy its pages with each commit.
const LUMP: Revision = 32;

pub(super) enum Command {
    Write {
        write: Write,
        answer: oneshot::Sender<Result<WriteOutcome, StoreError>>,
    },
    Compact {
        revision: Revision,
        answer: oneshot::Sender<Result<(), StoreError>>,
    },
    /// Deletes what ends at `now`, in seconds since 1970, or ended before.
    Expire {
        now: u64,
    },
}

/// A conditional change of one key.
pub(super) struct Write {
    pub key: String,
    /// None: delete it.
    pub value: Option<Bytes>,
    pub expected: Revision,
    /// When the state ends, in seconds since 1970.
    pub expires: Option<u64>,
}

pub(super) struct Writer {
    pub database: Arc<Database>,
    pub journal: Journal,
    pub hub: Arc<Hub>,
    /// So many revisions are kept for reads in the past.
    pub history: Revision,
    pub revision: Revision,
    pub compacted: Revision,
    pub deadlines: Deadlines,
}

type Index<'t> = Table<'t, &'static str, (Revision, Revision)>;
type Records<'t> = Table<'t, Revision, &'static [u8]>;
type Expires<'t> = Table<'t, (u64, &'static str), Revision>;

/// What to tell a caller once the transaction is on disk.
enum Answer {
    Write(oneshot::Sender<Result<WriteOutcome, StoreError>>, WriteOutcome),
    Compact(oneshot::Sender<Result<(), StoreError>>, Result<(), StoreError>),
}

impl Writer {
    /// Works until all senders are gone.
    pub fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let mut batch = Vec::with_capacity(BATCH);
        while commands.blocking_recv_many(&mut batch, BATCH) > 0 {
            let (revision, compacted) = (self.revision, self.compacted);
            let mut answers = Vec::with_capacity(batch.len());
            match self.commit(&mut batch, &mut answers) {
                Ok(events) => {
                    if self.revision > revision {
                        self.hub.publish(&events, self.revision);
                    }
                    for answer in answers {
                        // A caller that is gone does not want the answer.
                        match answer {
                            Answer::Write(answer, outcome) => drop(answer.send(Ok(outcome))),
                            Answer::Compact(answer, outcome) => drop(answer.send(outcome)),
                        }
                    }
                }
                Err(error) => {
                    tracing::error!("a write to the store failed: {error:#}");
                    (self.revision, self.compacted) = (revision, compacted);
                    let failed = || unavailable(anyhow::anyhow!("{error:#}"));
                    for answer in answers {
                        match answer {
                            Answer::Write(answer, _) => drop(answer.send(Err(failed()))),
                            Answer::Compact(answer, _) => drop(answer.send(Err(failed()))),
                        }
                    }
                    // What was not reached is answered by dropping its sender.
                    batch.clear();
                }
            }
        }
        // Nobody has to read the journal at the next start. If this fails, it is read.
        if let Err(error) = self.sync() {
            tracing::warn!("the store is not synced at its end: {error:#}");
        }
    }

    /// Brings to disk what only the journal holds there.
    fn sync(&mut self) -> anyhow::Result<()> {
        let transaction = self.database.begin_write()?;
        layout::count(&mut transaction.open_table(META)?, self.revision, self.compacted)?;
        transaction.commit()?;
        self.journal.restart();
        Ok(())
    }

    fn commit(&mut self, batch: &mut Vec<Command>, answers: &mut Vec<Answer>) -> anyhow::Result<Vec<Event>> {
        let mut transaction = self.database.begin_write().context("begin a transaction")?;
        self.journal.begin();
        let (before, compacted_before) = (self.revision, self.compacted);
        let mut events = Vec::new();
        // Entries of states that were replaced go, too, and make no revision.
        let mut touched = false;
        // What is forgotten on demand is not in the journal.
        let mut durable = false;
        {
            let mut index = transaction.open_table(INDEX)?;
            let mut records = transaction.open_table(RECORDS)?;
            let mut expires = transaction.open_table(EXPIRES)?;
            for command in batch.drain(..) {
                match command {
                    Command::Write { write, answer } => {
                        let deadline = write.expires.map(|at| (at, write.key.clone()));
                        let outcome = self.write(&mut index, &mut records, write, &mut events)?;
                        if let (Some((at, key)), WriteOutcome::Done(revision)) = (deadline, &outcome) {
                            expires.insert((at, &*key), revision)?;
                        }
                        answers.push(Answer::Write(answer, outcome));
                    }
                    Command::Compact { revision, answer } => {
                        let outcome = self.may_compact(revision);
                        if outcome.is_ok() {
                            self.compact(&mut records, revision)?;
                            durable = true;
                        }
                        answers.push(Answer::Compact(answer, outcome));
                    }
                    Command::Expire { now } => {
                        self.expire(&mut index, &mut records, &mut expires, now, &mut events)?;
                        self.deadlines.asked();
                        touched = true;
                    }
                }
            }
            self.deadlines.next(expires.first()?.map(|(key, _)| key.value().0));
            if self.revision - self.compacted > self.history + self.history / LUMP {
                self.compact(&mut records, self.revision - self.history)?;
            }
            durable |= !self.journal.fits();
            if durable || self.compacted > compacted_before {
                layout::count(&mut transaction.open_table(META)?, self.revision, self.compacted)?;
            }
        }
        if !touched && (self.revision, self.compacted) == (before, compacted_before) {
            transaction.abort().context("abort a transaction")?;
            return Ok(events);
        }
        if !durable {
            self.journal.sync()?;
            transaction.set_durability(Durability::None).context("leave a transaction to the journal")?;
        }
        transaction.commit().context("commit a transaction")?;
        if durable {
            self.journal.restart()
        } else {
            self.journal.advance()
        }
        Ok(events)
    }

    fn write(
        &mut self,
        index: &mut Index<'_>,
        records: &mut Records<'_>,
        write: Write,
        events: &mut Vec<Event>,
    ) -> anyhow::Result<WriteOutcome> {
        let found = index.get(&*write.key)?.map(|found| found.value());
        let (previous, create_revision) = found.unwrap_or((0, 0));
        let before = match previous {
            0 => None,
            revision => state(records, revision)?,
        };
        if previous != write.expected || (write.value.is_none() && previous == 0) {
            return Ok(WriteOutcome::Conflict(before));
        }
        self.revision += 1;
        let revision = self.revision;
        let create_revision = if previous == 0 { revision } else { create_revision };
        let record = Record { key: &write.key, value: write.value.as_deref(), create_revision, previous };
        let bytes = record.encode();
        records.insert(revision, &*bytes)?;
        self.journal.note(revision, write.expires, &bytes);
        events.push(match write.value {
            Some(value) => {
                index.insert(&*write.key, (revision, create_revision))?;
                let kv = KeyValue { key: write.key, value, create_revision, mod_revision: revision, stale: false };
                Event::Put { kv, previous: before }
            }
            None => {
                index.remove(&*write.key)?;
                Event::Delete { key: write.key, revision, previous: before }
            }
        });
        Ok(WriteOutcome::Done(revision))
    }

    /// Deletes the states whose time is over, so many at once as share a commit; the rest comes with the next.
    fn expire(
        &mut self,
        index: &mut Index<'_>,
        records: &mut Records<'_>,
        expires: &mut Expires<'_>,
        now: u64,
        events: &mut Vec<Event>,
    ) -> anyhow::Result<()> {
        for _ in 0..BATCH {
            let Some((key, revision)) = expires.first()?.map(|(key, revision)| {
                let (at, key) = key.value();
                ((at, key.to_owned()), revision.value())
            }) else {
                break;
            };
            if key.0 > now {
                break;
            }
            expires.remove((key.0, &*key.1))?;
            // Where it was written again, the condition does not hold.
            let write = Write { key: key.1, value: None, expected: revision, expires: None };
            self.write(index, records, write, events)?;
        }
        Ok(())
    }

    /// As etcd: what has been compacted cannot be compacted again, nor what has not been written.
    fn may_compact(&self, revision: Revision) -> Result<(), StoreError> {
        match revision {
            requested if requested <= self.compacted => {
                Err(StoreError::Compacted { requested, oldest: self.compacted })
            }
            requested if requested > self.revision => Err(StoreError::Future { requested, newest: self.revision }),
            _ => Ok(()),
        }
    }

    /// Forgets what reads at `target` or later do not need: for each record up to it, the one it replaced, and itself if
    /// it is a deletion.
    fn compact(&mut self, records: &mut Records<'_>, target: Revision) -> anyhow::Result<()> {
        while self.compacted < target {
            self.compacted += 1;
            let obsolete = match records.get(self.compacted)? {
                Some(bytes) => {
                    let record = Record::decode(bytes.value())?;
                    [record.previous, if record.value.is_none() { self.compacted } else { 0 }]
                }
                None => continue,
            };
            for revision in obsolete.into_iter().filter(|revision| *revision > 0) {
                records.remove(revision)?;
            }
        }
        Ok(())
    }
}

fn state(
    records: &impl ReadableTable<Revision, &'static [u8]>,
    revision: Revision,
) -> anyhow::Result<Option<KeyValue>> {
    let bytes = records.get(revision)?.with_context(|| format!("the record of revision {revision} is missing"))?;
    Ok(Record::decode(bytes.value())?.state(revision))
}
