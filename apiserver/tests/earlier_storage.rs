//! A server over an etcd in which others have stored objects before: upstream's in protobuf, and a definition of a version of the
//! API that is long gone.

#[path = "../examples/dev_cluster/pki.rs"]
mod pki;
#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod process;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod wire;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use process::{ApiServer, Etcd};
use serde_json::{Value, json};
use store::{KeyValue, Store, WriteOutcome};
use wire::{Ask, Connection, Lines, Target};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
#[ignore = "the server process of the other test"]
fn child() {
    process::child();
}

/// What no server of today writes, right into etcd.
struct Past(store::etcd::Etcd);

impl Past {
    async fn of(etcd: &Etcd) -> Self {
        let flags = etcd.flags();
        let servers = flags.iter().find_map(|flag| flag.strip_prefix("--etcd-servers=")).unwrap();
        let how = store::etcd::Options { compact_every: None, ..store::etcd::Options::default() };
        Self(store::etcd::Etcd::connect(&[servers.to_owned()], how).await.unwrap())
    }

    async fn put(&self, key: &str, value: impl Into<Bytes>, expected: i64) {
        let done = self.0.put(key, value.into(), expected).await.unwrap();
        assert!(matches!(done, WriteOutcome::Done(_)), "{key}: {done:?}");
    }

    async fn get(&self, key: &str) -> KeyValue {
        self.0.get(key, None).await.unwrap().0.unwrap_or_else(|| panic!("{key} is gone"))
    }
}

async fn ask(target: &Target, ask: Ask<'_>) -> (u16, Value) {
    let answer = target.send(&mut target.http1().await.unwrap(), ask).await.unwrap();
    (answer.status, answer.json())
}

async fn get(target: &Target, path: &str) -> Value {
    let (code, found) = ask(target, Ask::get(path)).await;
    assert_eq!(code, 200, "{path}: {found}");
    found
}

/// What the first watch events tell: types, and the objects.
struct Events {
    lines: Lines,
    _connection: Connection,
}

impl Events {
    async fn since(target: &Target, path: &str, revision: &str) -> Self {
        let mut connection = target.http1().await.unwrap();
        let path = format!("{path}?watch=true&resourceVersion={revision}");
        let lines = Lines::new(target.open(&mut connection, Ask::get(&path)).await.unwrap());
        Self { lines, _connection: connection }
    }

    async fn next(&mut self) -> (String, Value) {
        let line = self.lines.next().await.unwrap().expect("the watch goes on");
        let mut event: Value = serde_json::from_slice(&line).unwrap();
        (event["type"].as_str().unwrap_or_default().to_owned(), event["object"].take())
    }
}

fn message(object: &Value) -> Vec<u8> {
    let text = |field: &str| object[field].as_str().unwrap();
    schema::protobuf::encode(text("apiVersion"), text("kind"), object).unwrap()
}

fn map(name: &str, data: &str) -> Value {
    json!({ "kind": "ConfigMap", "apiVersion": "v1",
        "metadata": { "name": name, "namespace": "default", "uid": "u", "creationTimestamp": "2020-01-01T00:00:00Z" },
        "data": { "a": data } })
}

fn definition() -> Value {
    let spec = json!({
        "group": "example.com", "version": "v1beta1", "scope": "Cluster",
        "names": { "plural": "noxus", "singular": "noxu", "kind": "Noxu", "listKind": "NoxuList" },
        "versions": [
            { "name": "v1beta1", "served": true, "storage": false }, { "name": "v1beta2", "served": true, "storage": true },
        ],
        "validation": { "openAPIV3Schema": { "type": "object", "properties": { "spec": { "properties": {
            "replicas": { "type": "integer" }, "any": {} } } } } },
        "subresources": { "status": {} },
    });
    json!({ "kind": "CustomResourceDefinition", "apiVersion": "apiextensions.k8s.io/v1beta1",
        "metadata": { "name": "noxus.example.com", "creationTimestamp": null }, "spec": spec,
        "status": { "conditions": null, "acceptedNames": { "plural": "", "kind": "" }, "storedVersions": ["v1beta2"] } })
}

