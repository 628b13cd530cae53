//! What is patched or applied, by way of a Scale, too.

use http::Method;
use serde_json::{Value, json};

use crate::wire::Ask;
use crate::{MAPS, World};

/// Requests that are refused, and the words of it.
pub async fn patches_are_looked_at(world: &World) {
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

pub async fn scales(world: &World) {
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
pub async fn applied_values(world: &World) {
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
