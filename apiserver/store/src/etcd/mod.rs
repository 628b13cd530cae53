//! The etcd backend: a real etcd, 3.4 or newer, with upstream's keys and JSON values.
//!
//! ```text
//!   get, range, put, delete ──> etcd (linearizable reads, transactions that compare mod revisions)
//!   follower (one task): one watch of all keys ──> hub ──> live watches
//!   the past of a watch <── a watch of its own, until it meets the hub
//! ```
//!
//! The follower watches *all* keys on purpose. Every revision has at least one event, so whoever has seen the event of
//! revision R knows that nothing up to R is missing. That is what progress is told from, without etcd's own progress
//! notifications, which before 3.4.25 could overtake events.

mod channel;
mod convert;
mod follow;
mod lease;
mod newest;
mod pong;

pub use channel::Refusal;

use crate::hub::{Hub, until_error};
use crate::{Event, KeyValue, RangeResult, Revision, Store, StoreError, WriteOutcome};
use anyhow::Context;
use async_trait::async_trait;
use bytes::Bytes;
use convert::{failure, item, prefix_end, revision_of};
use etcd_client::{
    Client, Compare, CompareOp, GetOptions, GetResponse, KvClient, PutOptions, Txn, TxnOp, TxnOpResponse,
};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream, StreamExt};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};

/// etcd's default limit of a request.
const VALUE_LIMIT: usize = 1536 * 1024;
/// The largest answer taken: a page of large objects is more than gRPC's default of 4 MiB.
const ANSWER_LIMIT: usize = 256 << 20;
/// How long a call may take before its outcome counts as unknown.
const CALL: Duration = Duration::from_secs(10);
/// Reads are tried so often when the connection breaks; writes once, for nobody knows whether they happened.
const READ_TRIES: u32 = 4;
const FIRST_RETRY: Duration = Duration::from_millis(50);

/// Whom to trust behind an `https` endpoint, and who we are there.
pub type Tls = Arc<tokio_rustls::rustls::ClientConfig>;

/// Bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

type Dialled = BoxFuture<'static, io::Result<Box<dyn Io>>>;

/// Makes a connection to host and port.
#[derive(Clone)]
pub struct Dial(Arc<dyn Fn(String, u16) -> Dialled + Send + Sync>);

impl Dial {
    pub fn new<F>(dial: impl Fn(String, u16) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = io::Result<Box<dyn Io>>> + Send + 'static,
    {
        Self(Arc::new(move |host, port| Box::pin(dial(host, port))))
    }
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Dial")
    }
}

/// How to use an etcd.
#[derive(Clone, Debug)]
pub struct Options {
    /// For `https` endpoints; HTTP/2 is asked for whatever it says.
    pub tls: Option<Tls>,
    /// How connections are made, if not by TCP alone.
    pub dial: Option<Dial>,
    /// How long to wait for etcd when it is still starting.
    pub patience: Duration,
    /// How often everything older than this is compacted (upstream: 5 min); `None`: someone else does it.
    pub compact_every: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self { tls: None, dial: None, patience: Duration::from_secs(30), compact_every: Some(Duration::from_secs(300)) }
    }
}

