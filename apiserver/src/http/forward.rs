//! What all requests that are passed on have in common: headers that are not, and spliced connections.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use futures::{StreamExt, stream};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    TRANSFER_ENCODING, UPGRADE,
};
use http::response::Parts;
use http::{Response, StatusCode, Uri};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::backend::{Backend, Scheme, connect};
use super::status::ApiError;
use super::{answer, sniff};
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

/// What of a request is not as it came.
pub struct Outgoing<'a> {
    pub query: &'a str,
    /// The `Host` header.
    pub host: String,
}

/// Why a request was not passed on, or not answered.
#[derive(Debug)]
pub struct Problem {
    pub why: String,
    /// The request asked for another protocol.
    pub upgrading: bool,
}

impl Problem {
    /// What a client hears of a kubelet that does not answer.
    #[must_use]
    pub fn dialing(self) -> ApiError {
        ApiError::internal(format!("error dialing backend: {}", self.why))
    }
}

/// Sends the request to the backend over a connection of its own, and gives what comes back; where both sides switch
/// protocols, what follows is spliced.
///
/// # Errors
/// The backend cannot be reached, or does not answer.
pub async fn pass(
    app: &Arc<App>,
    backend: &Backend,
    outgoing: Outgoing<'_>,
    request: Request,
) -> Result<Response<Body>, Problem> {
    let upgrade = request.headers().get(UPGRADE).cloned();
    let upgrading = upgrade.is_some();
    let failed = |why: &dyn std::fmt::Display| Problem { why: format!("{why:#}"), upgrading };
    let stream = connect(app, backend).await.map_err(|error| failed(&format!("{error:#}")))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| failed(&e))?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "a connection to a backend ended with an error");
        }
    });
    let (mut parts, body) = request.into_parts();
    let client = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let path = if backend.path.is_empty() { "/" } else { &backend.path };
    let target = if outgoing.query.is_empty() { path.to_owned() } else { format!("{path}?{}", outgoing.query) };
    parts.uri = target.parse::<Uri>().map_err(|e| failed(&e))?;
    parts.version = http::Version::HTTP_11;
    clean(&mut parts.headers);
    if backend.scheme == Scheme::Kubelet {
        forget_impersonation(&mut parts.headers);
    }
    parts.headers.insert(HOST, HeaderValue::from_str(&outgoing.host).map_err(|e| failed(&e))?);
    if let Some(protocol) = &upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let response = sender.send_request(Request::from_parts(parts, body)).await.map_err(|e| failed(&e))?;
    finish(app, client, response).await.map_err(|why| failed(&why))
}

/// A backend's answer as the client gets it; where both sides switch protocols, what follows is spliced.
///
/// # Errors
/// The backend switches protocols, and the client's connection cannot.
pub async fn finish(
    app: &Arc<App>,
    client: Option<hyper::upgrade::OnUpgrade>,
    mut response: Response<Incoming>,
) -> Result<Response<Body>, &'static str> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let client = client.ok_or("the connection cannot be upgraded")?;
        let server = hyper::upgrade::on(&mut response);
        splice(app.clone(), client, server);
        let (parts, _) = response.into_parts();
        return Ok(Response::from_parts(parts, Body::empty()));
    }
    let (mut parts, body) = response.into_parts();
    clean(&mut parts.headers);
    parts.headers.remove(TRANSFER_ENCODING);
    // This server's own word comes first; the backend's stands beside it.
    let theirs: Vec<HeaderValue> = parts.headers.get_all(CACHE_CONTROL).into_iter().cloned().collect();
    parts.headers.insert(CACHE_CONTROL, answer::UNCACHED);
    for value in theirs {
        parts.headers.append(CACHE_CONTROL, value);
    }
    let guessed = !parts.headers.contains_key(CONTENT_TYPE) && !parts.headers.contains_key(CONTENT_ENCODING);
    Ok(if guessed { guess(parts, body).await } else { Response::from_parts(parts, Body::new(body)) })
}

/// An answer that does not say of what type it is: its beginning does.
async fn guess(mut parts: Parts, mut body: Incoming) -> Response<Body> {
    let Some(first) = body.frame().await else { return Response::from_parts(parts, Body::empty()) };
    if let Some(data) = first.as_ref().ok().and_then(|frame| frame.data_ref()).filter(|data| !data.is_empty()) {
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static(sniff::content_type(data)));
    }
    let frames = stream::iter([first]).chain(BodyStream::new(body));
    Response::from_parts(parts, Body::new(StreamBody::new(frames)))
}
