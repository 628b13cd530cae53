//! Resources → the router's configuration and everyone's status, with no cluster.

use k8s_openapi::jiff::Timestamp;
use knetsim_skupper_lite::api::Controller;
use knetsim_skupper_lite::controller::desired;
use knetsim_skupper_lite::controller::index::{Index, Watched};
use knetsim_skupper_lite::controller::objects;
use knetsim_skupper_lite::controller::status::{self, GrantServer};
use kube::runtime::watcher::Event;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn yaml<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).expect("the test's YAML is right")
}

/// A namespace `west` with a Site that accepts links, a Link, a Listener, and a Connector with one ready pod.
fn west() -> Index {
    let mut index = Index::default();
    let apply = |index: &mut Index, event: Watched| drop(index.on(event));
    let meta = |name: &str, uid: &str| {
        format!(
            "metadata: {{name: {name}, namespace: west, uid: {uid}, generation: 1, creationTimestamp: '2026-01-01T00:00:00Z'}}"
        )
    };
    let site = format!("{}\nspec: {{linkAccess: default}}", meta("west", "0badcafe-1111"));
    apply(&mut index, Watched::Site(Event::Apply(yaml(&site))));
    let access = format!(
        "{}\nspec: {{roles: [{{name: inter-router, port: 55671}}], tlsCredentials: skupper-site-server, generateTlsCredentials: true}}",
        meta("skupper-router", "u2")
    );
    apply(&mut index, Watched::RouterAccess(Event::Apply(yaml(&access))));
    let link = format!(
        "{}\nspec: {{endpoints: [{{name: inter-router, host: 10.0.0.11, port: '30671'}}], tlsCredentials: east}}",
        meta("east", "u3")
    );
    apply(&mut index, Watched::Link(Event::Apply(yaml(&link))));
    apply(&mut index, Watched::Secret(Event::Apply(yaml(&meta("east", "u4")))));
    let listener = format!("{}\nspec: {{routingKey: web, host: backend, port: 8080}}", meta("backend", "u5"));
    apply(&mut index, Watched::Listener(Event::Apply(yaml(&listener))));
    let connector = format!("{}\nspec: {{routingKey: api, selector: app=api, port: 80}}", meta("api", "u6"));
    apply(&mut index, Watched::Connector(Event::Apply(yaml(&connector))));
    for (name, labels) in [("api-1", "app: api"), ("skupper-router-1", "skupper.io/component: router")] {
        let pod = format!(
            "metadata: {{name: {name}, namespace: west, uid: {name}, labels: {{{labels}}}}}\n\
             status: {{podIP: 11.0.1.5, conditions: [{{type: Ready, status: 'True'}}]}}"
        );
        apply(&mut index, Watched::Pod(Event::Apply(yaml(&pod))));
    }
    let node = "{metadata: {name: w1}, status: {addresses: [{type: InternalIP, address: 10.0.1.11}], conditions: [{type: Ready, status: 'True'}]}}";
    apply(&mut index, Watched::Node(Event::Apply(yaml(node))));
    let service = "{metadata: {name: skupper-router, namespace: west}, spec: {type: NodePort, ports: [{name: inter-router, port: 55671, nodePort: 31671}]}}";
    apply(&mut index, Watched::Service(Event::Apply(yaml(service))));
    index
}

#[test]
fn the_routers_configuration_in_skuppers_own_form() {
    let index = west();
    let site = index.site("west").unwrap();
    let text = desired::router_config(site, &index).to_json();
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn the_objects_of_a_site() {
    let index = west();
    let site = index.site("west").unwrap();
    let all = objects::objects(site, "image", &index);
    let names: Vec<_> = all.iter().map(|it| format!("{} {}", it.resource.kind, it.name)).collect();
    assert_eq!(
        names,
        [
            "ServiceAccount skupper-router",
            "Role skupper-router",
            "RoleBinding skupper-router",
            "RouterAccess skupper-router",
            "ConfigMap skupper-router",
            "Deployment skupper-router",
            "Service skupper-router",
            "Service backend",
        ]
    );
    let service = |name: &str| &all.iter().find(|it| it.resource.kind == "Service" && it.name == name).unwrap().body;
    assert_eq!(service("skupper-router")["spec"]["ports"][0]["nodePort"], 31671, "a given node port is kept");
    assert_eq!(service("backend")["spec"]["ports"][0]["targetPort"], 1024);
    assert!(all.iter().all(|it| it.body["metadata"]["ownerReferences"][0]["uid"] == "0badcafe-1111"));
}

/// Tells the index what the router says of the network.
fn network(index: &mut Index, text: &str) {
    let map = serde_json::json!({
        "metadata": { "name": "skupper-network-status", "namespace": "west" }, "data": { "NetworkStatus": text },
    });
    index.on(Watched::ConfigMap(Event::Apply(serde_json::from_value(map).unwrap())));
}

fn statuses(index: &Index) -> Vec<(String, Value)> {
    let now = Timestamp::UNIX_EPOCH;
    let grants = GrantServer { address: Some("10.0.1.11:30190".to_owned()), ca: "CA".to_owned() };
    let writes = status::writes("west", index, &Controller::default(), &grants, now);
    writes.into_iter().map(|write| (format!("{} {}", write.kind, write.name), write.status)).collect()
}

fn summary(index: &Index) -> Vec<String> {
    let line = |(name, status): (String, Value)| {
        format!("{name}: {} ({})", status["status"].as_str().unwrap(), status["message"].as_str().unwrap())
    };
    statuses(index).into_iter().map(line).collect()
}

const FACTS: &str = r#"[
    {"router": "w", "site_id": "0badcafe-1111", "site": {"name": "west", "namespace": "west", "platform": "kubernetes", "version": "1"},
     "connectors": {"api": ["c"]}, "listeners": {"web": ["l"]},
     "links": {"east": {"operational": true, "remote_site_id": "e", "remote_site_name": "east", "error": ""}}},
    {"router": "e", "site_id": "e", "site": {"name": "east", "namespace": "east", "platform": "kubernetes", "version": "1"},
     "connectors": {"web": ["c"]}, "listeners": {"api": ["l"]}, "links": {}}
]"#;

