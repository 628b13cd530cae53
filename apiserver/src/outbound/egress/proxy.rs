//! A proxy that connects us to others on demand (`CONNECT`, RFC 9110, 9.3.6), over TCP, TLS or a socket of this machine.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use anyhow::Context as _;
use auth::trust::{Identity, Trust, client_config, explain};
use http::Uri;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;

use super::config::{Tls, Transport};
use crate::outbound::unconnected;

/// The longest head of an answer that is read (Go's `DefaultMaxHeaderBytes`).
const HEAD: usize = 1024 * 1024;

/// Bytes both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for T {}

/// A connection, made directly or by a proxy.
pub struct Socket(Either<TcpStream, Box<dyn Stream>>);

impl From<TcpStream> for Socket {
    fn from(stream: TcpStream) -> Self {
        Self(Either::Left(stream))
    }
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, from)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

/// Where the proxy is.
#[derive(Debug)]
pub struct Proxy(Place);

enum Place {
    Tcp {
        host: String,
        port: u16,
        /// And whom to expect.
        tls: Option<(TlsConnector, ServerName<'static>)>,
    },
    Unix(PathBuf),
}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

impl Proxy {
    /// Of a validated transport.
    ///
    /// # Errors
    /// A file cannot be used, or the URL is none.
    pub fn new(transport: &Transport) -> anyhow::Result<Self> {
        if let Some(uds) = &transport.uds {
            return Ok(Self(Place::Unix(uds.uds_name.clone().into())));
        }
        let tcp = transport.tcp.as_ref().context("Either a TCP or UDS transport must be specified")?;
        let invalid = || format!("invalid proxy server url {:?}", tcp.url);
        let url: Uri = tcp.url.parse().with_context(invalid)?;
        let host = url.host().with_context(invalid)?.trim_matches(['[', ']']).to_owned();
        let port = url.port_u16().context("missing port in address").with_context(invalid)?;
        let tls = tcp.tls_config.as_ref().map(|tls| connector(tls, &host)).transpose()?;
        Ok(Self(Place::Tcp { host, port, tls }))
    }

    /// Has the proxy connect us to `address`, host and port.
    ///
    /// # Errors
    /// The proxy cannot be reached or does not; in Go's words.
    pub async fn connect(&self, address: &str) -> Result<Socket, String> {
        let stream: Box<dyn Stream> = match &self.0 {
            Place::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                Box::new(stream.map_err(|error| format!("dial unix {}: {}", path.display(), unconnected(&error)))?)
            }
            Place::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await;
                let stream = stream.map_err(|error| format!("dial tcp {:?}: {}", self.0, unconnected(&error)))?;
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                match tls {
                    None => Box::new(stream),
                    Some((connector, name)) => {
                        Box::new(connector.connect(name.clone(), stream).await.map_err(|error| told(&error))?)
                    }
                }
            }
        };
        tunnel(stream, &format!("{:?}", self.0), address).await
    }
}

fn told(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    tls.map_or_else(|| error.to_string(), explain)
}

fn connector(tls: &Tls, host: &str) -> anyhow::Result<(TlsConnector, ServerName<'static>)> {
    let (certificate, key) = (&tls.client_cert, &tls.client_key);
    let pair = || format!("failed to read key pair {certificate} & {key}");
    let (certificate, key) = (std::fs::read(certificate).with_context(pair)?, std::fs::read(key).with_context(pair)?);
    let bundle = match tls.ca_bundle.as_str() {
        "" => Vec::new(),
        file => {
            let pem = std::fs::read(Path::new(file)).with_context(|| format!("failed to read cert file {file}"))?;
            let wrong = |_| anyhow::anyhow!("failed to append CA cert to the cert pool");
            auth::trust::check_bundle(&pem).map_err(wrong)?;
            pem
        }
    };
    let identity = Identity { certificate: &certificate, key: &key };
    let config = client_config(Trust::of(&bundle), Some(identity)).with_context(pair)?;
    let name = if tls.tls_server_name.is_empty() { host } else { &tls.tls_server_name };
    Ok((TlsConnector::from(Arc::new(config)), ServerName::try_from(name.to_owned())?))
}

