//! Logging: one line an event on stderr, filtered by `KNETSIM_LOG` (default `info`).

use tracing_subscriber::EnvFilter;

/// Installs the process-wide subscriber. A second call in the same process is ignored, so tests may call it too.
pub fn init(component: &str) {
    let filter = EnvFilter::try_from_env("KNETSIM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .try_init();
    tracing::debug!(component, "logging started");
}
