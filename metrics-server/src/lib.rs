//! The metrics server: what nodes and pods use now, as the API group metrics.k8s.io behind an APIService. It is what
//! `kubectl top` and HorizontalPodAutoscalers ask (upstream: kubernetes-sigs/metrics-server).
//!
//! ```text
//!  every resolution: nodes ──> GET /metrics/resource of each kubelet (scrape) ──> the last two points (storage)
//!  API server ── front proxy's certificate ──> serve ──> answer: the difference of the two points
//! ```
//!
//! Nothing is kept but two points for each node and container.

mod answer;
mod kubelets;
mod scrape;
mod serve;
mod storage;

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use component_base::trust::Trust;
use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, PartialObjectMeta};
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Client, ResourceExt};
use parking_lot::RwLock;
use runtime::flags::duration;

use kubelets::Kubelets;
use storage::Storage;

/// Upstream's flags, as far as they mean something here.
#[derive(Debug, Parser)]
#[command(name = "metrics-server", about = "What nodes and pods use, as metrics.k8s.io")]
struct Flags {
    /// Kubeconfig; by default the pod's ServiceAccount
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    #[arg(long, default_value = "0.0.0.0")]
    bind_address: IpAddr,
    #[arg(long, default_value_t = 443)]
    secure_port: u16,
    /// Accepted for compatibility: the serving certificate is made anew at each start and never written
    #[arg(long)]
    cert_dir: Option<PathBuf>,
    /// How often kubelets are asked
    #[arg(long, default_value = "60s", value_parser = resolution)]
    metric_resolution: Duration,
    /// Which of a node's addresses to use, in this order
    #[arg(long, value_delimiter = ',', default_value = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP")]
    kubelet_preferred_address_types: Vec<String>,
    /// The port to use where the node is not asked for its own
    #[arg(long, default_value_t = 10250)]
    kubelet_port: u16,
    /// Use the port that the node's status tells
    #[arg(long)]
    kubelet_use_node_status_port: bool,
    /// Believe any kubelet's certificate
    #[arg(long)]
    kubelet_insecure_tls: bool,
    /// The authorities of kubelets' certificates; by default the cluster's
    #[arg(long)]
    kubelet_certificate_authority: Option<PathBuf>,
}

fn resolution(text: &str) -> Result<Duration, String> {
    let resolution = duration(text)?;
    if resolution < Duration::from_secs(10) {
        return Err("metric-resolution should be a time duration at least 10s".to_owned());
    }
    Ok(resolution)
}

/// What all parts of the server read.
struct State {
    nodes: reflector::Store<Node>,
    pods: reflector::Store<PartialObjectMeta<Pod>>,
    storage: RwLock<Storage>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// The cluster does not say whom to believe, or the port is taken.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("metrics-server");
    runtime::block_on(async move {
        let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
        let state = watch(&client, flags.metric_resolution);
        let trust = Trust::read(&client).await.context("read extension-apiserver-authentication")?;
        let front = trust.front.context("extension-apiserver-authentication names no front proxy")?;
        let kubelets = Kubelets::new(&flags)?;
        tokio::select! {
            ended = serve::serve((flags.bind_address, flags.secure_port).into(), front, state.clone()) => ended,
            () = collect(&state, &kubelets, flags.metric_resolution) => Ok(()),
            stopped = runtime::shutdown::signal() => Ok(stopped?),
        }
    })
}

/// Follows nodes and running pods, without what is never read of them.
fn watch(client: &Client, resolution: Duration) -> Arc<State> {
    let (nodes, writer) = reflector::store();
    let slim = |node: &mut Node| {
        node.managed_fields_mut().clear();
        if let Some(status) = &mut node.status {
            status.images = None;
        }
    };
    let stream = watcher(Api::<Node>::all(client.clone()), watcher::Config::default()).default_backoff();
    let stream = stream.modify(slim).reflect(writer);
    tokio::spawn(stream.for_each(|_| std::future::ready(())));
    let (pods, writer) = reflector::store();
    let running = watcher::Config::default().fields("status.phase=Running");
    let slim = |pod: &mut PartialObjectMeta<Pod>| {
        pod.managed_fields_mut().clear();
        pod.annotations_mut().clear();
    };
    let stream = watcher(Api::<PartialObjectMeta<Pod>>::all(client.clone()), running).default_backoff();
    let stream = stream.modify(slim).reflect(writer);
    tokio::spawn(stream.for_each(|_| std::future::ready(())));
    Arc::new(State { nodes, pods, storage: RwLock::new(Storage::new(resolution)) })
}

/// Asks all kubelets, again and again.
async fn collect(state: &State, kubelets: &Kubelets, resolution: Duration) {
    let mut ticks = tokio::time::interval(resolution);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Before the first list there is nobody to ask; if the watch fails for good, so does the readiness probe.
    let _ = state.nodes.wait_until_ready().await;
    loop {
        ticks.tick().await;
        let nodes = state.nodes.state();
        let batch = kubelets.scrape(&nodes).await;
        state.storage.write().store(batch);
    }
}
