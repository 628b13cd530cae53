//! Conversion webhooks of custom resources.

mod support;

use serde_json::{Value, json};
use support::hook::Hook;
use support::{APPLY, Server, kubectl_is_missing};

/// v1 has `spec.hostPort`, v2 `spec.host` and `spec.port`. On the path `/fail` nothing is converted, on `/lie` too much is.
fn answer(path: &str, review: &Value) -> Value {
    let request = &review["request"];
    let to = request["desiredAPIVersion"].as_str().unwrap();
    let convert = |object: &Value| {
        let mut new = object.clone();
        new["apiVersion"] = to.into();
        let spec = &object["spec"];
        if to.ends_with("v2") {
            let (host, port) = spec["hostPort"].as_str().unwrap_or(":").split_once(':').unwrap();
            new["spec"] = json!({ "host": host, "port": port });
        } else {
            let (host, port) = (spec["host"].as_str().unwrap_or_default(), spec["port"].as_str().unwrap_or_default());
            new["spec"] = json!({ "hostPort": format!("{host}:{port}") });
        }
        if path == "/lie" {
            new["metadata"]["name"] = "other".into();
        }
        new
    };
    let result = if path == "/fail" {
        json!({ "status": "Failure", "message": "cannot" })
    } else {
        json!({ "status": "Success" })
    };
    let objects: Vec<Value> = request["objects"].as_array().unwrap().iter().map(convert).collect();
    json!({ "kind": "ConversionReview", "apiVersion": review["apiVersion"],
        "response": { "uid": request["uid"], "result": result, "convertedObjects": objects } })
}

fn definition(hook: &Hook, path: &str, storage: &str) -> String {
    let text = json!({ "type": "string" });
    let version = |name: &str, fields: Value| {
        let spec = json!({ "type": "object", "properties": fields });
        let selectable: Vec<Value> =
            fields.as_object().unwrap().keys().map(|field| json!({ "jsonPath": format!(".spec.{field}") })).collect();
        json!({ "name": name, "served": true, "storage": name == storage, "selectableFields": selectable,
            "schema": { "openAPIV3Schema": { "type": "object", "properties": { "spec": spec } } } })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": "places.example.com" },
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": { "kind": "Place", "plural": "places", "singular": "place" },
            "versions": [version("v1", json!({ "hostPort": text })), version("v2", json!({ "host": text, "port": text }))],
            "conversion": { "strategy": "Webhook",
                "webhook": { "clientConfig": hook.url(path), "conversionReviewVersions": ["v1"] } },
        },
    })
    .to_string()
}

