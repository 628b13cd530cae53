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
            custom: Some(Custom {
                schema: json!({"type":"object","properties":{"spec":{"type":"object","properties":{
                    "size":{"type":"integer","nullable":true}}}}}),
                list_kind: "WidgetBag".into(),
                selectable: vec!["spec.size".into()],
                ..Custom::default()
            }),
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

/// Operation, tag and text of all operations, as upstream's published documents have them.
#[test]
fn operations_are_called_as_upstream_calls_them() {
    let document = v2(&resources());
    let deployments = "/apis/apps/v1/namespaces/{namespace}/deployments";
    let one = format!("{deployments}/{{name}}");
    let scale = format!("{one}/scale");
    for (path, method, id, tag, text) in [
        (deployments, "get", "listAppsV1NamespacedDeployment", "apps_v1", "list or watch objects of kind Deployment"),
        (deployments, "post", "createAppsV1NamespacedDeployment", "apps_v1", "create a Deployment"),
        (
            deployments,
            "delete",
            "deleteAppsV1CollectionNamespacedDeployment",
            "apps_v1",
            "delete collection of Deployment",
        ),
        (
            "/apis/apps/v1/deployments",
            "get",
            "listAppsV1DeploymentForAllNamespaces",
            "apps_v1",
            "list or watch objects of kind Deployment",
        ),
        (&one, "get", "readAppsV1NamespacedDeployment", "apps_v1", "read the specified Deployment"),
        (&one, "put", "replaceAppsV1NamespacedDeployment", "apps_v1", "replace the specified Deployment"),
        (&one, "patch", "patchAppsV1NamespacedDeployment", "apps_v1", "partially update the specified Deployment"),
        (&one, "delete", "deleteAppsV1NamespacedDeployment", "apps_v1", "delete a Deployment"),
        (&scale, "get", "readAppsV1NamespacedDeploymentScale", "apps_v1", "read scale of the specified Deployment"),
        ("/apis/apps/", "get", "getAppsAPIGroup", "apps", "get information of a group"),
        ("/apis/apps/v1/", "get", "getAppsV1APIResources", "apps_v1", "get available resources"),
        ("/apis/", "get", "getAPIVersions", "apis", "get available API versions"),
        ("/version/", "get", "getCodeVersion", "version", "get the version information for this server"),
        (
            "/apis/apiextensions.k8s.io/v1/watch/customresourcedefinitions/{name}",
            "get",
            "watchApiextensionsV1CustomResourceDefinition",
            "apiextensions_v1",
            "watch changes to an object of kind CustomResourceDefinition. deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter.",
        ),
        (
            "/apis/example.com/v1/namespaces/{namespace}/widgets",
            "get",
            "listExampleComV1NamespacedWidget",
            "exampleCom_v1",
            "list objects of kind Widget",
        ),
    ] {
        let operation = &document["paths"][path][method];
        assert_eq!(operation["operationId"], id, "{path} {method}");
        assert_eq!(operation["tags"], json!([tag]), "{path} {method}");
        assert_eq!(operation["description"], text, "{path} {method}");
        assert_eq!(operation["responses"]["401"]["description"], "Unauthorized");
    }
    // The hash in a parameter's name is that of upstream's own.
    let common = &document["paths"][deployments]["parameters"];
    assert_eq!(
        common,
        &json!([{ "$ref": "#/parameters/namespace-vgWSWtn3" }, { "$ref": "#/parameters/pretty-tJGM1-ng" }])
    );
    let deletion = &document["paths"][&one]["delete"]["parameters"];
    assert_eq!(deletion[0], json!({ "$ref": "#/parameters/body-2Y1dVQaQ" }));
    // Old clients look for it in the operation itself.
    assert_eq!(deletion[1]["name"], "dryRun");
    let scale = &document["paths"][&scale]["put"];
    assert_eq!(
        scale["x-kubernetes-group-version-kind"],
        json!({ "group": "autoscaling", "version": "v1", "kind": "Scale" })
    );
    assert_eq!(scale["responses"]["201"]["schema"]["$ref"], "#/definitions/io.k8s.api.autoscaling.v1.Scale");
}

