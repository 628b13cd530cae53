//! WebSockets of the server's own (RFC 6455): watches for browsers, and tokens where a browser can put them
//! (`apiserver/pkg/endpoints/handlers/watch.go`, `apimachinery/pkg/util/httpstream/wsstream`,
//! `apiserver/pkg/authentication/request/websocket`).

use axum::body::Body;
use axum::extract::Request;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::{Buf, Bytes, BytesMut};
use futures::stream::{Stream, StreamExt};
use futures::{SinkExt, pin_mut};
use http::header::{
    AUTHORIZATION, CONNECTION, HeaderMap, HeaderValue, ORIGIN, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{Response, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::status::{ApiError, ApiResult};

/// A client has nothing to say but goodbye: what is longer than this ends the connection.
const FROM_CLIENT: usize = 4096;
/// What a subprotocol begins with that is a token.
const TOKEN: &str = "base64url.bearer.authorization.k8s.io.";

/// Whether a request wants to become a WebSocket.
#[must_use]
pub fn is_request(headers: &HeaderMap) -> bool {
    let words = |name| headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    words(UPGRADE).any(|value| value.trim().eq_ignore_ascii_case("websocket"))
        && words(CONNECTION).flat_map(|value| value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
}

/// The subprotocols a client offers.
fn protocols(headers: &HeaderMap) -> Vec<String> {
    let offered = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let each = offered.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty());
    each.map(str::to_owned).collect()
}

/// A browser cannot set `Authorization`, so its token comes as a subprotocol; it is put where tokens belong, and nobody
/// behind this server sees it.
///
/// # Errors
/// 401 for a token that is none, one of several, or one without a subprotocol beside it to answer with.
pub fn take_token(headers: &mut HeaderMap) -> ApiResult<()> {
    if !is_request(headers) {
        return Ok(());
    }
    let (tokens, others): (Vec<_>, Vec<_>) = protocols(headers).into_iter().partition(|word| word.starts_with(TOKEN));
    let [token] = tokens.as_slice() else {
        return if tokens.is_empty() { Ok(()) } else { Err(ApiError::unauthorized()) };
    };
    let decoded =
        BASE64_URL_SAFE_NO_PAD.decode(&token[TOKEN.len()..]).ok().and_then(|token| String::from_utf8(token).ok());
    let value = decoded.filter(|token| !token.is_empty()).and_then(|token| format!("Bearer {token}").parse().ok());
    let (Some(value), false) = (value, others.is_empty()) else { return Err(ApiError::unauthorized()) };
    headers.entry(AUTHORIZATION).or_insert(value);
    headers.insert(SEC_WEBSOCKET_PROTOCOL, others.join(",").parse().map_err(|_| ApiError::unauthorized())?);
    Ok(())
}

/// How a stream's bytes are cut into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Lines, each a text message with its end.
    Text,
    /// Pieces behind their length (four bytes, big endian), each a binary message without it.
    Binary,
}

impl Framing {
    /// The next message, taken from the front of `buffer`; `None` when it has not come whole.
    fn next(self, buffer: &mut BytesMut) -> Option<Message> {
        match self {
            Self::Text => {
                let end = buffer.iter().position(|byte| *byte == b'\n')?;
                let line = buffer.split_to(end + 1).freeze();
                // JSON is UTF-8; bytes that are not would be a bug of the encoder, and then there is no message of them.
                Utf8Bytes::try_from(line).ok().map(Message::Text)
            }
            Self::Binary => {
                let length = u32::from_be_bytes(buffer.get(..4)?.try_into().ok()?) as usize;
                if buffer.len() - 4 < length {
                    return None;
                }
                buffer.advance(4);
                Some(Message::Binary(buffer.split_to(length).freeze()))
            }
        }
    }
}

/// Answers a handshake and sends `stream` over what becomes of the connection, until either side ends. Nothing is read
/// from the stream faster than the client takes it.
pub fn serve(
    mut request: Request,
    content_type: &'static str,
    framing: Framing,
    stream: impl Stream<Item = Bytes> + Send + 'static,
) -> Response<Body> {
    let (upgrade, mut response) = match handshake(&mut request) {
        Ok(both) => both,
        Err(refused) => return refused.answer(),
    };
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    tokio::spawn(async move {
        let Ok(connection) = upgrade.await else { return };
        let config = WebSocketConfig::default().max_message_size(Some(FROM_CLIENT)).max_frame_size(Some(FROM_CLIENT));
        let socket = WebSocketStream::from_raw_socket(TokioIo::new(connection), Role::Server, Some(config)).await;
        send(socket, framing, stream).await;
    });
    response
}

async fn send(
    socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    framing: Framing,
    stream: impl Stream<Item = Bytes>,
) {
    let (mut sink, mut source) = socket.split();
    pin_mut!(stream);
    let sending = async {
        let mut buffer = BytesMut::new();
        while let Some(bytes) = stream.next().await {
            buffer.extend_from_slice(&bytes);
            while let Some(message) = framing.next(&mut buffer) {
                if sink.feed(message).await.is_err() {
                    return;
                }
            }
            if sink.flush().await.is_err() {
                return;
            }
        }
        let goodbye = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = sink.send(Message::Close(Some(goodbye))).await;
    };
    // What the client says is not listened to, but that it leaves is.
    let leaving = async { while let Some(Ok(_)) = source.next().await {} };
    tokio::select! {
        () = sending => {}
        () = leaving => {}
    }
}

/// Why a handshake is refused, as golang.org/x/net/websocket judges.
enum Refused {
    /// Of the protocol; the answer says which one is spoken here.
    Version,
    Malformed,
    /// Only browsers are meant, and they say where they come from.
    Origin,
}

impl Refused {
    fn answer(&self) -> Response<Body> {
        let code = if matches!(self, Self::Origin) { StatusCode::FORBIDDEN } else { StatusCode::BAD_REQUEST };
        let mut response = empty(code);
        if matches!(self, Self::Version) {
            response.headers_mut().insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

fn empty(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}

fn handshake(request: &mut Request) -> Result<(OnUpgrade, Response<Body>), Refused> {
    let headers = request.headers();
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err(Refused::Version);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| !key.is_empty()).ok_or(Refused::Malformed)?;
    let key = derive_accept_key(key.as_bytes());
    if headers.get(ORIGIN).is_none_or(HeaderValue::is_empty) {
        return Err(Refused::Origin);
    }
    let offered = protocols(headers);
    if offered.len() > 1 {
        return Err(Refused::Malformed);
    }
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().ok_or(Refused::Malformed)?;
    let mut response = empty(StatusCode::SWITCHING_PROTOCOLS);
    let own = response.headers_mut();
    own.insert(UPGRADE, HeaderValue::from_static("websocket"));
    own.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    let texts = [(SEC_WEBSOCKET_ACCEPT, Some(key)), (SEC_WEBSOCKET_PROTOCOL, offered.into_iter().next())];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            own.insert(name, value);
        }
    }
    Ok((upgrade, response))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (http::HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn what_a_websocket_request_is() {
        assert!(is_request(&headers(&[("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade")])));
        assert!(!is_request(&headers(&[("upgrade", "websocket"), ("connection", "close")])));
        assert!(!is_request(&headers(&[("upgrade", "SPDY/3.1"), ("connection", "Upgrade")])));
    }

    #[test]
    fn a_token_among_the_subprotocols() {
        let take = |protocols: &str| {
            let mut all =
                headers(&[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-protocol", protocols)]);
            take_token(&mut all).map_err(|error| error.code).map(|()| {
                let text = |name| all.get(name).map(|value: &HeaderValue| value.to_str().unwrap().to_owned());
                (text(AUTHORIZATION), text(SEC_WEBSOCKET_PROTOCOL))
            })
        };
        let token = format!("{TOKEN}{}", BASE64_URL_SAFE_NO_PAD.encode("secret"));
        let bearer = Some("Bearer secret".to_owned());
        assert_eq!(take(&format!("{token}, a, b")), Ok((bearer, Some("a,b".to_owned()))));
        assert_eq!(take("a"), Ok((None, Some("a".to_owned()))));
        assert_eq!(take(&token), Err(401), "nothing is left to answer with");
        assert_eq!(take(&format!("{token},{token},a")), Err(401));
        assert_eq!(take(&format!("{TOKEN}%,a")), Err(401));
    }

    #[test]
    fn messages_are_whole_frames() {
        let mut buffer = BytesMut::from(&b"{\"a\":1}\n{\"b\""[..]);
        assert_eq!(Framing::Text.next(&mut buffer), Some(Message::text("{\"a\":1}\n")));
        assert_eq!(Framing::Text.next(&mut buffer), None);
        let mut buffer = BytesMut::from(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 1][..]);
        assert_eq!(Framing::Binary.next(&mut buffer), Some(Message::binary(vec![7, 8])));
        assert_eq!(Framing::Binary.next(&mut buffer), None);
    }
}
