//! API aggregation: one server behind another. Who serves what is told by APIServices, who asks by the front proxy.

mod support;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use support::{APPLY, Server, kubectl_is_missing, manifest};

fn service(name: &str, spec: Value) -> String {
    json!({ "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": { "name": name }, "spec": spec })
        .to_string()
}

fn condition(server: &Server, name: &str) -> String {
    let path = "jsonpath={.status.conditions[?(@.type=='Available')].status} {.status.conditions[?(@.type=='Available')].reason}: {.status.conditions[?(@.type=='Available')].message}";
    server.kubectl(&["get", "apiservice", name, "-o", path], "").1
}

fn becomes(server: &Server, name: &str, wanted: &str) {
    let mut last = String::new();
    for _ in 0..100 {
        last = condition(server, name);
        if last.starts_with(wanted) {
            return;
        }
    }
    panic!("{name} should become {wanted:?}: {last}");
}

#[test]
fn a_server_behind_another() {
    if kubectl_is_missing() {
        return;
    }
    let front = Server::start("front");
    let behind = Server::start_behind("behind", Some(&front));
    behind.ok(APPLY, &manifest("widget-crd.yaml"));
    behind.ok(&["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=2s"], "");

    // What a server serves itself is registered, and available.
    becomes(&front, "v1.", "True Local: Local APIServices are always available");
    becomes(&front, "v1.apps", "True Local");
    assert!(front.ok(&["get", "apiservices"], "").contains("Local"));

    // Step by step what may be missing.
    let bundle = |server: &Server| BASE64_STANDARD.encode(std::fs::read(server.dir.join("pki/ca.crt")).unwrap());
    let spec = json!({ "group": "example.com", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "caBundle": bundle(&behind), "service": { "namespace": "default", "name": "sample-api", "port": behind.port } });
    front.ok(APPLY, &service("v1.example.com", spec.clone()));
    becomes(&front, "v1.example.com", r#"False ServiceNotFound: service/sample-api in "default" is not present"#);
    front.fails(&["get", "--raw", "/apis/example.com/v1/widgets"], "", "unable to handle the request");
    front.ok(&["create", "service", "clusterip", "sample-api", "--tcp=1"], "");
    becomes(
        &front,
        "v1.example.com",
        &format!(r#"False ServicePortError: service/sample-api in "default" is not listening on port {}"#, behind.port),
    );
    front.ok(&["delete", "service", "sample-api"], "");
    front.ok(&["create", "service", "clusterip", "sample-api", &format!("--tcp={}", behind.port)], "");
    becomes(
        &front,
        "v1.example.com",
        r#"False EndpointsNotFound: cannot find endpointslices for service/sample-api in "default""#,
    );
    front.ok(&["delete", "service", "sample-api"], "");
    front.ok(&["create", "service", "externalname", "sample-api", "--external-name=localhost"], "");
    becomes(&front, "v1.example.com", "True Passed: all checks passed");

    // Discovery, explanation, and all verbs.
    let mut groups = String::new();
    for _ in 0..100 {
        groups = front.ok(&["api-resources", "--api-group=example.com"], "");
        if groups.contains("widgets") {
            break;
        }
    }
    assert!(groups.contains("widgets") && groups.contains("Widget"), "{groups}");
    assert!(
        front
            .ok(&["get", "--raw", "/apis/example.com"], "")
            .contains(r#""preferredVersion":{"groupVersion":"example.com/v1""#)
    );
    assert!(front.ok(&["explain", "widget.spec"], "").contains("size\t<integer> -required-"));
    assert!(
        front.ok(&["get", "--raw", "/openapi/v2"], "").contains("/apis/example.com/v1/namespaces/{namespace}/widgets")
    );
    front.ok(&["apply", "--validate=ignore", "-f", "-"], &manifest("widget.yaml"));
    assert!(behind.ok(&["get", "widget", "w"], "").contains('w'));
    front.ok(&["scale", "widget", "w", "--replicas=4"], "");
    let watched = front.ok(&["get", "--raw", "/apis/example.com/v1/widgets?watch=1&timeoutSeconds=1"], "");
    assert!(watched.contains(r#""type":"ADDED""#), "{watched}");

    // The server behind knows who asks, and trusts nobody but the front proxy with that.
    front.fails(&["get", "widgets", "--as=jane"], "", r#"User "jane" cannot list resource "widgets""#);
    front.ok(
        &["create", "clusterrolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane", "--group=friends"],
        "",
    );
    front.fails(&["get", "widgets", "--as=jane"], "", r#"User "jane" cannot list resource "widgets""#);
    behind.ok(&["create", "clusterrolebinding", "friends", "--clusterrole=cluster-admin", "--group=friends"], "");
    front.fails(&["get", "widgets", "--as=jane"], "", r#"User "jane" cannot list resource "widgets""#);
    front.ok(&["get", "widgets", "--as=jane", "--as-group=friends"], "");
    let map = behind.ok(
        &["get", "configmap", "-n", "kube-system", "extension-apiserver-authentication", "-o", "jsonpath={.data}"],
        "",
    );
    assert!(map.contains(r#""requestheader-allowed-names":"[\"front-proxy-client\"]""#), "{map}");
    assert!(map.contains("BEGIN CERTIFICATE"));

    // Another authority than the server's, and the end.
    let mut distrust = spec;
    distrust["caBundle"] = bundle(&front).into();
    front.ok(APPLY, &service("v1.example.com", distrust));
    becomes(
        &front,
        "v1.example.com",
        "False FailedDiscoveryCheck: failing or missing response from https://localhost:",
    );
    front.ok(&["delete", "apiservice", "v1.example.com"], "");
    let mut gone = false;
    for _ in 0..100 {
        let (_, text) = front.kubectl(&["get", "--raw", "/apis/example.com"], "");
        gone = text.contains("NotFound");
        if gone {
            break;
        }
    }
    assert!(gone);

    // Definitions are registered as long as they are there; what is ours comes back.
    front.ok(APPLY, &manifest("widget-crd.yaml"));
    becomes(&front, "v1.example.com", "True Local");
    front.ok(&["delete", "apiservice", "v1.example.com"], "");
    let mut back = false;
    for _ in 0..100 {
        back = front.kubectl(&["get", "apiservice", "v1.example.com"], "").0;
        if back {
            break;
        }
    }
    assert!(back);
    front.ok(&["delete", "crd", "widgets.example.com", "--timeout=5s"], "");
    front.ok(&["wait", "--for=delete", "apiservice/v1.example.com", "--timeout=5s"], "");
}