#[test]
fn a_server_reads_what_others_have_stored() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let Some(etcd) = Etcd::start("a_server_reads_what_others_have_stored", dir.path(), 1) else { return };
        etcd.healthy(0).await;
        let past = Past::of(&etcd).await;
        let mut server = ApiServer::new(dir.path(), &etcd.flags());
        past.put("/registry/configmaps/default/before", message(&map("before", "1")), 0).await;
        let gone = schema::protobuf::envelope("apps/v1beta1", "Deployment", b"");
        past.put("/registry/deployments/default/gone", gone, 0).await;
        past.put("/registry/apiextensions.k8s.io/customresourcedefinitions/early.example.com", early().to_string(), 0)
            .await;
        server.start();
        server.ready().await;
        let target = server.target.clone();
        built_in(&target, &past).await;
        custom(&target, &past).await;
        // What was there when the server began is served too.
        assert_eq!(get(&target, "/apis/example.com/v1/early").await["items"], json!([]));
    });
}

/// The same with other names, and one version.
fn early() -> Value {
    let mut early = definition();
    early["metadata"]["name"] = "early.example.com".into();
    early["spec"]["version"] = "v1".into();
    early["spec"]["names"] = json!({ "plural": "early", "kind": "Early" });
    early["spec"].as_object_mut().unwrap().remove("versions");
    early["status"]["storedVersions"] = Value::Null;
    early
}

async fn built_in(target: &Target, past: &Past) {
    let key = "/registry/configmaps/default/before";
    let one = &format!("{MAPS}/before");
    let found = get(target, one).await;
    assert_eq!((&found["data"]["a"], &found["metadata"]["uid"]), (&json!("1"), &json!("u")));
    let list = get(target, MAPS).await;
    let items = list["items"].as_array().unwrap();
    assert!(items.iter().any(|map| map["data"]["a"] == "1"), "{items:?}");
    // As the store had it: no cache has a say in it.
    let exact = format!(
        "{MAPS}?resourceVersion={}&resourceVersionMatch=Exact",
        list["metadata"]["resourceVersion"].as_str().unwrap()
    );
    assert_eq!(get(target, &exact).await["items"], list["items"]);
    // What cannot be read is left out, and hides nothing.
    assert_eq!(get(target, "/apis/apps/v1/namespaces/default/deployments").await["items"], json!([]));

    // Another server, of upstream's, goes on writing.
    let since = list["metadata"]["resourceVersion"].as_str().unwrap();
    let mut events = Events::since(target, MAPS, since).await;
    past.put("/registry/configmaps/default/later", message(&map("later", "2")), 0).await;
    let (kind, object) = events.next().await;
    assert_eq!(
        (kind.as_str(), &object["metadata"]["name"], &object["data"]["a"]),
        ("ADDED", &json!("later"), &json!("2"))
    );
    let later = past.get("/registry/configmaps/default/later").await;
    past.put("/registry/configmaps/default/later", message(&map("later", "3")), later.mod_revision).await;
    let (kind, object) = events.next().await;
    assert_eq!((kind.as_str(), &object["data"]["a"]), ("MODIFIED", &json!("3")));
    // The past is read as it was.
    let mut again = Events::since(target, MAPS, since).await;
    assert_eq!(again.next().await.1["data"]["a"], "2");

    // A write that changes nothing stores it in today's form, and only the first one is worth it.
    let stored = past.get(key).await;
    assert!(stored.value.starts_with(b"k8s\0"));
    let nothing = || Ask::new(Method::PATCH, one, "{}");
    let (code, written) = ask(target, nothing()).await;
    assert_eq!((code, &written["data"]["a"]), (200, &json!("1")), "{written}");
    let rewritten = past.get(key).await;
    assert!(rewritten.value.starts_with(b"{\"kind\":\"ConfigMap\"") && rewritten.mod_revision > stored.mod_revision);
    assert_eq!(ask(target, nothing()).await.0, 200);
    assert_eq!(past.get(key).await.mod_revision, rewritten.mod_revision);
    let (code, _) = ask(target, Ask::new(Method::DELETE, &format!("{MAPS}/later"), "")).await;
    assert_eq!(code, 200);
}

