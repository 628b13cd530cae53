//! Webhooks that say who somebody is and what they may do, through a real server.

mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::Server;
use support::hook::Hook;

/// How long a changed file may take to be in force.
const PATIENCE: Duration = Duration::from_secs(45);

/// Says what the user's name asks for.
fn judge(_: &str, review: &Value) -> Value {
    let status = match review["spec"]["user"].as_str().unwrap_or_default() {
        "friend" => json!({ "allowed": true, "reason": "a friend" }),
        "foe" => json!({ "allowed": false, "denied": true, "reason": "a foe" }),
        _ => json!({ "allowed": false, "reason": "a stranger" }),
    };
    json!({ "apiVersion": review["apiVersion"], "kind": "SubjectAccessReview", "status": status })
}

fn kubeconfig(path: &Path, hook: &Hook) {
    let at = hook.url("/authorize");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{ "name": "c", "cluster": { "server": at["url"], "certificate-authority-data": at["caBundle"] } }],
        "users": [{ "name": "u", "user": { "token": "secret" } }],
        "contexts": [{ "name": "x", "context": { "cluster": "c", "user": "u" } }],
    });
    std::fs::write(path, config.to_string()).unwrap();
}

fn write(path: &Path, authorizers: &[Value]) {
    let kind = "AuthorizationConfiguration";
    let whole = json!({ "apiVersion": "apiserver.config.k8s.io/v1", "kind": kind, "authorizers": authorizers });
    std::fs::write(path, whole.to_string()).unwrap();
}

fn webhook(kubeconfig: &Path, policy: &str) -> Value {
    json!({ "type": "Webhook", "name": "judge", "webhook": {
        "timeout": "3s", "subjectAccessReviewVersion": "v1", "failurePolicy": policy,
        "connectionInfo": { "type": "KubeConfigFile", "kubeConfigFile": kubeconfig },
        "matchConditionSubjectAccessReviewVersion": "v1",
        "matchConditions": [{ "expression": "has(request.resourceAttributes)" },
            { "expression": "request.resourceAttributes.resource == 'pods'" }],
    } })
}

