use serde_json::json;

use super::*;

fn resources() -> Vec<Resource> {
    let words = |text: &str| text.split(' ').map(ToOwned::to_owned).collect::<Vec<_>>();
    let all = words("get list watch create update patch delete deletecollection");
    vec![
        Resource {
            group: "apps".into(),
            version: "v1".into(),
            kind: "Deployment".into(),
            plural: "deployments".into(),
            namespaced: true,
            verbs: all.clone(),
            subresources: vec![Subresource {
                name: "scale".into(),
                group: "autoscaling".into(),
                version: "v1".into(),
                kind: "Scale".into(),
                verbs: words("get update patch"),
            }],
            custom: None,
        },
        Resource {
            group: "apiextensions.k8s.io".into(),
            version: "v1".into(),
            kind: "CustomResourceDefinition".into(),
            plural: "customresourcedefinitions".into(),
            verbs: all.clone(),
            ..Resource::default()
        },
        Resource {
            group: "example.com".into(),
            version: "v1".into(),
            kind: "Widget".into(),
            plural: "widgets".into(),
            namespaced: true,
            verbs: all,
            custom: Some(json!({"type":"object","properties":{"spec":{"type":"object","properties":{
                "size":{"type":"integer","nullable":true}}}}})),
            ..Resource::default()
        },
    ]
}

/// Every `$ref` of a document leads somewhere.
fn check_references(value: &Value, document: &Value) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(reference)) = map.get("$ref") {
                let found = document.pointer(reference.trim_start_matches('#'));
                assert!(found.is_some_and(Value::is_object), "{reference}");
            }
            // A property named `$ref` (of JSONSchemaProps) is an object, not a string.
            map.values().for_each(|value| check_references(value, document));
        }
        Value::Array(list) => list.iter().for_each(|value| check_references(value, document)),
        _ => {}
    }
}

#[test]
fn v3_says_what_kubectl_looks_for() {
    let document = v3("apps", "v1", &resources());
    check_references(&document, &document);
    let patch = &document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group":"apps","version":"v1","kind":"Deployment"}));
    assert!(patch["parameters"].as_array().unwrap().iter().any(|parameter| parameter["name"] == "fieldValidation"));
    let schemas = &document["components"]["schemas"];
    let deployment = &schemas["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(
        deployment["x-kubernetes-group-version-kind"],
        json!([{"group":"apps","version":"v1","kind":"Deployment"}])
    );
    assert!(deployment["properties"]["apiVersion"]["description"].as_str().unwrap().contains("versioned schema"));
    let containers = &schemas["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-list-type"], "map");
    assert!(containers["description"].as_str().unwrap().starts_with("List of containers"));
    let volume = &schemas["io.k8s.api.core.v1.Volume"]["properties"]["configMap"];
    assert!(volume["description"].is_string(), "inlined fields keep their text");
    assert_eq!(document["paths"].get("/apis/example.com/v1/namespaces/{namespace}/widgets"), None);
}

#[test]
fn custom_resources_stand_beside() {
    let document = v3("example.com", "v1", &resources());
    check_references(&document, &document);
    let widget = &document["components"]["schemas"]["com.example.v1.Widget"];
    assert_eq!(widget["properties"]["spec"]["properties"]["size"]["nullable"], true);
    assert_eq!(
        widget["properties"]["metadata"]["allOf"][0]["$ref"],
        "#/components/schemas/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
    );
}

#[test]
fn v2_in_both_forms() {
    let document = v2(&resources());
    check_references(&document, &document);
    assert!(document["definitions"]["io.k8s.api.apps.v1.DeploymentSpec"].is_object());
    assert!(
        document["definitions"]["com.example.v1.Widget"]["properties"]["spec"]["properties"]["size"]
            .get("nullable")
            .is_none()
    );
    let bytes = v2_protobuf(&document);
    assert_eq!(&bytes[..5], b"\x0a\x032.0");
    assert!(bytes.len() > 10_000);
    let needle = b"x-kubernetes-patch-merge-key";
    assert!(bytes.windows(needle.len()).any(|window| window == needle));
}
