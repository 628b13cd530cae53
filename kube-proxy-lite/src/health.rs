//! Health over HTTP: the proxy's own (`/healthz`), and per Service for load balancers (`healthCheckNodePort`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use parking_lot::RwLock;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::model::ServiceName;

/// Serves the proxy's own health; an empty address: never returns and serves nothing.
pub async fn serve(address: &str) -> anyhow::Result<()> {
    if address.is_empty() {
        return std::future::pending().await;
    }
    match TcpListener::bind(address).await {
        Ok(listener) => {
            answer(
                listener,
                Arc::new(|path: &str| match path {
                    "/healthz" | "/livez" => {
                        (StatusCode::OK, json!({ "currentTime": k8s_openapi::jiff::Timestamp::now() }))
                    }
                    _ => (StatusCode::NOT_FOUND, json!({ "error": "not found" })),
                }),
            )
            .await
        }
        // Not worth the Services: without it only a probe would notice.
        Err(error) => tracing::error!(%error, address, "health is not served"),
    }
    std::future::pending().await
}

type State = Arc<RwLock<(ServiceName, usize)>>;

/// The listeners of `healthCheckNodePort`s: opened, updated and closed as Services say.
#[derive(Default)]
pub struct ServiceChecks {
    open: BTreeMap<u16, (State, AbortHandle)>,
}

impl ServiceChecks {
    /// `wanted`: per port, the Service and how many ready endpoints it has on this node.
    pub fn set(&mut self, wanted: BTreeMap<u16, (ServiceName, usize)>) {
        self.open.retain(|port, (_, task)| {
            let keep = wanted.contains_key(port);
            if !keep {
                task.abort();
            }
            keep
        });
        for (port, now) in wanted {
            match self.open.get(&port) {
                Some((state, _)) => *state.write() = now,
                None => {
                    let state = Arc::new(RwLock::new(now));
                    let task = tokio::spawn(check(port, state.clone())).abort_handle();
                    self.open.insert(port, (state, task));
                }
            }
        }
    }
}

impl Drop for ServiceChecks {
    fn drop(&mut self) {
        self.open.values().for_each(|(_, task)| task.abort());
    }
}

async fn check(port: u16, state: State) {
    match TcpListener::bind(("0.0.0.0", port)).await {
        Ok(listener) => {
            let report = move |_: &str| {
                let (service, local) = &*state.read();
                let code = if *local > 0 { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                let name = json!({ "namespace": service.namespace, "name": service.name });
                (code, json!({ "service": name, "localEndpoints": local, "serviceProxyHealthy": true }))
            };
            answer(listener, Arc::new(report)).await;
        }
        Err(error) => tracing::error!(%error, port, "healthCheckNodePort is not served"),
    }
}

type Report = dyn Fn(&str) -> (StatusCode, Value) + Send + Sync;

/// Answers every GET with what `report` says of its path.
async fn answer(listener: TcpListener, report: Arc<Report>) {
    let never = runtime::listen::connections(listener, None, |stream, _| {
        let report = report.clone();
        async move {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let (code, body) = report(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
                *response.status_mut() = code;
                let json = hyper::header::HeaderValue::from_static("application/json");
                response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
                async { Ok::<_, Infallible>(response) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a health check's connection");
            }
        }
    });
    match never.await {}
}
