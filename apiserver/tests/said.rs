//! What is said in odd ways: lists that are given empty, numbers as nobody writes them, fields that are not written. Rules and
//! messages see it as it was said, readers as it is stored.

#[path = "../examples/dev_cluster/pki.rs"]
mod pki;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "etcd is for others")]
mod process;
#[path = "support/serving.rs"]
mod serving;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod wire;

use http::Method;
use serde_json::{Value, json};
use wire::{Ask, Connection, Target};

#[test]
#[ignore = "the server process of the other test"]
fn child() {
    process::child();
}

struct Client<'a> {
    target: &'a Target,
    connection: Connection,
}

impl Client<'_> {
    async fn send(&self, method: Method, path: &str, media: &str, body: String) -> (u16, Value) {
        let ask = Ask { content_type: media, ..Ask::new(method, path, body) };
        let answer = self.target.send(&mut self.connection.clone(), ask).await.unwrap();
        (answer.status, answer.json())
    }

    async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::POST, path, "application/json", body.to_string()).await
    }

    async fn put(&self, path: &str, body: &Value) -> (u16, Value) {
        self.send(Method::PUT, path, "application/json", body.to_string()).await
    }

    async fn apply(&self, path: &str, body: &Value) -> (u16, Value) {
        let path = format!("{path}?fieldManager=me&force=true");
        self.send(Method::PATCH, &path, "application/apply-patch+yaml", body.to_string()).await
    }

    /// The message of a refusal.
    async fn refused(&self, path: &str, body: &Value, code: u16) -> String {
        let (found, answer) = self.post(path, body).await;
        assert_eq!(found, code, "{body}: {answer}");
        answer["message"].as_str().unwrap_or_default().to_owned()
    }
}

fn pod(name: &str, more: Value) -> Value {
    let mut spec = json!({ "containers": [{ "name": "c", "image": "i" }] });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({ "metadata": { "name": name }, "spec": spec })
}

#[test]
fn it_is_seen_until_it_is_stored() {
    serving::with_server(async |server, _dir| {
        let client = &Client { target: &server.target, connection: server.target.http2().await.unwrap() };
        let account = json!({ "metadata": { "name": "default" } });
        client.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
        empties(client).await;
        floats(client).await;
        unwritten(client).await;
        evictions(client).await;
    });
}

async fn empties(client: &Client<'_>) {
    let pods = "/api/v1/namespaces/default/pods";
    let told = client.refused(pods, &pod("a", json!({ "overhead": {} })), 403).await;
    assert!(told.ends_with("Pod Overhead set without corresponding RuntimeClass defined Overhead"), "{told}");
    let told = client.refused(pods, &pod("a", json!({ "runtimeClassName": "" })), 500).await;
    assert_eq!(told, "resource name may not be empty");
    let template = json!({ "metadata": { "finalizers": [] }, "spec": { "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": "1Gi" } } } });
    let volume = json!([{ "name": "v", "ephemeral": { "volumeClaimTemplate": template } }]);
    let told = client.refused(pods, &pod("a", json!({ "volumes": volume })), 422).await;
    assert!(told.ends_with("volumeClaimTemplate.metadata.finalizers: Forbidden: cannot be set"), "{told}");

    // What is allowed is not there, and nobody's; and to say it again changes nothing.
    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let labels = json!({ "a": "b" });
    let spec = json!({ "selector": { "matchLabels": labels, "matchExpressions": [] }, "template": {
        "metadata": { "labels": labels }, "spec": pod("", json!({ "tolerations": [], "nodeSelector": {} }))["spec"] } });
    let said = json!({ "metadata": { "name": "d", "annotations": {} }, "spec": spec });
    let (code, made) = client.post(deployments, &said).await;
    assert_eq!(code, 201, "{made}");
    for gone in ["/metadata/annotations", "/spec/selector/matchExpressions", "/spec/template/spec/tolerations"] {
        assert_eq!(made.pointer(gone), None, "{gone}");
    }
    let managed = made["metadata"]["managedFields"].to_string();
    assert!(managed.contains("f:selector") && !managed.contains("f:tolerations"), "{managed}");
    let again = client.put(&format!("{deployments}/d"), &said).await;
    assert_eq!(again, (200, made));
}

