//! Nobody without the right gets in: who asks for what, in which disguise, and what must come of it.

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use auth::csr::{Authority, Request, Terms};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use support::Server;
use support::raw::Raw;

/// A certificate for a user, signed by the authority of these files.
fn certificate(ca: &str, ca_key: &str, user: &str, group: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, user);
    if !group.is_empty() {
        params.distinguished_name.push(rcgen::DnType::OrganizationName, group);
    }
    let pem = params.serialize_request(&key).unwrap().pem().unwrap();
    let request = Request::parse(&BASE64_STANDARD.encode(pem)).unwrap();
    let now = jiff::Timestamp::now();
    let hour = jiff::SignedDuration::from_hours(1);
    let terms = Terms {
        usages: &["digital signature", "client auth"],
        not_before: now.checked_sub(hour).unwrap(),
        not_after: now.checked_add(hour).unwrap(),
        serial: &[1, 2, 3],
    };
    let pem = Authority::from_pem(ca, ca_key).unwrap().sign(&request, &terms).unwrap();
    (pem, key.serialize_pem())
}

struct World {
    server: Server,
    admin: Raw,
    anonymous: Raw,
    /// May read pods in `default` and their logs, the Secret `allowed`, and impersonate the user `bob`.
    jane: Raw,
    node: Raw,
    proxy: Raw,
    /// A certificate of the clients' authority with the name of the front proxy.
    pretender: Raw,
    token: String,
    bootstrap: &'static str,
}

impl World {
    fn new(name: &str) -> Self {
        let server = Server::start_with(name, None, |_| vec!["--enable-bootstrap-token-auth=true".to_owned()]);
        let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
        let (ca, ca_key) = (read("ca.crt"), read("ca.key"));
        let raw = |own: Option<(String, String)>| {
            let own = own.as_ref().map(|(certificate, key)| (certificate.as_str(), key.as_str()));
            Raw::new(&server.dir.join("pki/ca.crt"), server.port, own)
        };
        let admin = raw(Some((read("admin.crt"), read("admin.key"))));
        let bootstrap = "abcdef.0123456789abcdef";
        for (path, object) in objects() {
            let reply = admin.send("POST", path, &[], &object.to_string());
            assert_eq!(reply.code, 201, "{path}: {}", reply.text);
        }
        let issued = admin.send("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", &[], "{\"spec\":{}}");
        let body = issued.text.split("\r\n\r\n").nth(1).unwrap();
        let token: Value = serde_json::from_str(body).unwrap();
        Self {
            anonymous: raw(None),
            jane: raw(Some(certificate(&ca, &ca_key, "jane", "dev"))),
            node: raw(Some(certificate(&ca, &ca_key, "system:node:w1", "system:nodes"))),
            proxy: raw(Some((read("front-proxy-client.crt"), read("front-proxy-client.key")))),
            pretender: raw(Some(certificate(&ca, &ca_key, "front-proxy-client", ""))),
            token: token["status"]["token"].as_str().unwrap().to_owned(),
            admin,
            bootstrap,
            server,
        }
    }
}

