//! Kubectl client: the guestbook of tutorials, three Deployments and their Services.

use anyhow::bail;
use serde_json::{Value, json};

use crate::client::PATIENCE;
use crate::pods;
use crate::spec::Test;
use crate::specs;

specs! { Pods;
    "[sig-cli] Kubectl client Guestbook application should create and stop a working application [Conformance]" => guestbook,
}

const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.53";

/// A part of the application: its name, how many there are, their port, and what each is told.
const PARTS: [(&str, usize, u16, &[&str]); 3] = [
    ("agnhost-primary", 1, 6379, &["guestbook", "--http-port", "6379"]),
    ("agnhost-replica", 2, 6379, &["guestbook", "--replicaof", "agnhost-primary", "--http-port", "6379"]),
    ("frontend", 3, 80, &["guestbook", "--backend-port", "6379"]),
];

fn manifest() -> Value {
    let mut items = Vec::new();
    for (name, replicas, port, args) in PARTS {
        let labels = json!({ "app": name });
        items.push(json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": name },
            "spec": { "selector": labels, "ports": [{ "port": port }] },
        }));
        items.push(json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
            "spec": { "replicas": replicas, "selector": { "matchLabels": labels }, "template": {
                "metadata": { "labels": labels },
                "spec": { "terminationGracePeriodSeconds": 1, "containers": [{
                    "name": "part", "image": AGNHOST, "args": args, "ports": [{ "containerPort": port }],
                }] },
            } },
        }));
    }
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

/// Asks the frontend through the API server's proxy until it answers so.
async fn answers(t: &Test, query: &str, wanted: &Value) -> anyhow::Result<()> {
    let path = format!("{}/guestbook?{query}", t.objects("v1", "services").path_of("frontend", "proxy"));
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let text = t.api().raw(http::Method::GET, &path, &[], Vec::new()).await?.text();
        if serde_json::from_str::<Value>(&text).is_ok_and(|said| said == *wanted) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("the frontend should answer {query} with {wanted} and says {text:?}");
        }
    }
}

async fn guestbook(t: Test) -> anyhow::Result<()> {
    let namespace = ["-n", t.namespace.as_str()];
    let manifest = manifest().to_string();
    let kubectl = async |args: &[&str]| t.cluster.kubectl(&[&namespace, args].concat(), &manifest).await?.success();
    kubectl(&["create", "-f", "-"]).await?;
    let of = |name: &str| format!("labelSelector=app={name}");
    for (name, replicas, ..) in PARTS {
        let all = |list: &[Value]| list.len() == replicas && list.iter().all(pods::is_ready);
        t.objects("v1", "pods").wait_list(&of(name), &format!("{replicas} ready pods"), all).await?;
    }
    answers(&t, "cmd=get&key=", &json!({ "data": {} })).await?;
    answers(&t, "cmd=set&key=messages&value=TestEntry", &json!({ "message": "Updated" })).await?;
    answers(&t, "cmd=get&key=messages", &json!({ "data": "TestEntry" })).await?;
    kubectl(&["delete", "--grace-period=0", "--force", "-f", "-"]).await?;
    for (name, ..) in PARTS {
        t.objects("v1", "pods").wait_list(&of(name), "no pods", <[Value]>::is_empty).await?;
    }
    Ok(())
}
