//! The kubelet's server on port 10250: logs, exec, attach, port-forward and small reports, for holders of a client
//! certificate of the cluster's authority (the API server), and for those the API server vouches for ([`access`]).

mod access;
mod files;
mod logs;
mod reports;
mod streams;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use component_base::query::Query;
use futures::{Stream, StreamExt};
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use self::access::Access;
use crate::node::Node;
use crate::pod::registry::{Registry, View};

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Opens the port; the returned future serves it.
///
/// # Errors
/// When the certificates are missing or the port is taken.
pub async fn listen(node: Arc<Node>, registry: Registry) -> anyhow::Result<impl Future<Output = anyhow::Result<()>>> {
    let flags = &node.flags;
    let tls = crate::tls::server(&flags.tls_cert_file, &flags.tls_private_key_file, &flags.client_ca_file)?;
    let address = (flags.address, flags.port);
    let listener = TcpListener::bind(address).await.with_context(|| format!("listening on port {}", flags.port))?;
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let access = Arc::new(Access::new(node.client.clone(), node.name.clone()));
    Ok(async move {
        let never = runtime::listen::connections(listener, None, move |stream, _| {
            let (acceptor, access, node, registry) = (acceptor.clone(), access.clone(), node.clone(), registry.clone());
            async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                // A certificate has been verified by the handshake; without one, each request says who it is from.
                let known = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (access, node, registry) = (access.clone(), node.clone(), registry.clone());
                    async move {
                        if !known
                            && let Err((code, why)) =
                                access.check(request.method(), request.uri().path(), request.headers()).await
                        {
                            return Ok(text(code, why));
                        }
                        Ok::<_, std::convert::Infallible>(route(&node, &registry, request).await)
                    }
                });
                let served = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .with_upgrades()
                    .await;
                if let Err(error) = served {
                    tracing::debug!(%error, "a client's connection broke");
                }
            }
        });
        match never.await {}
    })
}

async fn route(node: &Arc<Node>, registry: &Registry, request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let query = Query::of(request.uri());
    let reads = request.method() == Method::GET;
    match parts.as_slice() {
        ["healthz"] => text(StatusCode::OK, "ok"),
        ["pods"] => reports::pods(registry),
        ["metrics"] => reports::metrics(node, registry),
        ["metrics", "resource"] => reports::resources(node, registry),
        ["stats", "summary"] => reports::summary(node, registry),
        ["containerLogs", namespace, pod, container] if reads => match registry.get(namespace, pod) {
            Some(view) => logs::serve(&view, container, &query),
            None => missing(namespace, pod),
        },
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            with(registry, namespace, pod, |view| streams::exec(node, &view, container, &query, request))
        }
        ["attach", namespace, pod, container] | ["attach", namespace, pod, _, container] => {
            with(registry, namespace, pod, |view| streams::attach(&view, container, &query, request))
        }
        ["portForward", namespace, pod] | ["portForward", namespace, pod, _] => {
            with(registry, namespace, pod, |view| streams::port_forward(&view, &query, request))
        }
        ["logs", ..] if reads => {
            let below = path.strip_prefix("/logs").unwrap_or_default();
            files::serve(Path::new("/var/log"), below, request.headers()).await
        }
        ["logs", ..] => text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed"),
        ["run", namespace, pod, container] => match registry.get(namespace, pod) {
            Some(view) => streams::run(node, &view, container, &query).await,
            None => missing(namespace, pod),
        },
        _ => text(StatusCode::NOT_FOUND, "404 page not found\n"),
    }
}

fn with(registry: &Registry, namespace: &str, pod: &str, then: impl FnOnce(View) -> Response<Body>) -> Response<Body> {
    registry.get(namespace, pod).map_or_else(|| missing(namespace, pod), then)
}

fn missing(namespace: &str, pod: &str) -> Response<Body> {
    text(StatusCode::NOT_FOUND, format!("pod {pod:?} not found in namespace {namespace:?}\n"))
}

fn text(code: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(boxed(Full::new(text.into())));
    *response.status_mut() = code;
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn json(value: &impl serde::Serialize) -> Response<Body> {
    let mut response = Response::new(boxed(Full::new(serde_json::to_vec(value).unwrap_or_default().into())));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

fn streamed(stream: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Response<Body> {
    let body = StreamBody::new(stream.map(|chunk| chunk.map(Frame::data)));
    let mut response = Response::new(BodyExt::boxed_unsync(body));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("text/plain"));
    response
}

fn boxed(body: Full<Bytes>) -> Body {
    body.map_err(|never| match never {}).boxed_unsync()
}
