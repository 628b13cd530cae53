//! A stream of bytes over a WebSocket, for browsers, which can read one in no other way
//! (`k8s.io/streaming/pkg/httpstream/wsstream`, `Reader`).
//!
//! Every piece is a message: `binary.k8s.io` (or no subprotocol) sends the bytes, `base64.binary.k8s.io` text in base64. An
//! empty message comes first; what the client sends is ignored, and its end is ours.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;

use super::status::{ApiError, ApiResult};

const BINARY: &str = "binary.k8s.io";
const BASE64: &str = "base64.binary.k8s.io";
/// What is ignored need not be long.
const MAX_MESSAGE: usize = 64 * 1024;
/// How long a client may take to read what is on its way when we have ended.
const LAST_WORDS: Duration = Duration::from_secs(30);
/// What a request for a WebSocket says about it, which is nobody else's business.
const OWN: [HeaderName; 6] =
    [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, SEC_WEBSOCKET_EXTENSIONS];

/// A WebSocket that a client asked for.
pub struct Socket {
    upgrade: OnUpgrade,
    accept: String,
    /// The subprotocol that was agreed on; `None` when none was named.
    protocol: Option<&'static str>,
}

impl Socket {
    /// What the request asks for, taken out of it; `None` when it wants no WebSocket.
    ///
    /// # Errors
    /// 400 when the handshake is no handshake, 403 when no subprotocol is common to both.
    pub fn asked(request: &mut Request) -> ApiResult<Option<Self>> {
        let headers = request.headers();
        let has = |name: HeaderName, word: &str| values(headers, &name).any(|v| v.eq_ignore_ascii_case(word));
        if !has(UPGRADE, "websocket") || !has(CONNECTION, "upgrade") {
            return Ok(None);
        }
        let key =
            headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| ApiError::bad_request("missing or bad WebSocket-Key"))?;
        let accept = derive_accept_key(key.as_bytes());
        let asked: Vec<&str> = values(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
        let known = asked.iter().find_map(|name| [BINARY, BASE64].into_iter().find(|own| own == name));
        if known.is_none() && !asked.is_empty() {
            let text =
                format!("requested protocol(s) are not supported: [{}]; supports [{BINARY} {BASE64}]", asked.join(" "));
            return Err(ApiError::new(403, "Forbidden", text));
        }
        let upgrade = request.extensions_mut().remove::<OnUpgrade>();
        let upgrade = upgrade.ok_or_else(|| ApiError::bad_request("the connection cannot be upgraded"))?;
        for name in OWN {
            request.headers_mut().remove(name);
        }
        Ok(Some(Self { upgrade, accept, protocol: known }))
    }

    /// The answer that switches protocols, after which `body` is sent until it ends, the client goes, or `stop` is told.
    pub fn stream(self, stop: CancellationToken, body: Body) -> Response<Body> {
        let Self { upgrade, accept, protocol } = self;
        tokio::spawn(async move {
            tokio::select! {
                result = send(upgrade, protocol == Some(BASE64), body) => {
                    if let Err(error) = result {
                        tracing::debug!(%error, "a stream over a WebSocket broke off");
                    }
                }
                () = stop.cancelled() => {}
            }
        });
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept).expect("base64 is plain text"));
        if let Some(protocol) = protocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        }
        response
    }
}

/// A header's values, which may be given several times or as a list.
fn values<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|text| !text.is_empty())
}

async fn send(upgrade: OnUpgrade, base64: bool, body: Body) -> anyhow::Result<()> {
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgrade.await?), Role::Server, Some(config)).await;
    let (mut sink, mut source) = socket.split();
    let message = |data: Bytes| if base64 { Message::text(STANDARD.encode(data)) } else { Message::Binary(data) };
    let copy = async {
        sink.send(message(Bytes::new())).await?;
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            sink.send(message(piece?)).await?;
        }
        let end = CloseFrame { code: CloseCode::Normal, reason: "".into() };
        anyhow::Ok(sink.send(Message::Close(Some(end))).await?)
    };
    let gone = async { while let Some(Ok(_)) = source.next().await {} };
    tokio::select! {
        result = copy => result?,
        () = gone => return Ok(()),
    }
    let mut socket = sink.reunite(source)?;
    socket.get_mut().shutdown().await?;
    // Its end first: a connection dropped with something unread in it takes what is on its way with it.
    let _ = tokio::time::timeout(LAST_WORDS, async { while let Some(Ok(_)) = socket.next().await {} }).await;
    Ok(())
}
