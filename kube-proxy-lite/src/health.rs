//! Health over HTTP: the proxy's own (`/healthz`), and per Service for load balancers (`healthCheckNodePort`); and what it is and
//! counts.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use component_base::metrics::{self, About, Kind, Page, Process, Stability};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::jiff::Timestamp;
use parking_lot::{Mutex, RwLock};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::model::ServiceName;

/// A change that has waited so long for the kernel is late: twice upstream's `--sync-period`.
const LATE: Duration = Duration::from_secs(60);
/// The cluster autoscaler's taint of a node that is about to go.
const GOING: &str = "ToBeDeletedByClusterAutoscaler";

/// Go's time that is none.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// How the proxy is (`pkg/proxy/healthcheck/proxy_health.go`).
#[derive(Debug, Default)]
pub struct Health(Mutex<Now>);

#[derive(Clone, Copy, Debug, Default)]
struct Now {
    /// Since when the oldest change waits that the kernel does not have.
    waiting: Option<Instant>,
    /// When the kernel had everything last.
    updated: Option<Timestamp>,
    /// When a change came last.
    queued: Option<Timestamp>,
    /// The node is there, and stays.
    eligible: bool,
}

impl Health {
    /// Something has changed that the kernel is to be told.
    pub fn queued(&self) {
        let mut now = self.0.lock();
        now.waiting.get_or_insert_with(Instant::now);
        now.queued = Some(Timestamp::now());
    }

    /// The kernel has everything.
    pub fn updated(&self) {
        let mut now = self.0.lock();
        now.waiting = None;
        now.updated = Some(Timestamp::now());
    }

    /// The own node as it is now; none once it is gone.
    pub fn node(&self, node: Option<&Node>) {
        let taints = |node: &Node| node.spec.as_ref().and_then(|spec| spec.taints.clone()).unwrap_or_default();
        let stays = |node: &Node| {
            node.metadata.deletion_timestamp.is_none() && taints(node).iter().all(|taint| taint.key != GOING)
        };
        self.0.lock().eligible = node.is_some_and(stays);
    }

    fn is_well(&self) -> bool {
        self.0.lock().is_well()
    }

    /// The answer to `/healthz`, which whoever balances loads asks, or to `/livez`.
    fn report(&self, path: &str) -> Report {
        let now = *self.0.lock();
        let (asks_for_node, well) = (path == "/healthz", now.is_well());
        let answered = well && (now.eligible || !asks_for_node);
        let time = Timestamp::now();
        let own = now.updated.map(|updated| json!({ "IPv4": { "lastUpdated": updated, "healthy": well } }));
        let updated = if answered { Some(time) } else { now.updated };
        let mut body = json!({
            "lastUpdated": updated.map_or_else(|| NEVER.into(), |updated| json!(updated)), "currentTime": time,
            "healthy": well, "status": own.unwrap_or_else(|| json!({})),
        });
        if asks_for_node {
            body["nodeEligible"] = now.eligible.into();
        }
        Report::json(answered, &body)
    }

    #[allow(clippy::cast_precision_loss)] // As all numbers on the page.
    fn metrics(&self) -> String {
        let now = *self.0.lock();
        let mut page = Page::default();
        for (about, at) in [(&SYNCED, now.updated), (&QUEUED, now.queued)] {
            page.number(about, &[], at.map_or(0.0, |at| at.as_millisecond() as f64 / 1e3));
        }
        match Process::read() {
            Ok(process) => process.write(&mut page),
            Err(error) => tracing::warn!(%error, "the process cannot be looked at"),
        }
        page.text()
    }
}

impl Now {
    /// While it starts, and as long as no change is late.
    fn is_well(self) -> bool {
        self.updated.is_none() || self.waiting.is_none_or(|since| since.elapsed() < LATE)
    }
}

const fn time(name: &'static str, help: &'static str) -> About {
    About { name, help, stability: Stability::Alpha, kind: Kind::Gauge, labels: &[] }
}

static SYNCED: About =
    time("kubeproxy_sync_proxy_rules_last_timestamp_seconds", "The last time proxy rules were successfully synced");
static QUEUED: About =
    time("kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds", "The last time a sync of proxy rules was queued");

/// An answer.
struct Report {
    code: StatusCode,
    form: &'static str,
    body: String,
    /// Of a Service's check: how many endpoints there are here.
    weight: Option<usize>,
}

impl Report {
    fn json(well: bool, body: &Value) -> Self {
        let code = if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        Self { code, form: "application/json", body: body.to_string(), weight: None }
    }

    fn text(code: StatusCode, body: impl Into<String>) -> Self {
        Self { code, form: "text/plain; charset=utf-8", body: body.into(), weight: None }
    }

    fn nothing() -> Self {
        Self::text(StatusCode::NOT_FOUND, "404 page not found\n")
    }
}

