//! The embedded backend: a log of revisions and an index of living keys in one redb file.
//!
//! ```text
//!   put, delete, compact ──> queue ──> writer (one thread) ── journal, fsync ── commit ──> file
//!                                          └──> hub ──> live watches                         │
//!   get, range, the past of a watch <── snapshot ────────────────────────────────────────────┘
//! ```
//!
//! The file itself is synced when the journal is full; what it lacks after a crash, the next start takes from there.
//!
//! Promises: an answered write is on disk (fsync) and survives `kill -9`; revisions never go backwards, not even across
//! restarts; a snapshot is never a mixture; what is older than the history window is [`StoreError::Compacted`].

mod expiry;
mod journal;
mod layout;
mod snapshot;
mod writer;

use crate::hub::{Hub, until_error};
use crate::{Event, KeyValue, RangeResult, Revision, Store, StoreError, WriteOutcome};
use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use expiry::Deadlines;
use futures::stream::{self, BoxStream, Stream, StreamExt};
use journal::Journal;
use layout::{EXPIRES, INDEX, META, RECORDS, Record};
use redb::{Database, ReadableTable};
use snapshot::{Snapshot, unavailable};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use writer::{Command, Write, Writer};

/// etcd's default limit of a request, so that an object accepted by one backend is accepted by the other.
const VALUE_LIMIT: usize = 1536 * 1024;
/// So many writes may wait for the writer; further ones wait to be queued.
const QUEUE: usize = 1024;
/// So many records of the past are read in one go for a watch.
const REPLAY: usize = 256;

/// Sizes; the defaults are right for a server.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// So many revisions, or a few more, can be read and watched from; older ones are compacted on the way.
    pub history: Revision,
    /// redb's page cache in bytes. The watch caches hold the objects, so little is read from here.
    pub cache_bytes: usize,
    /// Size of the journal in bytes: when it is full, the database is synced, for which one write waits.
    pub journal_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { history: 10_000, cache_bytes: 4 << 20, journal_bytes: 1 << 20 }
    }
}

/// A store in one file. Dropping it waits for the writes under way.
pub struct Embedded {
    database: Arc<Database>,
    hub: Arc<Hub>,
    /// The newest revision that a read has seen: a commit can be read before it is published.
    seen: AtomicI64,
    commands: Option<mpsc::Sender<Command>>,
    writer: Option<std::thread::JoinHandle<()>>,
}

impl Embedded {
    /// Opens the store in the folder `dir`, which is made if it is missing.
    ///
    /// # Errors
    /// The folder cannot be made, the file is damaged, or another process has it open.
    pub fn open(dir: &Path, options: Options) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("make the store's folder {}", dir.display()))?;
        let path = dir.join("store.redb");
        let database = Database::builder()
            .set_cache_size(options.cache_bytes)
            .create(&path)
            .with_context(|| format!("open the store {}", path.display()))?;
        let prepared = prepare(&database, dir, options.journal_bytes);
        let Prepared { journal, revision, compacted, earliest } =
            prepared.with_context(|| format!("prepare the store {}", path.display()))?;

        let database = Arc::new(database);
        let hub = Arc::new(Hub::new(revision));
        let (commands, queue) = mpsc::channel(QUEUE);
        let history = options.history.max(1);
        let deadlines = Deadlines::start(earliest, commands.downgrade())?;
        let writer =
            Writer { database: database.clone(), journal, hub: hub.clone(), history, revision, compacted, deadlines };
        let writer = std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(queue))
            .context("start the store's writer")?;
        Ok(Self { database, hub, seen: revision.into(), commands: Some(commands), writer: Some(writer) })
    }

    fn snapshot(&self) -> Result<Snapshot, StoreError> {
        let snapshot = Snapshot::take(&self.database)?;
        self.seen.fetch_max(snapshot.revision(), Ordering::AcqRel);
        Ok(snapshot)
    }

    async fn write(&self, write: Write) -> Result<WriteOutcome, StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.command(Command::Write { write, answer }).await?;
        outcome.await.map_err(|_| unavailable(anyhow::anyhow!("the write was given up")))?
    }

    async fn command(&self, command: Command) -> Result<(), StoreError> {
        let commands = self.commands.as_ref().expect("only dropping takes the queue");
        commands.send(command).await.map_err(|_| unavailable(anyhow::anyhow!("the store's writer has ended")))
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.commands = None;
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer panicked");
        }
    }
}

/// What a store is opened with.
struct Prepared {
    journal: Journal,
    revision: Revision,
    compacted: Revision,
    /// When the first state ends.
    earliest: Option<u64>,
}

