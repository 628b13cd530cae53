//! /healthz, /livez and /readyz, with `?verbose` and `?exclude=`, and each check alone below them.

use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::Body;
use http::Response;

use super::answer;
use super::request_info::Query;
use crate::app::App;

/// How long the store may take to answer (`--etcd-healthcheck-timeout`).
const STORE: std::time::Duration = std::time::Duration::from_secs(2);

/// What has to happen before the server is ready.
#[derive(Default)]
pub struct Health {
    /// Bootstrap objects are written, definitions are loaded.
    pub started: AtomicBool,
}

/// The answer, `None` when the path is none of these.
pub async fn answer(app: &App, path: &str, query: &Query) -> Option<Response<Body>> {
    let path = path.trim_start_matches('/');
    let (endpoint, only) = path.split_once('/').map_or((path, None), |(endpoint, check)| (endpoint, Some(check)));
    if !matches!(endpoint, "healthz" | "livez" | "readyz") {
        return None;
    }
    let started = app.health.started.load(Ordering::Acquire);
    let stopping = app.stop.is_cancelled();
    let store = tokio::time::timeout(STORE, app.store.revision()).await.is_ok_and(|answer| answer.is_ok());
    let mut checks = vec![("ping", true), ("log", true), ("etcd", store), ("poststarthook/bootstrap", started)];
    if endpoint == "readyz" {
        checks.extend([("etcd-readiness", store), ("informer-sync", started), ("shutdown", !stopping)]);
    }
    if let Some(only) = only {
        checks.retain(|(name, _)| *name == only);
        if checks.is_empty() {
            return Some(answer::text(404, "404 page not found\n"));
        }
    }
    checks.retain(|(name, _)| !query.all("exclude").any(|excluded| excluded == *name));
    let well = checks.iter().all(|(_, ok)| *ok);
    if well && !query.flag("verbose") {
        return Some(answer::text(200, "ok"));
    }
    let mut text = String::new();
    for (name, ok) in &checks {
        text.push_str(&if *ok { format!("[+]{name} ok\n") } else { format!("[-]{name} failed: reason withheld\n") });
    }
    text.push_str(&format!("{endpoint} check {}\n", if well { "passed" } else { "failed" }));
    Some(answer::text(if well { 200 } else { 500 }, text))
}