#[test]
fn there_are_documents_about_what_leads_to_resources() {
    for (document, path, id) in [
        (v3_group("apps"), "/apis/apps/", "getAppsAPIGroup"),
        (v3_group(""), "/api/", "getCoreAPIVersions"),
        (v3_other("version").unwrap(), "/version/", "getCodeVersion"),
        (v3_other("apis").unwrap(), "/apis/", "getAPIVersions"),
        (v3_other("openid/v1/jwks").unwrap(), "/openid/v1/jwks/", "getServiceAccountIssuerOpenIDKeyset"),
    ] {
        check_references(&document, &document);
        assert_eq!(document["paths"][path]["get"]["operationId"], id);
    }
    assert_eq!(v3_other("else"), None);
}

/// What Go's zero values, enumerations and order of fields come to; all as upstream's server writes them.
#[test]
fn fields_say_what_they_hold() {
    let (new, old) = (v3("apps", "v1", &resources()), v2(&resources()));
    let schemas = |version: &str| match version {
        "v3" => &new["components"]["schemas"],
        _ => &old["definitions"],
    };
    for (version, place, wanted) in [
        ("v3", "apps.v1.DeploymentCondition/required", json!(["type", "status"])),
        ("v3", "apps.v1.DeploymentCondition/properties/status/default", json!("")),
        ("v3", "apps.v1.Deployment/properties/spec/default", json!({})),
        ("v3", "core.v1.ContainerPort/properties/containerPort/default", json!(0)),
        ("v3", "core.v1.ContainerPort/properties/protocol/default", json!("TCP")),
        ("v3", "core.v1.ContainerPort/properties/protocol/enum", json!(["SCTP", "TCP", "UDP"])),
        ("v3", "core.v1.PersistentVolumeClaimSpec/properties/accessModes/items/enum/0", json!("ReadOnlyMany")),
        ("v3", "core.v1.LocalObjectReference/properties/name/default", json!("")),
        ("v3", "core.v1.ContainerRestartRule/required", json!(["action"])),
        ("v2", "core.v1.ContainerPort/properties/protocol/enum", json!(["SCTP", "TCP", "UDP"])),
        ("v2", "core.v1.ContainerPort/properties/protocol/default", Value::Null),
        (
            "v2",
            "core.v1.ContainerPort/properties/protocol/description",
            json!(
                "Protocol for port. Must be UDP, TCP, or SCTP. Defaults to \"TCP\".\n\nPossible enum values:\n - \
                 `\"SCTP\"`\n - `\"TCP\"`\n - `\"UDP\"`"
            ),
        ),
    ] {
        let found = schemas(version).pointer(&format!("/io.k8s.api.{place}")).cloned().unwrap_or_default();
        assert_eq!(found, wanted, "{version} {place}");
    }
}

