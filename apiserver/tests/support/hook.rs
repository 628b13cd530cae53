//! A webhook server: TLS on a loopback port, its answers made by a function, its requests kept. Who comes to `/held` is
//! answered when the test lets them go.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::Uri;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::tls::Port;

/// Makes the answer to what was posted to a path.
pub type Answer = fn(path: &str, review: &Value) -> Value;

#[derive(Clone)]
struct Shared {
    answer: Answer,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
    /// How many have come to be held, and whether they are.
    held: Arc<(Mutex<usize>, Condvar)>,
    hold: watch::Sender<bool>,
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
        let shared = Shared { answer, seen: Arc::default(), held: Arc::default(), hold: watch::Sender::new(true) };
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

    /// Waits until so many are held.
    pub fn holds(&self, count: usize) {
        let (held, changed) = &*self.shared.held;
        let patience = Duration::from_secs(30);
        let waited = changed.wait_timeout_while(held.lock().unwrap(), patience, |held| *held < count).unwrap();
        assert_eq!(*waited.0, count, "so many are held");
    }

    /// Answers those who are held, and whoever comes from now on.
    pub fn release(&self) {
        self.shared.hold.send_replace(false);
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
    if path == "/held" {
        *shared.held.0.lock().unwrap() += 1;
        shared.held.1.notify_all();
        // The sender is ours: it cannot be gone.
        let _ = shared.hold.subscribe().wait_for(|hold| !hold).await;
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
