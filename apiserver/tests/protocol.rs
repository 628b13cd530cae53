//! Ways to speak to the server that few clients take: watches over WebSocket, lists of the past, media types it does not know.

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

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::{SinkExt, StreamExt};
use http::Method;
use process::ApiServer;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use wire::{Ask, Connection, Target};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[test]
#[ignore = "the server process of the other test"]
fn child() {
    process::child();
}

type Socket = WebSocketStream<tokio_rustls::client::TlsStream<tokio::net::TcpStream>>;

/// Opens a WebSocket, or says with which code it was refused.
async fn socket(target: &Target, path: &str, headers: &[(&'static str, &str)]) -> Result<(Socket, String), u16> {
    let mut request = format!("wss://localhost{path}").into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match tokio_tungstenite::client_async(request, target.bare().await.unwrap()).await {
        Ok((socket, response)) => {
            let chosen = response.headers().get("sec-websocket-protocol").map_or("", |value| value.to_str().unwrap());
            Ok((socket, chosen.to_owned()))
        }
        Err(Error::Http(response)) => Err(response.status().as_u16()),
        Err(error) => panic!("the handshake failed: {error}"),
    }
}

async fn message(socket: &mut Socket) -> Message {
    let wait = std::time::Duration::from_secs(30);
    tokio::time::timeout(wait, socket.next()).await.expect("no message came").expect("a message").expect("a good one")
}

async fn event(socket: &mut Socket) -> (String, Value) {
    let Message::Text(text) = message(socket).await else { panic!("no text") };
    assert!(text.ends_with('\n'), "upstream's encoder ends events with a newline, in messages too");
    let event: Value = serde_json::from_str(&text).unwrap();
    let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
    (format!("{} {name}", event["type"].as_str().unwrap()), event)
}

struct World {
    server: ApiServer,
    connection: Connection,
    dir: tempfile::TempDir,
}

impl World {
    async fn ask(&self, ask: Ask<'_>) -> (u16, Value) {
        let answer = self.server.target.send(&mut self.connection.clone(), ask).await.unwrap();
        (answer.status, answer.json())
    }

    async fn create(&self, name: &str) {
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name } });
        assert_eq!(self.ask(Ask::new(Method::POST, MAPS, map.to_string())).await.0, 201);
    }

    async fn delete(&self, name: &str) {
        let path = format!("{MAPS}/{name}");
        assert_eq!(self.ask(Ask::new(Method::DELETE, &path, "")).await.0, 200);
    }
}

#[test]
fn unusual_ways_to_speak() {
    serving::with_server(async |server, dir| {
        let connection = server.target.http2().await.unwrap();
        let world = World { server, connection, dir };
        watches_over_websockets(&world).await;
        handshakes_that_are_wrong(&world).await;
        tokens_as_subprotocols(&world).await;
        a_forgotten_past(&world).await;
        media_types(&world).await;
        writes_are_answered_as_reads(&world).await;
    });
}

async fn watches_over_websockets(world: &World) {
    world.create("first").await;
    let origin = [("origin", "http://localhost")];
    let path = format!("{MAPS}?watch=1&fieldSelector=metadata.name%3Dfirst");
    let (mut text, _) = socket(&world.server.target, &path, &origin).await.unwrap();
    assert_eq!(event(&mut text).await.0, "ADDED first");
    let accept = [origin[0], ("accept", "application/vnd.kubernetes.protobuf;stream=watch")];
    let (mut binary, _) = socket(&world.server.target, &path, &accept).await.unwrap();
    let Message::Binary(frame) = message(&mut binary).await else { panic!("protobuf is binary") };
    assert_eq!(&frame[..7], b"\x0a\x05ADDED", "the event itself, without its length");
    world.delete("first").await;
    assert_eq!(event(&mut text).await.0, "DELETED first");
    assert!(matches!(message(&mut binary).await, Message::Binary(frame) if frame.starts_with(b"\x0a\x07DELETED")));
    // What the client says is not listened to, and the end is told.
    text.send(Message::text("hello")).await.unwrap();
    let short = format!("{MAPS}?watch=1&timeoutSeconds=1&resourceVersion=0&fieldSelector=metadata.name%3Dnone");
    let (mut ending, _) = socket(&world.server.target, &short, &origin).await.unwrap();
    let Message::Close(Some(goodbye)) = message(&mut ending).await else { panic!("no goodbye") };
    assert_eq!(u16::from(goodbye.code), 1000);
    let (mut error, _) =
        socket(&world.server.target, &format!("{MAPS}?watch=1&resourceVersion=1"), &origin).await.unwrap();
    let (kind, event) = event(&mut error).await;
    assert_eq!((kind.as_str(), &event["object"]["code"]), ("ERROR ", &json!(410)));
}

async fn handshakes_that_are_wrong(world: &World) {
    let path = format!("{MAPS}?watch=1");
    let origin = ("origin", "http://localhost");
    let target = &world.server.target;
    assert_eq!(socket(target, &path, &[]).await.err(), Some(403), "no origin");
    assert_eq!(socket(target, &path, &[origin, ("sec-websocket-version", "8")]).await.err(), Some(400));
    assert_eq!(socket(target, &path, &[origin, ("sec-websocket-protocol", "a, b")]).await.err(), Some(400));
    assert_eq!(socket(target, &format!("{MAPS}?watch=1&labelSelector=%3D"), &[origin]).await.err(), Some(400));
}

