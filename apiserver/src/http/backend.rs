//! Where requests that are passed on go: a kubelet, a pod, a process on a node; and the connection there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use auth::trust::{Identity, Trust, client_config};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::app::App;
use crate::options::Options;
use crate::outbound::egress::{Dialer, Egress, Network};

const CONNECT: Duration = Duration::from_secs(10);

/// How kubelets, and TLS backends of proxied requests, are reached.
pub struct Kubelets {
    tls: TlsConnector,
    /// For `https:` backends of `proxy`, whose certificates nobody can check.
    unchecked: TlsConnector,
    dialer: Dialer,
}

impl Backend {
    /// `host:port`
    #[must_use]
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl Kubelets {
    /// # Errors
    /// A file cannot be read or holds no certificate or key.
    pub fn load(options: &Options, egress: &Egress) -> anyhow::Result<Self> {
        let read = |path: &Option<std::path::PathBuf>| {
            let read =
                |path: &std::path::PathBuf| std::fs::read(path).with_context(|| format!("read {}", path.display()));
            path.as_ref().map(read).transpose()
        };
        let (certificate, key) = (read(&options.kubelet_client_certificate)?, read(&options.kubelet_client_key)?);
        let identity = certificate.as_deref().zip(key.as_deref());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        let authority = read(&options.kubelet_certificate_authority)?;
        // As upstream, kubelets' certificates are checked only when an authority is given for them.
        let trust = authority.as_deref().map_or(Trust::Anyone, Trust::Bundle);
        let connector = |trust, identity| anyhow::Ok(TlsConnector::from(Arc::new(client_config(trust, identity)?)));
        let (tls, unchecked) = (connector(trust, identity)?, connector(Trust::Anyone, None)?);
        Ok(Self { tls, unchecked, dialer: egress.dialer(Some(Network::Cluster)) })
    }
}

/// Where a request goes.
#[derive(Debug)]
pub struct Backend {
    pub host: String,
    pub port: u16,
    pub scheme: Scheme,
    /// As it is sent, escaped; nothing but `/` when empty.
    pub path: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
    /// Https with our client certificate.
    Kubelet,
}

/// A connection, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the backend.
///
/// # Errors
/// Nobody listens there, or speaks no TLS where it should; in Go's words.
pub async fn connect(app: &App, backend: &Backend) -> anyhow::Result<Box<dyn Stream>> {
    let stream = tokio::time::timeout(CONNECT, app.kubelets.dialer.dial(&backend.host, backend.port))
        .await
        .map_err(|_| anyhow::anyhow!("dial tcp {}:{}: i/o timeout", backend.host, backend.port))?
        .map_err(anyhow::Error::msg)?;
    let connector = match backend.scheme {
        Scheme::Http => return Ok(Box::new(stream)),
        Scheme::Https => &app.kubelets.unchecked,
        Scheme::Kubelet => &app.kubelets.tls,
    };
    let name = ServerName::try_from(backend.host.clone())?;
    let stream =
        tokio::time::timeout(CONNECT, connector.connect(name, stream)).await.context("TLS handshake timeout")??;
    Ok(Box::new(stream))
}
