//! Which protocol a client and we both speak, and the answer that switches to it.

use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, Response, StatusCode};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::Body;

/// SPDY's header with the protocols spoken on top of it, in the client's order of preference.
const STREAM_PROTOCOL: &str = "x-stream-protocol-version";

/// What was agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    WebSocket(&'static str),
    Spdy(&'static str),
}

/// Picks the client's first protocol that we offer. A WebSocket client that names no subprotocol speaks `unnamed`.
///
/// # Errors
/// The answer to give instead: 400 when this is no upgrade, 403 (as upstream) when no protocol is common to both.
pub fn negotiate(
    headers: &HeaderMap,
    websocket: &[&'static str],
    unnamed: &'static str,
    spdy: &[&'static str],
) -> Result<(Protocol, Response<Body>), Box<Response<Body>>> {
    let upgrade = headers.get(UPGRADE).and_then(|v| v.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    if upgrade == "websocket" {
        let key =
            headers.get(SEC_WEBSOCKET_KEY).ok_or_else(|| refuse(StatusCode::BAD_REQUEST, "no Sec-WebSocket-Key"))?;
        let asked = values(headers, SEC_WEBSOCKET_PROTOCOL.as_str());
        let chosen = pick(&asked, websocket).or(asked.is_empty().then_some(unnamed));
        let chosen = chosen.ok_or_else(|| no_common(&asked, websocket))?;
        let mut answer = switching("websocket").header(SEC_WEBSOCKET_ACCEPT, derive_accept_key(key.as_bytes()));
        if !asked.is_empty() {
            answer = answer.header(SEC_WEBSOCKET_PROTOCOL, chosen);
        }
        return Ok((Protocol::WebSocket(chosen), finish(answer)));
    }
    if upgrade == "spdy/3.1" {
        let asked = values(headers, STREAM_PROTOCOL);
        let chosen = pick(&asked, spdy).ok_or_else(|| no_common(&asked, spdy))?;
        return Ok((Protocol::Spdy(chosen), finish(switching("SPDY/3.1").header(STREAM_PROTOCOL, chosen))));
    }
    Err(refuse(StatusCode::BAD_REQUEST, "unable to upgrade: missing upgrade headers in request"))
}

/// All values of a header, which may be given several times or as a list.
fn values(headers: &HeaderMap, name: &str) -> Vec<String> {
    let texts = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty()).collect()
}

fn pick(asked: &[String], offered: &[&'static str]) -> Option<&'static str> {
    asked.iter().find_map(|name| offered.iter().copied().find(|offer| offer == name))
}

fn switching(protocol: &str) -> http::response::Builder {
    Response::builder().status(StatusCode::SWITCHING_PROTOCOLS).header(CONNECTION, "Upgrade").header(UPGRADE, protocol)
}

fn finish(builder: http::response::Builder) -> Response<Body> {
    builder.body(Body::default()).expect("the headers above are well-formed")
}

fn no_common(asked: &[String], offered: &[&str]) -> Box<Response<Body>> {
    let text = format!(
        "unable to upgrade: unable to negotiate protocol: client supports {asked:?}, server accepts {offered:?}"
    );
    refuse(StatusCode::FORBIDDEN, &text)
}

fn refuse(status: StatusCode, why: &str) -> Box<Response<Body>> {
    let body = Body::from(format!("{why}\n"));
    Box::new(Response::builder().status(status).body(body).expect("a status and a text are well-formed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNELS: [&str; 2] = ["v5.channel.k8s.io", "v4.channel.k8s.io"];
    const STREAMS: [&str; 1] = ["v4.channel.k8s.io"];

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(k, v)| (http::HeaderName::from_static(k), http::HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn the_clients_first_choice_that_we_have() {
        let websocket = |protocols| {
            headers(&[
                ("upgrade", "websocket"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
                ("sec-websocket-protocol", protocols),
            ])
        };
        for (asked, got) in [
            ("v5.channel.k8s.io", "v5.channel.k8s.io"),
            ("v9.channel.k8s.io, v4.channel.k8s.io, v5.channel.k8s.io", "v4.channel.k8s.io"),
        ] {
            let (protocol, answer) = negotiate(&websocket(asked), &CHANNELS, "channel.k8s.io", &STREAMS).unwrap();
            assert_eq!(protocol, Protocol::WebSocket(got));
            assert_eq!(answer.headers()[SEC_WEBSOCKET_ACCEPT], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        }
        let nothing = headers(&[("upgrade", "websocket"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")]);
        let (protocol, answer) = negotiate(&nothing, &CHANNELS, "channel.k8s.io", &STREAMS).unwrap();
        assert_eq!(protocol, Protocol::WebSocket("channel.k8s.io"));
        assert!(!answer.headers().contains_key(SEC_WEBSOCKET_PROTOCOL), "nothing was asked, nothing is answered");
        let refused = negotiate(&websocket("v9.channel.k8s.io"), &CHANNELS, "channel.k8s.io", &STREAMS).unwrap_err();
        assert_eq!(refused.status(), StatusCode::FORBIDDEN);
        let spdy = headers(&[("upgrade", "SPDY/3.1"), ("x-stream-protocol-version", "v4.channel.k8s.io")]);
        let (protocol, answer) = negotiate(&spdy, &CHANNELS, "channel.k8s.io", &STREAMS).unwrap();
        assert_eq!(protocol, Protocol::Spdy("v4.channel.k8s.io"));
        assert_eq!(answer.headers()[UPGRADE], "SPDY/3.1");
        assert_eq!(
            negotiate(&HeaderMap::new(), &CHANNELS, "channel.k8s.io", &STREAMS).unwrap_err().status(),
            StatusCode::BAD_REQUEST
        );
    }
}
