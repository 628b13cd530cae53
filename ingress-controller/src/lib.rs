//! knetsim-ingress-controller: Ingress → nginx, with the semantics of ingress-nginx where they matter to users.
//!
//! ```text
//!  Ingress IngressClass Service EndpointSlice Secret      (watches)
//!        └───────────────┬───────────────────┘
//!                    index (memory)
//!                        │  core::build   pure: the whole configuration, and what is wrong with whom
//!                        │  core::render  nginx.conf, everything user-supplied quoted
//!                    apply::nginx   write, `nginx -t`, SIGHUP; nginx is our child
//!                    apply::report  status.loadBalancer, Events
//! ```
//!
//! Promises: a bad Ingress is told so and hurts no other; a configuration nginx refuses never replaces a good one; a
//! reload loses no request (listening sockets stay, old workers finish, a request that cannot reach its pod is tried on
//! another). Upstreams are pods, not Services, as in ingress-nginx. Different from it: plain nginx without Lua, so a
//! change of endpoints is a reload too (a few milliseconds, coalesced), and snippets are refused.

pub mod apply;
mod controller;
pub mod core;
pub mod index;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use futures::stream::select_all;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::runtime::watcher::Config;
use runtime::watched;

use crate::apply::health::{self, Metrics};
use crate::apply::report::Reporter;
use crate::controller::{Controller, Options};
use crate::core::render::Settings;
use crate::core::tls;
use crate::index::{Key, Watched};

/// Serves Ingresses with nginx.
#[derive(Parser, Debug)]
#[command(name = "ingress-controller")]
struct Flags {
    /// Use this kubeconfig instead of the pod's ServiceAccount.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// The nginx to run.
    #[arg(long, default_value = "/usr/sbin/nginx")]
    nginx: PathBuf,
    /// A writable folder for nginx's configuration, certificates and temporary files.
    #[arg(long, default_value = "/run/ingress-nginx")]
    dir: PathBuf,
    #[arg(long, default_value_t = 80)]
    http_port: u16,
    #[arg(long, default_value_t = 443)]
    https_port: u16,
    /// nginx's stub_status, on loopback only.
    #[arg(long, default_value_t = 10246)]
    status_port: u16,
    /// /healthz and /metrics.
    #[arg(long, default_value = "0.0.0.0:10254")]
    healthz_address: SocketAddr,
    #[arg(long, default_value_t = 1)]
    worker_processes: u16,
    /// How many seconds an old worker may finish its requests after a reload.
    #[arg(long, default_value_t = 240)]
    worker_shutdown_timeout: u32,
    /// How many seconds nginx may finish its requests when the controller is asked to stop.
    #[arg(long, default_value_t = 20)]
    shutdown_grace_period: u64,
    /// Do not write nginx's access log to stdout.
    #[arg(long)]
    disable_access_log: bool,
    /// Serve Ingresses without any class as well.
    #[arg(long)]
    watch_ingress_without_class: bool,
    /// NAMESPACE/NAME of the Service whose load-balancer addresses the Ingresses show.
    #[arg(long)]
    publish_service: Option<String>,
    /// The address the Ingresses show while that Service has none.
    #[arg(long, env = "HOST_IP")]
    publish_status_address: Option<String>,
}

/// Runs the controller until SIGTERM or SIGINT. `args[0]` is the component's name.
///
/// # Errors
/// When the flags are wrong, no API server is configured, or nginx cannot be run.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("ingress-controller");
    runtime::block_on(serve(flags))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let stop = runtime::shutdown::token()?;
    let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
    let metrics = Arc::new(Metrics::default());
    health::spawn(flags.healthz_address, Arc::clone(&metrics)).await.context("opening the health port")?;
    let reporter = Reporter::spawn(client.clone());
    let controller = Controller::new(options(flags)?, reporter, metrics);
    controller.run(watches(&client), stop.cancelled_owned()).await
}

fn options(flags: Flags) -> anyhow::Result<Options> {
    let default_certificate = tls::self_made().context("making the default certificate")?;
    let publish_service = match flags.publish_service.as_deref().map(|text| text.split_once('/')) {
        None => None,
        Some(Some((namespace, name))) => Some(Key::new(namespace, name)),
        Some(None) => anyhow::bail!("--publish-service must be NAMESPACE/NAME"),
    };
    let settings = Settings {
        dir: flags.dir.to_str().context("--dir must be UTF-8")?.to_owned(),
        root: nix::unistd::geteuid().is_root(),
        workers: flags.worker_processes,
        shutdown_timeout: flags.worker_shutdown_timeout,
        http_port: flags.http_port,
        https_port: flags.https_port,
        status_port: flags.status_port,
        access_log: !flags.disable_access_log,
        default_certificate: tls::stem("default", &default_certificate),
    };
    Ok(Options {
        nginx: flags.nginx,
        settings,
        default_certificate,
        without_class: flags.watch_ingress_without_class,
        publish_service,
        publish_address: flags.publish_status_address,
        grace: Duration::from_secs(flags.shutdown_grace_period),
    })
}

/// All watches as one stream. A watch that fails is retried with back-off for ever; meanwhile the index keeps what it
/// knows and nginx keeps serving.
fn watches(client: &Client) -> impl futures::Stream<Item = Watched> + Unpin + use<> {
    select_all([
        watched::all(client, Watched::Ingress),
        watched::all(client, Watched::Class),
        watched::all(client, Watched::Service),
        watched::selected(client, Config::default().labels("kubernetes.io/service-name"), Watched::Slice),
        watched::all(client, |event| Watched::Secret(event.modify(keep_certificate))),
    ])
}

/// Only certificates are kept in memory; other Secrets are none of our business.
fn keep_certificate(secret: &mut Secret) {
    if let Some(data) = &mut secret.data {
        data.retain(|name, _| name == "tls.crt" || name == "tls.key");
    }
}
