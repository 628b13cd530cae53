//! Pods: from creation to removal.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-node] Pods should allow activeDeadlineSeconds to be updated [NodeConformance] [Conformance]" => deadline,
    "[sig-node] Pods should be submitted and removed [NodeConformance] [Conformance]" => submitted,
    "[sig-node] Pods should be updated [NodeConformance] [Conformance]" => updated,
    "[sig-node] Pods should delete a collection of pods [Conformance]" => collection,
    "[sig-node] Pods should get a host IP [NodeConformance] [Conformance]" => host_ip,
    "[sig-node] Pods should patch a pod status [Conformance]" => patch_status,
    "[sig-node] Pods should run through the lifecycle of Pods and PodStatus [Conformance]" => lifecycle,
    "[sig-node] Pods Extended (pod generation) Pod Generation custom-set generation on new pods and graceful delete [Conformance]" => custom_generation,
    "[sig-node] Pods Extended (pod generation) Pod Generation issue 500 podspec updates and verify generation and observedGeneration eventually converge [MinimumKubeletVersion:1.34] [Conformance]" => many_updates,
    "[sig-node] Pods Extended (pod generation) Pod Generation pod generation should start at 1 and increment per update [MinimumKubeletVersion:1.34] [Conformance]" => generation,
}

const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

fn stay(name: &str) -> Value {
    pod(name, &[container("main", STAY)])
}

async fn deadline(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &stay("deadline")).await?;
    let pods = t.objects("v1", "pods");
    pods.modify("deadline", |p| p["spec"]["activeDeadlineSeconds"] = 1.into()).await?;
    let over = |pod: &Value| pod["status"]["phase"] == "Failed" && pod["status"]["reason"] == "DeadlineExceeded";
    pods.wait("deadline", "DeadlineExceeded", over).await?;
    Ok(())
}

async fn submitted(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let mut watch = pods.watch("labelSelector=name=submitted").await?;
    pods.create(&stay("submitted")).await?;
    watch.until("the creation", |e| e.kind == "ADDED").await?;
    pods::ready(&t, "submitted").await?;
    pods.delete_with("submitted", &json!({})).await?;
    watch.until("the deletion's beginning", |e| !e.object["metadata"]["deletionTimestamp"].is_null()).await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    expect::same("the number of pods", &pods.items("labelSelector=name=submitted").await?.len(), &0)
}

async fn updated(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &stay("update")).await?;
    let pods = t.objects("v1", "pods");
    pods.modify("update", |p| p["metadata"]["labels"]["time"] = "now".into()).await?;
    expect::same("the number of pods with the label", &pods.items("labelSelector=time=now").await?.len(), &1)
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    for name in ["test-pod-1", "test-pod-2", "test-pod-3"] {
        let mut pod = stay(name);
        pod["metadata"]["labels"]["type"] = "Testing".into();
        pods.create(&pod).await?;
    }
    expect::same("the number of pods", &pods.items("labelSelector=type=Testing").await?.len(), &3)?;
    pods.delete_collection("labelSelector=type=Testing").await?;
    pods.wait_list("labelSelector=type=Testing", "no pods", <[Value]>::is_empty).await?;
    Ok(())
}

async fn host_ip(t: Test) -> anyhow::Result<()> {
    let pod = pods::start(&t, &stay("hostip")).await?;
    let node = t.everywhere("v1", "nodes").get(expect::text(&pod, "/spec/nodeName")).await?;
    let internal = node["status"]["addresses"].as_array().into_iter().flatten().find(|a| a["type"] == "InternalIP");
    expect::at(&pod, "/status/hostIP", internal.map(|a| a["address"].clone()).unwrap_or_default())
}

