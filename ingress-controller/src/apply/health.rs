//! /healthz and /metrics, on a port of their own as upstream has them (10254).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use runtime::ready::Ready;
use tokio::net::TcpListener;

/// What the metrics tell.
#[derive(Debug, Default)]
pub struct Metrics {
    /// A first configuration is being served.
    pub serving: Ready,
    pub last_load_successful: AtomicBool,
    pub loads: AtomicU64,
    pub load_errors: AtomicU64,
    pub load_micros: AtomicU64,
}

impl Metrics {
    pub fn loaded(&self, took: Duration) {
        self.serving.set();
        self.last_load_successful.store(true, Ordering::Relaxed);
        self.loads.fetch_add(1, Ordering::Relaxed);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.load_micros.fetch_add(micros, Ordering::Relaxed);
    }

    pub fn failed(&self) {
        self.last_load_successful.store(false, Ordering::Relaxed);
        self.load_errors.fetch_add(1, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let successful = u8::from(self.last_load_successful.load(Ordering::Relaxed));
        format!(
            "# TYPE nginx_ingress_controller_config_last_reload_successful gauge\n\
             nginx_ingress_controller_config_last_reload_successful {successful}\n\
             # TYPE nginx_ingress_controller_success counter\n\
             nginx_ingress_controller_success {}\n\
             # TYPE nginx_ingress_controller_errors counter\n\
             nginx_ingress_controller_errors {}\n\
             # TYPE knetsim_ingress_reload_seconds_sum counter\n\
             knetsim_ingress_reload_seconds_sum {}\n",
            get(&self.loads),
            get(&self.load_errors),
            Duration::from_micros(get(&self.load_micros)).as_secs_f64(),
        )
    }
}

/// Serves until the process ends.
///
/// # Errors
/// When the port cannot be had.
pub async fn spawn(address: SocketAddr, metrics: Arc<Metrics>) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let app = Router::new()
        .route("/healthz", get(healthz))
        .route("/metrics", get(|State(metrics): State<Arc<Metrics>>| async move { metrics.text() }))
        .with_state(metrics);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, app).await {
            tracing::error!(%error, "the health port is gone");
        }
    });
    Ok(())
}

async fn healthz(State(metrics): State<Arc<Metrics>>) -> (StatusCode, &'static str) {
    if metrics.serving.soon().await {
        (StatusCode::OK, "ok")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "no configuration is being served yet")
    }
}
