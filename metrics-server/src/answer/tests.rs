use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::PartialObjectMeta;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use parking_lot::RwLock;
use serde::de::DeserializeOwned;

use super::*;
use crate::scrape::{Point, Scraped};

fn store<K>(objects: &[Value]) -> reflector::Store<K>
where
    K: kube::runtime::reflector::Lookup<DynamicType = ()> + Clone + DeserializeOwned + 'static,
{
    let (reader, mut writer) = reflector::store();
    for object in objects {
        writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object.clone()).expect("an object")));
    }
    reader
}

/// A node and two pods on it, of which one has not been measured twice.
fn state() -> State {
    let pod = |name: &str| json!({ "metadata": { "name": name, "namespace": "ns", "labels": { "app": name } } });
    let mut storage = Storage::new(Duration::from_secs(15));
    for (at, cpu) in [(1_767_225_600.0, 1.0), (1_767_225_615.5, 2.55)] {
        let point = |memory| Point { start: 1.0, at, cpu, memory };
        let key = |pod: &str, container: &str| ("ns".to_owned(), pod.to_owned(), container.to_owned());
        let mut containers = BTreeMap::from([(key("web", "a"), point(1024.0)), (key("web", "b"), point(3072.0))]);
        if cpu > 2.0 {
            containers.insert(key("new", "a"), point(1.0));
        }
        storage.store(vec![("n".to_owned(), Scraped { node: Some(point(1_048_576.0)), containers })]);
    }
    State {
        nodes: store::<Node>(&[json!({ "metadata": { "name": "n" } }), json!({ "metadata": { "name": "silent" } })]),
        pods: store::<PartialObjectMeta<Pod>>(&[pod("web"), pod("new")]),
        storage: RwLock::new(storage),
    }
}

fn get(path: &str, query: &str, table: bool) -> (u16, Value) {
    let path = format!("/apis/metrics.k8s.io/v1beta1{path}");
    let (code, mut body) = answer(&state(), &Method::GET, &path, query, table);
    if let Some(metadata) = body["metadata"].as_object_mut() {
        metadata.remove("creationTimestamp");
    }
    (code, body)
}

#[test]
fn what_nodes_and_pods_use() {
    let (code, node) = get("/nodes/n", "", false);
    let usage = json!({ "cpu": "100000000n", "memory": "1Mi" });
    let expected = json!({ "kind": "NodeMetrics", "apiVersion": VERSION, "metadata": { "name": "n" },
        "timestamp": "2026-01-01T00:00:15Z", "window": "15.5s", "usage": usage });
    assert_eq!((code, node), (200, expected));
    let (_, pod) = get("/namespaces/ns/pods/web", "", false);
    assert_eq!(pod["metadata"], json!({ "name": "web", "namespace": "ns", "labels": { "app": "web" } }));
    assert_eq!(pod["containers"][1], json!({ "name": "b", "usage": { "cpu": "100000000n", "memory": "3Ki" } }));
}

#[test]
fn lists_hold_what_was_measured_and_selected() {
    let names = |path: &str, query: &str| -> Vec<String> {
        let (_, list) = get(path, query, false);
        let items = list["items"].as_array().expect("a list");
        items.iter().map(|item| item["metadata"]["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names("/nodes", ""), ["n"]);
    assert_eq!(names("/pods", ""), ["web"], "the other has been measured once only");
    assert_eq!(names("/namespaces/ns/pods", "labelSelector=app%3Dweb"), ["web"]);
    assert!(names("/namespaces/ns/pods", "labelSelector=app%21%3Dweb").is_empty());
    assert!(names("/namespaces/other/pods", "").is_empty());
    assert_eq!(names("/pods", "fieldSelector=metadata.namespace%3Dns"), ["web"]);
    assert!(names("/pods", "fieldSelector=metadata.name%21%3Dweb").is_empty());
}

#[test]
fn failures_in_upstreams_words() {
    let message = |path: &str, query: &str| {
        let (code, body) = get(path, query, false);
        (code, body["message"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(message("/nodes/x", ""), (404, "nodemetrics.metrics.k8s.io \"x\" not found".to_owned()));
    assert_eq!(
        message("/namespaces/ns/pods/new", ""),
        (404, "podmetrics.metrics.k8s.io \"ns/new\" not found".to_owned())
    );
    assert_eq!(message("/pods", "labelSelector=%3D").0, 400);
    assert_eq!(message("/services", "").0, 404);
    let (code, _) = answer(&state(), &Method::POST, "/apis/metrics.k8s.io/v1beta1/nodes", "", false);
    assert_eq!(code, 405);
}

#[test]
fn tables_and_discovery() {
    let (_, table) = get("/pods", "", true);
    assert_eq!(table["rows"][0]["cells"], json!(["web", "200m", "4Ki", "15.5s"]));
    let (_, list) = get("", "", false);
    let names: Vec<_> = list["resources"].as_array().expect("a list").iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(names, ["NodeMetrics", "PodMetrics"]);
}

#[test]
fn times_as_go_writes_them() {
    for (seconds, text) in [(15.0, "15s"), (15.25, "15.25s"), (60.0, "1m0s"), (3661.5, "1h1m1.5s")] {
        assert_eq!(window(seconds), text);
    }
}
