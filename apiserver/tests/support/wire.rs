//! A bare HTTP client with the administrator's certificate: one connection, no retry, no pool, so that a test or a
//! benchmark knows exactly what was sent and what was answered.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// Where the server is and how to prove who asks.
#[derive(Clone)]
pub struct Target {
    tls: Arc<rustls::ClientConfig>,
    address: SocketAddr,
}

/// A whole answer.
pub struct Answer {
    pub status: u16,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON, null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// A connection; [`Connection::send`] on a lost one is an error, and the caller opens another.
pub enum Connection {
    One(http1::SendRequest<Full<Bytes>>),
    Two(http2::SendRequest<Full<Bytes>>),
}

/// What to ask for.
pub struct Ask<'a> {
    pub method: Method,
    pub path: &'a str,
    pub content_type: &'a str,
    pub accept: &'a str,
    pub body: Bytes,
}

impl<'a> Ask<'a> {
    pub fn get(path: &'a str) -> Self {
        Self::new(Method::GET, path, Bytes::new())
    }

    pub fn new(method: Method, path: &'a str, body: impl Into<Bytes>) -> Self {
        let content_type = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        Self { method, path, content_type, accept: "application/json", body: body.into() }
    }

    fn request(self, address: SocketAddr) -> Request<Full<Bytes>> {
        Request::builder()
            .method(self.method)
            .uri(format!("https://{address}{}", self.path))
            .header(header::HOST, address.to_string())
            .header(header::ACCEPT, self.accept)
            .header(header::CONTENT_TYPE, self.content_type)
            .header(header::USER_AGENT, "wire/1")
            .body(Full::new(self.body))
            .expect("the parts of a test's request are valid")
    }
}

impl Target {
    /// The server on a loopback port with the keys that `dev_cluster::pki` wrote below `dir`.
    pub fn new(dir: &Path, port: u16) -> anyhow::Result<Self> {
        let read = |name: &str| std::fs::read(dir.join("pki").join(name)).with_context(|| format!("read {name}"));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&read("ca.crt")?)?)?;
        let chain = vec![CertificateDer::from_pem_slice(&read("admin.crt")?)?];
        let key = PrivateKeyDer::from_pem_slice(&read("admin.key")?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)?;
        Ok(Self { tls: Arc::new(tls), address: ([127, 0, 0, 1], port).into() })
    }

    async fn stream(&self, protocol: &[u8]) -> anyhow::Result<TokioIo<TlsStream<TcpStream>>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut tls = (*self.tls).clone();
        tls.alpn_protocols = vec![protocol.to_vec()];
        let name = ServerName::IpAddress(self.address.ip().into());
        Ok(TokioIo::new(TlsConnector::from(Arc::new(tls)).connect(name, stream).await?))
    }

    /// A connection on which nothing has been said.
    #[allow(dead_code, reason = "only WebSockets are begun so")]
    pub async fn bare(&self) -> anyhow::Result<TlsStream<TcpStream>> {
        Ok(self.stream(b"http/1.1").await?.into_inner())
    }

    /// The same without the administrator's certificate.
    #[allow(dead_code, reason = "only WebSockets are begun so")]
    pub fn nobody(&self, dir: &Path) -> anyhow::Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&std::fs::read(dir.join("pki/ca.crt"))?)?)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let tls = builder.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { tls: Arc::new(tls), address: self.address })
    }

    pub async fn http1(&self) -> anyhow::Result<Connection> {
        let (sender, connection) = http1::handshake(self.stream(b"http/1.1").await?).await?;
        tokio::spawn(connection);
        Ok(Connection::One(sender))
    }

    /// Clones of the sender share the connection, each request a stream of its own.
    pub async fn http2(&self) -> anyhow::Result<Connection> {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20)
            .max_frame_size(1 << 20)
            .handshake(self.stream(b"h2").await?)
            .await?;
        tokio::spawn(connection);
        Ok(Connection::Two(sender))
    }

    /// One request, its answer's body still to be read.
    pub async fn open(&self, connection: &mut Connection, ask: Ask<'_>) -> anyhow::Result<Response<Incoming>> {
        let request = ask.request(self.address);
        Ok(match connection {
            Connection::One(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
            Connection::Two(sender) => {
                sender.ready().await?;
                sender.send_request(request).await?
            }
        })
    }

    pub async fn send(&self, connection: &mut Connection, ask: Ask<'_>) -> anyhow::Result<Answer> {
        let response = self.open(connection, ask).await?;
        let status = response.status().as_u16();
        Ok(Answer { status, body: response.into_body().collect().await?.to_bytes() })
    }
}

impl Clone for Connection {
    /// # Panics
    /// An HTTP/1.1 connection has one user.
    fn clone(&self) -> Self {
        match self {
            Self::One(_) => panic!("an HTTP/1.1 connection cannot be shared"),
            Self::Two(sender) => Self::Two(sender.clone()),
        }
    }
}

/// The lines of a streamed body.
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
}

impl Lines {
    pub fn new(response: Response<Incoming>) -> Self {
        Self { body: response.into_body(), buffer: BytesMut::new() }
    }

    /// The next line without its end, `None` at the end of the stream.
    pub async fn next(&mut self) -> anyhow::Result<Option<Bytes>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1).freeze();
                return Ok(Some(line.slice(..end)));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None => return Ok(None),
            }
        }
    }
}
