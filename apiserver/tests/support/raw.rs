//! Requests byte by byte: what a well-behaved client would never send is sent as it is.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// A server and, where there is one, the certificate shown to it.
#[derive(Clone)]
pub struct Raw {
    tls: Arc<ClientConfig>,
    port: u16,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub text: String,
    /// What `text` was read from.
    pub bytes: Vec<u8>,
}

impl Raw {
    /// `own`: PEM of a certificate and of its key.
    pub fn new(ca: &Path, port: u16, own: Option<(&str, &str)>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let tls = match own {
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            None => builder.with_no_client_auth(),
        };
        Self { tls: Arc::new(tls), port }
    }

    /// Merges into an object.
    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn patch(&self, target: &str, body: &str) -> Reply {
        self.exchange("PATCH", target, &[], ("application/merge-patch+json", body))
    }

    /// Sends a request with these header lines and this body.
    pub fn send(&self, method: &str, target: &str, headers: &[&str], body: &str) -> Reply {
        self.exchange(method, target, headers, ("application/json", body))
    }

    #[allow(dead_code, reason = "each test program uses its part")]
    pub fn exchange(&self, method: &str, target: &str, headers: &[&str], (kind, body): (&str, &str)) -> Reply {
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        tcp.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
        let connection = ClientConnection::new(self.tls.clone(), "localhost".try_into().unwrap()).unwrap();
        let mut stream = StreamOwned::new(connection, tcp);
        let mut request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
        for header in headers {
            request.push_str(header);
            request.push_str("\r\n");
        }
        if !body.is_empty() {
            request.push_str(&format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        stream.write_all(request.as_bytes()).unwrap();
        let mut bytes = Vec::new();
        // A server may end the connection without TLS's own goodbye.
        let _ = stream.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let code = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        Reply { code, text, bytes }
    }
}