/// Options of deletions and events of watches are kinds of every group version: which, depends on whose document it is.
#[test]
fn some_kinds_are_in_every_group() {
    let of = |schemas: &Value| {
        let all = &schemas["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"]["x-kubernetes-group-version-kind"];
        all.as_array().unwrap().iter().map(|kind| kind["group"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(&v3("apps", "v1", &resources())["components"]["schemas"]), ["", "apps"]);
    let clients = of(&v3("example.com", "v1", &resources())["components"]["schemas"]);
    let server = of(&v2(&resources())["definitions"]);
    for (group, known) in [("apps", true), ("admission.k8s.io", false), ("apiextensions.k8s.io", false)] {
        let knows = |all: &[String]| all.iter().any(|other| other == group);
        assert!(knows(&server) && knows(&clients) == known, "{group}");
    }
}

/// (schema of the field `spec`, what is published of it in v3, and in v2), as upstream's server answers.
#[test]
fn definitions_are_published_as_upstream_publishes_them() {
    let text = json!({"type": "string"});
    let either = json!([{"type": "integer"}, {"type": "string"}]);
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    for (schema, new, old) in [
        (
            json!({"type": "string", "nullable": true, "default": "q", "maxLength": 4}),
            json!({"type": "string", "nullable": true, "default": "q", "maxLength": 4}),
            json!({"maxLength": 4}),
        ),
        (
            json!({"type": "object", "nullable": true, "required": ["x"], "properties": {"x": text}}),
            json!({"type": "object", "nullable": true, "required": ["x"], "properties": {"x": text}}),
            json!({"required": ["x"]}),
        ),
        (
            json!({"type": "object", "required": ["x", "y"], "properties": {
                "x": {"type": "string", "nullable": true}, "y": text}}),
            json!({"type": "object", "required": ["x", "y"], "properties": {
                "x": {"type": "string", "nullable": true}, "y": text}}),
            json!({"type": "object", "required": ["y"], "properties": {"x": {}, "y": text}}),
        ),
        (
            json!({"type": "object", "additionalProperties": {"type": "string", "nullable": true}, "nullable": true}),
            json!({"type": "object", "additionalProperties": {"type": "string", "nullable": true}, "nullable": true}),
            json!({"additionalProperties": {}}),
        ),
        (free.clone(), free, json!({"x-kubernetes-preserve-unknown-fields": true})),
        (
            json!({"type": "string", "x-kubernetes-preserve-unknown-fields": true}),
            json!({"type": "string", "x-kubernetes-preserve-unknown-fields": true}),
            json!({"type": "string", "x-kubernetes-preserve-unknown-fields": true}),
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!({"x-kubernetes-int-or-string": true, "anyOf": either}),
            json!({"x-kubernetes-int-or-string": true}),
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"minimum": 3}], "allOf": [{"maximum": 9}]}),
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"minimum": 3}],
                "allOf": [{"anyOf": either}, {"maximum": 9}]}),
            json!({"x-kubernetes-int-or-string": true}),
        ),
        (
            json!({"type": "object", "description": "", "uniqueItems": false, "minProperties": 0,
                "not": {"required": ["z"]}, "oneOf": [{"properties": {"x": {"pattern": "^x"}}}]}),
            json!({"type": "object", "minProperties": 0,
                "not": {"required": ["z"]}, "oneOf": [{"properties": {"x": {"pattern": "^x"}}}]}),
            json!({"type": "object", "minProperties": 0}),
        ),
    ] {
        let whole = json!({"type": "object", "properties": {"spec": schema}});
        let custom = Custom { schema: whole, ..Custom::default() };
        for (dialect, wanted) in [(Dialect::V3, new), (Dialect::V2, old)] {
            let published = custom.published(dialect).unwrap();
            assert_eq!(published["properties"]["spec"], wanted, "{schema}");
        }
    }
    let whole = json!({"type": "object"});
    let said = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    for (schema, preserve_unknown) in [(said, false), (whole, true)] {
        let custom = Custom { schema, preserve_unknown, ..Custom::default() };
        assert!(custom.published(Dialect::V2).is_none() && custom.published(Dialect::V3).is_some());
    }
}

#[test]
fn embedded_resources_have_what_resources_have() {
    let mut all = resources();
    all[2].custom.as_mut().unwrap().schema = json!({"type": "object", "properties": {
        "one": {"type": "object", "x-kubernetes-embedded-resource": true, "required": ["kind"],
            "properties": {"spec": {"type": "object"}}},
        "free": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true},
    }});
    let (new, old) = (v3("example.com", "v1", &all), v2(&all));
    let of = |schemas: &Value| schemas["com.example.v1.Widget"]["properties"].clone();
    let (new, old) = (of(&new["components"]["schemas"]), of(&old["definitions"]));
    for one in [&new["one"], &old["one"], &new["free"]] {
        assert!(one["properties"]["metadata"].is_object(), "{one}");
        assert!(one["properties"]["kind"]["description"].as_str().unwrap().starts_with("kind is a string value"));
    }
    assert_eq!(new["one"]["required"], json!(["kind", "apiVersion"]));
    // Named fields would forbid all others.
    assert_eq!(old["free"].get("properties"), None);
}

