//! The HTTPS server behind the APIService: it believes the API server's front proxy, which has asked already whether the
//! user may, and nobody else.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context;
use auth::x509::{Asked, server_config};
use component_base::trust::Front;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::State;
use crate::answer::{answer, failure};

/// So many connections are served at once; there is one client.
const CONNECTIONS: usize = 64;

/// Serves until the process ends.
///
/// # Errors
/// The port is taken.
pub async fn serve(address: SocketAddr, front: Front, state: Arc<State>) -> anyhow::Result<()> {
    let own = rcgen::generate_simple_self_signed(vec!["metrics-server.kube-system.svc".to_owned()])?;
    let (certificate, key) = (own.cert.pem(), own.signing_key.serialize_pem());
    let tls = server_config(certificate.as_bytes(), key.as_bytes(), Asked::Of(&front.authority))?;
    let acceptor = TlsAcceptor::from(tls);
    let listener = TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))?;
    let front = Arc::new(front);
    let never = runtime::listen::connections(listener, Some(CONNECTIONS), |stream, _| {
        let (acceptor, front, state) = (acceptor.clone(), front.clone(), state.clone());
        async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let believed = stream.get_ref().1.peer_certificates().is_some_and(|chain| front.believes(chain));
            let service = service_fn(move |request: Request<Incoming>| {
                let (front, state) = (front.clone(), state.clone());
                async move { Ok::<_, Infallible>(respond(&front, &state, believed, &request)) }
            });
            let server = auto::Builder::new(TokioExecutor::new());
            if let Err(error) = server.serve_connection(TokioIo::new(stream), service).await {
                tracing::debug!(%error, "a client's connection broke");
            }
        }
    });
    match never.await {}
}

fn respond<B>(front: &Front, state: &State, believed: bool, request: &Request<B>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    match path {
        "/livez" | "/healthz" => return plain(StatusCode::OK, "ok"),
        "/readyz" if state.storage.read().is_ready() => return plain(StatusCode::OK, "ok"),
        "/readyz" => return plain(StatusCode::INTERNAL_SERVER_ERROR, "no metrics to serve"),
        _ => {}
    }
    let known = believed && front.user(request.headers()).is_some();
    let (code, body) = if known {
        let accept = request.headers().get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let table = accept.flat_map(|value| value.split(',')).any(|kind| kind.contains("as=Table"));
        answer(state, request.method(), path, request.uri().query().unwrap_or_default(), table)
    } else {
        failure(401, "Unauthorized", "Unauthorized")
    };
    let mut response =
        plain(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), &body.to_string());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn plain(code: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text.to_owned())));
    *response.status_mut() = code;
    response
}
