//! A webhook server: TLS on a loopback port, its answers made by a function, its requests kept.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::tls::Port;

/// Makes the answer to what was posted to a path.
pub type Answer = fn(path: &str, review: &Value) -> Value;

#[derive(Clone)]
struct Shared {
    answer: Answer,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

pub struct Hook {
    pub port: u16,
    ca: String,
    shared: Shared,
    stop: CancellationToken,
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Hook {
    pub fn start(answer: Answer) -> Self {
        let open = Port::open(&["localhost", "127.0.0.1", "hook.default.svc"]);
        let (port, ca) = (open.number, BASE64_STANDARD.encode(&open.certificate));
        let shared = Shared { answer, seen: Arc::default() };
        let stop = CancellationToken::new();
        open.serve(Router::new().fallback(handle).with_state(shared.clone()), stop.clone());
        Self { port, ca, shared, stop }
    }

    /// A `clientConfig` by URL.
    pub fn url(&self, path: &str) -> Value {
        json!({ "url": format!("https://127.0.0.1:{}{path}", self.port), "caBundle": self.ca })
    }

    /// A `clientConfig` by the Service `hook` in `default`.
    pub fn service(&self, path: &str) -> Value {
        json!({ "caBundle": self.ca,
            "service": { "namespace": "default", "name": "hook", "port": self.port, "path": path } })
    }

    /// What was posted to a path since the last time this was asked.
    pub fn seen(&self, path: &str) -> Vec<Value> {
        let mut seen = self.shared.seen.lock().unwrap();
        let (own, rest) = std::mem::take(&mut *seen).into_iter().partition(|(at, _)| at == path);
        *seen = rest;
        let own: Vec<(String, Value)> = own;
        own.into_iter().map(|(_, review)| review).collect()
    }
}

async fn handle(State(shared): State<Shared>, uri: Uri, body: Bytes) -> axum::response::Response {
    let review: Value = serde_json::from_slice(&body).unwrap();
    let path = uri.path().to_owned();
    if path == "/slow" {
        // The test's hook is slow on purpose; nothing waits for it but the caller.
        tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    }
    let answer = (shared.answer)(&path, &review);
    shared.seen.lock().unwrap().push((path, review));
    http::Response::new(axum::body::Body::from(answer.to_string()))
}

/// An AdmissionReview that answers `review`.
pub fn admitted(review: &Value, mut response: Value) -> Value {
    response["uid"] = review["request"]["uid"].clone();
    json!({ "kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response })
}

/// An agreeing response with a JSON patch.
pub fn patched(patch: &Value) -> Value {
    json!({ "allowed": true, "patchType": "JSONPatch", "patch": BASE64_STANDARD.encode(patch.to_string()) })
}
