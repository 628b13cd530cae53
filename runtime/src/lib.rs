//! What every knetsim process shares: flags, logs, signals, listeners, the API client and the event recorder.
//!
//! A component's `run(args)` reads from top to bottom: parse flags, [`log::init`], [`block_on`] an async body that
//! builds its client with [`client::connect`], spawns its watches, and returns when [`shutdown::signal`] resolves.

pub mod address;
pub mod client;
pub mod events;
pub mod flags;
pub mod listen;
pub mod listing;
pub mod log;
pub mod ready;
pub mod shutdown;
pub mod watched;

use std::future::Future;

/// Runs `body` on a single-threaded tokio runtime, the right size for everything but the API server.
///
/// # Errors
/// Whatever `body` returns, or the failure to build the runtime.
pub fn block_on<T, F>(body: F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(body)
}
