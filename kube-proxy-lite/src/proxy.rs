//! The loop: take in what the watches say, move the kernel to it.

use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt};
use kube::runtime::watcher;
use tokio::time::Instant;

use crate::base::Config;
use crate::conntrack::{self, Served};
use crate::health::{Health, ServiceChecks};
use crate::index::{Index, Update};
use crate::table::Table;

/// How many queued updates one batch takes at most.
const BURST: usize = 1024;
/// After a refused batch: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The proxy's state.
pub struct Proxy {
    index: Index,
    config: Config,
    table: Table,
    checks: ServiceChecks,
    health: Arc<Health>,
    /// Whether the kernel holds what `table` says.
    committed: bool,
    retry: Option<Instant>,
    backoff: Duration,
}

impl Proxy {
    #[must_use]
    pub fn new(index: Index, config: Config, health: Arc<Health>) -> Self {
        Self {
            index,
            config,
            table: Table::default(),
            checks: ServiceChecks::new(health.clone()),
            health,
            committed: false,
            retry: None,
            backoff: RETRY.0,
        }
    }

    /// Follows `updates` for as long as they come.
    ///
    /// # Errors
    /// When the stream ends: watches do not.
    pub async fn run(mut self, updates: impl Stream<Item = watcher::Result<Update>>) -> anyhow::Result<()> {
        // Whatever is ready comes as one chunk; nothing waits for a chunk to fill.
        let mut bursts = std::pin::pin!(updates.ready_chunks(BURST));
        loop {
            let retry = self.retry;
            tokio::select! {
                burst = bursts.next() => {
                    let Some(burst) = burst else { anyhow::bail!("the watches ended") };
                    self.health.queued();
                    for update in burst {
                        match update {
                            Ok(update) => self.index.apply(update),
                            Err(error) => tracing::warn!(%error, "watching; trying again"),
                        }
                    }
                }
                () = async { tokio::time::sleep_until(retry.expect("guarded")).await }, if retry.is_some() => {}
            }
            // While a retry is due the kernel refuses: further updates only go into the index.
            if self.index.complete() && self.retry.is_none_or(|at| at <= Instant::now()) {
                self.sync().await;
            }
        }
    }

    /// Brings the kernel to the index's state: by the difference, or from scratch after a start or a refusal.
    async fn sync(&mut self) {
        self.config.place = self.index.place();
        // At the start, too: what changed while nobody looked.
        let udp = !self.committed || self.index.udp_changes();
        let batch = if self.committed {
            self.table.update(self.index.changes(&self.config))
        } else {
            self.table.replace(&self.config, self.index.all(&self.config))
        };
        self.checks.set(self.index.health_checks());
        if batch.is_empty() {
            self.health.updated();
            return;
        }
        let (commands, started) = (batch.len(), Instant::now());
        let served = if udp { self.index.served_udp(&self.config) } else { Served::default() };
        let applied = tokio::task::spawn_blocking(move || {
            kernel::nft::apply(&batch)?;
            // Only now: a flow that is forgotten before the new rules hold would be translated as before.
            if !served.is_empty() {
                match conntrack::clean(&served) {
                    Ok(0) => {}
                    Ok(flows) => tracing::info!(flows, "stale UDP flows forgotten"),
                    Err(error) => tracing::warn!(%error, "stale UDP flows are left to expire"),
                }
            }
            Ok::<_, kernel::nft::Error>(())
        })
        .await;
        match applied.map_err(anyhow::Error::from).and_then(|outcome| Ok(outcome?)) {
            Ok(()) => {
                tracing::info!(commands, whole = !self.committed, took = ?started.elapsed(), "rules applied");
                (self.committed, self.retry, self.backoff) = (true, None, RETRY.0);
                self.health.updated();
            }
            Err(error) => {
                tracing::error!(%error, retry_in = ?self.backoff, "rules not applied; the whole table is next");
                self.committed = false;
                self.retry = Some(Instant::now() + self.backoff);
                self.backoff = (self.backoff * 2).min(RETRY.1);
            }
        }
    }
}