async fn tunnel(mut stream: Box<dyn Stream>, proxy: &str, address: &str) -> Result<Socket, String> {
    let failed = |why: &str| format!("reading HTTP response from CONNECT to {address} via proxy {proxy} failed: {why}");
    let request = format!("CONNECT {address} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|error| failed(&told(&error)))?;
    stream.flush().await.map_err(|error| failed(&told(&error)))?;
    let mut head = Vec::new();
    let end = loop {
        let before = head.len();
        if before > HEAD || stream.read_buf(&mut head).await.map_err(|error| failed(&told(&error)))? == 0 {
            return Err(failed("unexpected EOF"));
        }
        // The end may have come in two pieces.
        let from = before.saturating_sub(3);
        if let Some(at) = head[from..].windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break from + at + 4;
        }
    };
    let line = String::from_utf8_lossy(&head[..end]);
    let line = line.lines().next().unwrap_or_default();
    let status = line.strip_prefix("HTTP/1.").and_then(|rest| rest.split_once(' ')).map(|(_, status)| status.trim());
    let code = status.and_then(|status| status.split(' ').next()?.parse::<u16>().ok());
    let (Some(status), Some(code)) = (status, code) else {
        return Err(failed(&format!("malformed HTTP response {line:?}")));
    };
    if code != 200 {
        return Err(format!("proxy error from {proxy} while dialing {address}, code {code}: {status}"));
    }
    // Whoever is there waits for us to speak first.
    match head.len() - end {
        0 => Ok(Socket(Either::Right(stream))),
        more => Err(format!("unexpected {more} bytes of buffered data from CONNECT proxy {proxy:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes of a proxy that answers so, in these pieces, and then goes.
    async fn answered(pieces: &[&[u8]]) -> Result<Vec<u8>, String> {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let asked = async {
            let mut request = [0; 52];
            theirs.read_exact(&mut request).await.unwrap();
            assert_eq!(&request[..], b"CONNECT 10.0.0.1:10250 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
            for piece in pieces {
                // A piece is read before the next is there.
                if theirs.write_all(piece).await.is_err() {
                    break;
                }
                tokio::task::yield_now().await;
            }
            let mut mirrored = Vec::new();
            if theirs.read_to_end(&mut mirrored).await.is_ok() { mirrored } else { Vec::new() }
        };
        let spoken = async {
            let mut socket = tunnel(Box::new(ours), "p:1", "10.0.0.1:10250").await?;
            socket.write_all(b"hello").await.map_err(|error| error.to_string())?;
            Ok(())
        };
        if pieces.is_empty() {
            // It goes at once.
            let (ours, theirs) = tokio::io::duplex(4096);
            let gone = tunnel(Box::new(ours), "p:1", "10.0.0.1:10250");
            drop(theirs);
            return gone.await.map(|_| Vec::new());
        }
        let (mirrored, spoken): (Vec<u8>, Result<(), String>) = tokio::join!(asked, spoken);
        spoken.map(|()| mirrored)
    }

    #[tokio::test]
    async fn answers_to_connect() {
        let failed = "reading HTTP response from CONNECT to 10.0.0.1:10250 via proxy p:1 failed: ";
        assert_eq!(answered(&[b"HTTP/1.1 200 OK\r\n\r\n"]).await.unwrap(), b"hello");
        let pieces: [&[u8]; 4] = [b"HTTP/1.1 200 Connection", b" established\r\nVia: x\r", b"\n\r", b"\n"];
        assert_eq!(answered(&pieces).await.unwrap(), b"hello");
        for (answer, expected) in [
            (
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
                "proxy error from p:1 while dialing 10.0.0.1:10250, code 403: 403 Forbidden".to_owned(),
            ),
            (
                "HTTP/1.1 200 OK\r\n\r\nSSH-2.0",
                "unexpected 7 bytes of buffered data from CONNECT proxy \"p:1\"".to_owned(),
            ),
            ("SSH-2.0-x\r\n\r\n", format!("{failed}malformed HTTP response \"SSH-2.0-x\"")),
        ] {
            assert_eq!(answered(&[answer.as_bytes()]).await.unwrap_err(), expected, "{answer}");
        }
        let gone = answered(&[]).await.unwrap_err();
        assert!(gone.starts_with(failed), "{gone}");
        let endless = vec![b'a'; HEAD + 8192];
        assert_eq!(answered(&[&endless]).await.unwrap_err(), format!("{failed}unexpected EOF"));
    }
}
