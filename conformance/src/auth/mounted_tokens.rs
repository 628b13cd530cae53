//! ServiceAccounts' tokens as pods find them.

use serde_json::{Value, json};

use crate::client::Objects;
use crate::spec::Test;
use crate::{expect, pods, specs};

specs! { Pods;
    "[sig-auth] ServiceAccounts ServiceAccountIssuerDiscovery should support OIDC discovery of service account issuer [Conformance]" => discovery,
    "[sig-auth] ServiceAccounts should mount an API token into pods [Conformance]" => api_token,
    "[sig-auth] ServiceAccounts should mount projected service account token [Conformance]" => projected,
}

const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.53";
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// A pod of one agnhost command, with a token mounted at `folder`.
fn pod(name: &str, args: &[String], folder: &str, source: &Value) -> Value {
    let container = json!({ "name": name, "image": AGNHOST, "args": args });
    let volume = json!({ "name": "token", "projected": { "sources": [{ "serviceAccountToken": source }] } });
    pods::with_volumes(pods::pod(name, &[container]), &[(volume, folder)])
}

/// Whether it is three parts of what base64 for URLs is written with.
fn is_token(text: &str) -> bool {
    let plain = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "-_=".contains(c));
    text.split('.').count() == 3 && text.split('.').all(plain)
}

async fn discovery(t: Test) -> anyhow::Result<()> {
    const ROLE: &str = "system:service-account-issuer-discovery";
    let bindings = t.everywhere("rbac.authorization.k8s.io/v1", "clusterrolebindings");
    let binding = t.name("issuer-discovery");
    bindings
        .create(&json!({
            "metadata": { "name": binding },
            "subjects": [{ "kind": "ServiceAccount", "name": "default", "namespace": t.namespace }],
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ROLE },
        }))
        .await?;
    let args = [
        "test-service-account-issuer-discovery",
        "--token-path",
        "/var/run/secrets/tokens/sa-token",
        "--audience",
        "oidc-discovery-test",
    ];
    let source = json!({ "path": "sa-token", "expirationSeconds": 600, "audience": "oidc-discovery-test" });
    let pod = pod("oidc-discovery-validator", &args.map(str::to_owned), "/var/run/secrets/tokens", &source);
    let printed = pods::output(&t, &pod).await;
    bindings.delete(&binding).await?;
    expect::has_text(&printed?, "OK: Validated signature on JWT")
}

async fn api_token(t: Test) -> anyhow::Result<()> {
    t.objects("v1", "serviceaccounts").create(&json!({ "metadata": { "name": "mount-test" } })).await?;
    let mut pod = pods::pod("pod-service-account", &[pods::container("test", "sleep 100000")]);
    pod["spec"]["serviceAccountName"] = "mount-test".into();
    let pod = pods::start(&t, &pod).await?;
    let node = Objects::new(t.api().clone(), None, "v1", "nodes").get(expect::text(&pod, "/spec/nodeName")).await?;
    let mut files = Vec::new();
    for name in ["token", "ca.crt", "namespace"] {
        files.push(pods::exec(&t, "pod-service-account", "test", &format!("cat {MOUNT}/{name}")).await?);
    }
    let authority = t.objects("v1", "configmaps").get("kube-root-ca.crt").await?;
    expect::same("the mounted authority", &files[1].as_str(), &expect::text(&authority, "/data/ca.crt"))?;
    expect::same("the mounted namespace", &files[2].as_str(), &t.namespace.as_str())?;

    let reviews = t.everywhere("authentication.k8s.io/v1", "tokenreviews");
    let review = reviews.create(&json!({ "metadata": {}, "spec": { "token": files[0] } })).await?;
    expect::at(&review, "/status/authenticated", true)?;
    expect::that(review["status"]["error"].is_null(), || format!("the review has an error: {review}"))?;
    let user = &review["status"]["user"];
    expect::at(user, "/username", format!("system:serviceaccount:{}:mount-test", t.namespace))?;
    let own = format!("system:serviceaccounts:{}", t.namespace);
    for group in ["system:authenticated", "system:serviceaccounts", &own] {
        let groups = user["groups"].as_array().into_iter().flatten();
        expect::that(groups.clone().any(|have| have == group), || format!("no group {group} in {user}"))?;
    }
    let extra = |name: &str| user["extra"][format!("authentication.kubernetes.io/{name}")].clone();
    for (name, object, pointer) in [
        ("pod-name", &pod, "/metadata/name"),
        ("pod-uid", &pod, "/metadata/uid"),
        ("node-name", &node, "/metadata/name"),
        ("node-uid", &node, "/metadata/uid"),
    ] {
        expect::same(name, &extra(name), &json!([expect::text(object, pointer)]))?;
    }
    let id = extra("credential-id");
    expect::that(id[0].as_str().is_some_and(|id| id.starts_with("JTI=")), || format!("the credential's id is {id}"))
}

async fn projected(t: Test) -> anyhow::Result<()> {
    const PATH: &str = "/test-volume/token";
    let args = ["mounttest".to_owned(), format!("--file_content={PATH}")];
    let source = json!({ "path": "token", "expirationSeconds": 3600 });
    let printed = pods::output(&t, &pod("test-pod", &args, "/test-volume", &source)).await?;
    let start = format!("content of file {PATH:?}: ");
    let token = printed.lines().find_map(|line| line.strip_prefix(start.as_str())).unwrap_or_default();
    expect::that(is_token(token), || format!("there is no token in {printed:?}"))
}
