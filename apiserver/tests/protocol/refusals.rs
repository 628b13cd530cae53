//! Requests that are refused, and how often that is told; and those that only look wrong.

use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::wire::Ask;
use crate::{MAPS, World};

pub async fn refusals(world: &World) {
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

/// Requests that look wrong, and are not.
pub async fn what_is_forgiven(world: &World) {
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
pub async fn as_often_as_upstream(world: &World) {
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

/// A body that never comes ends with what `?timeout=` says.
pub async fn requests_have_an_end(world: &World) {
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

/// What upstream takes, or answers otherwise than one would think.
pub async fn what_upstream_takes(world: &World) {
    let map = |more: Value| {
        let mut map = json!({ "apiVersion": "/v1", "kind": "ConfigMap", "metadata": { "name": "taken" } });
        map["metadata"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        map.to_string()
    };
    // What is no version is none.
    let create =
        Ask::new(Method::POST, MAPS, map(json!({ "resourceVersion": "one", "finalizers": ["example.dev/a"] })));
    assert_eq!(world.ask(create).await.0, 201);
    let path = format!("{MAPS}/taken");
    let (code, status) = world.ask(Ask::get(&format!("{path}?export=true"))).await;
    let export = "the export parameter, deprecated since v1.14, is no longer supported";
    assert_eq!((code, &status["message"]), (400, &json!(export)));
    // In the older way of saying it, who deletes is told that it takes a while.
    for (body, expected) in [("{}", 200), (r#"{"orphanDependents":false}"#, 202)] {
        assert_eq!(world.ask(Ask::new(Method::DELETE, &path, body)).await.0, expected, "{body}");
    }
    let mut patch = Ask::new(Method::PATCH, &path, r#"{"metadata":{"finalizers":null}}"#);
    patch.content_type = "application/merge-patch+json";
    assert_eq!(world.ask(patch).await.0, 200);
    // What is made and never kept has no paths.
    let (code, _) = world.ask(Ask::new(Method::DELETE, "/api/v1/namespaces/default/bindings/b", "")).await;
    assert_eq!(code, 404);
}

/// Managers that make an object too large to be stored go; those of an apply are what it is about.
pub async fn too_large_with_managers(world: &World) {
    let key = |at: usize| format!("a-key-so-long-that-ten-thousand-of-them-are-half-of-what-fits-{at:06}");
    let data: serde_json::Map<String, Value> = (0..11_500).map(|at| (key(at), json!("A"))).collect();
    let map =
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "large" }, "data": data }).to_string();
    let (code, made) = world.ask(Ask::new(Method::POST, MAPS, map)).await;
    assert_eq!((code, made["metadata"].get("managedFields")), (201, None));
    let path = format!("{MAPS}/large?fieldManager=m");
    let bare = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "large" } }).to_string();
    let mut apply = Ask::new(Method::PATCH, &path, bare);
    apply.content_type = "application/apply-patch+yaml";
    let (code, status) = world.ask(apply).await;
    assert_eq!((code, &status["message"]), (500, &json!("etcdserver: request is too large")));
    world.delete("large").await;
}

/// A token is for the account that is meant, and for none that came after it.
pub async fn tokens_for_namesakes(world: &World) {
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let (code, account) = world.ask(Ask::new(Method::POST, accounts, r#"{"metadata":{"name":"somebody"}}"#)).await;
    assert_eq!(code, 201);
    let path = format!("{accounts}/somebody/token");
    let uid = account["metadata"]["uid"].as_str().unwrap();
    for (asked, expected) in [("", 201), (uid, 201), ("another", 409)] {
        let body = json!({ "metadata": { "uid": asked }, "spec": {} }).to_string();
        let (code, told) = world.ask(Ask::new(Method::POST, &path, body)).await;
        assert_eq!(code, expected, "{asked}");
        match code {
            201 => assert_eq!(told["metadata"]["uid"], uid),
            _ => assert!(told["message"].as_str().unwrap().ends_with(&format!(
                "the UID in the token request (another) does not match the UID of the service account ({uid})"
            ))),
        }
    }
}
