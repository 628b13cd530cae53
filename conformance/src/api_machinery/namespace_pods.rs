//! Namespaces with pods in them.

use serde_json::json;

use crate::client::Refusal;
use crate::pods::{container, pod};
use crate::spec::Test;
use crate::{expect, specs};

const STAY: &str = "while :; do sleep 1; done";

specs! { Pods;
    "[sig-api-machinery] Namespaces [Serial] should ensure that all pods are removed when a namespace is deleted [Conformance]" => pods_go_too,
    "[sig-api-machinery] OrderedNamespaceDeletion namespace deletion should delete pod first [Conformance]" => pods_go_first,
}

async fn pods_go_too(t: Test) -> anyhow::Result<()> {
    let name = t.another_namespace("nsdeletetest").await?;
    let pods = t.objects_in(&name, "v1", "pods");
    pods.create(&pod("test-pod", &[container("c", STAY)])).await?;
    pods.wait("test-pod", "Running", |pod| pod["status"]["phase"] == "Running").await?;
    let namespaces = t.everywhere("v1", "namespaces");
    namespaces.delete(&name).await?;
    namespaces.gone(&name).await?;
    t.cluster.make_namespace(&name).await?;
    pods.get("test-pod").await.refused_with(404)?;
    Ok(())
}

async fn pods_go_first(t: Test) -> anyhow::Result<()> {
    const FINALIZER: &str = "e2e.example.com/finalizer";
    let name = t.another_namespace("nsdeletetest").await?;
    let (pods, maps) = (t.objects_in(&name, "v1", "pods"), t.objects_in(&name, "v1", "configmaps"));
    let mut held = pod("test-pod", &[container("c", STAY)]);
    held["metadata"]["finalizers"] = json!([FINALIZER]);
    pods.create(&held).await?;
    pods.wait("test-pod", "Running", |pod| pod["status"]["phase"] == "Running").await?;
    maps.create(&json!({ "metadata": { "name": "test-configmap" }, "data": { "key": "value" } })).await?;
    let namespaces = t.everywhere("v1", "namespaces");
    namespaces.delete(&name).await?;
    let judged = |kind: &'static str| {
        move |ns: &serde_json::Value| {
            ns["status"]["conditions"]
                .as_array()
                .is_some_and(|all| all.iter().any(|condition| condition["type"] == kind))
        }
    };
    namespaces.wait(&name, "looked at", judged("NamespaceDeletionContentFailure")).await?;
    // The pod ends, and is still there: so is everything else.
    let ended = |pod: &serde_json::Value| matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    let pod = pods.wait("test-pod", "over", ended).await?;
    expect::that(pod["metadata"]["deletionTimestamp"].is_string(), || "the pod is not being deleted".into())?;
    maps.get("test-configmap").await?;
    pods.modify("test-pod", |pod| pod["metadata"]["finalizers"] = json!([])).await?;
    namespaces.gone(&name).await
}
