//! What goes through which proxy (`--egress-selector-config-file`), with a real server and proxies of the test's own.

#[path = "support/process.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod process;
mod support;
#[path = "support/wire.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod wire;

use std::path::Path;
use std::time::{Duration, Instant};

use apiserver::options::Options;
use clap::Parser;
use process::Etcd;
use serde_json::{Value, json};
use support::Server;
use support::hook::{Hook, admitted};
use support::issuer::Issuer;
use support::pki;
use support::raw::{Raw, Reply};
use support::tunnel::Tunnel;
use tokio_util::sync::CancellationToken;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const PATIENCE: Duration = Duration::from_secs(30);

fn admin(server: &Server) -> Raw {
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let (certificate, key) = (read("admin.crt"), read("admin.key"));
    Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&certificate, &key)))
}

fn body(reply: &Reply) -> Value {
    serde_json::from_str(reply.text.split_once("\r\n\r\n").unwrap().1).unwrap_or_default()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
    }
}

/// Writes a configuration; its flag.
fn configure(dir: &Path, selections: &Value) -> String {
    let path = dir.join("egress.yaml");
    let kind = "EgressSelectorConfiguration";
    let text = json!({ "apiVersion": "apiserver.k8s.io/v1beta1", "kind": kind, "egressSelections": selections });
    std::fs::write(&path, text.to_string()).unwrap();
    format!("--egress-selector-config-file={}", path.display())
}

fn socket(name: &str, path: &Path) -> Value {
    let transport = json!({ "uds": { "udsName": path } });
    json!({ "name": name, "connection": { "proxyProtocol": "HTTPConnect", "transport": transport } })
}

fn encrypted(name: &str, pki: &Path, port: u16) -> Value {
    let file = |name: &str| pki.join(name).display().to_string();
    let tls = json!({ "caBundle": file("ca.crt"), "clientCert": file("admin.crt"), "clientKey": file("admin.key"),
        "tlsServerName": "kubernetes" });
    let transport = json!({ "tcp": { "url": format!("https://127.0.0.1:{port}"), "tlsConfig": tls } });
    json!({ "name": name, "connection": { "proxyProtocol": "HTTPConnect", "transport": transport } })
}

#[test]
fn each_network_has_its_way() {
    let issuer = Issuer::start();
    let mut tunnels = Vec::new();
    let mut etcd = None;
    let server = Server::start_with("egress", None, |dir| {
        let pki = dir.join("pki");
        let cluster = Tunnel::encrypted(&pki);
        let mut selections =
            vec![encrypted("cluster", &pki, cluster.port), socket("ControlPlane", &dir.join("control.sock"))];
        tunnels = vec![cluster, Tunnel::unix(&dir.join("control.sock"))];
        let authentication = dir.join("authentication.yaml");
        let jwt = json!({
            "issuer": { "url": issuer.url(), "certificateAuthority": issuer.ca, "audiences": ["a"], "egressSelectorType": "cluster" },
            "claimMappings": { "username": { "claim": "sub", "prefix": "" } },
        });
        let kind = "AuthenticationConfiguration";
        let text = json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": kind, "jwt": [jwt] });
        std::fs::write(&authentication, text.to_string()).unwrap();
        let mut flags = vec![format!("--authentication-config={}", authentication.display())];
        etcd = Etcd::start("each_network_has_its_way", dir, 1);
        if let Some(etcd) = &etcd {
            selections.push(socket("etcd", &dir.join("etcd.sock")));
            tunnels.push(Tunnel::unix(&dir.join("etcd.sock")));
            flags.extend(etcd.flags());
        }
        flags.push(configure(dir, &selections.into()));
        flags
    });
    let (cluster, control) = (&tunnels[0], &tunnels[1]);
    if let (Some(etcd), Some(tunnel)) = (&etcd, tunnels.get(2)) {
        let flag = etcd.flags().pop().unwrap();
        assert_eq!(tunnel.asked(), [flag.strip_prefix("--etcd-servers=http://").unwrap()]);
    }
    let admin = admin(&server);
    let make = |path: &str, object: &Value| {
        let reply = admin.send("POST", path, &[], &object.to_string());
        assert_eq!(reply.code, 201, "{}", reply.text);
        body(&reply)
    };

    let token = issuer.token(&json!({ "aud": "a", "sub": "jane" }));
    let review = json!({ "spec": { "token": token } }).to_string();
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    until("the issuer is discovered", || {
        body(&admin.send("POST", reviews, &[], &review))["status"]["authenticated"] == true
    });
    assert_eq!(cluster.asked(), [issuer.url().strip_prefix("https://").unwrap()]);

    // Webhooks: by URL, of a host that only the proxy finds; and by Service, at an address that nobody has.
    let hook = Hook::start(|path, review| admitted(review, json!({ "allowed": path == "/yes" })));
    let mut url = hook.url("/url");
    url["url"] = format!("https://hook.default.svc:{}/url", hook.port).into();
    let service = json!({ "metadata": { "name": "hook" }, "spec": { "ports": [{ "port": hook.port }] } });
    let service = make("/api/v1/namespaces/default/services", &service);
    let address = service["spec"]["clusterIP"].as_str().unwrap();
    let webhook = |name: &str, client: Value| {
        json!({
            "name": format!("{name}.example.com"), "clientConfig": client, "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "objectSelector": { "matchLabels": { "hook": name } },
            "rules": [{ "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"] }],
        })
    };
    let webhooks = [webhook("url", url), webhook("service", hook.service("/service"))];
    let configuration = json!({ "metadata": { "name": "hooks" }, "webhooks": webhooks });
    make("/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations", &configuration);
    let refused = |name: &str| {
        let map = json!({ "metadata": { "name": "x", "labels": { "hook": name } } }).to_string();
        admin.send("POST", &format!("{MAPS}?dryRun=All"), &[], &map)
    };
    for (name, tunnel, other, host) in
        [("url", control, cluster, "hook.default.svc"), ("service", cluster, control, address)]
    {
        until("the webhooks are known", || refused(name).code == 400);
        assert_eq!((tunnel.asked(), other.asked()), (vec![format!("{host}:{}", hook.port)], vec![]), "{name}");
    }

    // A node at an address that nobody has: its kubelet is asked with our certificate.
    let kubelet = issuer.url().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    make("/api/v1/nodes", &json!({ "metadata": { "name": "n1" } }));
    let status = json!({ "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.1" }],
        "daemonEndpoints": { "kubeletEndpoint": { "Port": kubelet } } } });
    assert_eq!(admin.patch("/api/v1/nodes/n1/status", &status.to_string()).code, 200);
    let keys = admin.send("GET", "/api/v1/nodes/n1/proxy/keys", &[], "");
    assert!(keys.code == 200 && body(&keys)["keys"].is_array(), "{}", keys.text);
    assert_eq!(cluster.asked(), [format!("192.0.2.1:{kubelet}")]);

    // Whoever is not let through is told why.
    cluster.shut();
    let keys = admin.send("GET", "/api/v1/nodes/n1/proxy/keys", &[], "");
    let why = format!(
        "proxy error from 127.0.0.1:{} while dialing 192.0.2.1:{kubelet}, code 403: 403 Forbidden",
        cluster.port
    );
    assert!(keys.text.contains(&why), "{}", keys.text);
    drop((tunnels, etcd));
}

