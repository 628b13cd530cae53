//! The router's HTTP port: /healthz and /metrics as skupper-router has them, and /network, what it knows.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::get;

use super::core::Core;

pub fn app(core: Arc<Core>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "OK" }))
        .route("/metrics", get(metrics))
        .route("/network", get(network))
        .with_state(core)
}

async fn metrics(State(core): State<Arc<Core>>) -> String {
    let network = core.network();
    let up = network.first().map_or(0, |own| own.links.values().filter(|link| link.operational).count());
    format!(
        "# TYPE qdr_routers gauge\nqdr_routers {}\n# TYPE knetsim_skupper_links_up gauge\nknetsim_skupper_links_up {up}\n",
        network.len(),
    )
}

async fn network(State(core): State<Arc<Core>>) -> String {
    serde_json::to_string_pretty(&core.network()).expect("plain data always serialises")
}
