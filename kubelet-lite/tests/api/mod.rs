//! The smallest API server: objects by path, GET, POST, PATCH (merge), DELETE.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

#[derive(Clone)]
pub struct Fake {
    objects: Arc<Mutex<BTreeMap<String, Value>>>,
    changes: watch::Sender<u64>,
    port: u16,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let fake = Self { objects: Arc::default(), changes: watch::channel(0).0, port };
        let app = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    pub fn client(&self) -> kube::Client {
        let url = format!("http://127.0.0.1:{}", self.port).parse().expect("a URL");
        kube::Client::try_from(kube::Config::new(url)).expect("a client")
    }

    pub fn put(&self, path: &str, object: Value) {
        self.objects.lock().insert(path.to_owned(), object);
        self.changes.send_modify(|count| *count += 1);
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.objects.lock().get(path).cloned()
    }

    pub fn pod(&self, path: &str) -> Pod {
        serde_json::from_value(self.get(path).expect("the pod is there")).expect("a pod")
    }

    pub fn events(&self) -> Vec<Value> {
        let objects = self.objects.lock();
        objects.iter().filter(|(path, _)| path.contains("/events/")).map(|(_, event)| event.clone()).collect()
    }

    /// Waits for a change after which `test` holds.
    pub async fn until(&self, path: &str, what: &str, test: impl Fn(Option<&Value>) -> bool) -> Option<Value> {
        let mut changes = self.changes.subscribe();
        let wait = async {
            loop {
                changes.borrow_and_update();
                let object = self.get(path);
                if test(object.as_ref()) {
                    return object;
                }
                changes.changed().await.expect("the server lives");
            }
        };
        match tokio::time::timeout(Duration::from_secs(20), wait).await {
            Ok(object) => object,
            Err(_) => panic!("{path} is not {what}: {:#}\n{:#?}", self.get(path).unwrap_or_default(), self.events()),
        }
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let (true, Value::Object(fields)) = (target.is_object(), patch) else {
        *target = patch.clone();
        return;
    };
    for (key, value) in fields {
        if value.is_null() {
            target.as_object_mut().expect("checked above").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

async fn answer(State(fake): State<Fake>, method: Method, uri: Uri, body: Bytes) -> Response {
    let path = uri.path().trim_end_matches("/status").to_owned();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let missing = || {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404, "message": "not found",
        });
        (StatusCode::NOT_FOUND, [("content-type", "application/json")], status.to_string()).into_response()
    };
    let reply = match method {
        Method::GET => fake.get(&path),
        Method::POST => {
            let name = body["metadata"]["name"].as_str().unwrap_or_default();
            fake.put(&format!("{path}/{name}"), body.clone());
            Some(body)
        }
        Method::PATCH => fake.get(&path).map(|mut object| {
            merge(&mut object, &body);
            fake.put(&path, object.clone());
            object
        }),
        Method::DELETE => {
            let removed = fake.objects.lock().remove(&path);
            fake.changes.send_modify(|count| *count += 1);
            removed
        }
        _ => None,
    };
    reply.map_or_else(missing, |object| ([("content-type", "application/json")], object.to_string()).into_response())
}
