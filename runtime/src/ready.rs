//! Telling a supervisor that we are ready: systemd's protocol, one datagram to the socket named by `NOTIFY_SOCKET`.

use std::io;
use std::os::unix::net::UnixDatagram;

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

    #[test]
    fn without_a_listener_nothing_is_said() {
        // The variable is not set under a test runner.
        assert!(notify().is_ok());
    }
}
