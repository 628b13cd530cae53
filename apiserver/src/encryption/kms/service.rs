//! The plugin as it is called: gRPC over a Unix socket (`k8s.io/kms/apis/v2/api.proto`).

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::{Code, Status};
use tonic_prost::ProstCodec;

use super::object::EncryptedObject;
use crate::metrics::Metrics;
use crate::outbound;

/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(50);

#[derive(Clone, PartialEq, Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub struct StatusResponse {
    #[prost(string, tag = "1")]
    pub version: String,
    #[prost(string, tag = "2")]
    pub healthz: String,
    #[prost(string, tag = "3")]
    pub key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct EncryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct EncryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    pub key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptRequest {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "4")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct DecryptResponse {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

/// A connection that is made when it is wanted, and again when it is lost.
pub struct Service {
    provider: String,
    /// Of the socket; one that begins with a zero byte is in no file system.
    path: String,
    timeout: Duration,
    connection: Mutex<Option<SendRequest<Body>>>,
    metrics: Arc<Metrics>,
}

impl Service {
    /// # Errors
    /// The address names no socket.
    pub fn new(provider: &str, endpoint: &str, timeout: Duration, metrics: Arc<Metrics>) -> anyhow::Result<Self> {
        let path = socket(endpoint);
        anyhow::ensure!(!path.is_empty(), "the endpoint {endpoint:?} has no path");
        Ok(Self { provider: provider.to_owned(), path, timeout, connection: Mutex::default(), metrics })
    }

    /// # Errors
    /// As gRPC's errors are told.
    pub async fn status(&self) -> Result<StatusResponse, String> {
        self.call("Status", StatusRequest {}).await
    }

    /// # Errors
    /// As gRPC's errors are told.
    pub async fn encrypt(&self, plaintext: &[u8], uid: &str) -> Result<EncryptResponse, String> {
        self.call("Encrypt", EncryptRequest { plaintext: plaintext.to_vec(), uid: uid.to_owned() }).await
    }

    /// What the object's value is sealed with.
    ///
    /// # Errors
    /// As gRPC's errors are told.
    pub async fn decrypt(&self, object: EncryptedObject) -> Result<Vec<u8>, String> {
        let EncryptedObject { source, key_id, annotations, .. } = object;
        let uid = uuid::Uuid::new_v4().to_string();
        let request = DecryptRequest { ciphertext: source, uid, key_id, annotations };
        let response: DecryptResponse = self.call("Decrypt", request).await?;
        Ok(response.plaintext)
    }

    async fn call<Q, A>(&self, method: &str, request: Q) -> Result<A, String>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = format!("/v2.KeyManagementService/{method}");
        let since = Instant::now();
        let mut unreachable = None;
        let answered = tokio::time::timeout(self.timeout, self.ask(&path, request, &mut unreachable)).await;
        let answered = answered.unwrap_or_else(|_| {
            let why = unreachable.unwrap_or_else(|| "context deadline exceeded".to_owned());
            Err(Status::deadline_exceeded(why))
        });
        let code = answered.as_ref().map_or_else(|status| name(status.code()), |_| name(Code::Ok));
        self.metrics.kms_operations.observe(&[code, &path, &self.provider], since.elapsed().as_secs_f64());
        answered.map_err(|status| format!("rpc error: code = {} desc = {}", name(status.code()), status.message()))
    }

    /// `unreachable`: why there is no connection yet, for whoever gives up.
    async fn ask<Q, A>(&self, path: &str, request: Q, unreachable: &mut Option<String>) -> Result<A, Status>
    where
        Q: Message + 'static,
        A: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(path).map_err(|error| Status::internal(error.to_string()))?;
        let channel = Channel(self.connected(unreachable).await);
        let mut client = Grpc::with_origin(channel, Uri::from_static("http://localhost"));
        client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
        let answered = client.unary(tonic::Request::new(request), path, ProstCodec::default()).await;
        answered.map(tonic::Response::into_inner)
    }

    /// Waits until there is a connection; how long is for the caller to say.
    async fn connected(&self, unreachable: &mut Option<String>) -> SendRequest<Body> {
        let mut connection = self.connection.lock().await;
        loop {
            if let Some(connection) = connection.as_ref().filter(|connection| !connection.is_closed()) {
                *unreachable = None;
                return connection.clone();
            }
            match self.connect().await {
                Ok(made) => *connection = Some(made),
                Err(error) => {
                    let (provider, path) = (&self.provider, &self.path);
                    tracing::debug!(provider, path, error, "the KMS plugin cannot be reached");
                    let why = schema::go::quote(&format!("transport: Error while dialing: {error}"));
                    *unreachable = Some(format!("latest balancer error: connection error: desc = {why}"));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn connect(&self) -> Result<SendRequest<Body>, String> {
        let stream = UnixStream::connect(&self.path).await;
        let path = self.path.replace('\0', "@");
        let stream = stream.map_err(|error| format!("dial unix {path}: {}", outbound::unconnected(&error)))?;
        let made = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = made.map_err(|error| error.to_string())?;
        // It ends when the last sender is gone, or the other end.
        tokio::spawn(connection);
        Ok(sender)
    }
}

/// The path of a `unix:` URL.
fn socket(endpoint: &str) -> String {
    let rest = endpoint.split_once(':').map_or("", |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let path = match rest.strip_prefix("//") {
        Some(rest) => rest.find('/').map_or("", |at| &rest[at..]),
        None if rest.starts_with('/') => rest,
        None => "",
    };
    path.strip_prefix("/@").map_or_else(|| path.to_owned(), |name| format!("\0{name}"))
}

/// A connection as tonic wants it.
struct Channel(SendRequest<Body>);

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = hyper::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<hyper::Result<()>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}

/// As Go writes it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "Canceled",
        Code::Unknown => "Unknown",
        Code::InvalidArgument => "InvalidArgument",
        Code::DeadlineExceeded => "DeadlineExceeded",
        Code::NotFound => "NotFound",
        Code::AlreadyExists => "AlreadyExists",
        Code::PermissionDenied => "PermissionDenied",
        Code::ResourceExhausted => "ResourceExhausted",
        Code::FailedPrecondition => "FailedPrecondition",
        Code::Aborted => "Aborted",
        Code::OutOfRange => "OutOfRange",
        Code::Unimplemented => "Unimplemented",
        Code::Internal => "Internal",
        Code::Unavailable => "Unavailable",
        Code::DataLoss => "DataLoss",
        Code::Unauthenticated => "Unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_paths_or_names() {
        for (endpoint, path) in [
            ("unix:///run/a.sock", "/run/a.sock"),
            ("UNIX:/run/a.sock?x=y", "/run/a.sock"),
            ("unix://host/run/a.sock", "/run/a.sock"),
            ("unix:///@name", "\0name"),
            ("unix://name", ""),
            ("unix:name", ""),
        ] {
            assert_eq!(socket(endpoint), path, "{endpoint}");
        }
    }
}
