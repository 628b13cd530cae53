//! The cluster's DNS server: authoritative for the cluster's zone and the reverse names of its addresses; everything
//! else is asked of the host's own servers.
//!
//! ```text
//! watches (Services, EndpointSlices) ──> records ──> zone (pure: question → answer) <── server (UDP, TCP 53)
//!                                                                                         └─> forward ──> upstream
//! ```
//!
//! Follows the Kubernetes DNS specification 1.1.0, and CoreDNS with kubeadm's Corefile where that leaves room. Only the
//! wire format is a library's (hickory-proto).

mod forward;
mod message;
mod probes;
mod records;
mod server;
mod zone;

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use anyhow::Context;
use clap::Parser;
use futures::StreamExt;
use hyper::StatusCode;
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Client;
use kube::api::Api;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt, watcher as watch};
use runtime::listing::{Change, Listing};
use runtime::ready::Ready;
use tokio::net::{TcpListener, UdpSocket};

use forward::Forwarder;
use server::Server;
use zone::Zone;

#[derive(Debug, Parser)]
#[command(name = "cluster-dns", about = "The cluster's DNS server")]
struct Flags {
    /// Kubeconfig; by default the pod's ServiceAccount
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The cluster's zone
    #[arg(long, default_value = "cluster.local")]
    cluster_domain: String,
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    #[arg(long, default_value_t = 53)]
    port: u16,
    /// Server to ask what is not ours, ADDRESS or ADDRESS:PORT (repeatable); by default those of --resolv-conf
    #[arg(long)]
    upstream: Vec<String>,
    #[arg(long, default_value = "/etc/resolv.conf")]
    resolv_conf: PathBuf,
    /// This server's own Service address, never asked as an upstream
    #[arg(long)]
    cluster_dns: Vec<IpAddr>,
    /// Address of /health; empty: none
    #[arg(long, default_value = "0.0.0.0:8080")]
    health_address: String,
    /// Address of /ready; empty: none
    #[arg(long, default_value = "0.0.0.0:8181")]
    ready_address: String,
    /// Address of /metrics; empty: none
    #[arg(long, default_value = "0.0.0.0:9153")]
    metrics_address: String,
}

/// Runs the server until SIGTERM.
///
/// # Errors
/// When a port is taken or a flag makes no sense.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("cluster-dns");
    runtime::block_on(runtime::shutdown::or(serve(flags)))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
    let zone =
        Zone::new(&flags.cluster_domain).with_context(|| format!("--cluster-domain {}", flags.cluster_domain))?;
    let upstreams = upstreams(&flags)?;
    tracing::info!(zone = flags.cluster_domain, ?upstreams, port = flags.port, "starting");
    let server = Arc::new(Server::new(zone, Forwarder::new(upstreams)));
    let address = SocketAddr::new(flags.bind_address, flags.port);
    let udp = UdpSocket::bind(address).await.with_context(|| format!("listening on {address}/udp"))?;
    let tcp = TcpListener::bind(address).await.with_context(|| format!("listening on {address}/tcp"))?;

    let ready = Arc::new(Ready::default());
    let is_ready = ready.clone();
    let counted = server.clone();
    tokio::select! {
        outcome = follow(client, &server, &ready) => outcome,
        outcome = server.clone().serve_udp(udp) => Ok(outcome?),
        never = server.clone().serve_tcp(tcp) => match never {},
        outcome = probes::serve(flags.health_address, "/health", || ok("OK".to_owned())) => outcome,
        outcome = probes::serve(flags.ready_address, "/ready", move || {
            let ready = is_ready.clone();
            async move {
                match ready.soon().await {
                    true => (StatusCode::OK, "OK".to_owned()),
                    false => (StatusCode::SERVICE_UNAVAILABLE, "kubernetes".to_owned()),
                }
            }
        }) => outcome,
        outcome = probes::serve(flags.metrics_address, "/metrics", move || {
            let requests = counted.requests.load(Ordering::Relaxed);
            let name = "coredns_dns_requests_total";
            ok(format!("# HELP {name} Counter of DNS requests made.\n# TYPE {name} counter\n{name} {requests}\n"))
        }) => outcome,
    }
}

async fn ok(text: String) -> (StatusCode, String) {
    (StatusCode::OK, text)
}

fn upstreams(flags: &Flags) -> anyhow::Result<Vec<SocketAddr>> {
    if flags.upstream.is_empty() {
        // No such file is no upstream, as an empty one.
        let text = std::fs::read_to_string(&flags.resolv_conf).unwrap_or_default();
        return Ok(forward::nameservers(&text, &flags.cluster_dns));
    }
    let parse = |text: &String| {
        let address = text.parse().or_else(|_| text.parse().map(|ip: IpAddr| SocketAddr::new(ip, 53)));
        address.with_context(|| format!("--upstream {text:?} is neither ADDRESS nor ADDRESS:PORT"))
    };
    flags.upstream.iter().map(parse).collect()
}

/// Keeps the records those of the API; ready once both kinds have been listed.
async fn follow(client: Client, server: &Server, ready: &Ready) -> anyhow::Result<()> {
    let mut services = watch(Api::<Service>::all(client.clone()), watcher::Config::default()).default_backoff().boxed();
    let mut slices = watch(Api::<EndpointSlice>::all(client), watcher::Config::default()).default_backoff().boxed();
    let (mut service_list, mut slice_list) = (Listing::default(), Listing::default());
    loop {
        tokio::select! {
            Some(event) = services.next() => {
                for change in changes(&mut service_list, event) {
                    match change {
                        Change::Set(key, service) => server.records.write().set_service(&key, Some(&service)),
                        Change::Gone(key) => server.records.write().set_service(&key, None),
                    }
                }
            }
            Some(event) = slices.next() => {
                for change in changes(&mut slice_list, event) {
                    match change {
                        Change::Set(key, slice) => server.records.write().set_slice(&key, Some(&slice)),
                        Change::Gone(key) => server.records.write().set_slice(&key, None),
                    }
                }
            }
            else => anyhow::bail!("the watches ended"),
        }
        let now = k8s_openapi::jiff::Timestamp::now().as_second();
        server.serial.store(now.unsigned_abs(), Ordering::Relaxed);
        if service_list.complete() && slice_list.complete() && ready.set() {
            tracing::info!("ready: all Services and EndpointSlices are known");
        }
    }
}

fn changes<K: kube::ResourceExt>(listing: &mut Listing, event: watcher::Result<Event<K>>) -> Vec<Change<K>> {
    match event {
        Ok(event) => listing.changes(event),
        Err(error) => {
            tracing::warn!(%error, "watching; trying again");
            Vec::new()
        }
    }
}
