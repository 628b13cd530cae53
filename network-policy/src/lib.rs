//! NetworkPolicy → nftables, for the pods of this node (table `inet knetsim-network-policy`).
//!
//! ```text
//! watches (Pods, NetworkPolicies, Namespaces) ──> index ──(what changed)──> compile ──> table ──(one batch)──> nft
//! ```
//!
//! Only forwarded packets are looked at, so a node always reaches its own pods, and they it (kubelet's probes), as the
//! API promises. Connections that were allowed when they began go on when a policy changes. IPv4 only.

pub mod compile;
pub mod index;
pub mod model;
pub mod table;

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod trace_tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use futures::{Stream, StreamExt};
use kube::api::Api;
use kube::runtime::watcher;
use kube::runtime::{WatchStreamExt, watcher as watch};
use tokio::time::Instant;

use index::{Index, Update};
use table::Table;

/// How many queued updates one batch takes at most.
const BURST: usize = 1024;
/// After a refused batch: at first, and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

#[derive(Debug, Parser)]
#[command(name = "network-policy", about = "Enforces NetworkPolicies for this node's pods")]
struct Flags {
    /// Kubeconfig; by default the pod's ServiceAccount
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// This node's name
    #[arg(long, env = "NODE_NAME")]
    hostname_override: String,
}

/// Runs until SIGTERM. The table stays: what was closed is not opened by a restart.
///
/// # Errors
/// When there is no way to the API server.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("network-policy");
    runtime::block_on(runtime::shutdown::or(serve(flags)))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
    let all = watcher::Config::default;
    let pods = watch(Api::all(client.clone()), all()).default_backoff();
    let policies = watch(Api::all(client.clone()), all()).default_backoff();
    let namespaces = watch(Api::all(client), all()).default_backoff();
    let updates = futures::stream::select_all([
        pods.map(|event| event.map(|event| Update::Pod(Box::new(event)))).boxed(),
        policies.map(|event| event.map(|event| Update::Policy(Box::new(event)))).boxed(),
        namespaces.map(|event| event.map(|event| Update::Namespace(Box::new(event)))).boxed(),
    ]);
    follow(Index::new(&flags.hostname_override), updates).await
}

/// Keeps the kernel at what the index says, for as long as `updates` come.
async fn follow(mut index: Index, updates: impl Stream<Item = watcher::Result<Update>>) -> anyhow::Result<()> {
    let mut bursts = std::pin::pin!(updates.ready_chunks(BURST));
    let (mut table, mut committed) = (Table::default(), false);
    let (mut retry, mut backoff) = (None::<Instant>, RETRY.0);
    loop {
        tokio::select! {
            burst = bursts.next() => {
                let Some(burst) = burst else { anyhow::bail!("the watches ended") };
                for update in burst {
                    match update {
                        Ok(update) => index.apply(update),
                        Err(error) => tracing::warn!(%error, "watching; trying again"),
                    }
                }
            }
            () = async { tokio::time::sleep_until(retry.expect("guarded")).await }, if retry.is_some() => {}
        }
        if !index.complete() || retry.is_some_and(|at| Instant::now() < at) {
            continue;
        }
        let batch = if committed { table.update(index.changes()) } else { table.replace(index.all()) };
        if batch.is_empty() {
            continue;
        }
        let (commands, started) = (batch.len(), Instant::now());
        let applied = tokio::task::spawn_blocking(move || kernel::nft::apply(&batch)).await?;
        match applied {
            Ok(()) => {
                tracing::info!(commands, whole = !committed, took = ?started.elapsed(), "policies applied");
                (committed, retry, backoff) = (true, None, RETRY.0);
            }
            Err(error) => {
                tracing::error!(%error, retry_in = ?backoff, "policies not applied; the whole table is next");
                (committed, retry) = (false, Some(Instant::now() + backoff));
                backoff = (backoff * 2).min(RETRY.1);
            }
        }
    }
}