/// A store in etcd. Dropping it ends its tasks and, with [`StoreError::Unavailable`], its watches.
pub struct Etcd {
    client: Client,
    newest: newest::Newest,
    hub: Arc<Hub>,
    leases: lease::Leases,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Etcd {
    /// Connects to the etcd at `endpoints` (URLs).
    ///
    /// # Errors
    /// No endpoint answered within the patience, or they are no URLs; a [`Refusal`] is among the causes when it is a
    /// certificate's fault, which is not waited for.
    pub async fn connect(endpoints: &[String], options: Options) -> anyhow::Result<Self> {
        let begin = Instant::now();
        let (channel, members, mut tasks) = channel::open(endpoints, options.tls, options.dial)?;
        let client = Client::from_channel(channel, None).await.context("connect to etcd")?;
        let mut retry = FIRST_RETRY;
        let revision = loop {
            let asked = tokio::select! {
                asked = newest(&client) => asked,
                refusal = members.refused() => {
                    return Err(refusal).with_context(|| format!("connect to etcd at {}", endpoints.join(", ")));
                }
            };
            match asked {
                Ok(revision) => break revision,
                Err(error) if begin.elapsed() + retry > options.patience => {
                    return Err(error).with_context(|| format!("etcd at {} does not answer", endpoints.join(", ")));
                }
                Err(_) => tokio::time::sleep(retry).await,
            }
            retry = (retry * 2).min(Duration::from_secs(1));
        };
        let hub = Arc::new(Hub::new(revision));
        tasks.push(tokio::spawn(follow::follow(client.clone(), hub.clone())));
        if let Some(every) = options.compact_every {
            tasks.push(tokio::spawn(follow::compact(client.clone(), every)));
        }
        let (newest, leases) = (newest::Newest::new(client.clone()), lease::Leases::default());
        Ok(Self { client, newest, hub, leases, tasks })
    }

    async fn put_with(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        options: Option<PutOptions>,
    ) -> Result<WriteOutcome, StoreError> {
        let size = value.len();
        if size > VALUE_LIMIT {
            return Err(StoreError::TooLarge { size, limit: VALUE_LIMIT });
        }
        match self.txn(key, expected, TxnOp::put(key, value, options)).await {
            Err(StoreError::TooLarge { limit, .. }) => Err(StoreError::TooLarge { size, limit }),
            other => other,
        }
    }

    async fn txn(&self, key: &str, expected: Revision, change: TxnOp) -> Result<WriteOutcome, StoreError> {
        let compare = Compare::mod_revision(key, CompareOp::Equal, expected);
        let txn = Txn::new().when([compare]).and_then([change]).or_else([TxnOp::get(key, None)]);
        let answer = call(kv(&self.client).txn(txn)).await.map_err(|error| failure(error, 0))?;
        if answer.succeeded() {
            return Ok(WriteOutcome::Done(revision_of(answer.header())?));
        }
        let found = answer.op_responses().into_iter().find_map(|response| match response {
            TxnOpResponse::Get(mut found) => found.take_kvs().into_iter().next(),
            _ => None,
        });
        Ok(WriteOutcome::Conflict(found.map(item).transpose()?))
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        self.hub.reset(self.hub.published(), "the store was closed");
    }
}

fn kv(client: &Client) -> KvClient {
    client.kv_client().max_decoding_message_size(ANSWER_LIMIT)
}

/// The store's revision, read from the leader.
async fn newest(client: &Client) -> Result<Revision, StoreError> {
    // The cheapest linearizable read: it counts nothing.
    let options = GetOptions::new().with_count_only();
    revision_of(read(client, "\0", options, 0).await?.header())
}

async fn call<T>(call: impl Future<Output = Result<T, etcd_client::Error>>) -> Result<T, etcd_client::Error> {
    let late = |_| etcd_client::Error::Internal("no answer in time".into());
    tokio::time::timeout(CALL, call).await.map_err(late)?
}

/// Reads, trying anew when the connection broke.
async fn read(client: &Client, key: &str, options: GetOptions, at: Revision) -> Result<GetResponse, StoreError> {
    let mut retry = FIRST_RETRY;
    let mut tries = 1;
    loop {
        match call(kv(client).get(key, Some(options.clone()))).await {
            Err(error) if tries < READ_TRIES && convert::broken_connection(&error) => tokio::time::sleep(retry).await,
            other => return other.map_err(|error| failure(error, at)),
        }
        retry *= 2;
        tries += 1;
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str, revision: Option<Revision>) -> Result<(Option<KeyValue>, Revision), StoreError> {
        let at = revision.unwrap_or_default();
        let options = GetOptions::new().with_revision(at);
        let mut answer = read(&self.client, key, options, at).await?;
        let found = answer.take_kvs().into_iter().next().map(item).transpose()?;
        Ok((found, revision_of(answer.header())?))
    }

    async fn range(
        &self,
        prefix: &str,
        start: Option<&str>,
        limit: usize,
        revision: Option<Revision>,
    ) -> Result<RangeResult, StoreError> {
        let at = revision.unwrap_or_default();
        let start = start.filter(|start| *start > prefix).unwrap_or(prefix);
        let options = GetOptions::new()
            .with_range(prefix_end(prefix))
            .with_limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .with_revision(at);
        let mut answer = read(&self.client, start, options, at).await?;
        Ok(RangeResult {
            revision: if at > 0 { at } else { revision_of(answer.header())? },
            more: answer.more(),
            count: u64::try_from(answer.count()).unwrap_or_default(),
            items: answer.take_kvs().into_iter().map(item).collect::<Result<_, _>>()?,
        })
    }

    async fn put(&self, key: &str, value: Bytes, expected: Revision) -> Result<WriteOutcome, StoreError> {
        self.put_with(key, value, expected, None).await
    }

    async fn put_for(
        &self,
        key: &str,
        value: Bytes,
        expected: Revision,
        life: Duration,
    ) -> Result<WriteOutcome, StoreError> {
        let lease = self.leases.get(&self.client, life).await?;
        self.put_with(key, value, expected, Some(PutOptions::new().with_lease(lease))).await
    }

    async fn delete(&self, key: &str, expected: Revision) -> Result<WriteOutcome, StoreError> {
        if expected == 0 {
            // etcd would find the condition true for a missing key, and delete nothing.
            return Ok(WriteOutcome::Conflict(self.get(key, None).await?.0));
        }
        self.txn(key, expected, TxnOp::delete(key, None)).await
    }

    async fn watch(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<BoxStream<'static, Result<Event, StoreError>>, StoreError> {
        let live = self.hub.subscribe(prefix, after);
        // The hub may be a little behind etcd, so only etcd knows what the future is.
        if after > self.hub.published() {
            let newest = newest(&self.client).await?;
            if after > newest {
                return Err(StoreError::Future { requested: after, newest });
            }
        }
        let past = match after < live.from {
            true => follow::replay(self.client.clone(), prefix.to_owned(), after, live.from).boxed(),
            false => stream::empty().boxed(),
        };
        let caught_up = Event::Progress { revision: live.from };
        Ok(until_error(past.chain(stream::iter([Ok(caught_up)])).chain(live.into_stream())))
    }

    fn request_progress(&self, prefix: &str, revision: Revision) {
        self.hub.request_progress(prefix, revision);
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        call(kv(&self.client).compact(revision, None)).await.map_err(|error| failure(error, revision))?;
        Ok(())
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        self.newest.get().await
    }
}