fn objects() -> Vec<(&'static str, Value)> {
    let secret = |name: &str| json!({ "metadata": { "name": name }, "stringData": { "password": "hunter2" } });
    let rbac = "rbac.authorization.k8s.io";
    let pod = |name: &str, node: &str, secret: &str| {
        let claim = json!({ "name": "v", "persistentVolumeClaim": { "claimName": format!("of-{name}") } });
        json!({ "metadata": { "name": name }, "spec": { "nodeName": node, "serviceAccountName": "robot",
            "automountServiceAccountToken": false, "volumes": [claim],
            "containers": [{ "name": "c", "image": "x", "envFrom": [{ "secretRef": { "name": secret } }] }] } })
    };
    let size = json!({ "storage": "1Gi" });
    let volume = json!({ "metadata": { "name": "of-p" }, "spec": { "accessModes": ["ReadWriteOnce"], "capacity": size,
        "claimRef": { "namespace": "default", "name": "of-p" }, "csi": { "driver": "disks.io", "volumeHandle": "p",
            "nodeStageSecretRef": { "namespace": "other", "name": "of-w1" },
            "controllerPublishSecretRef": { "namespace": "other", "name": "of-controller" } } } });
    let claim = json!({ "metadata": { "name": "of-p" }, "spec": { "accessModes": ["ReadWriteOnce"], "volumeName": "of-p",
        "storageClassName": "", "resources": { "requests": size } } });
    let token: Vec<(&str, &str)> =
        vec![("token-id", "abcdef"), ("token-secret", "0123456789abcdef"), ("usage-bootstrap-authentication", "true")];
    vec![
        ("/api/v1/namespaces", json!({ "metadata": { "name": "other" } })),
        ("/api/v1/namespaces/default/serviceaccounts", json!({ "metadata": { "name": "robot" } })),
        ("/api/v1/namespaces/default/secrets", secret("s")),
        ("/api/v1/namespaces/default/secrets", secret("allowed")),
        ("/api/v1/namespaces/default/secrets", secret("of-w1")),
        ("/api/v1/namespaces/other/secrets", secret("of-w1")),
        ("/api/v1/namespaces/other/secrets", secret("of-controller")),
        ("/api/v1/persistentvolumes", volume),
        ("/api/v1/namespaces/default/persistentvolumeclaims", claim),
        (
            "/apis/storage.k8s.io/v1/csidrivers",
            json!({ "metadata": { "name": "disks.io" }, "spec": { "tokenRequests": [{ "audience": "vault" }] } }),
        ),
        (
            "/api/v1/namespaces/kube-system/secrets",
            json!({ "metadata": { "name": "bootstrap-token-abcdef" }, "type": "bootstrap.kubernetes.io/token",
                "stringData": token.into_iter().collect::<std::collections::BTreeMap<_, _>>() }),
        ),
        ("/api/v1/nodes", json!({ "metadata": { "name": "w1" } })),
        ("/api/v1/nodes", json!({ "metadata": { "name": "w2" } })),
        ("/api/v1/namespaces/default/pods", pod("p", "w1", "of-w1")),
        ("/api/v1/namespaces/default/pods", pod("o", "w1", "of-w1")),
        ("/api/v1/namespaces/default/pods", pod("q", "w2", "s")),
        (
            "/api/v1/namespaces/default/services",
            json!({ "metadata": { "name": "svc" }, "spec": { "ports": [{ "port": 80 }] } }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            json!({ "metadata": { "name": "reader" }, "rules": [
                { "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] },
                { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["allowed"], "verbs": ["get", "list"] },
                // Half of what it takes: to run something in a pod one must create, and so to make what is not there.
                { "apiGroups": [""], "resources": ["pods/exec", "pods/attach", "pods/portforward"], "verbs": ["get"] },
                { "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update", "patch"] },
            ] }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            json!({ "metadata": { "name": "reader" }, "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "reader" },
                "subjects": [{ "apiGroup": rbac, "kind": "User", "name": "jane" }] }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterroles",
            json!({ "metadata": { "name": "as-bob" }, "rules": [
                { "apiGroups": [""], "resources": ["users"], "resourceNames": ["bob"], "verbs": ["impersonate"] }] }),
        ),
        (
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            json!({ "metadata": { "name": "as-bob" }, "roleRef": { "apiGroup": rbac, "kind": "ClusterRole", "name": "as-bob" },
                "subjects": [{ "apiGroup": rbac, "kind": "User", "name": "jane" }] }),
        ),
    ]
}

/// Sends each row's request and compares the code; all that is wrong is told at once.
fn check(who: &str, raw: &Raw, rows: &[(&str, &str, &[&str], &[u16])]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (method, target, headers, expected) in rows {
        let body = if matches!(*method, "POST" | "PUT" | "PATCH") { "{}" } else { "" };
        let reply = raw.send(method, target, headers, body);
        if !expected.contains(&reply.code) {
            let first = reply.text.lines().next().unwrap_or_default();
            wrong.push(format!("{who}: {method} {target} {headers:?}: {first}, expected {expected:?}"));
        }
        if reply.text.contains("aHVudGVyMg==")
            && !(who == "admin" || target.contains("allowed") || target.contains("of-w1"))
        {
            wrong.push(format!("{who}: {method} {target} {headers:?} gave a secret away"));
        }
    }
    wrong
}

const NO: &[u16] = &[403];
const OK: &[u16] = &[200];
const UNKNOWN: &[u16] = &[401];
/// Not let in, in whichever words.
const OUT: &[u16] = &[400, 403, 404, 405];

#[test]
fn the_table() {
    let w = World::new("security");
    let secret = "/api/v1/namespaces/default/secrets/s";
    let pods = "/api/v1/namespaces/default/pods";
    let mut wrong = Vec::new();

    wrong.extend(check(
        "anonymous",
        &w.anonymous,
        &[
            ("GET", "/healthz", &[], OK),
            ("GET", "/livez", &[], OK),
            ("GET", "/readyz", &[], OK),
            ("GET", "/version", &[], OK),
            ("GET", "/metrics", &[], NO),
            ("GET", "/", &[], NO),
            ("GET", "/api", &[], NO),
            ("GET", "/apis", &[], NO),
            ("GET", "/openapi/v2", &[], NO),
            ("GET", "/openapi/v3", &[], NO),
            ("GET", "/.well-known/openid-configuration", &[], NO),
            ("GET", "/openid/v1/jwks", &[], NO),
            ("GET", "/logs/", &[], NO),
            ("GET", "/debug/pprof/", &[], NO),
            ("GET", "/healthz/../api/v1/secrets", &[], NO),
            ("GET", "/healthz/%2e%2e/metrics", &[], NO),
            ("GET", "/version/../metrics", &[], NO),
            ("GET", "//api/v1/namespaces/default/secrets/s", &[], NO),
            ("GET", "/./api/v1/secrets", &[], NO),
            ("GET", secret, &[], NO),
            ("HEAD", secret, &[], NO),
            ("GET", "/api/v1/secrets", &[], NO),
            ("GET", "/api/v1/secrets?watch=1", &[], NO),
            ("GET", "/api/v1/watch/secrets", &[], NO),
            ("POST", pods, &[], NO),
            ("DELETE", secret, &[], NO),
            ("DELETE", "/api/v1/namespaces/default/secrets", &[], NO),
            ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", &[], NO),
            ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", &[], NO),
            ("GET", "/apis/nowhere.example.com/v1/things", &[], NO),
            ("OPTIONS", secret, &[], OUT),
            ("TRACE", secret, &[], OUT),
            ("FOO", secret, &[], OUT),
            ("GET", secret, &["X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters"], NO),
            ("GET", secret, &["Impersonate-User: kubernetes-admin", "Impersonate-Group: system:masters"], NO),
            ("GET", "/healthz", &["Authorization: Bearer nonsense"], UNKNOWN),
            ("GET", secret, &["Authorization: Bearer nonsense"], UNKNOWN),
            ("GET", secret, &["Authorization: Bearer abcdef.0123456789abcdeX"], UNKNOWN),
            ("GET", secret, &["Authorization: Bearer abcdef.0123456789abcdee"], UNKNOWN),
            ("GET", secret, &["Authorization: Basic YWRtaW46YWRtaW4="], NO),
        ],
    ));

    let bearer = format!("Authorization: Bearer {}", w.token);
    let bootstrap = format!("Authorization: Bearer {}", w.bootstrap);
    let mut forged: Vec<&str> = w.token.split('.').collect();
    let payload = forged[1].replace('a', "b");
    forged[1] = &payload;
    let forged = format!("Authorization: Bearer {}", forged.join("."));
    let unsigned = format!("Authorization: Bearer {}.", w.token.rsplit_once('.').unwrap().0);
    wrong.extend(check(
        "token",
        &w.anonymous,
        &[
            ("GET", "/.well-known/openid-configuration", &[&bearer], OK),
            ("GET", "/openid/v1/jwks", &[&bearer], OK),
            ("GET", "/api", &[&bearer], OK),
            ("GET", secret, &[&bearer], NO),
            ("GET", secret, &[&forged], UNKNOWN),
            ("GET", secret, &[&unsigned], UNKNOWN),
            // Of two headers the first counts.
            ("GET", "/api", &["Authorization: Bearer nonsense", &bearer], UNKNOWN),
            ("GET", "/api", &[&bearer, "Authorization: Bearer nonsense"], OK),
            ("GET", "/api", &[&bootstrap], OK),
            ("GET", secret, &[&bootstrap], NO),
        ],
    ));

    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let body =
        json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": "l" } }).to_string();
    for (method, target, kind) in [
        ("PUT", lease.to_owned(), "application/json"),
        ("PATCH", format!("{lease}?fieldManager=jane"), "application/apply-patch+yaml"),
    ] {
        let reply = w.jane.exchange(method, &target, &[], (kind, &body));
        let why = "leases.coordination.k8s.io \\\"l\\\" is forbidden: User \\\"jane\\\" cannot create resource \\\"leases\\\" in API \
                   group \\\"coordination.k8s.io\\\" in the namespace \\\"default\\\"";
        if reply.code != 403 || !reply.text.contains(why) {
            wrong.push(format!("jane: {method} {target}: {}", reply.text));
        }
    }
    wrong.extend(check(
        "jane",
        &w.jane,
        &[
            ("GET", pods, &[], OK),
            ("GET", "/api/v1/namespaces/default/pods/p", &[], OK),
            // She may, but resources have no HEAD.
            ("HEAD", "/api/v1/namespaces/default/pods/p", &[], &[405]),
            ("GET", "/api/v1/namespaces/default/pods/p", &["X-HTTP-Method-Override: DELETE"], OK),
            ("GET", "/api/v1/namespaces/default/pods?watch=1", &[], NO),
            ("GET", "/api/v1/watch/namespaces/default/pods", &[], NO),
            ("GET", "/api/v1/namespaces/other/pods", &[], NO),
            ("GET", "/api/v1/pods", &[], NO),
            ("GET", "/api/v1/namespaces//pods", &[], OUT),
            ("DELETE", pods, &[], NO),
            ("DELETE", "/api/v1/namespaces/default/pods/p", &[], NO),
            ("PATCH", "/api/v1/namespaces/default/pods/p", &[], NO),
            ("PUT", "/api/v1/namespaces/default/pods/p", &[], NO),
            ("PUT", "/api/v1/namespaces/default/pods/p/status", &[], NO),
            ("GET", "/api/v1/namespaces/default/pods/p/log", &[], NO),
            ("GET", "/api/v1/namespaces/default/pods/p/exec?command=sh", &[], NO),
            ("POST", "/api/v1/namespaces/default/pods/p/exec?command=sh", &[], NO),
            ("GET", "/api/v1/namespaces/default/pods/p/attach", &[], NO),
            ("GET", "/api/v1/namespaces/default/pods/p/portforward", &[], NO),
            ("GET", "/api/v1/namespaces/default/pods/p/proxy", &[], NO),
            ("GET", "/api/v1/namespaces/default/pods/p/proxy/etc/passwd", &[], NO),
            ("POST", "/api/v1/namespaces/default/pods/p/binding", &[], NO),
            ("POST", "/api/v1/namespaces/default/pods/p/eviction", &[], NO),
            ("PATCH", "/api/v1/namespaces/default/pods/p/ephemeralcontainers", &[], NO),
            ("GET", "/api/v1/namespaces/default/services/svc/proxy/", &[], NO),
            ("GET", "/api/v1/nodes/w1/proxy/metrics", &[], NO),
            ("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", &[], NO),
            ("GET", secret, &[], NO),
            ("GET", "/api/v1/namespaces/default/secrets/allowed", &[], OK),
            ("GET", "/api/v1/namespaces/default/secrets", &[], NO),
            // A list of one name is a read of it, and of nothing else.
            ("GET", "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dallowed", &[], OK),
            ("GET", "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Ds", &[], NO),
            ("GET", "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name!%3Dallowed", &[], NO),
            (
                "GET",
                "/api/v1/namespaces/default/secrets?fieldSelector=metadata.name%3Dallowed&fieldSelector=metadata.name%3Ds",
                &[],
                OK,
            ),
            // Paths that try to be two things at once.
            ("GET", "/api/v1/namespaces/default/pods/../secrets/s", &[], OUT),
            ("GET", "/api/v1/namespaces/default/pods/%2e%2e/secrets/s", &[], OUT),
            ("GET", "/api/v1/namespaces/default/pods%2F..%2Fsecrets/s", &[], OUT),
            ("GET", "/api/v1/namespaces/default/pods/..%2Fsecrets%2Fs", &[], OUT),
            ("GET", "/api/v1/namespaces/default/pods/p%00/../../secrets/s", &[], OUT),
            ("GET", "/api/v1/namespaces/default/pods/p/../../secrets/s", &[], OUT),
            ("GET", "/api/v1/namespaces/default%2Fsecrets%2Fs/pods", &[], OUT),
            ("GET", "/api/v1/namespaces/other%2F..%2Fdefault/secrets/s", &[], OUT),
            ("GET", "/api/v1//namespaces/default/secrets/s", &[], OUT),
            ("GET", "/api//v1/namespaces/default/secrets/s", &[], OUT),
            ("GET", "//api/v1/namespaces/default/secrets/s", &[], OUT),
            ("GET", "/api/v1/namespaces/default/secrets/s/", &[], OUT),
            ("GET", "/api/v1/namespaces/default/Secrets/s", &[], OUT),
            ("GET", "/API/v1/namespaces/default/secrets/s", &[], OUT),
            ("GET", "/api/v1/namespaces/default/secrets;x/s", &[], OUT),
            ("GET", "/apis/../api/v1/namespaces/default/secrets/s", &[], OUT),
            ("GET", "/api/v1/../v1/namespaces/default/secrets/s", &[], OUT),
            ("GET", "/api/v1/proxy/namespaces/default/pods/p", &[], OUT),
            ("GET", "https://elsewhere/api/v1/namespaces/default/secrets/s", &[], NO),
            // Others' identities.
            ("GET", secret, &["X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters"], NO),
            ("GET", secret, &["Impersonate-User: kubernetes-admin"], NO),
            ("GET", secret, &["Impersonate-User: bob"], NO),
            ("GET", "/api", &["Impersonate-User: bob"], OK),
            ("GET", "/api", &["Impersonate-User: bob", "Impersonate-Group: system:masters"], NO),
            ("GET", "/api", &["Impersonate-User: bob", "Impersonate-Uid: 1"], NO),
            ("GET", "/api", &["Impersonate-User: bob", "Impersonate-Extra-Scopes: all"], NO),
            ("GET", secret, &["Impersonate-Group: system:masters"], &[400, 403, 500]),
            ("GET", secret, &["Impersonate-User: bob", "Impersonate-User: kubernetes-admin"], NO),
            ("GET", "/api", &["Impersonate-User: system:serviceaccount:default:robot"], NO),
            // A certificate counts before a token.
            ("GET", pods, &["Authorization: Bearer nonsense"], OK),
            ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &[], NO),
            ("GET", "/metrics", &[], NO),
            ("GET", "/api/v1", &[], OK),
        ],
    ));

    wrong.extend(check(
        "node",
        &w.node,
        &[
            ("GET", "/api/v1/nodes/w1", &[], OK),
            ("GET", "/api/v1/nodes/w2", &[], NO),
            ("GET", "/api/v1/nodes", &[], NO),
            ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dw1", &[], OK),
            ("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dw2", &[], NO),
            ("GET", "/api/v1/pods", &[], NO),
            ("GET", "/api/v1/namespaces/default/pods/p", &[], OK),
            ("GET", "/api/v1/namespaces/default/pods/q", &[], NO),
            ("GET", "/api/v1/namespaces/default/secrets/of-w1", &[], OK),
            ("GET", "/api/v1/namespaces/other/secrets/of-w1", &[], OK),
            ("GET", "/api/v1/namespaces/other/secrets/of-controller", &[], NO),
            ("GET", secret, &[], NO),
            ("GET", "/api/v1/namespaces/default/secrets", &[], NO),
            ("GET", "/api/v1/nodes/w2/proxy/metrics", &[], NO),
            ("POST", "/api/v1/namespaces/default/pods/p/exec?command=sh", &[], NO),
            ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", &[], NO),
        ],
    ));

    wrong.extend(check(
        "proxy",
        &w.proxy,
        &[
            ("GET", secret, &["X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters"], OK),
            ("GET", secret, &["X-Remote-User: jane", "X-Remote-Group: dev"], NO),
            ("GET", pods, &["X-Remote-User: jane"], OK),
            ("GET", pods, &["X-Remote-User: jane", "X-Remote-User: kubernetes-admin"], OK),
            ("GET", secret, &["X-Remote-User: jane", "X-Remote-User: kubernetes-admin"], NO),
            // By itself it is nobody.
            ("GET", "/healthz", &[], UNKNOWN),
        ],
    ));
    wrong.retain(|line| !(line.starts_with("proxy") && line.contains("gave a secret away")));
    wrong.extend(check(
        "pretender",
        &w.pretender,
        &[("GET", secret, &["X-Remote-User: kubernetes-admin", "X-Remote-Group: system:masters"], NO)],
    ));
    wrong.extend(check(
        "admin",
        &w.admin,
        &[
            ("GET", secret, &[], OK),
            ("GET", secret, &["Impersonate-User: jane"], NO),
            ("GET", pods, &["Impersonate-User: jane"], OK),
            ("GET", secret, &["Impersonate-User: x", "Impersonate-Group: system:masters"], OK),
            ("GET", secret, &["Impersonate-User: system:anonymous"], NO),
        ],
    ));
    drop(w.server);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Kubelets ask for tokens for whom their pods' volumes, and the drivers of these, want some.
#[test]
fn kubelets_get_the_tokens_of_drivers() {
    let w = World::new("audiences");
    let unknown = "is not authorized to request tokens for this audience";
    for (pod, audience, code, said) in [
        ("p", "vault", 201, "\"token\":"),
        ("p", "other", 403, unknown),
        ("o", "vault", 403, "error validating audience \\\"vault\\\": persistentvolumeclaim \\\"of-o\\\" not found"),
    ] {
        let path = format!("/api/v1/namespaces/default/pods/{pod}");
        let found = w.admin.send("GET", &path, &[], "");
        let found: Value = serde_json::from_str(found.text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        let bound = json!({ "apiVersion": "v1", "kind": "Pod", "name": pod, "uid": found["metadata"]["uid"] });
        let request = json!({ "spec": { "audiences": [audience], "boundObjectRef": bound } });
        let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
        let reply = w.node.send("POST", path, &[], &request.to_string());
        assert!(reply.code == code && reply.text.contains(said), "{pod} {audience}: {}", reply.text);
    }
}

/// What a kubelet has no right to is told before what is wrong with it.
#[test]
fn kubelets_are_refused_before_their_pods_are_looked_at() {
    let w = World::new("own-pods");
    let pod = |annotations: Value| {
        let metadata = json!({ "name": "x", "annotations": annotations });
        json!({ "metadata": metadata, "spec": { "serviceAccountName": "robot", "nodeName": "w1" } }).to_string()
    };
    let path = "/api/v1/namespaces/default/pods";
    let reply = w.node.send("POST", path, &[], &pod(json!({})));
    let said =
        "pod does not have \\\"kubernetes.io/config.mirror\\\" annotation, node \\\"w1\\\" can only create mirror pods";
    assert!(reply.code == 403 && reply.text.contains(said), "{}", reply.text);
    assert_eq!(w.admin.send("POST", path, &[], &pod(json!({}))).code, 422);
}

/// Everything this process logs, kept.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<u8>>>);

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What a request of the admin as `user` comes to, once the policy made before is known.
fn told(w: &World, user: &str, path: &str, body: &Value, expected: (u16, &str)) {
    let headers = [format!("Impersonate-User: {user}")];
    let headers: Vec<&str> = if user.is_empty() { Vec::new() } else { headers.iter().map(String::as_str).collect() };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let reply = w.admin.send("POST", path, &headers, &body.to_string());
        if reply.code == expected.0 && reply.text.contains(expected.1) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{path} {body}: {}", reply.text);
        std::thread::yield_now();
    }
}

#[test]
fn grants_and_questions_are_refused_in_upstreams_words() {
    let w = World::new("grants");
    let rbac = "/apis/rbac.authorization.k8s.io/v1";
    let roles = format!("{rbac}/clusterroles?dryRun=All");
    let bindings = format!("{rbac}/namespaces/default/rolebindings?dryRun=All");
    for (kind, object) in [
        (
            "clusterroles",
            json!({"metadata": {"name": "editor"}, "rules": [{"apiGroups": ["rbac.authorization.k8s.io"],
                "resources": ["*"], "verbs": ["create"]}]}),
        ),
        (
            "clusterrolebindings",
            json!({"metadata": {"name": "editor"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "editor"},
                "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "carol"}]}),
        ),
    ] {
        assert_eq!(w.admin.send("POST", &format!("{rbac}/{kind}"), &[], &object.to_string()).code, 201);
    }
    let aggregate =
        json!({"metadata": {"name": "a"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}});
    told(&w, "carol", &roles, &aggregate, (403, "must have cluster-admin privileges to use the aggregationRule"));
    told(&w, "", &roles, &aggregate, (201, ""));
    let binding = json!({"metadata": {"name": "b"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "none"}, "subjects": []});
    told(&w, "carol", &bindings, &binding, (404, "rolebindings.rbac.authorization.k8s.io \\\"none\\\" not found"));
    // Who may not grant it is told so before what else is wrong.
    let role = json!({"metadata": {"name": "r"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]});
    let roles = format!("{rbac}/namespaces/default/roles?dryRun=All");
    told(&w, "carol", &roles, &role, (403, "is attempting to grant RBAC permissions not currently held"));
    told(&w, "", &roles, &role, (422, "namespaced rules cannot apply to non-resource URLs"));

    let reviews = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
    told(
        &w,
        "",
        reviews,
        &json!({"spec": {"user": "u"}}),
        (422, "\".authorization.k8s.io \\\"\\\" is invalid: spec.resourceAttributes"),
    );
    let tokens = "/apis/authentication.k8s.io/v1/tokenreviews";
    told(&w, "", tokens, &json!({"spec": {}}), (400, "token is required for TokenReview in authentication"));
    let token = "/api/v1/namespaces/default/serviceaccounts/robot/token";
    let other = json!({"metadata": {"name": "other"}, "spec": {}});
    told(&w, "", token, &other, (422, "must match the service account name if specified"));
    let bound = json!({"spec": {"boundObjectRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}}});
    told(&w, "", token, &bound, (400, "cannot bind token to object of type apps/v1, Kind=Deployment"));
}

#[test]
fn secrets_stay_out_of_the_logs() {
    let kept = Kept::default();
    let writer = kept.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let policy = "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  resources: [{group: \"\", resources: [secrets, serviceaccounts/token]}]\n- level: RequestResponse\n  resources: [{group: \"\", resources: [configmaps]}]\n  omitStages: [RequestReceived]\n  omitManagedFields: true\n";
    let server = Server::start_with("logs", None, |dir| {
        std::fs::write(dir.join("policy.yaml"), policy).unwrap();
        vec![
            format!("--audit-policy-file={}", dir.join("policy.yaml").display()),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
        ]
    });
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let admin = Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))));
    let secrets = "/api/v1/namespaces/default/secrets";
    let one = format!("{secrets}/s");
    admin.send(
        "POST",
        secrets,
        &[],
        &json!({ "metadata": { "name": "s" }, "stringData": { "a": "hunter2-plain" } }).to_string(),
    );
    admin.send(
        "PUT",
        &one,
        &[],
        &json!({ "metadata": { "name": "s" }, "data": { "a": "aHVudGVyMi1lbmNvZGVk" } }).to_string(),
    );
    admin.send(
        "PUT",
        &one,
        &[],
        &json!({ "metadata": { "name": "s" }, "data": { "bad key": "aHVudGVyMi1lbmNvZGVk" } }).to_string(),
    );
    admin.send("POST", secrets, &[], "{\"metadata\":{\"name\":\"t\"},\"data\":{\"a\":\"hunter2-plain\"");
    admin.send("PATCH", &one, &[], "{\"data\":{\"a\":\"aHVudGVyMi1lbmNvZGVk\"}}");
    admin.send("GET", &one, &[], "");
    admin.send("POST", "/api/v1/namespaces/default/serviceaccounts", &[], "{\"metadata\":{\"name\":\"robot\"}}");
    let issued = admin.send("POST", "/api/v1/namespaces/default/serviceaccounts/robot/token", &[], "{\"spec\":{}}");
    let token: Value = serde_json::from_str(issued.text.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let token = token["status"]["token"].as_str().unwrap();
    let bearer = format!("Authorization: Bearer {token}");
    let anonymous = Raw::new(&server.dir.join("pki/ca.crt"), server.port, None);
    assert_eq!(anonymous.send("GET", &one, &[&bearer], "").code, 403);
    assert_eq!(anonymous.send("GET", "/api", &[&format!("{bearer}x")], "").code, 401);
    admin.send(
        "POST",
        "/api/v1/namespaces/default/configmaps",
        &["Audit-ID: mine"],
        "{\"metadata\":{\"name\":\"c\"},\"data\":{\"k\":\"v\"}}",
    );
    let audit = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
    drop(server);

    let log = String::from_utf8_lossy(&kept.0.lock().unwrap()).into_owned();
    assert!(log.contains("ready"), "nothing was logged");
    for (name, text) in [("log", &log), ("audit log", &audit)] {
        for hidden in ["hunter2-plain", "aHVudGVyMi1wbGFpbg", "aHVudGVyMi1lbmNvZGVk", token] {
            let line = text.lines().find(|line| line.contains(hidden));
            assert!(line.is_none(), "the {name} has {hidden:?}: {line:?}");
        }
    }
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let refused = lines.iter().find(|line| line["responseStatus"]["code"] == 403).unwrap();
    assert_eq!(refused["annotations"]["authorization.k8s.io/decision"], "forbid");
    assert_eq!(refused["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!(refused["objectRef"]["name"], "s");
    assert_eq!(refused["sourceIPs"], json!(["127.0.0.1"]));
    assert!(lines.iter().any(|line| line["stage"] == "RequestReceived" && line["objectRef"]["resource"] == "secrets"));
    let maps: Vec<&Value> = lines.iter().filter(|line| line["objectRef"]["resource"] == "configmaps").collect();
    let made = maps.iter().find(|line| line["verb"] == "create" && line["auditID"] == "mine").unwrap();
    assert_eq!((made["stage"].as_str(), made["level"].as_str()), (Some("ResponseComplete"), Some("RequestResponse")));
    assert_eq!(made["requestObject"]["data"], json!({ "k": "v" }));
    assert_eq!(made["responseObject"]["metadata"]["name"], "c");
    assert!(made["responseObject"]["metadata"]["managedFields"].is_null());
    assert_eq!(made["annotations"]["authorization.k8s.io/decision"], "allow");
}
