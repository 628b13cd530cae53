//! The smallest API server: objects by path, GET, POST, PATCH (merge), DELETE; list and watch of a single name, or of
//! a node's pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
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
    /// It answers nothing but that it cannot.
    away: Arc<AtomicBool>,
    port: u16,
}

impl Fake {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let fake = Self { objects: Arc::default(), changes: watch::channel(0).0, away: Arc::default(), port };
        let app = Router::new().fallback(answer).with_state(fake.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        fake
    }

    pub fn client(&self) -> kube::Client {
        let url = format!("http://127.0.0.1:{}", self.port).parse().expect("a URL");
        kube::Client::try_from(kube::Config::new(url)).expect("a client")
    }

    /// Whether it answers from now on.
    pub fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    /// Stores an object, under a version of its own.
    pub fn put(&self, path: &str, mut object: Value) {
        let version = *self.changes.borrow() + 1;
        if object["metadata"].is_object() {
            object["metadata"]["resourceVersion"] = version.to_string().into();
        }
        self.objects.lock().insert(path.to_owned(), object);
        self.changes.send_modify(|count| *count += 1);
    }

    /// Removes an object, whoever wants it.
    pub fn remove(&self, path: &str) -> Option<Value> {
        let removed = self.objects.lock().remove(path);
        self.changes.send_modify(|count| *count += 1);
        removed
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

/// A strategic merge, as far as pods' statuses need it: conditions by their type, lists that say so replaced.
fn merge(target: &mut Value, patch: &Value) {
    if let (Some(list), Some(items)) = (target.as_array_mut(), patch.as_array())
        && items.iter().all(|item| item["type"].is_string())
    {
        list.retain(|known| !items.iter().any(|item| item["$patch"] == "delete" && item["type"] == known["type"]));
        for item in items.iter().filter(|item| item["$patch"].is_null()) {
            match list.iter_mut().find(|known| known["type"] == item["type"]) {
                Some(known) => *known = item.clone(),
                None => list.push(item.clone()),
            }
        }
        return;
    }
    if let Some([first, items @ ..]) = patch.as_array().map(Vec::as_slice)
        && first["$patch"] == "replace"
    {
        *target = items.into();
        return;
    }
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

/// The name that a list or watch asks for.
fn named(uri: &Uri) -> Option<String> {
    let query = uri.query()?;
    let (_, rest) = query.split_once("fieldSelector=metadata.name%3D")?;
    Some(rest.split('&').next().unwrap_or_default().to_owned())
}

fn listed(fake: &Fake, path: &str, name: &str) -> Response {
    let items: Vec<Value> = fake.get(&format!("{path}/{name}")).into_iter().collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items });
    ([("content-type", "application/json")], list.to_string()).into_response()
}

/// Whether a node's pods are asked for: all there are, for there is one node.
fn all_pods(uri: &Uri) -> bool {
    uri.path() == "/api/v1/pods" && uri.query().is_some_and(|query| query.contains("fieldSelector=spec.nodeName"))
}

impl Fake {
    fn pods(&self) -> BTreeMap<String, Value> {
        let objects = self.objects.lock();
        objects
            .iter()
            .filter(|(path, _)| path.contains("/pods/"))
            .map(|(path, pod)| (path.clone(), pod.clone()))
            .collect()
    }
}

fn listed_pods(fake: &Fake) -> Response {
    let items: Vec<Value> = fake.pods().into_values().collect();
    let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": { "resourceVersion": "1" }, "items": items });
    ([("content-type", "application/json")], list.to_string()).into_response()
}

/// What has changed among the pods, each time something has.
fn watched_pods(fake: Fake) -> Response {
    let start = (fake.changes.subscribe(), BTreeMap::new());
    let events = futures::stream::unfold(start, move |(mut changes, before): (_, BTreeMap<String, Value>)| {
        let fake = fake.clone();
        async move {
            let mut lines = String::new();
            let mut now = before.clone();
            while lines.is_empty() {
                now = fake.pods();
                let gone = before.iter().filter(|(path, _)| !now.contains_key(*path)).map(|(_, pod)| ("DELETED", pod));
                let changed = now.iter().filter(|(path, pod)| before.get(*path) != Some(*pod));
                for (kind, object) in gone.chain(changed.map(|(_, pod)| ("MODIFIED", pod))) {
                    lines.push_str(&format!("{}\n", json!({ "type": kind, "object": object })));
                }
                if lines.is_empty() {
                    changes.changed().await.ok()?;
                }
            }
            Some((Ok::<_, std::convert::Infallible>(lines), (changes, now)))
        }
    });
    ([("content-type", "application/json")], axum::body::Body::from_stream(events)).into_response()
}

/// An event for each change, for as long as somebody listens.
fn watched(fake: Fake, path: String, name: String) -> Response {
    let path = format!("{path}/{name}");
    let start = (fake.changes.subscribe(), fake.get(&path));
    let events = futures::stream::unfold(start, move |(mut changes, before)| {
        let (fake, path) = (fake.clone(), path.clone());
        async move {
            loop {
                changes.changed().await.ok()?;
                let now = fake.get(&path);
                if now != before {
                    let kind = if now.is_none() { "DELETED" } else { "MODIFIED" };
                    let object = now.clone().or(before).unwrap_or_default();
                    let line = format!("{}\n", json!({ "type": kind, "object": object }));
                    return Some((Ok::<_, std::convert::Infallible>(line), (changes, now)));
                }
            }
        }
    });
    ([("content-type", "application/json")], axum::body::Body::from_stream(events)).into_response()
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
    if fake.away.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    if all_pods(&uri) {
        let watches = uri.query().unwrap_or_default().contains("watch=");
        return if watches { watched_pods(fake) } else { listed_pods(&fake) };
    }
    if let Some(name) = named(&uri) {
        return if uri.query().unwrap_or_default().contains("watch=") {
            watched(fake, path, name)
        } else {
            listed(&fake, &path, &name)
        };
    }
    let reply = match method {
        Method::GET => fake.get(&path),
        Method::POST => {
            let mut body = body;
            let at = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap_or_default());
            if body["metadata"]["uid"].is_null() {
                body["metadata"]["uid"] = format!("made-{}", *fake.changes.borrow()).into();
            }
            fake.put(&at, body);
            fake.get(&at)
        }
        Method::PATCH => fake.get(&path).and_then(|mut object| {
            merge(&mut object, &body);
            fake.put(&path, object);
            fake.get(&path)
        }),
        Method::DELETE => fake.remove(&path),
        _ => None,
    };
    reply.map_or_else(missing, |object| ([("content-type", "application/json")], object.to_string()).into_response())
}