async fn custom(target: &Target, past: &Past) {
    let key = "/registry/apiextensions.k8s.io/customresourcedefinitions/noxus.example.com";
    past.put(key, definition().to_string(), 0).await;
    let one = &format!("{DEFINITIONS}/noxus.example.com");
    // At once it is one of v1; its conditions come soon.
    let found = get(target, one).await;
    assert_eq!(
        (&found["apiVersion"], &found["spec"]["versions"][1]["name"]),
        (&json!("apiextensions.k8s.io/v1"), &json!("v1beta2"))
    );
    assert_eq!(found["spec"]["versions"][0]["schema"], definition()["spec"]["validation"]);
    let objects = "/apis/example.com/v1beta1/noxus";
    let begin = Instant::now();
    while ask(target, Ask::get(objects)).await.0 != 200 {
        assert!(begin.elapsed() < PATIENCE, "the definition is not served");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut found = get(target, one).await;
    let condition = |name: &str| {
        let all = found["status"]["conditions"].as_array().unwrap();
        all.iter().find(|condition| condition["type"] == name).cloned().unwrap_or_default()
    };
    assert_eq!(condition("Established")["status"], "True");
    let told = condition("NonStructuralSchema");
    assert_eq!((&told["status"], &told["reason"]), (&json!("True"), &json!("Violations")));
    let at = "spec.versions[0].schema.openAPIV3Schema.properties[spec]";
    for why in [
        "[spec.preserveUnknownFields: Invalid value: true: must be false, ".to_owned(),
        format!("{at}.properties[any].type: Required value: must not be empty for specified object fields"),
        format!("{at}.type: Required value: must not be empty for specified object fields"),
    ] {
        assert!(told["message"].as_str().unwrap().contains(&why), "{told}");
    }
    assert!(
        past.get(key)
            .await
            .value
            .starts_with(b"{\"kind\":\"CustomResourceDefinition\",\"apiVersion\":\"apiextensions.k8s.io/v1\"")
    );

    // Nothing is pruned; what the schema says is demanded.
    let object = |replicas: Value| {
        json!({ "apiVersion": "example.com/v1beta1", "kind": "Noxu", "metadata": { "name": "a" },
        "spec": { "replicas": replicas, "other": { "x": [1] } }, "else": true })
    };
    let (code, made) = ask(target, Ask::new(Method::POST, objects, object(json!(1)).to_string())).await;
    assert_eq!((code, &made["spec"], &made["else"]), (201, &object(json!(1))["spec"], &json!(true)), "{made}");
    assert_eq!(get(target, "/apis/example.com/v1beta2/noxus/a").await["spec"], made["spec"]);
    let (code, why) = ask(target, Ask::new(Method::POST, objects, object(json!("1")).to_string())).await;
    assert_eq!(code, 422, "{why}");

    // Of fields that no schema knows, each still has its manager.
    let apply = |query: &str| {
        let path = format!("{objects}/b?fieldManager=t{query}");
        let body = json!({ "apiVersion": "example.com/v1beta1", "kind": "Noxu", "metadata": { "name": "b" },
            "free": { "replicas": 1 } });
        let target = target.clone();
        async move {
            let patch = Ask::new(Method::PATCH, &path, body.to_string());
            ask(&target, Ask { content_type: "application/apply-patch+yaml", ..patch }).await
        }
    };
    assert_eq!(apply("").await.0, 201);
    let five = Ask::new(Method::PATCH, "/apis/example.com/v1beta1/noxus/b", r#"{"free":{"replicas":5}}"#);
    assert_eq!(ask(target, five).await.1["free"]["replicas"], 5);
    let (code, why) = apply("").await;
    assert_eq!((code, why["details"]["causes"].as_array().map(Vec::len)), (409, Some(1)), "{why}");
    assert_eq!(apply("&force=true").await.1["free"]["replicas"], 1);

    // It may be changed as it is; what is new must be structural.
    found["metadata"]["annotations"] = json!({ "a": "b" });
    found["spec"]["versions"][0]["deprecated"] = true.into();
    let put = |value: &Value| Ask::new(Method::PUT, one, value.to_string());
    let (code, mut found) = ask(target, put(&found)).await;
    assert_eq!(code, 200, "{found}");
    let mut ruled = found.clone();
    ruled["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["x-kubernetes-validations"] =
        json!([{ "rule": "has(self.spec)" }]);
    let (code, why) = ask(target, put(&ruled)).await;
    assert!(
        code == 422 && why["message"].as_str().unwrap().contains("must not be empty for specified object fields"),
        "{why}"
    );
    // Once it is, the condition goes, and there is no way back.
    for version in [0, 1] {
        found["spec"]["versions"][version]["schema"] = json!({ "openAPIV3Schema": { "type": "object" } });
    }
    let preserved = found.clone();
    found["spec"]["preserveUnknownFields"] = false.into();
    let (code, _) = ask(target, put(&found)).await;
    assert_eq!(code, 200);
    let found = get(target, one).await;
    let conditions = found["status"]["conditions"].as_array().unwrap();
    assert!(conditions.iter().all(|condition| condition["type"] != "NonStructuralSchema"), "{conditions:?}");
    let mut back = preserved;
    back["metadata"]["resourceVersion"] = found["metadata"]["resourceVersion"].clone();
    let (code, why) = ask(target, put(&back)).await;
    assert!(code == 422 && why["message"].as_str().unwrap().contains("spec.preserveUnknownFields"), "{why}");
}
