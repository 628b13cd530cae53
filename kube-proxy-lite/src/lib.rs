//! kube-proxy: Services and EndpointSlices → one nftables table in this node's network namespace.
//!
//! ```text
//! watches ──> index ──(changed Services)──> compile ──(programs)──> table ──(one batch)──> nft
//! ```
//!
//! [`compile`] is a pure function of one Service; [`table`] knows what the kernel holds and yields only the difference;
//! everything that is queued when the proxy gets to it goes into one batch, so a burst costs one nft process and a lone
//! change waits for nothing. If the kernel refuses a batch, the whole table is replaced, in one transaction.
//!
//! Follows upstream's nftables proxier (KEP-3866): chain, set and map names, hooks, and what happens to which packet.
//! IPv4 only.

pub mod base;
pub mod compile;
pub mod conntrack;
pub mod endpoints;
mod expr;
mod flags;
mod health;
pub mod index;
pub mod model;
mod proxy;
pub mod table;

#[cfg(test)]
mod kernel_tests;
#[cfg(test)]
mod trace_tests;

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use futures::StreamExt;
use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Node;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use kube::{Client, ResourceExt};

use base::Config;
use endpoints::Place;
use flags::{Flags, Settings};
use health::Health;
use index::{Index, Update};

/// Runs the proxy until SIGTERM. The table stays: established Services outlive a restart of the proxy.
///
/// # Errors
/// When the API server cannot be reached at all or a flag makes no sense.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let settings = Flags::parse_from(args).settings()?;
    runtime::log::init("kube-proxy");
    runtime::block_on(runtime::shutdown::or(serve(settings)))
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let client = runtime::client::connect(settings.kubeconfig.as_deref()).await?;
    let node = &settings.node;
    let node_ips = node_addresses(&client, node).await?;
    let config = Config {
        node_port_ips: node_port_ips(&settings.nodeport_addresses, &node_ips)?,
        cluster_cidr: settings.cluster_cidr,
        place: Place { node: node.clone(), zone: None },
    };
    tracing::info!(node, node_port_ips = ?config.node_port_ips, cluster_cidr = ?config.cluster_cidr, "starting");
    let health = Arc::new(Health::default());
    let proxy = proxy::Proxy::new(Index::new(node), config, health.clone());
    let services = watch(Api::all(client.clone()), watcher::Config::default()).default_backoff();
    let slices = watch(Api::all(client.clone()), watcher::Config::default()).default_backoff();
    let own = watcher::Config::default().fields(&format!("metadata.name={node}"));
    let own = watch(Api::<Node>::all(client), own).default_backoff();
    let updates = futures::stream::select_all([
        services.map(|event| event.map(|event| Update::Service(Box::new(event)))).boxed(),
        slices.map(|event| event.map(|event| Update::Slice(Box::new(event)))).boxed(),
        own.inspect(|event| match event {
            Ok(Event::Apply(node) | Event::InitApply(node)) => health.node(Some(node)),
            Ok(Event::Delete(_)) => health.node(None),
            Ok(_) | Err(_) => {}
        })
        .filter_map(|event| std::future::ready(zone(event)))
        .boxed(),
    ]);
    tokio::select! {
        outcome = proxy.run(updates) => outcome,
        outcome = health::serve(&settings.healthz_bind_address, health.clone()) => outcome,
        outcome = health::serve_status(&settings.metrics_bind_address, health.clone()) => outcome,
    }
}

/// What an event of the own Node means: its zone as it is now.
fn zone(event: watcher::Result<Event<Node>>) -> Option<watcher::Result<Update>> {
    match event {
        Ok(Event::Apply(node) | Event::InitApply(node)) => {
            Some(Ok(Update::Zone(node.labels().get("topology.kubernetes.io/zone").cloned())))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    }
}

/// The addresses of the Node, its InternalIP first; waits for the kubelet to have written them.
async fn node_addresses(client: &Client, name: &str) -> anyhow::Result<Vec<Ipv4Addr>> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut nodes = watch(Api::<Node>::all(client.clone()), config).default_backoff().boxed();
    while let Some(event) = nodes.next().await {
        match event {
            Ok(Event::Apply(node) | Event::InitApply(node)) if node.name_any() == name => {
                let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
                let of = |kind: &'static str| addresses.iter().filter(move |address| address.type_ == kind);
                let all: Vec<Ipv4Addr> = of("InternalIP")
                    .chain(of("ExternalIP"))
                    .filter_map(|address| address.address.parse().ok())
                    .collect();
                if !all.is_empty() {
                    return Ok(all);
                }
                tracing::info!(node = name, "waiting for the node's addresses");
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "watching the own Node; trying again"),
        }
    }
    anyhow::bail!("the watch of the own Node ended")
}

/// Upstream's `--nodeport-addresses`: the primary address alone, or all that lie in one of the ranges.
fn node_port_ips(wanted: &[String], node_ips: &[Ipv4Addr]) -> anyhow::Result<Vec<Ipv4Addr>> {
    if wanted.iter().any(|word| word == "primary") {
        return Ok(node_ips.iter().take(1).copied().collect());
    }
    let ranges: Result<Vec<Ipv4Net>, _> = wanted.iter().map(|range| range.parse()).collect();
    let ranges = ranges.with_context(|| format!("--nodeport-addresses {wanted:?}"))?;
    Ok(node_ips.iter().filter(|ip| ranges.iter().any(|range| range.contains(*ip))).copied().collect())
}
