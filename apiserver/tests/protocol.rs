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
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error, Message};
use wire::{Ask, Connection, Target};

const MEDIA: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
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
        media_types(&world).await;
        refusals(&world).await;
        what_is_forgiven(&world).await;
        as_often_as_upstream(&world).await;
        items_leave_it_to_their_list(&world).await;
        for_people(&world).await;
        discovery_is_kept(&world).await;
        writes_are_answered_as_reads(&world).await;
        patches_are_looked_at(&world).await;
        scales(&world).await;
        applied_values(&world).await;
        requests_have_an_end(&world).await;
        odd_addresses_are_taken(&world).await;
        devices_for_administrators(&world).await;
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

async fn media_types(world: &World) {
    let cbor = "application/cbor";
    for accept in ["application/json;as=Table", "application/json;v=v1;g=meta.k8s.io", "application/json;stream=x"] {
        assert_eq!(world.ask(Ask { accept, ..Ask::get(MAPS) }).await.0, 406, "{accept}");
    }
    let partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
    let (code, status) = world.ask(Ask { accept: partial, ..Ask::get(MAPS) }).await;
    let text = "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)";
    assert_eq!((code, &status["message"]), (406, &json!(text)));
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let path = format!("{MAPS}?includeObject=x");
    let (code, status) = world.ask(Ask { accept: table, ..Ask::get(&path) }).await;
    let text = "Unable to convert to Table as requested: includeObject: Invalid value: \"x\": must be 'Metadata', 'Object', 'None', \
                or empty";
    assert_eq!((code, &status["message"]), (400, &json!(text)));
    let (code, status) = world.ask(Ask { accept: cbor, ..Ask::get(MAPS) }).await;
    let watches = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
    let message = format!("406: Not Acceptable\n\nAvailable representations: {MEDIA}, {watches}");
    assert_eq!((code, &status["reason"], &status["message"]), (406, &json!("NotAcceptable"), &json!(message)));
    // Services that offer one form, whatever its parameters.
    for (path, form) in [
        ("/version", "application/json"),
        ("/.well-known/openid-configuration", "application/json"),
        ("/openid/v1/jwks", "application/jwk-set+json"),
    ] {
        for accept in ["text/plain", "application/*"] {
            let (code, status) = world.ask(Ask { accept, ..Ask::get(path) }).await;
            let message = format!("406: Not Acceptable\n\nAvailable representations: {form}");
            assert_eq!((code, &status["message"]), (406, &json!(message)), "{path} {accept}");
        }
        let weighed = format!("text/plain, {form};q=0.1");
        for accept in ["*/*", &weighed] {
            assert_eq!(world.ask(Ask { accept, ..Ask::get(path) }).await.0, 200, "{path} {accept}");
        }
    }
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
    let unknown = format!(
        "the body of the request was in an unknown format - accepted media types include: {offers}",
        offers = MEDIA
    );
    for (method, path, content_type, message) in [
        (Method::POST, MAPS, cbor, unknown.as_str()),
        (Method::PUT, &path, cbor, unknown.as_str()),
        (Method::PATCH, &path, "application/apply-patch+cbor", "415: Unsupported Media Type"),
    ] {
        let (code, status) = world.ask(Ask { content_type, ..Ask::new(method, path, "\u{1}") }).await;
        assert_eq!(
            (code, &status["reason"], &status["message"]),
            (415, &json!("UnsupportedMediaType"), &json!(message))
        );
    }
}