async fn floats(client: &Client<'_>) {
    let count = json!({ "type": "integer" });
    let schema = json!({ "type": "object", "properties": {
        "spec": { "type": "object", "properties": { "replicas": count, "size": count } },
        "status": { "type": "object", "properties": { "replicas": count } } } });
    let scale = json!({ "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas" });
    let version = json!({ "name": "v1", "served": true, "storage": true, "schema": { "openAPIV3Schema": schema },
        "subresources": { "scale": scale } });
    let definition = json!({ "metadata": { "name": "things.example.com" }, "spec": { "group": "example.com",
        "scope": "Namespaced", "names": { "plural": "things", "kind": "Thing" }, "versions": [version] } });
    let (code, answer) = client.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", &definition).await;
    assert_eq!(code, 201, "{answer}");
    let things = "/apis/example.com/v1/namespaces/default/things";
    let thing = |spec: Value| json!({ "apiVersion": "example.com/v1", "kind": "Thing", "metadata": { "name": "t" }, "spec": spec });
    let (code, made) = client.post(things, &thing(json!({ "size": 2.0 }))).await;
    assert_eq!((code, made["spec"].to_string()), (201, r#"{"size":2}"#.to_owned()));
    let told = client.refused(things, &thing(json!({ "replicas": 1.0 })), 422).await;
    assert!(told.contains(".spec.replicas accessor error: 1 is of the type float64, expected int64"), "{told}");
}

async fn unwritten(client: &Client<'_>) {
    let maps = "/api/v1/namespaces/default/configmaps";
    let (_, made) = client.post(maps, &json!({ "metadata": { "name": "m" } })).await;
    let mut linked = made.clone();
    linked["metadata"]["selfLink"] = "/x".into();
    let (_, tried) = client.put(&format!("{maps}/m?dryRun=All"), &linked).await;
    assert_eq!(tried["metadata"]["selfLink"], "/x");
    assert_eq!(client.put(&format!("{maps}/m"), &linked).await, (200, made));

    let budget = "/apis/policy/v1/namespaces/default/poddisruptionbudgets/b";
    let said = json!({ "apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": { "name": "b" },
        "spec": { "minAvailable": 1 } });
    let (_, made) = client.apply(budget, &said).await;
    assert_eq!(client.apply(budget, &said).await, (200, made.clone()), "nothing is new");
    let mut more = said.clone();
    more["status"] = json!({ "currentHealthy": 3 });
    assert_eq!(client.apply(budget, &more).await, (200, made), "nor is what is not written");

    // Nor has anybody set it who was there before managers were known.
    let merge = async |path: &str, body: Value| {
        let (code, answer) = client.send(Method::PATCH, path, "application/merge-patch+json", body.to_string()).await;
        assert_eq!(code, 200, "{answer}");
    };
    merge(&format!("{budget}/status"), json!({ "status": { "currentHealthy": 3 } })).await;
    merge(budget, json!({ "metadata": { "managedFields": [{}] } })).await;
    let mut more = said;
    more["metadata"]["labels"] = json!({ "a": "b" });
    let (_, made) = client.apply(budget, &more).await;
    let managed = made["metadata"]["managedFields"].to_string();
    assert!(managed.contains("before-first-apply") && !managed.contains("f:status"), "{managed}");
}

async fn evictions(client: &Client<'_>) {
    let pods = "/api/v1/namespaces/default/pods";
    let evict = |name: &str, options: Value| {
        let eviction = json!({ "metadata": { "name": name }, "deleteOptions": options });
        let path = format!("{pods}/{name}/eviction");
        async move { client.post(&path, &eviction).await }
    };
    let wrong = json!({ "propagationPolicy": "x" });
    let (code, answer) = evict("none", wrong.clone()).await;
    assert_eq!((code, &answer["reason"]), (404, &json!("NotFound")), "{answer}");
    client.post(pods, &pod("p", json!({}))).await;
    let (code, answer) = evict("p", wrong).await;
    assert_eq!((code, &answer["details"]["kind"]), (422, &json!("DeleteOptions")), "{answer}");
    let unreadable = json!({ "ignoreStoreReadErrorWithClusterBreakingPotential": true });
    let (code, answer) = evict("p", unreadable).await;
    assert_eq!((code, &answer["details"]["kind"]), (422, &json!("Eviction")), "{answer}");
    let (code, answer) = evict("p", json!({})).await;
    assert_eq!(code, 201, "{answer}");
}
