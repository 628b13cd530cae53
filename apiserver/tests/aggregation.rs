//! API aggregation: one server behind another. Who serves what is told by APIServices, who asks by the front proxy.

mod support;

use std::io::{Read, Write};

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
    let path = "-o=jsonpath={.metadata.managedFields[?(@.subresource=='status')].manager}";
    assert_eq!(front.ok(&["get", "apiservice", "v1.example.com", path], ""), "kube-apiserver");
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

/// What a client says and hears on one connection to the API server, as its administrator.
struct Connection {
    stream: rustls::StreamOwned<rustls::ClientConnection, std::net::TcpStream>,
}

impl Connection {
    fn open(server: &Server) -> Self {
        let read = |name: &str| std::fs::read(server.dir.join("pki").join(name)).unwrap();
        let (authority, certificate, key) = (read("ca.crt"), read("admin.crt"), read("admin.key"));
        let identity = auth::trust::Identity { certificate: &certificate, key: &key };
        let config = auth::trust::client_config(auth::trust::Trust::Bundle(&authority), Some(identity)).unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let tls = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
        let tcp = std::net::TcpStream::connect(("127.0.0.1", server.port)).unwrap();
        tcp.set_read_timeout(Some(std::time::Duration::from_secs(5))).unwrap();
        Self { stream: rustls::StreamOwned::new(tls, tcp) }
    }

    fn say(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Reads up to and including `end`.
    fn hear(&mut self, end: &str) -> String {
        let mut heard = Vec::new();
        while !heard.ends_with(end.as_bytes()) {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            heard.push(byte[0]);
        }
        String::from_utf8(heard).unwrap()
    }
}

/// Switches protocols, then says every byte again.
async fn echo(
    mut request: http::Request<hyper::body::Incoming>,
) -> Result<http::Response<String>, std::convert::Infallible> {
    let wants = |name: &str, value: &str| request.headers().get(name).is_some_and(|have| have == value);
    if !wants("upgrade", "echo") {
        return Ok(http::Response::new("{}".to_owned()));
    }
    let named = wants("x-remote-user", "kubernetes-admin");
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let stream = hyper_util::rt::TokioIo::new(upgrade.await.unwrap());
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
    });
    let response = http::Response::builder().status(101).header("connection", "Upgrade").header("upgrade", "echo");
    Ok(response.header("user-is-named", named.to_string()).body(String::new()).unwrap())
}

/// A server that knows nothing but upgrades.
fn upgrading() -> u16 {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = made.signing_key.serialize_pem();
    let tls = auth::x509::server_config(made.cert.pem().as_bytes(), key.as_bytes(), auth::x509::Asked::Nobody).unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    // It lives as long as the test program.
    std::thread::spawn(move || {
        tokio::runtime::Runtime::new().unwrap().block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(echo);
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(hyper_util::rt::TokioIo::new(stream), service).with_upgrades().await;
                });
            }
        });
    });
    port
}

#[test]
fn upgrades_are_passed_on() {
    if kubectl_is_missing() {
        return;
    }
    let front = Server::start("upgrades");
    front.ok(&["create", "service", "externalname", "upgrading", "--external-name=localhost"], "");
    let spec = json!({ "group": "up.io", "version": "v1", "groupPriorityMinimum": 100, "versionPriority": 10,
        "insecureSkipTLSVerify": true, "service": { "namespace": "default", "name": "upgrading", "port": upgrading() } });
    front.ok(APPLY, &service("v1.up.io", spec));
    becomes(&front, "v1.up.io", "True Passed");
    let mut connection = Connection::open(&front);
    // What a client says of a user is not passed on.
    connection.say(
        "GET /apis/up.io/v1/things/x/shell HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\nX-Remote-User: eve\r\n\r\n",
    );
    let head = connection.hear("\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101") && head.contains("user-is-named: true"), "{head}");
    connection.say("anybody there?\n");
    assert_eq!(connection.hear("\n"), "anybody there?\n");
}
