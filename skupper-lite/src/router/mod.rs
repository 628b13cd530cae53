//! The embedded router: it reads skupper-router's configuration and does what that says about TCP.
//!
//! ```text
//!  client ─> tcpListener ─┐                                   ┌─> tcpConnector ─> server
//!                         ├─ core ── link (mutual TLS) ── core ┤
//!  client ─> tcpListener ─┘    streams, credit, heartbeats     └─> tcpConnector ─> server
//! ```
//!
//! It stands in for skupper-router, which no distribution packages, and differs from it: links do not speak AMQP, and
//! the configuration is read from its file whenever that changes, where upstream's adaptor pushes it by management
//! requests. Everything seen from outside is the same: one mutually authenticated TLS connection a link, connections
//! refused while no connector can be reached, cut links noticed within `helloMaxAgeSeconds`.

pub mod adaptor;
pub mod bridge;
pub mod config;
pub mod core;
pub mod frame;
pub mod link;
mod manage;
pub mod routes;
mod tasks;
pub mod tls;
mod watch;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;

use config::Config;
use core::Core;
use tasks::Tasks;

/// The embedded Skupper router.
#[derive(Parser, Debug)]
#[command(name = "skupper-router")]
struct Flags {
    /// The configuration, in skupper-router's JSON form; read again whenever it changes.
    #[arg(long, env = "QDROUTERD_CONF")]
    config: PathBuf,
    /// Be the kube-adaptor as well: keep the configuration and certificates in step with the ConfigMap and Secrets of
    /// this namespace, and write what the network looks like to ConfigMap skupper-network-status.
    #[arg(long, env = "SKUPPER_NAMESPACE")]
    namespace: Option<String>,
    /// The ConfigMap that holds the configuration.
    #[arg(long, env = "SKUPPER_ROUTER_CONFIG", default_value = "skupper-router")]
    config_map: String,
    /// Use this kubeconfig instead of the pod's ServiceAccount.
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
}

/// A router that runs in this process until it is dropped.
pub struct Running {
    core: Arc<Core>,
    tasks: Tasks,
}

impl Running {
    pub fn new() -> Self {
        Self { core: Core::new(), tasks: Tasks::default() }
    }

    /// Takes over a configuration; what did not change is not disturbed.
    pub fn apply(&mut self, config: &Config) {
        self.core.configure(config);
        self.tasks.apply(&self.core, config);
    }

    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl Default for Running {
    fn default() -> Self {
        Self::new()
    }
}

/// Runs the router until SIGTERM or SIGINT.
///
/// # Errors
/// When the flags are wrong, or the configuration's folder cannot be watched.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("skupper-router");
    runtime::block_on(serve(flags))
}

async fn serve(flags: Flags) -> anyhow::Result<()> {
    let stop = runtime::shutdown::token()?;
    let mut router = Running::new();
    let mut file = watch::File::new(&flags.config).context("watching the configuration")?;
    if let Some(namespace) = flags.namespace {
        let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
        let adaptor =
            adaptor::Adaptor { client, namespace, config_map: flags.config_map, config: flags.config.clone() };
        tokio::spawn(adaptor.clone().follow());
        tokio::spawn(adaptor.publish(Arc::clone(router.core())));
    }
    loop {
        match file.read() {
            Ok(Some(text)) => match Config::parse(&text) {
                Ok(config) => router.apply(&config),
                Err(error) => tracing::error!(error = %anyhow::Error::new(error), "the old configuration stays"),
            },
            Ok(None) => tracing::info!(file = %flags.config.display(), "waiting for the configuration"),
            Err(error) => tracing::error!(%error, "the configuration cannot be read"),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = file.changed() => changed.context("watching the configuration")?,
        }
    }
}
