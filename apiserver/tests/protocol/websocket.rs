//! Watches over WebSocket, which is what browsers have.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use futures::{SinkExt, StreamExt};
use http::Method;
use serde_json::{Value, json};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::wire::{Ask, Target};
use crate::{MAPS, World};

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

pub async fn watches_over_websockets(world: &World) {
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
}

/// Of a server that has been started again, and knows nothing of what was before.
pub async fn errors_are_events(target: &Target) {
    let path = format!("{MAPS}?watch=1&resourceVersion=1");
    let (mut error, _) = socket(target, &path, &[("origin", "http://localhost")]).await.unwrap();
    let (kind, event) = event(&mut error).await;
    assert_eq!((kind.as_str(), &event["object"]["code"]), ("ERROR ", &json!(410)));
}

pub async fn handshakes_that_are_wrong(world: &World) {
    let path = format!("{MAPS}?watch=1");
    let origin = ("origin", "http://localhost");
    let target = &world.server.target;
    assert_eq!(socket(target, &path, &[]).await.err(), Some(403), "no origin");
    assert_eq!(socket(target, &path, &[origin, ("sec-websocket-version", "8")]).await.err(), Some(400));
    assert_eq!(socket(target, &path, &[origin, ("sec-websocket-protocol", "a, b")]).await.err(), Some(400));
    assert_eq!(socket(target, &format!("{MAPS}?watch=1&labelSelector=%3D"), &[origin]).await.err(), Some(400));
}

pub async fn tokens_as_subprotocols(world: &World) {
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
