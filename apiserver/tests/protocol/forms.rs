//! In what form things are answered: media types, for people, discovery, items, what was written.

use http::Method;
use serde_json::{Value, json};

use crate::wire::Ask;
use crate::{MAPS, MEDIA, World};

pub async fn media_types(world: &World) {
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

/// To say what they are; and objects are written as upstream writes them, the name near the front.
pub async fn items_leave_it_to_their_list(world: &World) {
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

pub async fn for_people(world: &World) {
    let path = format!("{MAPS}/target?pretty=1");
    for path in ["/version", "/", "/api?pretty=true", &path, &format!("{MAPS}?limit=1&pretty=1")] {
        let answer = world.server.target.send(&mut world.connection.clone(), Ask::get(path)).await.unwrap();
        assert!(answer.status == 200 && answer.body.starts_with(b"{\n  \"") && answer.body.ends_with(b"\n}"), "{path}");
    }
}

/// What a bookmark says stands in the one row of its Table, also for those who want no objects in theirs.
pub async fn bookmarks_are_rows(world: &World) {
    let accept = "application/json;as=Table;v=v1;g=meta.k8s.io";
    let whole = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1";
    for (include, kind) in [("", "PartialObjectMetadata"), ("None", "PartialObjectMetadata"), ("Object", "ConfigMap")] {
        let path = format!("/api/v1/namespaces/nowhere/configmaps?watch=1&{whole}&includeObject={include}");
        let (code, event) = world.ask(Ask { accept, ..Ask::get(&path) }).await;
        let (table, row) = (&event["object"], &event["object"]["rows"][0]);
        assert_eq!((code, &event["type"]), (200, &json!("BOOKMARK")));
        assert_eq!(row["cells"], json!(["", 0, "<unknown>"]));
        assert_eq!((&row["object"]["kind"], table["rows"].as_array().map(Vec::len)), (&json!(kind), Some(1)));
        let metadata = &row["object"]["metadata"];
        assert_eq!(metadata["annotations"]["k8s.io/initial-events-end"], "true");
        assert_eq!(metadata["resourceVersion"], table["metadata"]["resourceVersion"]);
    }
}

/// Whoever gets the objects there are without having asked for them is told when that was all, too; and once more how far it is
/// before the watch ends.
pub async fn bookmarks_say_how_far_it_is(world: &World) {
    let told = async |path: &str| {
        let path = format!("{path}?watch=1&allowWatchBookmarks=true&timeoutSeconds=3");
        let answer = world.server.target.send(&mut world.connection.clone(), Ask::get(&path)).await.unwrap();
        let lines = answer.body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut events: Vec<Value> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
        for event in &mut events {
            assert_eq!(event["type"], "BOOKMARK", "{event}");
            assert!(event["object"]["metadata"]["resourceVersion"].take().is_string());
        }
        events.iter_mut().map(|event| event["object"].take()).collect::<Vec<_>>()
    };
    let end = json!({ "annotations": { "k8s.io/initial-events-end": "true" }, "resourceVersion": null });
    let object = |metadata: &Value| {
        let spec = json!({ "replicas": 0, "selector": null, "strategy": {},
            "template": { "metadata": {}, "spec": { "containers": null } } });
        json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec, "status": {} })
    };
    let expected = [object(&end), object(&json!({ "resourceVersion": null }))];
    assert_eq!(told("/apis/apps/v1/namespaces/nowhere/deployments").await, expected);
}

pub async fn discovery_is_kept(world: &World) {
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
pub async fn writes_are_answered_as_reads(world: &World) {
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
