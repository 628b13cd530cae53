//! A proxy for `CONNECT` that takes every host for this machine, so that what comes through it can have come no other way.

use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

#[derive(Clone, Default)]
struct Shared {
    asked: Arc<Mutex<Vec<String>>>,
    shut: Arc<Mutex<bool>>,
}

pub struct Tunnel {
    /// Of those that listen on one.
    pub port: u16,
    shared: Shared,
    _stop: DropGuard,
}

impl Tunnel {
    /// On a port of loopback; it shows `apiserver.crt` of the folder and wants to see a certificate of `ca.crt`.
    pub fn encrypted(pki: &Path) -> Self {
        let file = |name: &str| pki.join(name);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file("ca.crt")).unwrap()).unwrap();
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let chain = vec![CertificateDer::from_pem_file(file("apiserver.crt")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(file("apiserver.key")).unwrap();
        let config = builder.with_client_cert_verifier(clients).with_single_cert(chain, key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        Self::run(port, async move |shared| {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (acceptor, shared) = (acceptor.clone(), shared.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    serve(stream, shared).await;
                });
            }
        })
    }

    /// On a socket of this name.
    pub fn unix(path: &Path) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self::run(0, async move |shared| {
            let listener = tokio::net::UnixListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, shared.clone()));
            }
        })
    }

    fn run<F: Future<Output = ()>>(port: u16, accept: impl FnOnce(Shared) -> F + Send + 'static) -> Self {
        let (shared, stop) = (Shared::default(), CancellationToken::new());
        let (known, stopped) = (shared.clone(), stop.clone());
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(stopped.run_until_cancelled(accept(known)));
        });
        Self { port, shared, _stop: stop.drop_guard() }
    }

    /// Where it was asked to connect to since the last time this was asked, each once.
    pub fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.shared.asked.lock().unwrap());
        asked.sort();
        asked.dedup();
        asked
    }

    /// Lets nobody through from now on.
    pub fn shut(&self) {
        *self.shared.shut.lock().unwrap() = true;
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, shared: Shared) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let Ok(byte) = stream.read_u8().await else { return };
        head.push(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    let port: u16 = target.rsplit_once(':').unwrap().1.parse().unwrap();
    shared.asked.lock().unwrap().push(target);
    let shut = *shared.shut.lock().unwrap();
    let answer: &[u8] = if shut { b"HTTP/1.1 403 Forbidden\r\n\r\n" } else { b"HTTP/1.1 200 OK\r\n\r\n" };
    let Ok(mut other) = tokio::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    if stream.write_all(answer).await.is_err() || stream.flush().await.is_err() || shut {
        return;
    }
    // Either may go first.
    let _ = copy_bidirectional(&mut stream, &mut other).await;
}