#[test]
fn a_webhook_among_others() {
    let hook = Hook::start(judge);
    let (mut file, mut good, mut bad) = (PathBuf::new(), PathBuf::new(), PathBuf::new());
    let (node, rbac) = (json!({ "type": "Node", "name": "node" }), json!({ "type": "RBAC", "name": "rbac" }));
    let server = Server::start_with("authorization", None, |dir| {
        (file, good, bad) = (dir.join("authorization.yaml"), dir.join("good.conf"), dir.join("bad.conf"));
        kubeconfig(&good, &hook);
        // A port that nobody listens on.
        let gone = Hook::start(judge);
        kubeconfig(&bad, &gone);
        drop(gone);
        write(&file, &[webhook(&good, "Deny"), node.clone(), rbac.clone()]);
        vec![format!("--authorization-config={}", file.display())]
    });
    for user in ["friend", "foe", "stranger"] {
        let binding = format!("{user}-view");
        server.ok(&["create", "clusterrolebinding", &binding, "--clusterrole=view", &format!("--user={user}")], "");
    }
    let get = |user: &str, what: &str| server.kubectl(&["get", what, &format!("--as={user}")], "");
    // Alone it does what roles would not allow, and forbids what they allow; where it has no opinion they decide.
    hook.seen("/authorize");
    server.ok(&["auth", "can-i", "delete", "pods", "--as=friend"], "");
    let seen = hook.seen("/authorize");
    let spec = &seen.iter().find(|review| review["spec"]["user"] == "friend").expect("the webhook is asked")["spec"];
    assert_eq!(seen[0]["apiVersion"], "authorization.k8s.io/v1");
    assert_eq!(spec["resourceAttributes"], json!({ "namespace": "default", "verb": "delete", "resource": "pods" }));
    assert_eq!(spec["groups"], json!(["system:authenticated"]));
    let (allowed, text) = get("foe", "pods");
    assert!(
        !allowed
            && text.contains("cannot list resource \"pods\" in API group \"\" in the namespace \"default\": a foe"),
        "{text}"
    );
    assert!(get("stranger", "pods").0);
    // Conditions keep it out of the rest.
    assert!(get("foe", "configmaps").0);
    let asked = hook.seen("/authorize");
    assert!(asked.iter().all(|review| review["spec"]["resourceAttributes"]["resource"] == "pods"), "{asked:?}");
    assert_eq!(asked[0]["spec"]["resourceAttributes"]["version"], "v1");
    // An answer is kept.
    assert!(!get("foe", "pods").0);
    assert_eq!(hook.seen("/authorize"), Vec::<Value>::new());
    let rules = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": "default" } });
    let rules = server.ok(&["create", "-f", "-", "-o", "jsonpath={.status.evaluationError}"], &rules.to_string());
    assert_eq!(rules, "webhook authorizer does not support user rule resolution");

    // Out of reach: what the policy says, but never for those who may do everything.
    let until = |what: &str, holds: &dyn Fn() -> bool| {
        let begun = Instant::now();
        while !holds() {
            assert!(begun.elapsed() < PATIENCE, "never: {what}");
        }
    };
    std::fs::write(&file, "kind: Nonsense").unwrap();
    write(&file, &[webhook(&bad, "Deny"), rbac.clone()]);
    let told = |user: &str| get(user, "pods").1;
    until("the new file is in force", &|| told("stranger").contains("connection refused"));
    server.ok(&["get", "pods"], "");
    let review = |user: &str| {
        let spec = json!({ "user": user, "resourceAttributes": { "verb": "list", "resource": "pods", "namespace": "default" } });
        let review = json!({ "apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec });
        let status = server.ok(&["create", "-f", "-", "-o", "jsonpath={.status}"], &review.to_string());
        serde_json::from_str::<Value>(&status).unwrap()
    };
    let status = review("stranger");
    assert_eq!((&status["allowed"], &status["denied"]), (&json!(false), &json!(true)), "{status}");
    assert!(status["evaluationError"].as_str().unwrap().contains("connection refused"), "{status}");
    write(&file, &[webhook(&bad, "NoOpinion"), rbac]);
    until("the next file is in force", &|| get("stranger", "pods").0);
    write(&file, &[json!({ "type": "AlwaysAllow", "name": "alwaysallow" })]);
    until("the last file is in force", &|| get("nobody", "secrets").0);
}

/// Knows one token.
fn identify(_: &str, review: &Value) -> Value {
    let status = match review["spec"]["token"].as_str().unwrap_or_default() {
        "opaque" => {
            json!({ "authenticated": true, "user": { "username": "jane", "groups": ["dev"], "extra": { "a.io/b": ["c"] } } })
        }
        "worn" => json!({ "authenticated": false, "error": "worn out" }),
        _ => json!({ "authenticated": false }),
    };
    json!({ "apiVersion": review["apiVersion"], "kind": "TokenReview", "status": status })
}

#[test]
fn a_webhook_that_knows_tokens() {
    let hook = Hook::start(identify);
    let server = Server::start_with("token-webhook", None, |dir| {
        kubeconfig(&dir.join("hook.conf"), &hook);
        let file = dir.join("hook.conf").display().to_string();
        let flag = |name: &str, value: &str| format!("--authentication-token-webhook-{name}={value}");
        vec![flag("config-file", &file), flag("version", "v1")]
    });
    let review = |token: &str, audiences: &[&str]| {
        let spec = json!({ "token": token, "audiences": audiences });
        let review = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec });
        let status = server.ok(&["create", "-f", "-", "-o", "jsonpath={.status}"], &review.to_string());
        serde_json::from_str::<Value>(&status).unwrap()
    };
    let good = review("opaque", &[]);
    assert_eq!(
        good["user"],
        json!({ "username": "jane", "groups": ["dev", "system:authenticated"], "extra": { "a.io/b": ["c"] } })
    );
    let asked = hook.seen("/authorize");
    assert_eq!((asked.len(), &asked[0]["apiVersion"]), (1, &json!("authentication.k8s.io/v1")));
    assert_eq!(review("opaque", &["elsewhere"])["authenticated"], Value::Null);
    assert_eq!(hook.seen("/authorize")[0]["spec"]["audiences"], json!(["elsewhere"]));
    for _ in 0..2 {
        assert_eq!(review("worn", &[])["error"], "[invalid bearer token, worn out]");
    }
    assert_eq!(hook.seen("/authorize").len(), 1, "the answer is kept");
    assert_eq!(review("unknown", &[])["error"], "invalid bearer token");
    let at = format!("--server=https://127.0.0.1:{}", server.port);
    let own = ["--kubeconfig=/dev/null", &at, "--insecure-skip-tls-verify", "--token=opaque"];
    let who = server.ok(&[&own[..], &["auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]].concat(), "");
    assert_eq!(who, "jane");
}

#[test]
fn a_file_of_policies_beside_roles() {
    let policy = |spec: Value| json!({ "apiVersion": "abac.authorization.kubernetes.io/v1beta1", "kind": "Policy", "spec": spec });
    let server = Server::start_with("abac", None, |dir| {
        let lines = [
            "# who may do what".to_owned(),
            policy(json!({ "user": "jane", "namespace": "default", "resource": "pods", "readonly": true })).to_string(),
            policy(json!({ "user": "jane", "namespace": "*", "nonResourcePath": "/metrics" })).to_string(),
            json!({ "user": "old", "namespace": "default" }).to_string(),
        ];
        std::fs::write(dir.join("policies"), lines.join("\n")).unwrap();
        let file = dir.join("policies").display().to_string();
        vec!["--authorization-mode=Node,RBAC,ABAC".to_owned(), format!("--authorization-policy-file={file}")]
    });
    let can = |user: &str, words: &[&str]| {
        server.kubectl(&[&["auth", "can-i", &format!("--as={user}")], words].concat(), "").0
    };
    assert!(can("jane", &["list", "pods"]));
    assert!(!can("jane", &["create", "pods"]) && !can("jane", &["list", "pods", "-n", "other"]));
    assert!(can("jane", &["get", "/metrics"]) && !can("joe", &["get", "/metrics"]));
    let get = |what: &str| server.kubectl(&["get", what, "--as=old"], "").0;
    assert!(can("old", &["delete", "deployments.apps"]) && get("deployments.apps") && !get("nodes"));
    server.ok(&["create", "clusterrolebinding", "jane", "--clusterrole=edit", "--user=jane"], "");
    assert!(can("jane", &["create", "pods"]), "roles allow the rest");
    let (allowed, text) = server.kubectl(&["get", "secrets", "--as=joe"], "");
    assert!(!allowed && text.contains("in the namespace \"default\": No policy matched."), "{text}");
    let rules = server.ok(&["auth", "can-i", "--list", "--as=old"], "");
    assert!(
        rules.lines().any(|line| line.split_whitespace().collect::<Vec<_>>() == ["*.*", "[]", "[]", "[*]"]),
        "{rules}"
    );
}
