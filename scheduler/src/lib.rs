//! The scheduler: gives every pod without a node the best node that can take it (upstream `pkg/scheduler`).
//!
//! ```text
//!  index (watches) ──messages──► run loop: Cluster + Queue ──decide()──► apply (binding, Events, conditions)
//!                                   ▲────────── outcome of each binding ───────┘
//! ```
//!
//! One task owns all state, so there is no lock and no snapshot to copy: a pod is decided on against the live cluster,
//! assumed there, and bound in the background.

pub mod apply;
pub mod core;
pub mod decide;
pub mod index;
pub mod queue;
mod scheduler;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

/// The name pods ask for by default, and under which Events are written.
const DEFAULT_NAME: &str = "default-scheduler";

/// Assigns pods to nodes.
#[derive(Debug, Parser)]
#[command(name = "scheduler")]
struct Flags {
    /// How to reach the API server; without it, the ServiceAccount of the pod this runs in
    #[arg(long)]
    kubeconfig: Option<PathBuf>,
    /// Takes care of pods whose schedulerName is this
    #[arg(long, default_value = DEFAULT_NAME)]
    scheduler_name: String,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the kubeconfig cannot be used or signals cannot be handled.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("scheduler");
    runtime::block_on(async move {
        let stop = runtime::shutdown::signal();
        let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
        let messages = index::watch(&client);
        let writer = apply::Writer::new(client, &flags.scheduler_name);
        tracing::info!(name = flags.scheduler_name, "scheduling");
        tokio::select! {
            result = stop => result?,
            () = scheduler::Scheduler::new(writer, flags.scheduler_name).run(messages) => {}
        }
        Ok(())
    })
}
