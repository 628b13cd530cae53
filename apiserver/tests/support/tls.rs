//! An HTTPS server on a loopback port with a certificate made for the occasion, on a thread of its own.

use std::net::{Ipv4Addr, TcpListener};

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio_util::sync::CancellationToken;

/// A port that is listened on, and the certificate that is shown there; nobody is answered before [`Port::serve`].
pub struct Port {
    pub number: u16,
    /// PEM.
    pub certificate: String,
    key: String,
    listener: TcpListener,
}

impl Port {
    pub fn open(names: &[&str]) -> Self {
        let made = rcgen::generate_simple_self_signed(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let made = made.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let number = listener.local_addr().unwrap().port();
        Self { number, certificate: made.cert.pem(), key: made.signing_key.serialize_pem(), listener }
    }

    /// Serves until the token is cancelled.
    pub fn serve(self, router: Router, stop: CancellationToken) {
        let tls =
            auth::x509::server_config(self.certificate.as_bytes(), self.key.as_bytes(), auth::x509::Asked::Nobody)
                .unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(stop.run_until_cancelled(async move {
                let listener = tokio::net::TcpListener::from_std(self.listener).unwrap();
                let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (acceptor, router) = (acceptor.clone(), router.clone());
                    tokio::spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let service = TowerToHyperService::new(router);
                        let builder = auto::Builder::new(TokioExecutor::new());
                        let _ = builder.serve_connection(TokioIo::new(stream), service).await;
                    });
                }
            }));
        });
    }
}
