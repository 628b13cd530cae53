//! Lists as Tables and as bare metadata are written from the stored bytes; they must say what the objects one by one say.

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

use http::Method;
use serde_json::{Value, json};
use wire::{Ask, Connection, Target};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
const PARTIAL: &str = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";

#[test]
#[ignore = "the server process of the other test"]
fn child() {
    process::child();
}

struct Client<'a> {
    target: &'a Target,
    connection: Connection,
}

impl Client<'_> {
    async fn get(&self, path: &str, accept: &str) -> Value {
        let ask = Ask { accept, ..Ask::get(path) };
        let answer = self.target.send(&mut self.connection.clone(), ask).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.json());
        answer.json()
    }

    async fn create(&self, path: &str, object: &Value) {
        let ask = Ask::new(Method::POST, path, object.to_string());
        let answer = self.target.send(&mut self.connection.clone(), ask).await.unwrap();
        assert_eq!(answer.status, 201, "{path}: {}", answer.json());
    }
}

/// A kind whose other version is served without being stored, with columns from here and there.
fn definition() -> Value {
    let schema = json!({ "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } });
    let column = |name: &str, kind: &str, path: &str| json!({ "name": name, "type": kind, "jsonPath": path });
    let columns = json!([
        column("Size", "integer", ".spec.size"),
        column("Ports", "string", ".spec.ports[*].port"),
        column("Label", "string", ".metadata.labels['a.b/c']"),
        column("Age", "date", ".metadata.creationTimestamp"),
    ]);
    let version = |name: &str, storage: bool| json!({ "name": name, "served": true, "storage": storage, "schema": schema, "additionalPrinterColumns": columns });
    json!({ "metadata": { "name": "things.example.com" }, "spec": {
        "group": "example.com", "scope": "Namespaced",
        "names": { "plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList" },
        "versions": [version("v1", true), version("v2", false)],
    } })
}

#[test]
fn a_list_says_what_its_objects_say() {
    serving::with_server(async |server, _dir| {
        let connection = server.target.http2().await.unwrap();
        let client = Client { target: &server.target, connection };
        client
            .create("/api/v1/namespaces/default/serviceaccounts", &json!({ "metadata": { "name": "default" } }))
            .await;
        let things = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        client.create(things, &definition()).await;
        let pods = "/api/v1/namespaces/default/pods";
        let stored = "/apis/example.com/v1/namespaces/default/things";
        // Enough of them that the list comes in several pieces.
        let long = "\u{e9}\"\\".repeat(3000);
        for n in 0..30 {
            let metadata =
                json!({ "name": format!("x{n}"), "labels": { "a.b/c": "l" }, "annotations": { "long": long } });
            let container = json!({ "name": "c", "image": "i", "env": [{ "name": "A", "value": "}]" }] });
            client.create(pods, &json!({ "metadata": metadata, "spec": { "containers": [container, { "name": "d", "image": "i" }] } })).await;
            let ports = json!([{ "port": 1, "name": "a" }, { "port": n }]);
            let spec = json!({ "size": n, "ports": ports, "unseen": { "size": 7 } });
            client
                .create(
                    stored,
                    &json!({ "apiVersion": "example.com/v1", "kind": "Thing", "metadata": metadata, "spec": spec }),
                )
                .await;
        }
        let converted = "/apis/example.com/v2/namespaces/default/things";
        for path in [pods, stored, converted] {
            let items = client.get(path, "application/json").await["items"].as_array().unwrap().clone();
            assert_eq!(items.len(), 30);
            for include in ["None", "Metadata", "Object"] {
                let table = client.get(&format!("{path}?includeObject={include}"), TABLE).await;
                assert_eq!((&table["kind"], &table["apiVersion"]), (&json!("Table"), &json!("meta.k8s.io/v1")));
                let rows = table["rows"].as_array().unwrap();
                assert_eq!(rows.len(), items.len());
                for (item, row) in items.iter().zip(rows) {
                    let name = item["metadata"]["name"].as_str().unwrap();
                    let one = client.get(&format!("{path}/{name}?includeObject={include}"), TABLE).await;
                    assert_eq!(table["columnDefinitions"], one["columnDefinitions"]);
                    // The age, always of so many seconds, may have changed meanwhile.
                    let ageless = |row: &Value| {
                        let cells = row["cells"].as_array().unwrap().iter();
                        cells
                            .filter(|cell| !cell.as_str().is_some_and(|text| text.ends_with('s')))
                            .cloned()
                            .collect::<Vec<_>>()
                    };
                    assert_eq!(ageless(row), ageless(&one["rows"][0]), "{path} {name}");
                    assert_eq!(row["object"], one["rows"][0]["object"], "{path} {name}");
                    match include {
                        "None" => assert_eq!(row["object"], Value::Null),
                        "Object" => assert_eq!(row["object"]["spec"], item["spec"]),
                        _ => {
                            let partial = json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"] });
                            assert_eq!(row["object"], partial);
                        }
                    }
                }
            }
            let bare = client.get(path, PARTIAL).await;
            assert_eq!(bare["kind"], "PartialObjectMetadataList");
            // Metadata has a protobuf form whosever it is, as informers of metadata ask for it.
            let ask = Ask {
                accept: "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                ..Ask::get(path)
            };
            let answer = server.target.send(&mut client.connection.clone(), ask).await.unwrap();
            let (version, kind, list) = schema::protobuf::decode(&answer.body).unwrap();
            assert_eq!((version.as_str(), kind.as_str()), ("meta.k8s.io/v1", "PartialObjectMetadataList"));
            assert_eq!(list["items"].as_array().map(Vec::len), Some(30), "{path}");
            assert_eq!(list["items"][7]["metadata"]["name"], items[7]["metadata"]["name"]);
            let metadata: Vec<&Value> = items.iter().map(|item| &item["metadata"]).collect();
            assert_eq!(
                bare["items"].as_array().unwrap().iter().map(|item| &item["metadata"]).collect::<Vec<_>>(),
                metadata
            );
        }
        let row = &client.get(pods, TABLE).await["rows"][3]["cells"];
        assert_eq!((&row[0], &row[1], &row[2]), (&json!("x11"), &json!("0/2"), &json!("Pending")));
        let row = &client.get(converted, TABLE).await["rows"][3]["cells"];
        assert_eq!(row.as_array().unwrap()[..4], [json!("x11"), json!(11), json!("1,11"), json!("l")]);
        // The same in the one other form that Tables have.
        let yaml = Ask { accept: "application/yaml;as=Table;v=v1;g=meta.k8s.io", ..Ask::get(stored) };
        let yaml = server.target.send(&mut client.connection.clone(), yaml).await.unwrap();
        let yaml: Value = serde_saphyr::from_str(std::str::from_utf8(&yaml.body).unwrap()).unwrap();
        assert_eq!(yaml["rows"].as_array().map(Vec::len), Some(30));
    });
}

#[test]
fn views_are_of_the_version_asked_for() {
    serving::with_server(async |server, _dir| {
        let connection = server.target.http2().await.unwrap();
        let client = Client { target: &server.target, connection };
        let things = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let deployments = "/apis/apps/v1/namespaces/default/deployments";
        let template = json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "c", "image": "i" }] } });
        let spec = json!({ "replicas": 3, "selector": { "matchLabels": { "a": "b" } }, "template": template });
        client.create(deployments, &json!({ "metadata": { "name": "web" }, "spec": spec })).await;
        for version in ["v1", "v1beta1"] {
            let view = format!("meta.k8s.io/{version}");
            let wish = |kind: &str, media: &str| format!("application/{media};as={kind};v={version};g=meta.k8s.io");
            let (table, partial) = (wish("Table", "json"), wish("PartialObjectMetadata", "json"));
            let list = wish("PartialObjectMetadataList", "json");
            // Kinds without columns of their own have no rows at all, where they have none.
            let rows = |path: &'static str| client.get(path, &table);
            assert_eq!(rows("/api/v1/limitranges").await["rows"], Value::Null);
            assert_eq!(rows("/api/v1/nodes").await["rows"], json!([]));
            let none = json!({ "kind": "PartialObjectMetadataList", "apiVersion": view, "items": null });
            let mut bare = client.get("/api/v1/nodes", &list).await;
            bare.as_object_mut().unwrap().remove("metadata");
            assert_eq!(bare, none);
            assert_eq!(client.get(things, &list).await["items"], Value::Null);

            let one = format!("{deployments}/web");
            let found = client.get(&one, &table).await;
            assert_eq!((&found["apiVersion"], &found["rows"][0]["object"]["apiVersion"]), (&json!(view), &json!(view)));
            assert_eq!(client.get(&one, &partial).await["apiVersion"], view);
            let scale = client.get(&format!("{one}/scale"), &table).await;
            let names: Vec<_> = scale["columnDefinitions"].as_array().unwrap().iter().map(|c| &c["name"]).collect();
            assert_eq!(names, ["Name", "Desired", "Available", "Age"]);
            assert_eq!(scale["rows"][0]["cells"].as_array().unwrap()[..3], [json!("web"), json!(3), json!(0)]);
            assert_eq!(client.get(&format!("{one}/scale"), &partial).await["metadata"]["name"], "web");

            let ask = Ask { accept: &wish("PartialObjectMetadata", "vnd.kubernetes.protobuf"), ..Ask::get(&one) };
            let answer = server.target.send(&mut client.connection.clone(), ask).await.unwrap();
            assert!(answer.body.windows(view.len()).any(|part| part == view.as_bytes()), "{view}");
        }
        // A list in place of an object is refused where there is one.
        for (path, code) in [("web", 406), ("web/scale", 406), ("nope", 404), ("nope/scale", 404)] {
            let path = format!("{deployments}/{path}");
            let ask = Ask { accept: PARTIAL, ..Ask::get(&path) };
            let answer = server.target.send(&mut client.connection.clone(), ask).await.unwrap();
            assert_eq!(answer.status, code, "{path}");
        }
        // Nothing of the store is a component.
        let components = "/api/v1/componentstatuses";
        let list = client.get(components, "application/json").await;
        let names: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
        assert_eq!(names, ["scheduler", "controller-manager", "etcd-0"]);
        let selected = client.get(&format!("{components}?fieldSelector=metadata.name=etcd-0"), TABLE).await;
        assert_eq!(selected["rows"][0]["cells"], json!(["etcd-0", "Healthy", "ok", ""]));
        assert_eq!(client.get(&format!("{components}/etcd-0"), "application/json").await["kind"], "ComponentStatus");
        let ask = Ask::get("/api/v1/componentstatuses/nope");
        assert_eq!(server.target.send(&mut client.connection.clone(), ask).await.unwrap().status, 404);
    });
}
