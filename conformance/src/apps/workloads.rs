//! What the specs of several workloads have in common.

use serde_json::{Value, json};

use crate::client::{Objects, Patch};
use crate::expect;
use crate::pods::{self, container};
use crate::spec::Test;

pub const AGNHOST: &str = "registry.k8s.io/e2e-test-images/agnhost:2.53";
pub const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

/// A template of pods that stay.
pub fn template(label: &str) -> Value {
    json!({
        "metadata": { "labels": { "app": label } },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [container("main", STAY)] },
    })
}

/// A ReplicaSet, Deployment, StatefulSet or DaemonSet.
pub fn workload(name: &str, replicas: Option<usize>) -> Value {
    let mut spec = json!({ "selector": { "matchLabels": { "app": name } }, "template": template(name) });
    if let Some(replicas) = replicas {
        spec["replicas"] = replicas.into();
    }
    json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": spec })
}

/// Waits until so many replicas are ready and the newest generation is observed.
pub async fn ready(objects: &Objects, name: &str, replicas: usize) -> anyhow::Result<Value> {
    let all = |o: &Value| {
        let observed = o["status"]["observedGeneration"].as_u64() >= o["metadata"]["generation"].as_u64();
        let ready = o["status"]["readyReplicas"].as_u64().unwrap_or(0);
        observed && ready == replicas as u64 && o["status"]["replicas"].as_u64().unwrap_or(0) == replicas as u64
    };
    objects.wait(name, &format!("{replicas} ready replicas"), all).await
}

/// GET, PUT and PATCH of `…/status`, and what a watch tells of them.
pub async fn status_endpoints(objects: &Objects, name: &str) -> anyhow::Result<()> {
    let has = |object: &Value, kind: &str| {
        object["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == kind)
    };
    let condition =
        |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test" });
    let mut watch = objects.watch(&format!("fieldSelector=metadata.name={name}")).await?;
    let got = objects.get_sub(name, "status").await?;
    expect::at(&got, "/metadata/name", name)?;
    let updated = objects
        .modify_sub(name, "status", |object| {
            let mut list = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            list.push(condition("StatusUpdate"));
            object["status"]["conditions"] = list.into();
        })
        .await?;
    expect::that(has(&updated, "StatusUpdate"), || format!("the update added no condition: {}", updated["status"]))?;
    watch.until("the update", |event| has(&event.object, "StatusUpdate")).await?;
    let body = json!({ "status": { "conditions": [condition("StatusPatched")] } });
    let patched = objects.patch_sub(name, "status", Patch::Merge, &body).await?;
    expect::that(has(&patched, "StatusPatched"), || format!("the patch set no condition: {}", patched["status"]))?;
    watch.until("the patch", |event| has(&event.object, "StatusPatched")).await?;
    Ok(())
}

/// GET, PUT and PATCH of `…/scale`.
pub async fn scale_endpoints(objects: &Objects, name: &str, from: usize) -> anyhow::Result<()> {
    let scale = objects.get_sub(name, "scale").await?;
    expect::contains(&scale, &json!({ "kind": "Scale", "spec": { "replicas": from } }))?;
    let scaled = objects.modify_sub(name, "scale", |scale| scale["spec"]["replicas"] = (from + 1).into()).await?;
    expect::at(&scaled, "/spec/replicas", from + 1)?;
    expect::at(&objects.get(name).await?, "/spec/replicas", from + 1)?;
    let body = json!({ "spec": { "replicas": from + 3 } });
    let patched = objects.patch_sub(name, "scale", Patch::Merge, &body).await?;
    expect::at(&patched, "/spec/replicas", from + 3)?;
    expect::at(&objects.get(name).await?, "/spec/replicas", from + 3)
}

/// Each ready pod with the label answers through the API server's proxy with its own name.
pub async fn serve_names(t: &Test, selector: &str) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    for pod in pods.items(selector).await? {
        let name = expect::name(&pod);
        let path = pods.path_of(&format!("{name}:9376"), "proxy/");
        let reply = t.api().raw(http::Method::GET, &path, &[], Vec::new()).await?.ok()?;
        expect::same("the name a replica serves", &reply.text().trim(), &name)?;
    }
    Ok(())
}

/// A container that serves its host name on port 9376.
pub fn hostname_server() -> Value {
    json!({
        "name": "main", "image": AGNHOST, "args": ["serve-hostname", "--port=9376"],
        "readinessProbe": { "tcpSocket": { "port": 9376 }, "periodSeconds": 1 },
    })
}

/// Waits until so many pods with the selector are ready, and no others are there.
pub async fn pods_ready(t: &Test, selector: &str, count: usize) -> anyhow::Result<Vec<Value>> {
    let all = |list: &[Value]| list.len() == count && list.iter().all(pods::is_ready);
    t.objects("v1", "pods").wait_list(selector, &format!("{count} ready pods"), all).await
}

/// The image of every pod's first container.
pub fn images(pods: &[Value]) -> Vec<&str> {
    pods.iter().map(|pod| expect::text(pod, "/spec/containers/0/image")).collect()
}
