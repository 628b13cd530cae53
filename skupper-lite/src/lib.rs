//! knetsim-skupper-lite: Skupper v2 (skupper.io/v2alpha1), its controller and an embedded router.
//!
//! - [`api`]: the custom resources and their conditions.
//! - [`controller`]: watches them and makes certificates, router configuration, Services and status of them.
//! - [`router`]: reads that configuration and carries the connections.

pub mod api;
pub mod certs;
pub mod controller;
pub mod router;

use std::ffi::OsString;

/// Runs `skupper-controller` or `skupper-router`, whichever `args[0]` names.
///
/// # Errors
/// Those of the component, or when `args[0]` names neither.
pub fn run(args: Vec<OsString>) -> anyhow::Result<()> {
    match args.first().and_then(|name| name.to_str()) {
        Some("skupper-controller") => controller::run(args),
        Some("skupper-router") => router::run(args),
        other => anyhow::bail!("{other:?} is neither skupper-controller nor skupper-router"),
    }
}
