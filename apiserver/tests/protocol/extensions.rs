//! Custom resources: what their users are told, and what happens when a definition changes.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};

use crate::World;
use crate::wire::{Ask, Lines};

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const LAMPS: &str = "/apis/lamps.example.dev/v1/lamps";

fn definition(group: &str, plural: &str, kind: &str, properties: Value) -> Value {
    json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": { "group": group, "scope": "Cluster", "names": { "plural": plural, "kind": kind },
            "versions": [{ "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                "additionalPrinterColumns": [{ "name": "Watts", "type": "integer", "jsonPath": ".spec.watts" }],
                "schema": { "openAPIV3Schema": { "type": "object", "properties": properties } } }] } })
}

/// Creates an object; the code, and what was warned of.
async fn create(world: &World, path: &str, object: &Value) -> (u16, Vec<String>) {
    let ask = Ask::new(Method::POST, path, object.to_string());
    let answer = world.server.target.open(&mut world.connection.clone(), ask).await.unwrap();
    let warnings = answer.headers().get_all("warning").iter().map(|w| w.to_str().unwrap().to_owned()).collect();
    (answer.status().as_u16(), warnings)
}

fn lamps() -> Value {
    let status = json!({ "type": "object", "properties": { "hours": { "type": "integer", "maximum": 10 } } });
    let spec =
        json!({ "type": "object", "properties": { "watts": { "type": "integer" }, "colour": { "type": "string" } } });
    definition("lamps.example.dev", "lamps", "Lamp", json!({ "spec": spec, "status": status }))
}

/// Who gives a finalizer a name that others may use, or an account an annotation that is to go, hears of it once.
pub async fn what_is_new_is_warned_of(world: &World) {
    assert_eq!(create(world, DEFINITIONS, &lamps()).await.0, 201);
    let lamp = |name: &str, finalizer: &str| json!({ "apiVersion": "lamps.example.dev/v1", "kind": "Lamp", "metadata": { "name": name, "finalizers": [finalizer] } });
    for (name, finalizer, path) in [("a", "mine", ""), ("b", "mine.example", " including a path (/)")] {
        let (code, warnings) = create(world, LAMPS, &lamp(name, finalizer)).await;
        let told = format!(
            "299 - \"metadata.finalizers: \\\"{finalizer}\\\": prefer a domain-qualified finalizer name{path} to avoid accidental \
             conflicts with other finalizer writers\""
        );
        assert_eq!((code, warnings), (201, vec![told]));
    }
    for finalizer in ["lamps.example.dev/mine", "foregroundDeletion"] {
        assert_eq!(create(world, LAMPS, &lamp(&finalizer[..5].to_lowercase(), finalizer)).await, (201, Vec::new()));
    }
    let account =
        json!({ "metadata": { "name": "old", "annotations": { "kubernetes.io/enforce-mountable-secrets": "true" } } });
    let (code, warnings) = create(world, "/api/v1/namespaces/default/serviceaccounts", &account).await;
    let told = "299 - \"metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate \
                namespaces to isolate access to mounted secrets\"";
    assert_eq!((code, warnings), (201, vec![told.to_owned()]));
}

/// Who watches begins anew; what is stored gets new defaults; what is in a group of the server's own is not told there.
pub async fn definitions_change(world: &World) {
    let lamp = json!({ "apiVersion": "lamps.example.dev/v1", "kind": "Lamp", "metadata": { "name": "l" }, "spec": {} });
    assert_eq!(create(world, LAMPS, &lamp).await.0, 201);
    let mut ask = Ask::get(LAMPS);
    ask.accept = "application/json;as=Table;g=meta.k8s.io;v=v1";
    let (_, table) = world.ask(ask).await;
    let column = "Custom resource definition column (in JSONPath format): .spec.watts";
    assert_eq!(table["columnDefinitions"][1]["description"], column);
    let mut status = lamp.clone();
    status["status"] = json!({ "hours": 11 });
    let mut patch = Ask::new(Method::PATCH, "/apis/lamps.example.dev/v1/lamps/l/status", status.to_string());
    patch.content_type = "application/merge-patch+json";
    let (code, told) = world.ask(patch).await;
    let wrong = "status.hours: Invalid value: 11: hours in body should be less than or equal to 10";
    assert!(code == 422 && told["message"].as_str().unwrap().ends_with(wrong), "{told}");

    let watch = format!("{LAMPS}?watch=1&timeoutSeconds=60");
    let mut connection = world.server.target.http2().await.unwrap();
    let mut stream = Lines::new(world.server.target.open(&mut connection, Ask::get(&watch)).await.unwrap());
    assert!(stream.next().await.unwrap().is_some());
    let colour = json!([{ "op": "add", "path":
        "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/colour/default", "value": "warm" }]);
    let path = format!("{DEFINITIONS}/lamps.lamps.example.dev");
    let mut patch = Ask::new(Method::PATCH, &path, colour.to_string());
    patch.content_type = "application/json-patch+json";
    assert_eq!(world.ask(patch).await.0, 200);
    let ended = async { while let Ok(Some(_)) = stream.next().await {} };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the watch goes on");
    assert_eq!(world.ask(Ask::get(&format!("{LAMPS}/l"))).await.1["spec"]["colour"], "warm");

    let mut shadow = definition("networking.k8s.io", "shadows", "Shadow", json!({}));
    shadow["metadata"]["annotations"] =
        json!({ "api-approved.kubernetes.io": "https://github.com/kubernetes/kubernetes/pull/1" });
    assert_eq!(create(world, DEFINITIONS, &shadow).await.0, 201);
    assert_eq!(world.ask(Ask::get("/apis/networking.k8s.io/v1/shadows")).await.0, 200);
    let (_, list) = world.ask(Ask::get("/apis/networking.k8s.io/v1")).await;
    let names: Vec<&str> = list["resources"].as_array().unwrap().iter().filter_map(|r| r["name"].as_str()).collect();
    assert!(names.contains(&"networkpolicies") && !names.contains(&"shadows"), "{names:?}");

    let mut distrusted = definition("odd.example.dev", "odds", "Odd", json!({}));
    distrusted["spec"]["conversion"] = json!({ "strategy": "Webhook", "webhook": { "conversionReviewVersions": ["v1"],
        "clientConfig": { "caBundle": "anVuaw==", "service": { "namespace": "default", "name": "s" } } } });
    assert_eq!(create(world, DEFINITIONS, &distrusted).await.0, 201);
    let (_, kept) = world.ask(Ask::get(&format!("{DEFINITIONS}/odds.odd.example.dev"))).await;
    let conditions = kept["status"]["conditions"].as_array().unwrap();
    let established = conditions.iter().find(|c| c["type"] == "Established").unwrap();
    assert_eq!((&established["status"], &established["reason"]), (&json!("False"), &json!("InvalidCABundle")));
}
