//! The gRPC health check (`grpc.health.v1.Health/Check`) by hand: one request over HTTP/2, two small messages.

use std::time::Duration;

use bytes::{Buf, Bytes};
use http::{HeaderMap, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::probes::Failure;

pub const PATH: &str = "/grpc.health.v1.Health/Check";
/// `ServingStatus`, each at its number.
const STATES: [&str; 4] = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
pub const SERVING: u64 = 1;
pub const NOT_SERVING: u64 = 2;

/// gRPC's codes, each at its number, as Go writes them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];
const UNKNOWN: usize = 2;
const DEADLINE_EXCEEDED: usize = 4;
pub const NOT_FOUND: usize = 5;
pub const UNIMPLEMENTED: usize = 12;
const INTERNAL: usize = 13;
const UNAVAILABLE: usize = 14;

/// What an RPC ended with when it did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed {
    code: usize,
    message: String,
}

/// Asks; good means SERVING.
///
/// # Errors
/// In upstream's words (`pkg/probe/grpc`).
pub async fn check(host: &str, port: u16, service: &str, timeout: Duration) -> Result<(), Failure> {
    let address = format!("{host}:{port}");
    let late = tokio::time::Instant::now() + timeout;
    // Upstream dials until it succeeds or the time is over, so that is all it ever says.
    let unreachable = |refused| Failure {
        message: format!(
            "timeout: failed to connect service \"{address}\" within {timeout:?}: context deadline exceeded"
        ),
        refused,
    };
    let stream = match tokio::time::timeout_at(late, TcpStream::connect((host, port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(unreachable(error.kind() == std::io::ErrorKind::ConnectionRefused)),
        Err(_) => return Err(unreachable(false)),
    };
    match tokio::time::timeout_at(late, ask(stream, &address, service)).await {
        Ok(answer) => Ok(judge(answer, timeout)?),
        Err(_) => Err(format!("timeout: health rpc did not complete within {timeout:?}").into()),
    }
}

fn judge(answer: Result<u64, Failed>, timeout: Duration) -> Result<(), String> {
    match answer {
        Ok(SERVING) => Ok(()),
        Ok(other) => {
            let state = usize::try_from(other).ok().and_then(|number| STATES.get(number));
            let state = state.map_or_else(|| other.to_string(), ToString::to_string);
            Err(format!("service unhealthy (responded with \"{state}\")"))
        }
        Err(Failed { code: UNIMPLEMENTED, message }) => Err(format!(
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): {message}"
        )),
        Err(Failed { code: DEADLINE_EXCEEDED, .. }) => {
            Err(format!("timeout: health rpc did not complete within {timeout:?}"))
        }
        Err(Failed { code, message }) => {
            let code = CODES.get(code).map_or_else(|| format!("Code({code})"), ToString::to_string);
            Err(format!("error: health rpc probe failed: rpc error: code = {code} desc = {message}"))
        }
    }
}

async fn ask(stream: TcpStream, address: &str, service: &str) -> Result<u64, Failed> {
    let broken =
        |error: &dyn std::fmt::Display| Failed { code: UNAVAILABLE, message: format!("connection error: {error}") };
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let driver = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{address}{PATH}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(request(service)))
        .map_err(|error| broken(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
        let (parts, body) = response.into_parts();
        let body = body.collect().await.map_err(|error| broken(&error))?;
        let trailers = body.trailers().cloned().unwrap_or_default();
        read(parts.status, &parts.headers, &trailers, &body.to_bytes())
    }
    .await;
    driver.abort();
    answer
}

fn read(status: StatusCode, headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]) -> Result<u64, Failed> {
    let text = |name: &str| {
        let value = trailers.get(name).or_else(|| headers.get(name));
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let code = text("grpc-status").and_then(|code| code.parse().ok());
    let message = text("grpc-message").unwrap_or_default();
    match code {
        Some(0) => response(body)
            .ok_or_else(|| Failed { code: INTERNAL, message: "grpc: failed to unmarshal the received message".into() }),
        Some(code) => Err(Failed { code, message }),
        None => Err(Failed {
            // gRPC's table for servers that speak HTTP only.
            code: match status.as_u16() {
                400 => INTERNAL,
                401 => 16,
                403 => 7,
                404 => UNIMPLEMENTED,
                429 | 502..=504 => UNAVAILABLE,
                _ => UNKNOWN,
            },
            message: format!("unexpected HTTP status code received from server: {status}"),
        }),
    }
}

/// A framed HealthCheckRequest.
#[must_use]
pub fn request(service: &str) -> Bytes {
    let mut body = Vec::new();
    if !service.is_empty() {
        body.push(0x0a);
        put_varint(&mut body, service.len() as u64);
        body.extend_from_slice(service.as_bytes());
    }
    framed(&body)
}

/// The service that a framed HealthCheckRequest asks for; `None` when it is none.
#[must_use]
pub fn service(request: &[u8]) -> Option<String> {
    let mut rest = request.get(5..)?;
    let mut service = String::new();
    while rest.has_remaining() {
        match (varint(&mut rest)?, varint(&mut rest)?) {
            (0x0a, length) => {
                let (name, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                service = String::from_utf8(name.to_vec()).ok()?;
                rest = after;
            }
            _ => return None,
        }
    }
    Some(service)
}

/// A framed HealthCheckResponse.
#[must_use]
pub fn answer(state: u64) -> Bytes {
    let mut body = vec![0x08];
    put_varint(&mut body, state);
    framed(&body)
}

/// The state in a framed HealthCheckResponse; an absent field is 0.
fn response(message: &[u8]) -> Option<u64> {
    let mut rest = message.get(5..)?;
    let mut state = 0;
    while rest.has_remaining() {
        match (varint(&mut rest)?, varint(&mut rest)?) {
            (0x08, value) => state = value,
            _ => return None,
        }
    }
    Some(state)
}

fn framed(body: &[u8]) -> Bytes {
    let mut framed = vec![0];
    framed.extend_from_slice(&(body.len() as u32).to_be_bytes());
    framed.extend_from_slice(body);
    framed.into()
}

fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = from.split_first()?;
        *from = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_as_they_are_written() {
        let long = "s".repeat(300);
        for name in ["", "a.b.Service", &long] {
            assert_eq!(service(&request(name)).as_deref(), Some(name));
        }
        assert_eq!(service(&[0, 0, 0, 0, 2, 0x0a, 9]), None);
        assert_eq!(service(&[]), None);
        for state in [0, SERVING, NOT_SERVING, 300] {
            assert_eq!(response(&answer(state)), Some(state));
        }
        assert_eq!(response(&framed(&[])), Some(0));
    }

    #[test]
    fn answers_are_judged_in_upstreams_words() {
        let second = Duration::from_secs(1);
        let headers = |pairs: &[(&'static str, &'static str)]| -> HeaderMap {
            pairs.iter().map(|(name, value)| (name.parse().expect("a name"), value.parse().expect("a value"))).collect()
        };
        let ok = headers(&[("grpc-status", "0")]);
        let none = HeaderMap::new();
        let said = |status: u16, headers: &HeaderMap, trailers: &HeaderMap, body: &[u8]| {
            judge(read(StatusCode::from_u16(status).expect("a status"), headers, trailers, body), second)
        };
        let bad = |text: &str| Err(text.to_owned());
        assert_eq!(said(200, &none, &ok, &answer(SERVING)), Ok(()));
        assert_eq!(
            said(200, &none, &ok, &answer(NOT_SERVING)),
            bad("service unhealthy (responded with \"NOT_SERVING\")")
        );
        assert_eq!(said(200, &none, &ok, &framed(&[])), bad("service unhealthy (responded with \"UNKNOWN\")"));
        let not_found = headers(&[("grpc-status", "5"), ("grpc-message", "unknown service")]);
        assert_eq!(
            said(200, &not_found, &none, &[]),
            bad("error: health rpc probe failed: rpc error: code = NotFound desc = unknown service")
        );
        let unimplemented = headers(&[("grpc-status", "12"), ("grpc-message", "no")]);
        let words = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): ";
        assert_eq!(said(200, &unimplemented, &none, &[]), bad(&format!("{words}no")));
        assert_eq!(
            said(404, &none, &none, b"no such page"),
            bad(&format!("{words}unexpected HTTP status code received from server: 404 Not Found"))
        );
        let late = headers(&[("grpc-status", "4")]);
        assert_eq!(said(200, &none, &late, &[]), bad("timeout: health rpc did not complete within 1s"));
    }

    #[tokio::test]
    async fn nobody_there_is_a_timeout_in_upstreams_words() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        let said = check("127.0.0.1", port, "", Duration::from_secs(1)).await;
        let wanted =
            format!("timeout: failed to connect service \"127.0.0.1:{port}\" within 1s: context deadline exceeded");
        assert_eq!(said, Err(Failure { message: wanted, refused: true }));
    }
}
