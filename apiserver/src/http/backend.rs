//! Where requests that are passed on go: a kubelet, a pod, a process on a node; and the connection there.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::app::App;
use crate::options::Options;

const CONNECT: Duration = Duration::from_secs(10);

/// How kubelets, and TLS backends of proxied requests, are reached.
pub struct Kubelets {
    tls: TlsConnector,
    /// For `https:` backends of `proxy`, whose certificates nobody can check.
    unchecked: TlsConnector,
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
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let unchecked = || -> anyhow::Result<_> {
            Ok(builder()?.dangerous().with_custom_certificate_verifier(Arc::new(Unchecked(provider.clone()))))
        };
        // As upstream, kubelets' certificates are checked only when an authority is given for them.
        let checked = match &options.kubelet_certificate_authority {
            None => unchecked()?,
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in
                    CertificateDer::pem_file_iter(path).with_context(|| format!("read {}", path.display()))?
                {
                    roots.add(certificate?)?;
                }
                builder()?.with_root_certificates(roots)
            }
        };
        let config = match (&options.kubelet_client_certificate, &options.kubelet_client_key) {
            (Some(certificate), Some(key)) => {
                let chain = CertificateDer::pem_file_iter(certificate)
                    .and_then(Iterator::collect)
                    .with_context(|| format!("read {}", certificate.display()))?;
                let key = PrivateKeyDer::from_pem_file(key).with_context(|| format!("read {}", key.display()))?;
                checked.with_client_auth_cert(chain, key)?
            }
            _ => checked.with_no_client_auth(),
        };
        let unchecked = unchecked()?.with_no_client_auth();
        Ok(Self { tls: Arc::new(config).into(), unchecked: Arc::new(unchecked).into() })
    }
}

/// Accepts any certificate.
#[derive(Debug)]
struct Unchecked(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
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
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect((backend.host.as_str(), backend.port)))
        .await
        .map_err(|_| anyhow::anyhow!("dial tcp {}:{}: i/o timeout", backend.host, backend.port))?
        .map_err(|error| anyhow::anyhow!("dial tcp {}:{}: {}", backend.host, backend.port, words(&error)))?;
    stream.set_nodelay(true)?;
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

/// A refusal as Go words it.
fn words(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        std::io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        std::io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => error.to_string(),
    }
}