async fn patch_status(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &stay("pod")).await?;
    let pods = t.objects("v1", "pods");
    // Nobody else writes these two fields.
    let body = json!({ "metadata": { "annotations": { "patchstatus": "true" } }, "status": { "message": "Patched by e2e test", "reason": "E2E" } });
    let patched = pods.patch_sub("pod", "status", Patch::Strategic, &body).await?;
    expect::contains(&patched, &body)?;
    pods::remove(&t, "pod").await
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let label = t.name("static");
    let selector = format!("labelSelector=test-pod-static={label}");
    let mut watch = pods.watch(&selector).await?;
    let mut pod = stay("pod-test");
    pod["metadata"]["labels"]["test-pod-static"] = label.clone().into();
    pods.create(&pod).await?;
    watch.until("a ready pod", |e| pods::is_ready(&e.object)).await?;
    let body = json!({
        "metadata": { "labels": { "test-pod": "patched" } },
        "spec": { "terminationGracePeriodSeconds": 1, "containers": [{ "name": "main", "image": "busybox:1.37" }] },
    });
    pods.patch("pod-test", Patch::Strategic, &body).await?;
    watch.until("the patch", |e| e.object["metadata"]["labels"]["test-pod"] == "patched").await?;
    let got = pods.get("pod-test").await?;
    expect::at(&got, "/spec/containers/0/image", "busybox:1.37")?;
    let status = pods.get_sub("pod-test", "status").await?;
    expect::at(&status, "/metadata/uid", got["metadata"]["uid"].clone())?;
    let everywhere = t.everywhere("v1", "pods").items(&selector).await?;
    expect::same("the number of pods in all namespaces", &everywhere.len(), &1)?;
    let updated = pods.modify_sub("pod-test", "status", |p| p["status"]["message"] = "StatusUpdate".into()).await?;
    expect::at(&updated, "/status/message", "StatusUpdate")?;
    pods.delete_collection(&selector).await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    Ok(())
}

async fn generation(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let created = pods.create(&stay("pod")).await?;
    expect::at(&created, "/metadata/generation", 1)?;
    pods::ready(&t, "pod").await?;
    let update = async |what: &str, change: &(dyn Fn(&mut Value) + Sync), want: u64| {
        let updated = pods.modify("pod", change).await?;
        expect::same(&format!("the generation after {what}"), &updated["metadata"]["generation"].as_u64(), &Some(want))
    };
    update("another image", &|p| p["spec"]["containers"][0]["image"] = "busybox:1.35".into(), 2).await?;
    update(
        "a toleration",
        // In the place of all there are: those of the node's troubles come back by themselves.
        &|p| p["spec"]["tolerations"] = json!([{ "key": "foo-1", "operator": "Exists" }]),
        3,
    )
    .await?;
    update("a deadline", &|p| p["spec"]["activeDeadlineSeconds"] = 3600.into(), 4).await?;
    // Metadata and status do not count.
    update("a label", &|p| p["metadata"]["labels"]["a"] = "b".into(), 4).await?;
    pods.wait("pod", "observedGeneration 4", |p| p["status"]["observedGeneration"] == 4).await?;
    Ok(())
}

async fn custom_generation(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let mut pod = stay("pod");
    pod["metadata"]["generation"] = 100.into();
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let created = pods.create(&pod).await?;
    expect::at(&created, "/metadata/generation", 1)?;
    pods::ready(&t, "pod").await?;
    pods.delete_with("pod", &json!({})).await?;
    let deleting = pods.get("pod").await?;
    expect::at(&deleting, "/metadata/generation", 2)?;
    pods.modify("pod", |p| p["metadata"]["finalizers"] = json!([])).await?;
    Ok(())
}

async fn many_updates(t: Test) -> anyhow::Result<()> {
    const UPDATES: u64 = 500;
    let pods = t.objects("v1", "pods");
    pods::start(&t, &stay("pod")).await?;
    for number in 0..UPDATES {
        let image = if number % 2 == 0 { "busybox:1.35" } else { "busybox:1.36" };
        let body = json!([{ "op": "replace", "path": "/spec/containers/0/image", "value": image }]);
        pods.patch("pod", Patch::Json, &body).await?;
    }
    let pod =
        pods.wait("pod", "the last generation observed", |p| p["status"]["observedGeneration"] == UPDATES + 1).await?;
    expect::at(&pod, "/metadata/generation", UPDATES + 1)
}
