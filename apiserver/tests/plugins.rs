//! What built-in admission plugins do to pods after their creation.

mod support;

use serde_json::{Value, json};
use support::Server;
use support::raw::Raw;

/// A namespace's first pod waits for the account that its controller is about to make.
#[test]
fn a_pod_waits_for_its_namespaces_account() {
    let server = Server::start("accounts");
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let identity = (read("admin.crt"), read("admin.key"));
    let admin = || Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&identity.0, &identity.1)));
    let pod = |name: &str, account: &str| {
        let spec = json!({ "serviceAccountName": account, "containers": [{ "name": "c", "image": "x" }] });
        let body = json!({ "metadata": { "name": name }, "spec": spec }).to_string();
        admin().send("POST", "/api/v1/namespaces/default/pods", &[], &body)
    };
    assert_eq!(pod("p", "other").code, 403);
    std::thread::scope(|scope| {
        let early = scope.spawn(|| pod("p", ""));
        let waits = || {
            let metrics = admin().send("GET", "/metrics", &[], "").text;
            metrics.contains("apiserver_current_inflight_requests{request_kind=\"mutating\"} 1")
        };
        while !early.is_finished() && !waits() {}
        assert!(!early.is_finished(), "it does not wait");
        let account = json!({ "metadata": { "name": "default" } }).to_string();
        assert_eq!(admin().send("POST", "/api/v1/namespaces/default/serviceaccounts", &[], &account).code, 201);
        assert_eq!(early.join().unwrap().code, 201);
    });
}

#[test]
fn updates_and_bindings_pass_the_plugins() {
    let server = Server::start("plugins");
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let admin = Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))));
    let send = |method: &str, path: &str, object: &Value, code: u16| -> Value {
        let reply = admin.send(method, path, &[], &object.to_string());
        assert_eq!(reply.code, code, "{method} {path}: {}", reply.text);
        // Long answers come in chunks, whose sizes stand around the object.
        let (begin, end) = (reply.text.find('{').expect("an object"), reply.text.rfind('}').expect("an object"));
        serde_json::from_str(&reply.text[begin..=end]).expect("JSON")
    };
    let pods = "/api/v1/namespaces/default/pods";
    send("POST", "/api/v1/namespaces/default/serviceaccounts", &json!({ "metadata": { "name": "default" } }), 201);
    let labels = json!({ "topology.kubernetes.io/zone": "a", "disk": "ssd" });
    send("POST", "/api/v1/nodes", &json!({ "metadata": { "name": "n", "labels": labels } }), 201);
    let pod = json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "c", "image": "x" }] } });
    let mut pod = send("POST", pods, &pod, 201);
    assert_eq!(pod["metadata"]["labels"], Value::Null, "it has no node yet");

    // Whoever replaces tolerations and forgets the priority keeps what the plugins gave.
    pod["spec"]["tolerations"] = json!([{ "key": "mine", "operator": "Exists" }]);
    pod["spec"].as_object_mut().unwrap().remove("priority");
    let pod = send("PUT", &format!("{pods}/p"), &pod, 200);
    let keys: Vec<&str> =
        pod["spec"]["tolerations"].as_array().unwrap().iter().filter_map(|t| t["key"].as_str()).collect();
    assert_eq!(keys, ["mine", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
    assert_eq!((&pod["spec"]["priority"], &pod["metadata"]["generation"]), (&json!(0), &json!(2)));

    let mut status = pod.clone();
    status["status"]["nominatedNodeName"] = "n".into();
    send("PUT", &format!("{pods}/p/status"), &status, 200);
    let binding = |version: &str| {
        json!({ "metadata": { "name": "p", "resourceVersion": version, "annotations": { "by": "me" } },
            "target": { "kind": "Node", "name": "n" } })
    };
    let refused = send("POST", &format!("{pods}/p/binding"), &binding("1"), 409);
    assert!(refused["message"].as_str().unwrap().contains("ResourceVersion in precondition: 1"), "{refused}");
    send("POST", &format!("{pods}/p/binding"), &binding(""), 201);
    let pod = send("GET", &format!("{pods}/p"), &Value::Null, 200);
    assert_eq!(pod["metadata"]["labels"], json!({ "topology.kubernetes.io/zone": "a" }));
    assert_eq!((&pod["metadata"]["annotations"]["by"], &pod["spec"]["nodeName"]), (&json!("me"), &json!("n")));
    assert_eq!(pod["status"]["nominatedNodeName"], Value::Null);
}
