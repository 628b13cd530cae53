//! Tokens kept in Secrets, judged by the API server; who fills them is the controller manager's business.

mod support;

use auth::serviceaccount::{LegacyClaims, Signer, SigningKey};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use support::Server;
use support::raw::{Raw, Reply};

const POLICY: &str = "{\"apiVersion\":\"audit.k8s.io/v1\",\"kind\":\"Policy\",\"rules\":[{\"level\":\"Metadata\"}]}";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const TRACKING: &str = "/api/v1/namespaces/kube-system/configmaps/kube-apiserver-legacy-service-account-token-tracking";

fn body(reply: &Reply) -> Value {
    let (_, body) = reply.text.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {}", reply.text))
}

#[test]
fn a_token_is_good_while_its_secret_is_there() {
    let server = Server::start_with("legacy-tokens", None, |dir| {
        std::fs::write(dir.join("policy.yaml"), POLICY).unwrap();
        vec![
            format!("--audit-policy-file={}", dir.join("policy.yaml").display()),
            format!("--audit-log-path={}", dir.join("audit.log").display()),
        ]
    });
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let admin = Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))));
    let anonymous = Raw::new(&server.dir.join("pki/ca.crt"), server.port, None);
    let account = admin.send(
        "POST",
        "/api/v1/namespaces/default/serviceaccounts",
        &[],
        "{\"metadata\":{\"name\":\"robot\"},\"secrets\":[{\"name\":\"listed\"}]}",
    );
    let uid = body(&account)["metadata"]["uid"].as_str().unwrap().to_owned();
    let signer = Signer::new(SigningKey::from_pem(read("sa.key").as_bytes()).unwrap(), "unused");
    let make = |name: &str| {
        let token = signer.issue_legacy(&LegacyClaims::new("default", "robot", &uid, name)).unwrap();
        let secret = json!({
            "metadata": { "name": name, "annotations": { "kubernetes.io/service-account.name": "robot" } },
            "type": "kubernetes.io/service-account-token",
            "data": { "token": BASE64_STANDARD.encode(&token) },
        });
        assert_eq!(admin.send("POST", SECRETS, &[], &secret.to_string()).code, 201);
        token
    };
    let ask = |token: &str, id: &str| {
        let headers = [format!("Authorization: Bearer {token}"), format!("Audit-ID: {id}")];
        anonymous.send("GET", "/api", &[&headers[0], &headers[1]], "")
    };
    let (manual, listed) = (make("manual"), make("listed"));

    // Twice, for what there is to say of such a token is said each time.
    for id in ["manual-1", "manual-2"] {
        let reply = ask(&manual, id);
        assert_eq!(reply.code, 200, "{}", reply.text);
        assert!(!reply.text.to_ascii_lowercase().contains("\r\nwarning:"), "{}", reply.text);
    }
    let reply = ask(&listed, "listed");
    let warning = "299 - \"Use tokens from the TokenRequest API or manually created secret-based tokens instead of auto-generated secret-based tokens.\"";
    assert!(reply.code == 200 && reply.text.contains(warning), "{}", reply.text);
    let label = |name: &str| {
        let secret = body(&admin.send("GET", &format!("{SECRETS}/{name}"), &[], ""));
        secret["metadata"]["labels"]["kubernetes.io/legacy-token-last-used"].as_str().map(str::to_owned)
    };
    let day = label("manual").unwrap();
    assert!(day.parse::<jiff::civil::Date>().is_ok() && label("listed").is_some(), "{day}");

    let review = |token: &str| {
        let reply = admin.send("POST", REVIEWS, &[], &json!({ "spec": { "token": token } }).to_string());
        body(&reply)["status"].clone()
    };
    let good = review(&manual);
    assert_eq!(good["user"]["username"], "system:serviceaccount:default:robot");
    assert_eq!(good["user"]["uid"], uid);
    let groups = ["system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated"];
    assert_eq!(good["user"]["groups"], json!(groups));
    assert_eq!(review("nonsense")["error"], "invalid bearer token");

    let invalid = json!({ "metadata": { "labels": { "kubernetes.io/legacy-token-invalid-since": "2026-01-01" } } });
    let path = format!("{SECRETS}/manual");
    let patch = |patch: &Value| server.ok(&["patch", "secret", "manual", "-p", &patch.to_string()], "");
    patch(&invalid);
    assert_eq!(ask(&manual, "invalid").code, 401);
    let error = review(&manual)["error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("[invalid bearer token, the token in secret default/manual for service account default/robot has been marked invalid."), "{error}");
    patch(&json!({ "metadata": { "labels": { "kubernetes.io/legacy-token-invalid-since": null } } }));
    assert_eq!(ask(&manual, "again").code, 200);
    patch(&json!({ "data": { "token": "eA==" } }));
    assert_eq!(review(&manual)["error"], "[invalid bearer token, Token does not match server's copy]");
    assert_eq!(admin.send("DELETE", &path, &[], "").code, 200);
    assert_eq!(ask(&manual, "deleted").code, 401);
    assert_eq!(review(&manual)["error"], "[invalid bearer token, Token has been invalidated]");
    server.ok(&["delete", "serviceaccount", "robot"], "");
    assert_eq!(ask(&listed, "orphan").code, 401);

    let audit = std::fs::read_to_string(server.dir.join("audit.log")).unwrap();
    let lines: Vec<Value> = audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let noted = |id: &str| {
        // The last there is: of requests by nobody that is `ResponseStarted`.
        let line = lines.iter().rfind(|line| line["auditID"] == id);
        line.unwrap_or_else(|| panic!("{id} is not in the audit log"))["annotations"].clone()
    };
    for id in ["manual-1", "manual-2"] {
        assert_eq!(noted(id)["authentication.k8s.io/legacy-token-manual-secret"], "manual", "{id}");
        assert_eq!(noted(id)["authentication.k8s.io/legacy-token"], "system:serviceaccount:default:robot", "{id}");
    }
    assert_eq!(noted("listed")["authentication.k8s.io/legacy-token-autogenerated-secret"], "listed");
    assert_eq!(noted("invalid")["authentication.k8s.io/legacy-token-invalidated"], "manual/default");
}

#[test]
fn since_when_use_is_tracked_is_said() {
    let server = Server::start("tracking");
    let read = |name: &str| std::fs::read_to_string(server.dir.join("pki").join(name)).unwrap();
    let admin = Raw::new(&server.dir.join("pki/ca.crt"), server.port, Some((&read("admin.crt"), &read("admin.key"))));
    let since = || body(&admin.send("GET", TRACKING, &[], ""))["data"]["since"].as_str().map(str::to_owned);
    let settled = || (0..500).find_map(|_| since().filter(|day| day.parse::<jiff::civil::Date>().is_ok()));
    assert!(settled().is_some());
    let name = TRACKING.rsplit('/').next().unwrap();
    server.ok(&["patch", "-n", "kube-system", "configmap", name, "-p", "{\"data\":{\"since\":\"once\"}}"], "");
    assert!(settled().is_some(), "the date is not mended");
}