#[test]
fn custom_resources_stand_beside() {
    let document = v3("example.com", "v1", &resources());
    check_references(&document, &document);
    assert_eq!(document["info"]["title"], "Kubernetes CRD Swagger");
    assert_eq!(document["components"].get("securitySchemes"), None);
    let one = "/apis/example.com/v1/namespaces/{namespace}/widgets/{name}";
    assert_eq!(document["paths"][one]["get"]["parameters"][0]["name"], "resourceVersion");
    let list = &document["components"]["schemas"]["com.example.v1.WidgetBag"];
    assert_eq!(list["description"], "WidgetBag is a list of Widget");
    assert_eq!(list["x-kubernetes-selectable-fields"], json!([{"fieldPath": "spec.size"}]));
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

#[test]
fn v3_in_protobuf() {
    let document = serde_json::json!({
        "openapi": "3.0.0", "info": { "title": "K", "version": "v1" },
        "paths": { "/a": { "get": { "tags": ["t"], "parameters": [{ "$ref": "p" }], "responses": {
            "200": { "description": "OK", "content": { "m": { "schema": { "$ref": "s" } } } },
        }, "x-k": "a" } } },
        "components": { "schemas": { "s": {
            "type": "object", "default": true, "minimum": 1, "allOf": [{ "$ref": "r" }],
            "items": { "type": "t" }, "additionalProperties": { "type": "string", "default": {} },
        } } },
    });
    // A field of a number that holds others, all of them short.
    let message = |number: u16, fields: &[Vec<u8>]| {
        let (body, tag) = (fields.concat(), number << 3 | 2);
        let tag = if tag < 128 { vec![tag as u8] } else { vec![tag as u8 | 128, (tag >> 7) as u8] };
        let length = u8::try_from(body.len()).ok().filter(|length| *length < 128).expect("a short one");
        [tag, vec![length], body].concat()
    };
    let text = |number: u16, text: &str| message(number, &[text.as_bytes().to_vec()]);
    let reference = |to: &str| message(2, &[text(1, to)]);
    let media = message(2, &[message(1, &[reference("s")])]);
    let response = message(1, &[text(1, "OK"), message(3, &[message(1, &[text(1, "m"), media])])]);
    let operation = message(
        4,
        &[
            text(1, "t"),
            message(6, &[reference("p")]),
            message(8, &[message(2, &[text(1, "200"), message(2, &[response])])]),
            message(13, &[text(1, "x-k"), message(2, &[text(2, "\"a\"\n")])]),
        ],
    );
    let typed = |name: &str| message(1, &[text(25, name)]);
    let schema = message(
        1,
        &[
            [vec![13 << 3 | 1], 1.0f64.to_le_bytes().to_vec()].concat(),
            text(25, "object"),
            message(26, &[reference("r")]),
            message(30, &[message(1, &[typed("t")])]),
            message(32, &[message(1, &[typed("string")])]),
            message(33, &[vec![2 << 3, 1]]),
        ],
    );
    let expected = [
        text(1, "3.0.0"),
        message(2, &[text(1, "K"), text(6, "v1")]),
        message(4, &[message(1, &[text(1, "/a"), message(2, &[operation])])]),
        message(5, &[message(1, &[message(1, &[text(1, "s"), message(2, &[schema])])])]),
    ];
    assert_eq!(v3_protobuf(&document), expected.concat());
}