#[test]
fn what_makes_no_sense_or_cannot_be_done_is_refused() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let server = process::ApiServer::new(dir, &[format!("--store-dir={}", dir.join("store").display())]);
    let refusal = |flags: &[String]| {
        let options = Options::parse_from(server.arguments().iter().chain(flags));
        let ended = runtime.block_on(apiserver::serve(options, CancellationToken::new()));
        format!("{:#}", ended.expect_err("it does not start"))
    };
    let none = format!("--egress-selector-config-file={}", dir.join("none").display());
    let expected = "failed to read egress selector config: unable to read egress selector configuration from ";
    let why = refusal(&[none]);
    assert!(why.starts_with(&format!("{expected}{:?}", dir.join("none").display().to_string())), "{why}");
    let mut grpc = socket("cluster", Path::new("/s"));
    grpc["connection"]["proxyProtocol"] = "GRPC".into();
    let junk = dir.join("pki/sa.pub").display().to_string();
    let pair = json!({ "clientCert": junk, "clientKey": junk });
    let tcp = json!({ "url": "https://127.0.0.1:1", "tlsConfig": pair });
    let files =
        json!({ "name": "etcd", "connection": { "proxyProtocol": "HTTPConnect", "transport": { "tcp": tcp } } });
    for (selection, expected) in [
        (
            grpc,
            "failed to setup egress selector: failed to create dialer for egressSelection \"cluster\": the proxy protocol GRPC is not supported by this server, HTTPConnect is".to_owned(),
        ),
        (
            socket("moon", Path::new("/s")),
            "failed to validate egress selector configuration: service.connection: Unsupported value: \"moon\": supported values: \"cluster\", \"controlplane\", \"etcd\"".to_owned(),
        ),
        (
            files,
            format!("failed to setup egress selector: failed to create dialer for egressSelection \"etcd\": failed to read key pair {junk} & {junk}"),
        ),
    ] {
        let flag = configure(dir, &json!([selection]));
        let why = refusal(&[flag]);
        assert!(why.starts_with(&expected), "{why}");
    }
    // An issuer of tokens says which way it is to be asked: there must be one.
    let authentication = dir.join("authentication.yaml");
    let jwt = json!({
        "issuer": { "url": "https://i", "audiences": ["a"], "egressSelectorType": "cluster" },
        "claimMappings": { "username": { "claim": "sub", "prefix": "" } },
    });
    let kind = "AuthenticationConfiguration";
    let text = json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": kind, "jwt": [jwt] });
    std::fs::write(&authentication, text.to_string()).unwrap();
    let flag = format!("--authentication-config={}", authentication.display());
    let why = "invalid authentication configuration: oidc: egress lookup";
    assert_eq!(refusal(std::slice::from_ref(&flag)), format!("{why} required with egress selector type \"cluster\""));
    let other = configure(dir, &json!([socket("etcd", Path::new("/s"))]));
    assert_eq!(refusal(&[flag, other]), format!("{why} for \"cluster\" is not configured"));
}