#[test]
fn objects_are_served_in_the_version_asked_for() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("conversion");
    let hook = Hook::start(answer);
    server.ok(APPLY, &definition(&hook, "/convert", "v1"));
    server.ok(&["wait", "--for=condition=Established", "crd/places.example.com", "--timeout=2s"], "");
    let place = |version: &str, name: &str, spec: Value| {
        json!({ "apiVersion": format!("example.com/{version}"), "kind": "Place", "metadata": { "name": name }, "spec": spec })
            .to_string()
    };
    server.ok(APPLY, &place("v1", "a", json!({ "hostPort": "localhost:1234" })));
    let spec = |version: &str, name: &str| {
        server.ok(&["get", &format!("places.{version}.example.com"), name, "-o", "jsonpath={.apiVersion} {.spec}"], "")
    };
    assert_eq!(spec("v2", "a"), r#"example.com/v2 {"host":"localhost","port":"1234"}"#);
    assert_eq!(spec("v1", "a"), r#"example.com/v1 {"hostPort":"localhost:1234"}"#);
    // The same revision is not converted twice.
    hook.seen("/convert");
    spec("v2", "a");
    assert!(hook.seen("/convert").is_empty());

    // Written in the other version, stored in the first.
    server.ok(APPLY, &place("v2", "b", json!({ "host": "example.com", "port": "80" })));
    assert_eq!(spec("v1", "b"), r#"example.com/v1 {"hostPort":"example.com:80"}"#);
    server.ok(&["patch", "places.v2.example.com", "b", "--type=merge", "-p", r#"{"spec":{"port":"81"}}"#], "");
    assert_eq!(spec("v1", "b"), r#"example.com/v1 {"hostPort":"example.com:81"}"#);

    // Another storage version: what is there stays as it is stored, what comes is stored anew, lists mix both.
    server.ok(APPLY, &definition(&hook, "/convert", "v2"));
    let stored = server.ok(&["get", "crd", "places.example.com", "-o", "jsonpath={.status.storedVersions}"], "");
    assert_eq!(stored, r#"["v1","v2"]"#);
    server.ok(APPLY, &place("v1", "c", json!({ "hostPort": "c:3" })));
    let list = |version: &str| {
        server.ok(&["get", &format!("places.{version}.example.com"), "-o", "jsonpath={.items[*].spec}"], "")
    };
    assert_eq!(list("v1"), r#"{"hostPort":"localhost:1234"} {"hostPort":"example.com:81"} {"hostPort":"c:3"}"#);
    assert_eq!(
        list("v2"),
        r#"{"host":"localhost","port":"1234"} {"host":"example.com","port":"81"} {"host":"c","port":"3"}"#
    );
    // Fields are those of the version asked for, whatever is stored.
    let chosen = |version: &str, fields: &str, more: &str| {
        let path = format!("/apis/example.com/{version}/namespaces/default/places?fieldSelector={fields}{more}");
        let list: Value = serde_json::from_str(&server.ok(&["get", "--raw", &path], "")).unwrap();
        let items = list["items"].as_array().unwrap().iter();
        let names: Vec<String> = items.map(|item| item["metadata"]["name"].as_str().unwrap().to_owned()).collect();
        (names, list["metadata"]["continue"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(chosen("v2", "spec.host%3Dlocalhost", "").0, ["a"]);
    assert_eq!(chosen("v1", "spec.hostPort%3Dc:3", "").0, ["c"]);
    assert_eq!(chosen("v2", "spec.host!%3Dc,metadata.name!%3Da", "").0, ["b"]);
    let (first, next) = chosen("v2", "spec.host!%3Dlocalhost", "&limit=1");
    assert_eq!(first, ["b"]);
    assert_eq!(
        chosen("v2", "spec.host!%3Dlocalhost", &format!("&limit=1&continue={next}")),
        (vec!["c".into()], String::new())
    );
    // A write that changes nothing migrates.
    let revision =
        || server.ok(&["get", "places.v2.example.com", "a", "-o", "jsonpath={.metadata.resourceVersion}"], "");
    let before = revision();
    server.ok(&["patch", "places.v2.example.com", "a", "--type=merge", "-p", "{}"], "");
    let after = revision();
    assert_ne!(before, after, "it is stored under the new version now");
    server.ok(&["patch", "places.v2.example.com", "a", "--type=merge", "-p", "{}"], "");
    assert_eq!(after, revision());
    let watched = server.ok(
        &["get", "--raw", "/apis/example.com/v1/namespaces/default/places?watch=1&timeoutSeconds=1&resourceVersion=0"],
        "",
    );
    assert_eq!(watched.matches(r#""hostPort""#).count(), 3, "{watched}");
    let of_b = "/apis/example.com/v1/namespaces/default/places?watch=1&timeoutSeconds=2&resourceVersion=0\
        &fieldSelector=spec.hostPort%3Dexample.com:81";
    let watched = std::thread::scope(|scope| {
        let watch = scope.spawn(|| server.ok(&["get", "--raw", of_b], ""));
        server.ok(&["patch", "places.v2.example.com", "b", "--type=merge", "-p", r#"{"spec":{"port":"82"}}"#], "");
        server.ok(&["patch", "places.v2.example.com", "a", "--type=merge", "-p", r#"{"spec":{"port":"5"}}"#], "");
        server.ok(&["patch", "places.v2.example.com", "b", "--type=merge", "-p", r#"{"spec":{"port":"81"}}"#], "");
        watch.join().unwrap()
    });
    // It may have begun before or after the first patch; it ends with b in the selection, and a never was.
    assert_eq!(watched.lines().last().map(|line| line.contains(r#""type":"ADDED""#)), Some(true), "{watched}");
    assert!(!watched.contains("localhost"), "{watched}");

    // What goes wrong.
    server.ok(APPLY, &definition(&hook, "/fail", "v2"));
    server.fails(
        &["get", "places.v1.example.com", "c"],
        "",
        "conversion webhook for example.com/v2, Kind=Place failed: cannot",
    );
    let watch = "/apis/example.com/v1/namespaces/default/places?watch=1&timeoutSeconds=2";
    server.fails(
        &["get", "--raw", watch],
        "",
        "storage is (re)initializing: failed to list example.com/v1, Kind=Place: conversion webhook",
    );
    server.ok(APPLY, &definition(&hook, "/lie", "v2"));
    server.fails(
        &["get", "places.v1.example.com", "c"],
        "",
        "returned invalid object: must have the same name: c != other",
    );
    server.ok(APPLY, &definition(&hook, "/convert", "v2"));
    server.ok(&["delete", "crd", "places.example.com", "--timeout=5s"], "");
}

#[test]
fn managers_of_fields_are_followed_through_the_conversion() {
    if kubectl_is_missing() {
        return;
    }
    let server = Server::start("conversion-managers");
    let hook = Hook::start(answer);
    server.ok(APPLY, &definition(&hook, "/convert", "v1"));
    server.ok(&["wait", "--for=condition=Established", "crd/places.example.com", "--timeout=2s"], "");
    let place = |version: &str, spec: Value| {
        json!({ "apiVersion": format!("example.com/{version}"), "kind": "Place", "metadata": { "name": "a" }, "spec": spec })
            .to_string()
    };
    let apply = |manager: &'static str| ["apply", "--server-side", "--field-manager", manager, "-f", "-"];
    let owners = || {
        let path = "{range .metadata.managedFields[*]}{.manager} {.apiVersion} {.fieldsV1.f:spec}{\"\\n\"}{end}";
        let told = server.ok(&["get", "places.v1.example.com", "a", "-o", &format!("jsonpath={path}")], "");
        let mut owners: Vec<String> = told.lines().map(str::to_owned).collect();
        // Those of one second come in no order of theirs.
        owners.sort();
        owners
    };
    server.ok(&apply("one"), &place("v1", json!({ "hostPort": "h:1" })));
    // The same value in the other version is shared, another one is fought over, in the words of who has it.
    server.ok(&apply("two"), &place("v2", json!({ "port": "1" })));
    server.fails(&apply("two"), &place("v2", json!({ "port": "2" })), "conflict with \"one\": .spec.hostPort");
    assert_eq!(owners(), [r#"one example.com/v1 {"f:hostPort":{}}"#, r#"two example.com/v2 {"f:port":{}}"#]);
    // A change through the other version takes the field.
    server.ok(&["patch", "places.v2.example.com", "a", "--type=merge", "-p", r#"{"spec":{"host":"i"}}"#], "");
    assert_eq!(owners(), [r#"kubectl-patch example.com/v2 {"f:host":{}}"#, r#"two example.com/v2 {"f:port":{}}"#]);
    // Where the webhook fails, nobody can tell what a change is in another version.
    server.ok(APPLY, &definition(&hook, "/fail", "v1"));
    server.fails(&apply("one"), &place("v1", json!({ "hostPort": "h:1" })), "failed: cannot");
    server.ok(&["patch", "places.v1.example.com", "a", "--type=merge", "-p", r#"{"spec":{"hostPort":"j:3"}}"#], "");
    assert!(owners().is_empty());
}
