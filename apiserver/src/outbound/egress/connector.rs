//! A [`Dialer`] as HTTP clients want it.

use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use super::{Dialer, Socket};

type Error = Box<dyn std::error::Error + Send + Sync>;

#[derive(Clone)]
pub struct Connector {
    /// Tries the addresses of a name as they come.
    direct: HttpConnector,
    dialer: Dialer,
}

impl Connector {
    #[must_use]
    pub fn new(dialer: Dialer) -> Self {
        let mut direct = HttpConnector::new();
        direct.enforce_http(false);
        direct.set_nodelay(true);
        Self { direct, dialer }
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Socket>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Self::Response, Error>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { mut direct, dialer } = self.clone();
        Box::pin(async move {
            if matches!(dialer, Dialer::Direct) {
                poll_fn(|context| direct.poll_ready(context)).await?;
                let stream = direct.call(uri).await?;
                return Ok(TokioIo::new(Socket::from(stream.into_inner())));
            }
            let host = uri.host().ok_or("the URL has no host")?.trim_matches(['[', ']']);
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("http") { 80 } else { 443 });
            let socket = dialer.dial(host, port).await.map_err(io::Error::other)?;
            Ok(TokioIo::new(socket))
        })
    }
}