/// Serves the proxy's own health; an empty address: never returns and serves nothing.
pub async fn serve(address: &str, health: Arc<Health>) -> anyhow::Result<()> {
    let report = move |path: &str| match path {
        "/healthz" | "/livez" => health.report(path),
        _ => Report::nothing(),
    };
    listen(address, "health", Arc::new(report)).await
}

/// Serves what it is and counts, for the node itself; as [`serve`].
pub async fn serve_status(address: &str, health: Arc<Health>) -> anyhow::Result<()> {
    let report = move |path: &str| match path {
        "/healthz" => Report::text(StatusCode::OK, "ok"),
        "/proxyMode" => Report::text(StatusCode::OK, "nftables"),
        "/metrics" => Report { form: metrics::FORM, ..Report::text(StatusCode::OK, health.metrics()) },
        _ => Report::nothing(),
    };
    listen(address, "status", Arc::new(report)).await
}

async fn listen(address: &str, what: &str, report: Arc<Reporter>) -> anyhow::Result<()> {
    if !address.is_empty() {
        match TcpListener::bind(address).await {
            Ok(listener) => answer(listener, report).await,
            // Not worth the Services: without it only a probe would notice.
            Err(error) => tracing::error!(%error, address, "{what} is not served"),
        }
    }
    std::future::pending().await
}

type State = Arc<RwLock<(ServiceName, usize)>>;

/// The listeners of `healthCheckNodePort`s: opened, updated and closed as Services say.
pub struct ServiceChecks {
    health: Arc<Health>,
    open: BTreeMap<u16, (State, AbortHandle)>,
}

impl ServiceChecks {
    #[must_use]
    pub fn new(health: Arc<Health>) -> Self {
        Self { health, open: BTreeMap::new() }
    }

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
                    let task = tokio::spawn(check(port, state.clone(), self.health.clone())).abort_handle();
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

async fn check(port: u16, state: State, health: Arc<Health>) {
    match TcpListener::bind(("0.0.0.0", port)).await {
        Ok(listener) => {
            let report = move |_: &str| {
                let (service, local) = &*state.read();
                let well = health.is_well();
                let name = json!({ "namespace": service.namespace, "name": service.name });
                let body = json!({ "service": name, "localEndpoints": local, "serviceProxyHealthy": well });
                Report { weight: Some(*local), ..Report::json(*local > 0 && well, &body) }
            };
            answer(listener, Arc::new(report)).await;
        }
        Err(error) => tracing::error!(%error, port, "healthCheckNodePort is not served"),
    }
}

type Reporter = dyn Fn(&str) -> Report + Send + Sync;

/// Answers every GET with what `report` says of its path.
async fn answer(listener: TcpListener, report: Arc<Reporter>) {
    let never = runtime::listen::connections(listener, None, |stream, _| {
        let report = report.clone();
        async move {
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let report = report(request.uri().path());
                let mut response = Response::new(Full::new(Bytes::from(report.body)));
                *response.status_mut() = report.code;
                let headers = response.headers_mut();
                headers.insert(CONTENT_TYPE, HeaderValue::from_static(report.form));
                headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                if let Some(weight) = report.weight {
                    headers.insert("x-load-balancing-endpoint-weight", HeaderValue::from(weight));
                }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn node(value: Value) -> Node {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_proxy_is_well_until_a_change_is_late() {
        let health = Health::default();
        let told = |path: &str| {
            let report = health.report(path);
            let body: Value = serde_json::from_str(&report.body).unwrap();
            (
                report.code.as_u16(),
                body["healthy"] == true,
                body["nodeEligible"].as_bool(),
                body["status"]["IPv4"]["healthy"].as_bool(),
            )
        };
        assert_eq!(told("/healthz"), (503, true, Some(false), None), "the node is not known yet");
        health.node(Some(&node(json!({ "metadata": {} }))));
        health.queued();
        assert_eq!(told("/healthz"), (200, true, Some(true), None), "it starts");
        health.0.lock().waiting = Instant::now().checked_sub(LATE);
        assert_eq!(told("/livez"), (200, true, None, None), "however long that takes");
        health.updated();
        health.queued();
        assert_eq!(told("/healthz"), (200, true, Some(true), Some(true)));
        health.0.lock().waiting = Instant::now().checked_sub(LATE);
        health.queued();
        assert_eq!(told("/healthz"), (503, false, Some(true), Some(false)), "the oldest change counts");
        assert_eq!(told("/livez"), (503, false, None, Some(false)));
        health.updated();
        let going = json!({ "metadata": {}, "spec": { "taints": [{ "key": GOING, "effect": "NoSchedule" }] } });
        for (node, eligible) in
            [(Some(node(going)), false), (None, false), (Some(node(json!({ "metadata": {} }))), true)]
        {
            health.node(node.as_ref());
            assert_eq!(told("/healthz"), (if eligible { 200 } else { 503 }, true, Some(eligible), Some(true)));
            assert_eq!(told("/livez").0, 200);
        }
        assert!(health.metrics().contains("\nkubeproxy_sync_proxy_rules_last_timestamp_seconds 1"));
    }
}
