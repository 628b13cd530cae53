//! The gRPC health check (`grpc.health.v1.Health/Check`) by hand: one request over HTTP/2, two small messages.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// `ServingStatus::SERVING`.
const SERVING: u8 = 1;

/// Asks; good means SERVING.
///
/// # Errors
/// With what the server, or the network, said instead.
pub async fn check(host: &str, port: u16, service: &str) -> Result<(), String> {
    let words = |error: &dyn std::fmt::Display| format!("timeout: failed to connect service \"{host}:{port}\": {error}");
    let stream = TcpStream::connect((host, port)).await.map_err(|error| words(&error))?;
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| words(&error))?;
    let driver = tokio::spawn(connection);
    let request = http::Request::post(format!("http://{host}:{port}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(message(service)))
        .map_err(|error| words(&error))?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| words(&error))?;
        response.into_body().collect().await.map_err(|error| words(&error)).map(http_body_util::Collected::to_bytes)
    }
    .await;
    driver.abort();
    // Five bytes of framing, then field 1 as a varint; an absent field is 0, UNKNOWN.
    match answer?.get(5..) {
        Some([0x08, SERVING, ..]) => Ok(()),
        Some(_) => Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned()),
        None => Err("error: this server does not implement the grpc health protocol (grpc.health.v1.Health)".to_owned()),
    }
}

/// A framed HealthCheckRequest.
fn message(service: &str) -> Bytes {
    let mut body = Vec::new();
    if !service.is_empty() {
        body.push(0x0a);
        // A service's name is far below the 128 bytes at which a varint gets longer; a longer one is cut.
        let name = &service.as_bytes()[..service.len().min(127)];
        body.push(name.len() as u8);
        body.extend_from_slice(name);
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(body.len() as u32).to_be_bytes());
    framed.extend(body);
    framed.into()
}