/// Requests that are refused, and the words of it.
async fn patches_are_looked_at(world: &World) {
    world.create("patched").await;
    let strict = format!("{MAPS}/patched?fieldValidation=Strict");
    for (content_type, body, complaint) in [
        ("application/merge-patch+json", r#"{"data":{"a":"1","a":"2"}}"#, r#"duplicate field "data.a""#),
        ("application/strategic-merge-patch+json", r#"{"x":1,"x":2}"#, r#"duplicate field "x", unknown field "x""#),
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/data","path":"/data","value":{},"x":1}]"#,
            r#"json patch duplicate field "[0].path", json patch unknown field "[0].x""#,
        ),
        (
            "application/json-patch+json",
            r#"[{"op":"add","path":"/data","value":{"a":"1","a":"2"}}]"#,
            r#"json patch duplicate field "[0].value.a", duplicate field "data.a""#,
        ),
    ] {
        let ask = Ask { content_type, ..Ask::new(Method::PATCH, &strict, body) };
        let (code, status) = world.ask(ask).await;
        let message = status["message"].as_str().unwrap();
        assert_eq!(code, 422, "{message}");
        assert!(message.ends_with(&format!(": strict decoding error: {complaint}")), "{message}");
    }
    let (code, status) = world.ask(Ask::new(Method::PATCH, &strict, r#"{"data":1}"#)).await;
    let message = status["message"].as_str().unwrap();
    let shown = r#"Invalid value: "{\"apiVersion\":\"v1\",\"data\":1,\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"patched\",\"namespace\""#;
    assert_eq!(code, 422);
    assert!(message.contains(shown), "{message}");
    let drivers = "/apis/storage.k8s.io/v1/csidrivers";
    let driver = r#"{"metadata":{"name":"patched"},"spec":{}}"#;
    assert_eq!(world.ask(Ask::new(Method::POST, drivers, driver)).await.0, 201);
    let no_version = r#"csidrivers.storage.k8s.io "patched" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update"#;
    for (content_type, body, expected) in [
        ("application/merge-patch+json", r#"{"metadata":{"resourceVersion":null}}"#, no_version),
        ("application/json-patch+json", r#"[{"op":"remove","path":"/metadata/resourceVersion"}]"#, no_version),
        ("application/strategic-merge-patch+json", r#"{"metadata":{"$patch":"replace","name":"patched"}}"#, no_version),
        (
            "application/strategic-merge-patch+json",
            r#"{"metadata":{"$retainKeys":["name"]},"kind":0}"#,
            r#" "" is invalid: patch: Invalid value: "map[kind:0 metadata:map[]]": cannot convert int64 to string"#,
        ),
    ] {
        let path = format!("{drivers}/patched");
        let (code, status) = world.ask(Ask { content_type, ..Ask::new(Method::PATCH, &path, body) }).await;
        assert_eq!((code, &status["message"]), (422, &json!(expected)), "{body}");
    }
}

async fn scales(world: &World) {
    let sets = "/apis/apps/v1/namespaces/default/replicasets";
    let set = json!({ "metadata": { "name": "scaled" }, "spec": { "selector": { "matchLabels": { "a": "b" } }, "replicas": 0,
        "template": { "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } } } });
    assert_eq!(world.ask(Ask::new(Method::POST, sets, set.to_string())).await.0, 201);
    let scale = format!("{sets}/scaled/scale");
    let (code, none) = world.ask(Ask::get(&scale)).await;
    assert_eq!((code, &none["spec"]), (200, &json!({})), "as Go writes a zero");
    let path = |query: &str| format!("{scale}{query}");
    let apply = "application/apply-patch+yaml";
    let of = |replicas: i64| {
        json!({ "apiVersion": "autoscaling/v1", "kind": "Scale", "spec": { "replicas": replicas } }).to_string()
    };
    let rows = [
        (
            "",
            path(""),
            r#"{"spec":{"replicas":"x"}}"#.to_owned(),
            422,
            "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32",
        ),
        (
            "",
            path(""),
            r#"{"kind":"X"}"#.to_owned(),
            422,
            r#"no kind "X" is registered for version "autoscaling/v1" in scheme "pkg/api/legacyscheme/scheme.go:30""#,
        ),
        ("", path("?fieldValidation=Strict"), r#"{"spec":{"x":1}}"#.to_owned(), 422, r#"unknown field "spec.x""#),
        (
            "",
            path(""),
            r#"{"metadata":{"uid":"x"}}"#.to_owned(),
            409,
            "Precondition failed: UID in precondition: x, UID in object meta: UID",
        ),
        (
            apply,
            path("?fieldManager=a"),
            of(2),
            409,
            "Apply failed with 1 conflict: conflict with \"owner\" using autoscaling/v1: .spec.replicas",
        ),
        (apply, path("?fieldManager=a&force=true"), of(2), 200, ""),
        (
            apply,
            path("?fieldManager=b"),
            of(3),
            409,
            "Apply failed with 1 conflict: conflict with \"a\" with subresource \"scale\": .spec.replicas",
        ),
    ];
    let uid = none["metadata"]["uid"].as_str().unwrap();
    let owned = format!("{sets}/scaled?fieldManager=owner");
    assert_eq!(world.ask(Ask::new(Method::PATCH, &owned, r#"{"spec":{"replicas":1}}"#)).await.0, 200);
    for (content_type, path, body, code, text) in rows {
        let ask = Ask::new(Method::PATCH, &path, body);
        let ask = if content_type.is_empty() { ask } else { Ask { content_type, ..ask } };
        let (got, answer) = world.ask(ask).await;
        let message = answer["message"].as_str().unwrap_or_default().replace(uid, "UID");
        assert_eq!(got, code, "{message}");
        assert!(message.ends_with(text), "{message}");
    }
    let (_, set) = world.ask(Ask::get(&format!("{sets}/scaled"))).await;
    let entries = set["metadata"]["managedFields"].as_array().unwrap();
    let a = entries.iter().find(|entry| entry["manager"] == "a").unwrap();
    assert_eq!((&a["apiVersion"], &a["subresource"]), (&json!("apps/v1"), &json!("scale")));
    assert_eq!(a["fieldsV1"], json!({ "f:spec": { "f:replicas": {} } }));
}

/// What is applied counts as it is written, and is read when all is merged.
async fn applied_values(world: &World) {
    let pods = "/api/v1/namespaces/default/replicationcontrollers";
    let spec =
        |pod: Value| json!({ "replicas": 0, "template": { "metadata": { "labels": { "a": "b" } }, "spec": pod } });
    let pod = |cpu: Value| json!({ "containers": [{ "name": "c", "image": "i", "resources": { "limits": { "cpu": cpu } } }] });
    let created = json!({ "metadata": { "name": "values" }, "spec": spec(pod("1500m".into())) });
    let path = format!("{pods}?fieldManager=owner");
    assert_eq!(world.ask(Ask::new(Method::POST, &path, created.to_string())).await.0, 201);
    let prefix = "failed to convert new object (/values; /v1, Kind=ReplicationController) to proper version: unable to \
                  convert unstructured object to /v1, Kind=ReplicationController: ";
    let cpu = ".spec.template.spec.containers[name=\"c\"].resources.limits.cpu";
    let path = format!("{pods}/values?fieldManager=m&dryRun=All");
    for (pod, code, expected) in [
        (pod("1500m".into()), 200, String::new()),
        (pod(json!(1.5)), 409, format!("Apply failed with 1 conflict: conflict with \"owner\" using v1: {cpu}")),
        (pod("abc".into()), 409, format!("Apply failed with 1 conflict: conflict with \"owner\" using v1: {cpu}")),
        (json!({ "activeDeadlineSeconds": 1.5 }), 500, format!("{prefix}cannot convert float64 to int64")),
        (json!({ "activeDeadlineSeconds": null, "hostname": "h" }), 200, String::new()),
    ] {
        let config = json!({ "apiVersion": "v1", "kind": "ReplicationController", "spec": spec(pod) });
        let ask =
            Ask { content_type: "application/apply-patch+yaml", ..Ask::new(Method::PATCH, &path, config.to_string()) };
        let (got, answer) = world.ask(ask).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert_eq!((got, message), (code, expected.as_str()), "{config}");
    }
}

async fn refusals(world: &World) {
    const NO_METHOD: &str = "the server does not allow this method on the requested resource";
    const NO_ROUTE: &str = "the server could not find the requested resource";
    const NO_PATCH: &str = "the server rejected our request due to an error in our request";
    let (json_patch, apply) = ("application/json-patch+json", "application/apply-patch+yaml");
    world.create("target").await;
    let one = format!("{MAPS}/target");
    let at = |query: &str| format!("{MAPS}{query}");
    let of = |rest: &str| format!("{one}{rest}");
    let invalid = |kind: &str, text: &str| format!("{kind}.meta.k8s.io \"\" is invalid: {text}");
    let named = r#"{"metadata":{"name":"target"}}"#;
    let (get, post, put, patch, delete) = (Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let rows: Vec<(&Method, String, &str, &str, u16, String)> = vec![
        // Paths and methods.
        (&delete, "/api/v1/configmaps".into(), "", "", 405, NO_METHOD.into()),
        (&post, "/api/v1/configmaps".into(), "", named, 405, NO_METHOD.into()),
        (&put, MAPS.into(), "", named, 405, NO_METHOD.into()),
        (&post, one.clone(), "", named, 405, NO_METHOD.into()),
        (&delete, "/api/v1/namespaces".into(), "", "", 405, NO_METHOD.into()),
        (&post, "/version".into(), "", "", 405, NO_METHOD.into()),
        (&get, "/api/v1/bindings".into(), "", "", 404, NO_ROUTE.into()),
        (&get, of("/nothing"), "", "", 404, NO_ROUTE.into()),
        (&get, "/api/v1/nodes/a/status/b".into(), "", "", 404, NO_ROUTE.into()),
        // Options.
        (&get, at("?limit=x"), "", "", 400, r#"strconv.ParseInt: parsing "x": invalid syntax"#.into()),
        (&delete, at("?limit=x"), "", "", 400, r#"strconv.ParseInt: parsing "x": invalid syntax"#.into()),
        (
            &get,
            at("?resourceVersion=x"),
            "",
            "",
            400,
            r#"invalid resource version: resourceVersion: Invalid value: "x": strconv.ParseUint: parsing "x": invalid syntax"#.into(),
        ),
        (
            &delete,
            at("?sendInitialEvents=true"),
            "",
            "",
            422,
            invalid("ListOptions", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list"),
        ),
        (
            &get,
            at("?fieldSelector=data%3Dx"),
            "",
            "",
            400,
            r#""data" is not a known field selector: only "metadata.name", "metadata.namespace""#.into(),
        ),
        (&get, "/api/v1/nodes?fieldSelector=metadata.namespace%3Dx".into(), "", "", 400, "field label not supported: metadata.namespace".into()),
        (
            &get,
            at("?timeout=1"),
            "",
            "",
            400,
            r#"invalid timeout specified in the request URL - time: missing unit in duration "1""#.into(),
        ),
        (
            &post,
            at("?dryRun=all"),
            "",
            named,
            422,
            invalid("CreateOptions", r#"dryRun: Unsupported value: ["all"]: supported values: "All""#),
        ),
        (&post, at("?dryRun=All"), "", named, 409, r#"configmaps "target" already exists"#.into()),
        // Patches: what is not there is not found, whatever the patch is; media types are compared as they are written.
        (&patch, of("-absent"), "", "{", 404, "configmaps \"target-absent\" not found".into()),
        (&patch, one.clone(), "", "{", 400, "error decoding patch: unexpected end of JSON input".into()),
        (&patch, of("?fieldValidation=Ignore"), "", "{", 400, "Invalid JSON Patch".into()),
        (&patch, of("?fieldValidation=Ignore"), json_patch, "{}", 400, "json: cannot unmarshal object into Go value of type jsonpatch.Patch".into()),
        (&patch, one.clone(), "APPLICATION/MERGE-PATCH+JSON", "{}", 415, "415: Unsupported Media Type".into()),
        (&patch, one.clone(), "application/apply-patch+json", "{}", 415, "415: Unsupported Media Type".into()),
        (&patch, of("?force=true"), "", "{}", 422, invalid("PatchOptions", "force: Forbidden: may not be specified for non-apply patch")),
        (
            &delete,
            one.clone(),
            "",
            r#"{"propagationPolicy":"Orphan","orphanDependents":false,"dryRun":["x"]}"#,
            422,
            invalid(
                "DeleteOptions",
                "[propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set, \
                 dryRun: Unsupported value: [\"x\"]: supported values: \"All\"]",
            ),
        ),
        (
            &delete,
            one.clone(),
            "",
            r#"{"dryRun":"All"}"#,
            400,
            "json: cannot unmarshal string into Go struct field DeleteOptions.dryRun of type []string".into(),
        ),
        (
            &delete,
            one.clone(),
            "",
            r#"{"preconditions":{"resourceVersion":"1"}}"#,
            409,
            "Operation cannot be fulfilled on ConfigMap \"target\": the ResourceVersion in the precondition (1) does not match the \
             ResourceVersion in record (RV). The object might have been modified"
                .into(),
        ),
        // What is written.
        (
            &put,
            of("-absent"),
            "",
            named,
            400,
            "the name of the object (target) does not match the name on the URL (target-absent)".into(),
        ),
        (&put, one.clone(), "", "{}", 400, "the name of the object (target based on URL) was undeterminable: name must be provided".into()),
        (
            &put,
            one.clone(),
            "",
            r#"{"metadata":{"name":"target","resourceVersion":"x"}}"#,
            500,
            r#"strconv.ParseUint: parsing "x": invalid syntax"#.into(),
        ),
        (
            &post,
            MAPS.into(),
            "",
            r#"{"metadata":{"name":"x","finalizers":["x"]}}"#,
            422,
            "ConfigMap \"x\" is invalid: metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor \
             is it fully qualified"
                .into(),
        ),
        (
            &post,
            MAPS.into(),
            "",
            r#"{"metadata":{"name":"target","generateName":"t"}}"#,
            409,
            r#"configmaps "target" already exists, the server was not able to generate a unique name for the object"#.into(),
        ),
        // Patches.
        (&patch, one.clone(), "", r#"{"metadata":{"uid":"x"}}"#, 422, "ConfigMap \"target\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable".into()),
        (
            &patch,
            one.clone(),
            "",
            r#"{"metadata":{"finalizers":["x"]}}"#,
            422,
            "ConfigMap \"target\" is invalid: metadata.finalizers[0]: Invalid value: \"x\": name is neither a standard finalizer name nor \
             is it fully qualified"
                .into(),
        ),
        (
            &patch,
            of("?fieldManager=m"),
            apply,
            "{apiVersion: v1, kind: ConfigMap, metadata: {managedFields: [{}], ownerReferences: [{uid: a}, {uid: a}]}}",
            400,
            "metadata.managedFields must be nil".into(),
        ),
        (
            &patch,
            of("?fieldManager=m"),
            apply,
            "{apiVersion: v1, kind: ConfigMap, metadata: {name: other}}",
            400,
            "the name of the object (other) does not match the name on the URL (target)".into(),
        ),
        (&patch, one.clone(), "", "{} x", 400, "error decoding patch: invalid character 'x' after top-level value".into()),
        (&patch, one.clone(), json_patch, r#"[{"op":"test","path":"/data/a","value":"b"}]"#, 422, NO_PATCH.into()),
        (
            &patch,
            one.clone(),
            "application/strategic-merge-patch+json",
            r#"{"data":[1]}"#,
            422,
            " \"\" is invalid: patch: Invalid value: \"map[data:[1]]\": cannot restore map from slice"
                .into(),
        ),
        (&patch, of("?fieldManager=m"), apply, "{}", 400, "invalid object type: /, Kind=".into()),
        (&patch, of("?fieldManager=m"), apply, "apiVersion: v1\nkind: Pod", 400, "invalid object type: /v1, Kind=Pod".into()),
        (
            &patch,
            of("?fieldManager=m"),
            apply,
            "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: other}}",
            400,
            "the namespace of the provided object does not match the namespace sent on the request".into(),
        ),
    ];
    let (_, live) = world.ask(Ask::get(&one)).await;
    let revision = format!("({})", live["metadata"]["resourceVersion"].as_str().unwrap());
    for (method, path, content_type, body, code, message) in rows {
        let mut ask = Ask::new(method.clone(), &path, body.to_owned());
        if !content_type.is_empty() {
            ask.content_type = content_type;
        }
        let (found, status) = world.ask(ask).await;
        let said = status["message"].as_str().unwrap_or_default().replace(&revision, "(RV)");
        assert_eq!((found, said), (code, message), "{method} {path} {body}");
    }
    let (_, after) = world.ask(Ask::get(&one)).await;
    assert_eq!(after, live, "what is refused changes nothing");
    let answer = world.server.target.send(&mut world.connection.clone(), Ask::get("/apis/nothing/v1/x")).await.unwrap();
    assert_eq!((answer.status, &answer.body[..]), (404, &b"404 page not found\n"[..]));
}

/// To say what they are; and objects are written as upstream writes them, the name near the front.
async fn items_leave_it_to_their_list(world: &World) {
    let target = &world.server.target;
    let answer = target.send(&mut world.connection.clone(), Ask::get(&format!("{MAPS}?limit=1"))).await.unwrap();
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.starts_with(r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"#), "{text}");
    assert!(text.contains(r#""items":[{"metadata":{"name":""#), "{text}");
    let path = format!("{MAPS}?limit=1");
    let yaml = Ask { accept: "application/yaml", ..Ask::get(&path) };
    let answer = target.send(&mut world.connection.clone(), yaml).await.unwrap();
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert_eq!((text.matches("kind:").count(), text.matches("kind: ConfigMapList").count()), (1, 1), "{text}");
    let answer = target.send(&mut world.connection.clone(), Ask::get(&format!("{MAPS}/target"))).await.unwrap();
    let text = std::str::from_utf8(&answer.body).unwrap();
    assert!(text.starts_with(r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"target","#), "{text}");
}

/// Requests that look wrong, and are not.
async fn what_is_forgiven(world: &World) {
    let versioned = json!({ "metadata": { "name": "versioned", "resourceVersion": "7" } }).to_string();
    let (code, map) = world.ask(Ask::new(Method::POST, &format!("{MAPS}?dryRun=All"), versioned.clone())).await;
    assert_eq!((code, &map["metadata"]["resourceVersion"]), (201, &json!("7")), "what is not stored keeps it");
    let (code, refusal) = world.ask(Ask::new(Method::POST, MAPS, versioned)).await;
    assert_eq!(
        (code, &refusal["message"]),
        (500, &json!("resourceVersion should not be set on objects to be created"))
    );
    let one = format!("{MAPS}/target");
    let zero = r#"{"metadata":{"name":"target","resourceVersion":"0"}}"#;
    assert_eq!(world.ask(Ask::new(Method::PUT, &one, zero)).await.0, 200, "no version in particular");
    let (code, map) = world.ask(Ask::get(&format!("{one}?watch=1"))).await;
    assert_eq!((code, &map["kind"]), (200, &json!("ConfigMap")), "only collections are watched");
    let (_, all) = world.ask(Ask::get(&format!("{MAPS}?resourceVersion=0&limit=1"))).await;
    assert!(all["items"].as_array().unwrap().len() > 1 && all["metadata"]["continue"].is_null(), "{all}");
    let owner = json!({ "apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u" });
    let owned = json!({ "metadata": { "name": "owned", "ownerReferences": [owner, owner] } });
    let (code, owned) = world.ask(Ask::new(Method::POST, MAPS, owned.to_string())).await;
    assert_eq!((code, &owned["metadata"]["ownerReferences"]), (201, &json!([owner])));
    assert_eq!(world.ask(Ask::new(Method::DELETE, &format!("{MAPS}/owned"), "null")).await.0, 200);
}

/// Rules that are asked twice are told twice, and labels are the template's or one's own.
async fn as_often_as_upstream(world: &World) {
    let (jobs, none) = ("/apis/batch/v1/namespaces/default/jobs", json!({}));
    let told = |status: &Value| {
        let causes = status["details"]["causes"].as_array().cloned().unwrap_or_default();
        causes.iter().map(|cause| cause["field"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    let made = json!({ "metadata": { "name": "told" }, "immutable": true });
    assert_eq!(world.ask(Ask::new(Method::POST, MAPS, made.to_string())).await.0, 201);
    let changed = json!({ "metadata": { "name": "told", "labels": { "!": "" } }, "data": { "a": "b", "!": "c" } });
    let (code, status) = world.ask(Ask::new(Method::PUT, &format!("{MAPS}/told"), changed.to_string())).await;
    let label = "metadata.labels";
    assert_eq!(
        (code, told(&status)),
        (422, [label, label, label, "immutable", "data", label, "data[!]"].map(String::from).into())
    );
    let text = status["message"].as_str().unwrap_or_default();
    assert_eq!(text.matches(label).count(), 1, "{text}");
    let job = |labels: &Value, template: &Value| {
        json!({ "metadata": { "name": "j", "labels": labels }, "spec": { "template": { "metadata": { "labels": template },
            "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } } })
    };
    let own = json!({ "a": "b" });
    for (labels, template, count) in [(&none, &none, 4), (&none, &own, 5), (&own, &own, 1), (&own, &none, 1)] {
        let path = format!("{jobs}?dryRun=All");
        let (code, made) = world.ask(Ask::new(Method::POST, &path, job(labels, template).to_string())).await;
        let labels = made["metadata"]["labels"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!((code, labels), (201, count), "{made}");
    }
}

async fn for_people(world: &World) {
    let path = format!("{MAPS}/target?pretty=1");
    for path in ["/version", "/", "/api?pretty=true", &path, &format!("{MAPS}?limit=1&pretty=1")] {
        let answer = world.server.target.send(&mut world.connection.clone(), Ask::get(path)).await.unwrap();
        assert!(answer.status == 200 && answer.body.starts_with(b"{\n  \"") && answer.body.ends_with(b"\n}"), "{path}");
    }
}

async fn discovery_is_kept(world: &World) {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let mut connection = world.connection.clone();
    let answer = world.server.target.open(&mut connection, Ask { accept, ..Ask::get("/apis") }).await.unwrap();
    let headers = answer.headers();
    assert_eq!((&headers["cache-control"], &headers["vary"]), (&"public".parse().unwrap(), &"Accept".parse().unwrap()));
    assert!(headers["etag"].to_str().unwrap().len() == 2 + 128);
    for (path, accept, code) in [
        ("/apis", "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList", 406),
        ("/apis", "text/html", 406),
        ("/version", "text/html", 406),
        ("/version", "application/json;as=Table;v=v1;g=meta.k8s.io", 200),
        ("/apis/apps", "text/html,application/json", 200),
    ] {
        assert_eq!(world.ask(Ask { accept, ..Ask::get(path) }).await.0, code, "{path} {accept}");
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

/// A body that never comes ends with what `?timeout=` says.
async fn requests_have_an_end(world: &World) {
    let mut stream = world.server.target.bare().await.unwrap();
    let head = "POST /api/v1/namespaces/default/configmaps?timeout=50ms HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let end = tokio::time::timeout(std::time::Duration::from_secs(30), stream.read_to_end(&mut answer));
    let _ = end.await.expect("the request goes on for ever");
    let answer = String::from_utf8_lossy(&answer);
    let message = r#""message":"Timeout: request did not complete within the allotted timeout","reason":"Timeout","details":{},"code":504"#;
    assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains(message), "{answer}");
    // A list of a revision to come is refused at once, and told apart from one that may come.
    let (code, status) =
        world.ask(Ask::get(&format!("{MAPS}?resourceVersion=999999&resourceVersionMatch=Exact"))).await;
    assert_eq!(
        (code, &status["reason"], &status["details"]["retryAfterSeconds"]),
        (504, &json!("Timeout"), &Value::Null)
    );
    let text = status["message"].as_str().unwrap();
    assert!(text.starts_with("Timeout: Too large resource version: 999999, current: "), "{text}");
}

/// Forms of addresses that parsers of old let pass are still taken, kept as they are, and warned of.
async fn odd_addresses_are_taken(world: &World) {
    let service = json!({ "apiVersion": "v1", "kind": "Service", "metadata": { "name": "odd" }, "spec": {
        "ports": [{ "port": 80 }], "clusterIP": "10.96.000.99", "externalIPs": ["010.1.2.3"] } });
    let path = "/api/v1/namespaces/default/services";
    let ask = Ask::new(Method::POST, path, service.to_string());
    let answer = world.server.target.open(&mut world.connection.clone(), ask).await.unwrap();
    assert_eq!(answer.status(), 201);
    let warnings: Vec<&str> = answer.headers().get_all("warning").iter().map(|w| w.to_str().unwrap()).collect();
    assert_eq!(
        warnings,
        [
            r#"299 - "spec.clusterIPs[0]: non-standard IP address \"10.96.000.99\" is invalid: use \"10.96.0.99\"""#,
            r#"299 - "spec.externalIPs[0]: non-standard IP address \"010.1.2.3\" is invalid: use \"10.1.2.3\"""#,
        ]
    );
    let (_, kept) = world.ask(Ask::get(&format!("{path}/odd"))).await;
    assert_eq!(kept["spec"]["clusterIPs"], json!(["10.96.000.99"]));
    let (code, address) = world.ask(Ask::get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.99")).await;
    assert_eq!((code, &address["spec"]["parentRef"]["name"]), (200, &json!("odd")));
    assert_eq!(world.ask(Ask::new(Method::DELETE, &format!("{path}/odd"), "")).await.0, 200);
    assert_eq!(world.ask(Ask::get("/apis/networking.k8s.io/v1/ipaddresses/10.96.0.99")).await.0, 404);
}

/// They are for namespaces that are marked so.
async fn devices_for_administrators(world: &World) {
    let claim = json!({ "apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": { "name": "c" },
        "spec": { "devices": { "requests": [
            { "name": "r", "exactly": { "deviceClassName": "d", "adminAccess": true } }] } } });
    let path = "/apis/resource.k8s.io/v1/namespaces/default/resourceclaims";
    let create = || Ask::new(Method::POST, path, claim.to_string());
    let (code, status) = world.ask(create()).await;
    let expected = "ResourceClaim.resource.k8s.io \"c\" is invalid: spec.devices.requests[0].adminAccess: Forbidden: admin access \
                    to devices requires the `resource.kubernetes.io/admin-access: true` label on the containing namespace";
    assert_eq!((code, &status["message"]), (422, &json!(expected)));
    let label = json!({ "metadata": { "labels": { "resource.kubernetes.io/admin-access": "true" } } });
    let mut ask = Ask::new(Method::PATCH, "/api/v1/namespaces/default", label.to_string());
    ask.content_type = "application/merge-patch+json";
    assert_eq!(world.ask(ask).await.0, 200);
    assert_eq!(world.ask(create()).await.0, 201);
}
