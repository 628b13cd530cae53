//! `agnhost grpc-health-checking`: a server whose gRPC health one can change.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::grpc_health::{NOT_FOUND, NOT_SERVING, PATH, SERVING, UNIMPLEMENTED, answer, service};

/// What it was told to answer; else time decides.
const TOLD_SERVING: u8 = 1;
const TOLD_NOT_SERVING: u8 = 2;

#[derive(Debug)]
pub struct Health {
    service: String,
    started: Instant,
    /// How long it is healthy by itself.
    until: Option<Duration>,
    told: AtomicU8,
}

impl Health {
    /// Of one `service`, healthy for so many seconds; negative is for ever.
    pub fn new(service: String, seconds: i64) -> Self {
        let until = u64::try_from(seconds).ok().map(Duration::from_secs);
        Self { service, started: Instant::now(), until, told: AtomicU8::new(0) }
    }

    /// The pages `/make-serving` and `/make-not-serving`; their text is for how long it has run.
    pub fn turn(&self, path: &str) -> Option<String> {
        let told = match path {
            "/make-serving" => TOLD_SERVING,
            "/make-not-serving" => TOLD_NOT_SERVING,
            _ => return None,
        };
        self.told.store(told, Ordering::Relaxed);
        Some(format!("{:?}", self.started.elapsed()))
    }

    fn state(&self, age: Duration) -> u64 {
        match self.told.load(Ordering::Relaxed) {
            TOLD_SERVING => SERVING,
            TOLD_NOT_SERVING => NOT_SERVING,
            _ if self.until.is_some_and(|until| age >= until) => NOT_SERVING,
            _ => SERVING,
        }
    }

    /// The state to answer with, or gRPC's code and message.
    fn check(&self, path: &str, request: &[u8]) -> Result<u64, (usize, &'static str)> {
        if path != PATH {
            return Err((UNIMPLEMENTED, "unimplemented"));
        }
        match service(request) {
            Some(name) if name == self.service => Ok(self.state(self.started.elapsed())),
            _ => Err((NOT_FOUND, "unknown service")),
        }
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Serves for as long as it is polled.
pub async fn serve(listener: TcpListener, health: Arc<Health>) -> Infallible {
    let never = runtime::listen::connections(listener, None, |stream, _| {
        let health = health.clone();
        async move {
            let service = service_fn(move |request| respond(health.clone(), request));
            let http = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            // A client that goes away is its own business.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    });
    never.await
}

async fn respond(health: Arc<Health>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    /// The name of a service is all there is to be sent.
    const LARGEST: usize = 64 * 1024;
    let path = request.uri().path().to_owned();
    let body = Limited::new(request.into_body(), LARGEST).collect().await;
    let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut response = match health.check(&path, &body) {
        Ok(state) => {
            let trailers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
            let body = Full::new(answer(state)).with_trailers(std::future::ready(Some(Ok(trailers))));
            Response::new(body.boxed_unsync())
        }
        Err((code, message)) => {
            let mut response = Response::new(Empty::new().boxed_unsync());
            response.headers_mut().insert("grpc-status", HeaderValue::from(code));
            response.headers_mut().insert("grpc-message", HeaderValue::from_static(message));
            response
        }
    };
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc_health::check;

    /// The kubelet's probe against this server, over a real connection.
    #[tokio::test]
    async fn a_probe_sees_what_the_server_was_told() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let health = Arc::new(Health::new("mine".to_owned(), -1));
        let server = tokio::spawn(serve(listener, health.clone()));
        let probe = |service: &'static str| check("127.0.0.1", port, service, Duration::from_secs(10));
        assert_eq!(probe("mine").await, Ok(()));
        let unknown = "error: health rpc probe failed: rpc error: code = NotFound desc = unknown service";
        assert_eq!(probe("other").await, Err(unknown.to_owned().into()));
        assert!(health.turn("/make-not-serving").is_some());
        assert_eq!(probe("mine").await, Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned().into()));
        assert!(health.turn("/make-serving").is_some());
        assert_eq!(probe("mine").await, Ok(()));
        assert_eq!(health.turn("/other"), None);
        server.abort();
    }

    #[test]
    fn health_ends_by_itself_where_it_is_wanted() {
        let second = Duration::from_secs(1);
        let ends = Health::new(String::new(), 2);
        assert_eq!([ends.state(second), ends.state(second * 2)], [SERVING, NOT_SERVING]);
        assert_eq!(Health::new(String::new(), -1).state(second * 1_000_000), SERVING);
        assert_eq!(Health::new(String::new(), 0).state(Duration::ZERO), NOT_SERVING);
    }
}