async fn tokens_as_subprotocols(world: &World) {
    world.create("token").await;
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "browser" } });
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(world.ask(Ask::new(Method::POST, accounts, account.to_string())).await.0, 201);
    let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
    let path = format!("{accounts}/browser/token");
    let (code, token) = world.ask(Ask::new(Method::POST, &path, request.to_string())).await;
    assert_eq!(code, 201, "{token}");
    let token = BASE64_URL_SAFE_NO_PAD.encode(token["status"]["token"].as_str().unwrap());
    let offered = format!("base64url.bearer.authorization.k8s.io.{token}, events");
    let nobody = world.server.target.nobody(world.dir.path()).unwrap();
    let path = format!("{MAPS}?watch=1");
    let headers = [("origin", "http://localhost"), ("sec-websocket-protocol", offered.as_str())];
    assert_eq!(socket(&nobody, &path, &headers).await.err(), Some(403), "it is known, and may not");
    let binding = json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "browser" },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view" },
        "subjects": [{ "kind": "ServiceAccount", "name": "browser", "namespace": "default" }] });
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    assert_eq!(world.ask(Ask::new(Method::POST, bindings, binding.to_string())).await.0, 201);
    // The policy is followed by a watch: the answer changes when it has come.
    let (mut socket, chosen) = loop {
        match socket(&nobody, &path, &headers).await {
            Ok(opened) => break opened,
            Err(code) => assert_eq!(code, 403),
        }
    };
    assert_eq!(chosen, "events", "the token is not said back");
    let (first, _) = event(&mut socket).await;
    assert!(first.starts_with("ADDED "), "{first}");
}

async fn a_forgotten_past(world: &World) {
    // What was before the server's start is forgotten soon after it.
    let exact = format!("{MAPS}?resourceVersion=1&resourceVersionMatch=Exact");
    let gone = loop {
        match world.ask(Ask::get(&exact)).await {
            (200, list) => assert_eq!(list["items"], json!([])),
            (code, status) => break (code, status["message"].clone()),
        }
    };
    assert_eq!(gone, (410, json!("The resourceVersion for the provided list is too old.")));
}

async fn media_types(world: &World) {
    let cbor = "application/cbor";
    let (code, status) = world.ask(Ask { accept: cbor, ..Ask::get(MAPS) }).await;
    let offers = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
    let message = format!("only the following media types are accepted: {offers}");
    assert_eq!((code, &status["reason"], &status["message"]), (406, &json!("NotAcceptable"), &json!(message)));
    // The refusal itself is YAML.
    let path = format!("{MAPS}?watch=1");
    let yaml = Ask { accept: "application/yaml", ..Ask::get(&path) };
    let refused = world.server.target.send(&mut world.connection.clone(), yaml).await.unwrap();
    let offers = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    assert!(refused.status == 406 && String::from_utf8_lossy(&refused.body).contains(offers));
    let both = Ask { accept: "application/cbor,application/json", ..Ask::get(MAPS) };
    assert_eq!(world.ask(both).await.1["kind"], "ConfigMapList", "the next wish is granted");
    world.create("typed").await;
    let path = format!("{MAPS}/typed");
    for (method, path, content_type, offers) in [
        (Method::POST, MAPS, cbor, "application/json, application/yaml, application/vnd.kubernetes.protobuf"),
        (Method::PUT, &path, cbor, "application/json, application/yaml, application/vnd.kubernetes.protobuf"),
        (
            Method::PATCH,
            &path,
            "application/apply-patch+cbor",
            "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, \
             application/apply-patch+yaml",
        ),
    ] {
        let (code, status) = world.ask(Ask { content_type, ..Ask::new(method, path, "\u{1}") }).await;
        let message =
            format!("the body of the request was in an unknown format - accepted media types include: {offers}");
        assert_eq!(
            (code, &status["reason"], &status["message"]),
            (415, &json!("UnsupportedMediaType"), &json!(message))
        );
    }
}

/// What was written is mostly answered as the bytes that were stored; what was asked for in another version is not.
async fn writes_are_answered_as_reads(world: &World) {
    const SCALERS: &str = "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers";
    let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "echo" }, "data": { "a": "1" } });
    let target = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web" });
    let spec = json!({ "maxReplicas": 3, "targetCPUUtilizationPercentage": 50, "scaleTargetRef": target });
    let api_version = "autoscaling/v1";
    let scaler = json!({ "apiVersion": api_version, "kind": "HorizontalPodAutoscaler", "metadata": { "name": "echo" }, "spec": spec });
    for (collection, object) in [(MAPS, map), (SCALERS, scaler)] {
        let path = format!("{collection}/echo");
        let labels = json!({ "metadata": { "labels": { "a": "1" } } });
        let steps = [
            (Method::POST, collection, &object, 201),
            (Method::PATCH, &path, &labels, 200),
            (Method::PATCH, &path, &labels, 200),
            (Method::PUT, &path, &object, 200),
        ];
        for (method, at, body, expected) in steps {
            let (code, answer) = world.ask(Ask::new(method, at, body.to_string())).await;
            let (_, read) = world.ask(Ask::get(&path)).await;
            assert_eq!((code, &answer["apiVersion"]), (expected, &object["apiVersion"]));
            assert_eq!(answer, read, "{path}");
        }
    }
}
