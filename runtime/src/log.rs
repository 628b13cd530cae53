//! Logging: one line an event on stderr, filtered by `KNETSIM_LOG` (default `info`).

use std::sync::OnceLock;

use tracing_subscriber::EnvFilter;

/// Puts another filter in place of the present one.
static REPLACE: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// From which verbosity (upstream's `-v`) on is how much told, the most verbose first.
const LEVELS: [(u32, &str); 3] = [(8, "trace"), (4, "debug"), (0, "info")];

/// Installs the process-wide subscriber. A second call in the same process is ignored, so tests may call it too.
pub fn init(component: &str) {
    let filter = EnvFilter::try_from_env("KNETSIM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_target(false)
        .with_env_filter(filter)
        .with_filter_reloading();
    let handle = subscriber.reload_handle();
    if subscriber.try_init().is_ok() {
        let replace = move |filter| {
            if let Err(error) = handle.reload(filter) {
                tracing::warn!(%error, "how much is logged cannot be changed");
            }
        };
        // Only the first of all is installed.
        let _ = REPLACE.set(Box::new(replace));
    }
    tracing::debug!(component, "logging started");
}

/// Logs as much as upstream's components do with `-v`.
pub fn set_verbosity(verbosity: u32) {
    if let Some(replace) = REPLACE.get() {
        replace(EnvFilter::new(level(verbosity)));
    }
}

fn level(verbosity: u32) -> &'static str {
    LEVELS.iter().find(|(from, _)| *from <= verbosity).map_or("info", |(_, level)| level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        let told = [0, 3, 4, 7, 8, 100].map(level);
        assert_eq!(told, ["info", "info", "debug", "debug", "trace", "trace"]);
    }
}
