//! The scheduler: gives every pod without a node the best node that can take it (upstream `pkg/scheduler`).
//!
//! ```text
//!  index (watches) ──messages──► run loop: Cluster + Queue ──decide()──► apply (binding, Events, conditions)
//!                                   ▲────────── outcome of each binding ───────┘
//! ```
//!
//! One task owns all state, so there is no lock and no snapshot to copy: a pod is decided on against the live cluster,
//! assumed there, and bound in the background. How it fares is told on the secure port ([`metrics`]).

pub mod apply;
pub mod core;
pub mod decide;
pub mod index;
pub mod metrics;
pub mod queue;
mod scheduler;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use component_base::leader::{Election, LeaderElection};
use component_base::{ports, secure_port};

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
    #[command(flatten)]
    leader: LeaderElection,
    #[command(flatten)]
    secure: secure_port::SecureServing,
}

/// Runs until SIGTERM or SIGINT, or until another one leads.
///
/// # Errors
/// When the kubeconfig cannot be used, the secure port is taken, signals cannot be handled, or the lease is lost.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let flags = Flags::parse_from(args);
    runtime::log::init("scheduler");
    runtime::block_on(async move {
        let stop = runtime::shutdown::signal();
        let client = runtime::client::connect(flags.kubeconfig.as_deref()).await?;
        let election = Election::new(&flags.leader, &client, "kube-scheduler", &flags.scheduler_name)?;
        let metrics = Arc::new(metrics::Metrics::new(&flags.scheduler_name, election.standing()));
        secure_port::open(&flags.secure, ports::SCHEDULER, metrics.clone()).await?;
        let schedule = async || {
            let messages = index::watch(&client);
            let writer = apply::Writer::new(client, &flags.scheduler_name);
            tracing::info!(name = flags.scheduler_name, "scheduling");
            scheduler::Scheduler::new(writer, flags.scheduler_name, metrics).run(messages).await;
            Ok(())
        };
        election.run(stop, schedule).await
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags() {
        let flags = Flags::parse_from(["scheduler", "--secure-port=0", "--bind-address=127.0.0.1"]);
        assert_eq!((flags.secure.secure_port, flags.scheduler_name.as_str()), (Some(0), DEFAULT_NAME));
    }
}
