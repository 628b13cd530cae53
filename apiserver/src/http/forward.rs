//! What all requests that are passed on have in common: headers that are not, and spliced connections.

use std::sync::Arc;

use http::header::{AUTHORIZATION, CONNECTION, HeaderMap, HeaderName, TRANSFER_ENCODING, UPGRADE};
use hyper_util::rt::TokioIo;

use crate::app::App;

/// Headers about one connection, not about the request (RFC 9110 7.6.1).
const HOP_BY_HOP: [HeaderName; 3] = [CONNECTION, UPGRADE, TRANSFER_ENCODING];

/// Takes away what belongs to the other connection, and the client's credentials.
pub fn clean(headers: &mut HeaderMap) {
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(AUTHORIZATION);
}

/// Takes away what has been obeyed already.
pub fn forget_impersonation(headers: &mut HeaderMap) {
    let own: Vec<HeaderName> = headers.keys().filter(|n| n.as_str().starts_with("impersonate-")).cloned().collect();
    for name in own {
        headers.remove(name);
    }
}

/// Copies both ways until one side ends.
pub fn splice(app: Arc<App>, client: hyper::upgrade::OnUpgrade, server: hyper::upgrade::OnUpgrade) {
    tokio::spawn(async move {
        let both = futures::future::try_join(client, server);
        let (client, server) = match both.await {
            Ok(both) => both,
            Err(error) => return tracing::debug!(%error, "an upgrade failed"),
        };
        let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
        tokio::select! {
            ended = tokio::io::copy_bidirectional(&mut client, &mut server) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a spliced connection ended with an error");
                }
            }
            () = app.stop.cancelled() => {}
        }
    });
}
