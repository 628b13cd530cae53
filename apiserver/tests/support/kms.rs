//! A KMS v2 plugin on a Unix socket. What it encrypts anybody can decrypt: it turns all bits around, and notes its key's ID.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::path::Path;
use std::sync::{Arc, Mutex};

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::net::UnixListener;
use tonic::body::Body;
use tonic::server::{Grpc, UnaryService};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;

/// What it says, to be changed while it runs.
#[derive(Clone, Debug)]
pub struct Says {
    pub version: String,
    pub healthz: String,
    pub key_id: String,
    /// The ID that encrypting tells, where it is another.
    pub encrypts_as: Option<String>,
    pub annotations: BTreeMap<String, Vec<u8>>,
    /// Neither encrypts nor decrypts.
    pub refuses: bool,
}

/// A plugin that runs; it ends when it is dropped.
pub struct Plugin {
    pub says: Arc<Mutex<Says>>,
    /// Which calls there were, but for those about its status.
    pub calls: Arc<Mutex<Vec<&'static str>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    healthz: String,
    #[prost(string, tag = "3")]
    key_id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Encrypt {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
    #[prost(string, tag = "2")]
    uid: String,
}

#[derive(Clone, PartialEq, Message)]
struct Encrypted {
    #[prost(bytes = "vec", tag = "1")]
    ciphertext: Vec<u8>,
    #[prost(string, tag = "2")]
    key_id: String,
    #[prost(btree_map = "string, bytes", tag = "3")]
    annotations: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Decrypt {
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
struct Decrypted {
    #[prost(bytes = "vec", tag = "1")]
    plaintext: Vec<u8>,
}

/// What is encrypted with a key, and the other way round.
pub fn turned(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|byte| !byte).collect()
}

/// Answers one kind of requests.
struct Method<F>(F);

impl<Q, A, F: Fn(Q) -> Result<A, Status>> UnaryService<Q> for Method<F> {
    type Response = A;
    type Future = Ready<Result<Response<A>, Status>>;

    fn call(&mut self, request: Request<Q>) -> Self::Future {
        ready((self.0)(request.into_inner()).map(Response::new))
    }
}

impl Plugin {
    /// Listens at the path; needs a runtime.
    pub fn start(socket: &Path) -> Self {
        let says = Says {
            version: "v2".to_owned(),
            healthz: "ok".to_owned(),
            key_id: "first".to_owned(),
            encrypts_as: None,
            annotations: BTreeMap::from([("turned.example.com".to_owned(), b"all".to_vec())]),
            refuses: false,
        };
        let (says, calls) = (Arc::new(Mutex::new(says)), Arc::new(Mutex::new(Vec::new())));
        let _ = std::fs::remove_file(socket);
        let listener = UnixListener::bind(socket).unwrap();
        let (shared, noted) = (says.clone(), calls.clone());
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (says, calls) = (shared.clone(), noted.clone());
                let service = hyper::service::service_fn(move |request| answer(says.clone(), calls.clone(), request));
                let connection =
                    http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                connections.spawn(async move { drop(connection.await) });
            }
        });
        Self { says, calls, task }
    }
}

async fn answer(
    says: Arc<Mutex<Says>>,
    calls: Arc<Mutex<Vec<&'static str>>>,
    request: http::Request<Incoming>,
) -> Result<http::Response<Body>, Infallible> {
    let now = says.lock().unwrap().clone();
    let allowed = if now.refuses { Err(Status::unavailable("the vault is closed")) } else { Ok(()) };
    let path = request.uri().path().to_owned();
    Ok(match path.as_str() {
        "/v2.KeyManagementService/Status" => {
            let Says { version, healthz, key_id, .. } = now;
            let told = Told { version, healthz, key_id };
            Grpc::new(ProstCodec::default()).unary(Method(|_: Nothing| Ok(told.clone())), request).await
        }
        "/v2.KeyManagementService/Encrypt" => {
            calls.lock().unwrap().push("encrypt");
            let encrypt = |Encrypt { plaintext, .. }| {
                allowed.clone()?;
                let key_id = now.encrypts_as.clone().unwrap_or_else(|| now.key_id.clone());
                Ok(Encrypted { ciphertext: turned(&plaintext), key_id, annotations: now.annotations.clone() })
            };
            Grpc::new(ProstCodec::default()).unary(Method(encrypt), request).await
        }
        "/v2.KeyManagementService/Decrypt" => {
            calls.lock().unwrap().push("decrypt");
            let decrypt = |Decrypt { ciphertext, annotations, .. }| {
                allowed.clone()?;
                if annotations != now.annotations {
                    return Err(Status::invalid_argument("the annotations are others"));
                }
                Ok(Decrypted { plaintext: turned(&ciphertext) })
            };
            Grpc::new(ProstCodec::default()).unary(Method(decrypt), request).await
        }
        _ => Status::unimplemented(path).into_http(),
    })
}
