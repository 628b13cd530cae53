//! When to stop: SIGTERM or SIGINT.

use tokio::signal::unix::{SignalKind, signal as on};
use tokio_util::sync::CancellationToken;

/// Resolves at the first SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed.
pub async fn signal() -> std::io::Result<()> {
    let (mut term, mut int) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    Ok(())
}

/// Runs `body` until it ends, or until the first SIGTERM or SIGINT, which is a good end.
///
/// # Errors
/// Those of `body`, and when the handlers cannot be installed.
pub async fn or(body: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::select! {
        ended = body => ended,
        signal = signal() => Ok(signal?),
    }
}

/// A token that is cancelled at the first SIGTERM or SIGINT; hand clones of it to every task.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn token() -> std::io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let (mut term, mut int) = (on(SignalKind::terminate())?, on(SignalKind::interrupt())?);
    let cancel = token.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        cancel.cancel();
    });
    Ok(token)
}
