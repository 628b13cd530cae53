//! What others ask about the server itself: `/health`, `/ready` and `/metrics` at CoreDNS's usual ports.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// Answers GETs of `path` with what `report` says, and of anything else with 404; for as long as the process lives.
///
/// # Errors
/// When `address` cannot be listened on.
pub async fn serve<F>(
    address: String,
    path: &'static str,
    report: impl Fn() -> F + Send + Sync + 'static,
) -> anyhow::Result<()>
where
    F: Future<Output = (StatusCode, String)> + Send + 'static,
{
    if address.is_empty() {
        return std::future::pending().await;
    }
    let listener =
        TcpListener::bind(&address).await.map_err(|error| anyhow::anyhow!("listening on {address}: {error}"))?;
    let report = Arc::new(report);
    let never = runtime::listen::connections(listener, None, |stream, _| {
        let report = report.clone();
        async move {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let asked = (request.uri().path() == path).then(|| report());
                async {
                    let (code, body) = match asked {
                        Some(report) => report.await,
                        None => (StatusCode::NOT_FOUND, "not found\n".to_owned()),
                    };
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = code;
                    Ok::<_, Infallible>(response)
                }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, path, "a probe's connection");
            }
        }
    });
    match never.await {}
}