/// Makes the tables of a new store, brings those of an old one up to its journal, and has all of it on disk.
fn prepare(database: &Database, dir: &Path, journal_bytes: u64) -> anyhow::Result<Prepared> {
    let transaction = database.begin_write()?;
    let prepared = {
        let mut index = transaction.open_table(INDEX)?;
        let mut records = transaction.open_table(RECORDS)?;
        let mut expires = transaction.open_table(EXPIRES)?;
        let mut meta = transaction.open_table(META)?;
        let (mut revision, compacted) = layout::counters(&meta, &records)?;
        let store = layout::number(&mut meta)?;
        let (journal, held) = Journal::open(dir, store, journal_bytes)?;
        for operation in journal::operations(&held, store, revision) {
            revision = operation.revision;
            let record = Record::decode(operation.record)?;
            records.insert(revision, operation.record)?;
            match record.value {
                Some(_) => index.insert(record.key, (revision, record.create_revision))?,
                None => index.remove(record.key)?,
            };
            if let Some(at) = operation.expires {
                expires.insert((at, record.key), revision)?;
            }
        }
        layout::count(&mut meta, revision, compacted)?;
        let earliest = expires.first()?.map(|(key, _)| key.value().0);
        Prepared { journal, revision, compacted, earliest }
    };
    transaction.commit()?;
    prepared.journal.make()?;
    Ok(prepared)
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        // A single key is a few pages from redb's or the kernel's cache: not worth another thread.
        let snapshot = self.snapshot()?;
        Ok((snapshot.get(key, revision)?, snapshot.revision()))
    }

    async fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError> {
        let snapshot = self.snapshot()?;
        let (prefix, start) = (prefix.to_owned(), start.map(str::to_owned));
        tokio::task::spawn_blocking(move || snapshot.range(&prefix, start.as_deref(), limit, revision))
            .await
            .map_err(unavailable)?
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<WriteOutcome, StoreError> {
        if value.len() > VALUE_LIMIT {
            return Err(StoreError::TooLarge { size: value.len(), limit: VALUE_LIMIT });
        }
        self.write(Write { key: key.to_owned(), value: Some(value), expected, expires: None }).await
    }

    async fn put_for(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        life: Duration,
    ) -> Result<WriteOutcome, StoreError> {
        if value.len() > VALUE_LIMIT {
            return Err(StoreError::TooLarge { size: value.len(), limit: VALUE_LIMIT });
        }
        let expires = Some(expiry::now().saturating_add(life.as_secs().max(1)));
        self.write(Write { key: key.to_owned(), value: Some(value), expected, expires }).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<WriteOutcome, StoreError> {
        self.write(Write { key: key.to_owned(), value: None, expected, expires: None }).await
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        let live = self.hub.subscribe(prefix, after);
        self.snapshot()?.check(after)?;
        let replay = Replay {
            database: self.database.clone(),
            prefix: prefix.to_owned(),
            reached: after,
            until: live.from,
            events: VecDeque::new(),
        };
        let caught_up = Event::Progress { revision: live.from };
        Ok(until_error(replay.into_stream().chain(stream::iter([Ok(caught_up)])).chain(live.into_stream())))
    }

    fn request_progress(&self, prefix: &str, revision: Revision) {
        self.hub.request_progress(prefix, revision);
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        let (answer, outcome) = oneshot::channel();
        self.command(Command::Compact { revision, answer }).await?;
        outcome.await.map_err(|_| unavailable(anyhow::anyhow!("the compaction was given up")))?
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        // What has been answered: writes are when they are published, reads may be before, when they are committed.
        Ok(self.hub.published().max(self.seen.load(Ordering::Acquire)))
    }
}

/// The past part of a watch: reads the log piece by piece, so that it holds neither much memory nor an old snapshot.
struct Replay {
    database: Arc<Database>,
    prefix: String,
    reached: Revision,
    until: Revision,
    events: VecDeque<Event>,
}

impl Replay {
    fn next(&mut self) -> Result<Option<Event>, StoreError> {
        while self.events.is_empty() && self.reached < self.until {
            let wanted = usize::try_from(self.until - self.reached).unwrap_or(REPLAY).min(REPLAY);
            let (events, reached) = Snapshot::take(&self.database)?.events(&self.prefix, self.reached, wanted)?;
            // Compaction removes deletions, so there may be fewer records than revisions; live events begin at `until`.
            self.reached = if reached == self.reached { self.until } else { reached };
            self.events.extend(events.into_iter().filter(|event| revision_of(event) <= self.until));
        }
        Ok(self.events.pop_front())
    }

    fn into_stream(self) -> impl Stream<Item = Result<Event, StoreError>> + Send {
        stream::unfold(self, |mut replay| async move { replay.next().transpose().map(|event| (event, replay)) })
    }
}

fn revision_of(event: &Event) -> Revision {
    match event {
        Event::Put { kv, .. } => kv.mod_revision,
        Event::Delete { revision, .. } | Event::Progress { revision } => *revision,
    }
}