#[test]
fn conditions_follow_the_network() {
    let mut index = west();
    network(&mut index, FACTS);
    assert_eq!(
        summary(&index),
        [
            "Site west: Ready (OK)",
            "Link east: Ready (OK)",
            "Listener backend: Ready (OK)",
            "Connector api: Ready (OK)",
            "RouterAccess skupper-router: Ready (OK)",
        ]
    );
    let site = &statuses(&index)[0].1;
    assert_eq!(site["sitesInNetwork"], 2);
    assert_eq!(site["endpoints"][0]["host"], "10.0.1.11");
    assert_eq!(site["endpoints"][0]["port"], "31671");
    // The WAN is cut: the router's own facts are all that is left.
    let mut own: Vec<Value> = serde_json::from_str(FACTS).unwrap();
    own.truncate(1);
    own[0]["links"]["east"]["operational"] = false.into();
    own[0]["links"]["east"]["error"] = "10.0.0.11:30671 does not answer".into();
    network(&mut index, &serde_json::to_string(&own).unwrap());
    assert_eq!(
        summary(&index)[1..4],
        [
            "Link east: Pending (Not operational: 10.0.0.11:30671 does not answer)",
            "Listener backend: Pending (No matching connectors)",
            "Connector api: Pending (No matching listeners)",
        ]
    );
}

#[test]
fn what_cannot_work_says_so() {
    let mut index = west();
    let second = "{metadata: {name: other, namespace: west, creationTimestamp: '2026-01-02T00:00:00Z'}, spec: {}}";
    index.on(Watched::Site(Event::Apply(yaml(second))));
    let taken = "{metadata: {name: taken, namespace: west}, spec: {routingKey: x, host: mine, port: 1}}";
    index.on(Watched::Listener(Event::Apply(yaml(taken))));
    index.on(Watched::Service(Event::Apply(yaml("{metadata: {name: mine, namespace: west}}"))));
    let lost = "{metadata: {name: lost, namespace: west}, spec: {routingKey: x, selector: app=none, port: 1}}";
    index.on(Watched::Connector(Event::Apply(yaml(lost))));
    let keyless = "{metadata: {name: keyless, namespace: west}, spec: {endpoints: [{name: inter-router, host: h, port: '1'}], tlsCredentials: none}}";
    index.on(Watched::Link(Event::Apply(yaml(keyless))));
    let found = summary(&index);
    for line in [
        "Site other: Error (An active site already exists in the namespace (west))",
        "Listener taken: Error (Service mine already exists in namespace)",
        "Connector lost: Error (No pods match selector)",
        "Link keyless: Error (TLS credentials secret \"none\" not found)",
    ] {
        assert!(found.iter().any(|it| it == line), "{line} is not in {found:#?}");
    }
}

#[test]
fn a_grant_gets_its_url_and_code() {
    let mut index = west();
    let grant = "{metadata: {name: g, namespace: west, uid: u-g}, spec: {expirationWindow: 1h}}";
    index.on(Watched::AccessGrant(Event::Apply(yaml(grant))));
    let (_, status) = statuses(&index).pop().unwrap();
    assert_eq!(status["url"], "https://10.0.1.11:30190/u-g");
    assert_eq!(status["expirationTime"], "1970-01-01T01:00:00Z");
    assert_eq!(status["code"].as_str().unwrap().len(), 24);
    assert_eq!(status["status"], "Ready");
}

#[test]
fn a_written_status_is_not_written_again() {
    let mut index = west();
    network(&mut index, FACTS);
    let mut site: Value = serde_json::to_value(&**index.site("west").unwrap()).unwrap();
    site["status"] = statuses(&index)[0].1.clone();
    index.on(Watched::Site(Event::Apply(serde_json::from_value(site).unwrap())));
    assert!(statuses(&index).iter().all(|(name, _)| name != "Site west"));
}
