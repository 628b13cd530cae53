//! `knetsim pause`: the one process of a pod's sandbox.
//!
//! It *is* in the pod's network, IPC and UTS namespaces, so they live as long as it does, and it is the parent of all the
//! pod's containers: as a child subreaper it inherits what `runc run --detach` leaves behind, keeps their exit codes, and
//! pumps their output into log files. The kubelet only talks to it ([`protocol`]), so that containers, their logs and
//! their exit codes survive a kubelet that is killed. With `shareProcessNamespace` it forks the pod's PID 1 too.
//!
//! ```text
//! kubelet ──pause.sock──▶ pause ──┬── container init (PID 1 of its own namespace)
//!                                 ├── container init …
//!                                 └── runc run (for some milliseconds)
//! ```
//!
//! One thread, one poll loop, no async runtime: it is there once a pod, so its memory counts.

pub mod log;
pub mod protocol;
mod sandbox;
mod streams;
mod supervisor;

use std::ffi::OsString;

use anyhow::Context;

use self::protocol::SandboxConfig;

/// `pause CONFIG`, where CONFIG is a [`SandboxConfig`] as JSON; without one it only waits for a signal, as upstream's
/// pause image does.
///
/// # Errors
/// When the sandbox cannot be made; what failed is on standard error for the kubelet to read.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    let Some(config) = args.get(1) else {
        let mut signals = nix::sys::signal::SigSet::empty();
        signals.add(nix::sys::signal::Signal::SIGTERM);
        signals.add(nix::sys::signal::Signal::SIGINT);
        signals.thread_block()?;
        signals.wait()?;
        return Ok(());
    };
    let config: SandboxConfig =
        serde_json::from_str(config.to_str().context("the configuration is not UTF-8")?).context("its configuration")?;
    let shared_pid = sandbox::enter(&config)?;
    supervisor::Supervisor::listen(&config, shared_pid)?.serve()
}
