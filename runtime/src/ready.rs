//! Telling others that we are ready: a supervisor by systemd's protocol, one datagram to the socket named by
//! `NOTIFY_SOCKET`; a readiness probe by the answer to its request.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tokio::sync::watch;

/// How long a probe's answer may wait: less than a probe's default timeout, which is a second.
const PATIENCE: Duration = Duration::from_millis(800);

/// Whether a process is ready, which it becomes once.
#[derive(Debug)]
pub struct Ready(watch::Sender<bool>);

impl Default for Ready {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Ready {
    /// From now on. Whether it was not before.
    pub fn set(&self) -> bool {
        !self.0.send_replace(true)
    }

    /// Whether it is so, for a probe: one that comes too early is answered as soon as it is, not asked to come again a
    /// period later.
    pub async fn soon(&self) -> bool {
        let mut state = self.0.subscribe();
        tokio::time::timeout(PATIENCE, state.wait_for(|ready| *ready)).await.is_ok()
    }
}

/// Says `READY=1` if somebody wants to hear it (sd_notify(3)).
///
/// # Errors
/// When there is such a socket and it cannot be written to.
pub fn notify() -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) else { return Ok(()) };
    UnixDatagram::unbound()?.send_to(b"READY=1", &path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_probe_that_comes_early_waits() {
        let ready = std::sync::Arc::new(Ready::default());
        let early = tokio::spawn({
            let ready = ready.clone();
            async move { ready.soon().await }
        });
        assert!(!ready.soon().await, "nobody said so");
        assert!(!early.await.expect("it ends"), "its patience is bounded");
        let (asked, said) = tokio::join!(ready.soon(), async { ready.set() });
        assert!(asked && said);
        assert!(!ready.set(), "it was ready before");
        assert!(ready.soon().await);
    }

    #[test]
    fn without_a_listener_nothing_is_said() {
        // The variable is not set under a test runner.
        assert!(notify().is_ok());
    }
}
