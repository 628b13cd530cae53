//! StatefulSet.

use serde_json::{Value, json};

use super::workloads::{self, images, pods_ready, ready, workload};
use crate::client::{Objects, Patch};
use crate::pods::{self, container};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Burst scaling should run to completion even with unhealthy pods [Slow] [Conformance]" => burst,
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Scaling should happen in predictable order and halt if any stateful pod is unhealthy [Slow] [Conformance]" => ordered,
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] Should recreate evicted statefulset [Conformance]" => evicted,
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should have a working scale subresource [Conformance]" => scale,
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should list, patch and delete a collection of StatefulSets [Conformance]" => collection,
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform canary updates and phased rolling updates of template modifications [Conformance]" => canary,
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should perform rolling updates and roll backs of template modifications [Conformance]" => rolling,
    "[sig-apps] StatefulSet Basic StatefulSet functionality [StatefulSetBasic] should validate Statefulset Status endpoints [Conformance]" => status,
}

const NEW: &str = "busybox:1.37";
const SELECTOR: &str = "labelSelector=app=ss";

fn sets(t: &Test) -> Objects {
    t.objects("apps/v1", "statefulsets")
}

/// A set whose pods are ready as long as a file is there.
async fn create(t: &Test, replicas: usize, policy: &str) -> anyhow::Result<Value> {
    let ports = json!([{ "port": 80, "name": "http" }]);
    t.objects("v1", "services").create(&json!({ "metadata": { "name": "test" }, "spec": { "clusterIP": "None", "selector": { "app": "ss" }, "ports": ports } })).await?;
    let mut main = container("main", &format!("touch /tmp/well; {}", workloads::STAY));
    main["readinessProbe"] =
        json!({ "exec": { "command": ["cat", "/tmp/well"] }, "periodSeconds": 1, "failureThreshold": 1 });
    let mut set = workload("ss", Some(replicas));
    set["spec"]["serviceName"] = "test".into();
    set["spec"]["podManagementPolicy"] = policy.into();
    set["spec"]["template"]["spec"]["containers"] = json!([main]);
    sets(t).create(&set).await
}

async fn scale(t: Test) -> anyhow::Result<()> {
    create(&t, 1, "Parallel").await?;
    ready(&sets(&t), "ss", 1).await?;
    workloads::scale_endpoints(&sets(&t), "ss", 1).await
}

async fn status(t: Test) -> anyhow::Result<()> {
    create(&t, 1, "OrderedReady").await?;
    ready(&sets(&t), "ss", 1).await?;
    workloads::status_endpoints(&sets(&t), "ss").await
}

async fn collection(t: Test) -> anyhow::Result<()> {
    create(&t, 1, "OrderedReady").await?;
    ready(&sets(&t), "ss", 1).await?;
    let body = json!({ "metadata": { "labels": { "test-ss": "patched" } }, "spec": { "replicas": 2, "template": { "spec": { "terminationGracePeriodSeconds": 1 } } } });
    sets(&t).patch("ss", Patch::Strategic, &body).await?;
    ready(&sets(&t), "ss", 2).await?;
    let list = sets(&t).items("labelSelector=test-ss=patched").await?;
    expect::same("the number of sets", &list.len(), &1)?;
    sets(&t).delete_collection("labelSelector=test-ss=patched").await?;
    sets(&t).wait_list("", "no sets", <[Value]>::is_empty).await?;
    Ok(())
}

async fn fall_ill(t: &Test, pod: &str) -> anyhow::Result<()> {
    pods::exec(t, pod, "main", "rm /tmp/well").await?;
    t.objects("v1", "pods").wait(pod, "no readiness", |pod| !pods::is_ready(pod)).await?;
    Ok(())
}

async fn ordered(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let mut watch = pods.watch(SELECTOR).await?;
    create(&t, 1, "OrderedReady").await?;
    pods_ready(&t, SELECTOR, 1).await?;
    fall_ill(&t, "ss-0").await?;
    sets(&t).patch("ss", Patch::Merge, &json!({ "spec": { "replicas": 3 } })).await?;
    // It does not grow while a pod is ill.
    sets(&t)
        .wait("ss", "the new size observed", |s| s["status"]["observedGeneration"] == s["metadata"]["generation"])
        .await?;
    expect::same("the number of pods while one is ill", &pods.items(SELECTOR).await?.len(), &1)?;
    pods::exec(&t, "ss-0", "main", "touch /tmp/well").await?;
    pods_ready(&t, SELECTOR, 3).await?;
    for name in ["ss-0", "ss-1", "ss-2"] {
        watch.until(&format!("{name}, in this order"), |e| e.kind == "ADDED" && e.name() == name).await?;
    }
    fall_ill(&t, "ss-0").await?;
    sets(&t).patch("ss", Patch::Merge, &json!({ "spec": { "replicas": 0 } })).await?;
    sets(&t)
        .wait("ss", "the new size observed", |s| s["status"]["observedGeneration"] == s["metadata"]["generation"])
        .await?;
    pods::exec(&t, "ss-0", "main", "touch /tmp/well").await?;
    for name in ["ss-2", "ss-1", "ss-0"] {
        watch.until(&format!("the end of {name}, in this order"), |e| e.kind == "DELETED" && e.name() == name).await?;
    }
    Ok(())
}

async fn burst(t: Test) -> anyhow::Result<()> {
    create(&t, 1, "Parallel").await?;
    pods_ready(&t, SELECTOR, 1).await?;
    fall_ill(&t, "ss-0").await?;
    sets(&t).patch("ss", Patch::Merge, &json!({ "spec": { "replicas": 3 } })).await?;
    t.objects("v1", "pods").wait_list(SELECTOR, "three pods though one is ill", |list| list.len() == 3).await?;
    sets(&t).patch("ss", Patch::Merge, &json!({ "spec": { "replicas": 0 } })).await?;
    t.objects("v1", "pods").wait_list(SELECTOR, "no pods", <[Value]>::is_empty).await?;
    Ok(())
}

async fn rolling(t: Test) -> anyhow::Result<()> {
    create(&t, 3, "OrderedReady").await?;
    pods_ready(&t, SELECTOR, 3).await?;
    let first = sets(&t)
        .wait("ss", "its revision", |s| s["status"]["currentRevision"] == s["status"]["updateRevision"])
        .await?;
    let revision = expect::text(&first, "/status/currentRevision").to_owned();
    for (image, same) in [(NEW, false), (pods::BUSYBOX, true)] {
        let body =
            json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } });
        sets(&t).patch("ss", Patch::Strategic, &body).await?;
        let done = |s: &Value| {
            s["status"]["observedGeneration"] == s["metadata"]["generation"]
                && s["status"]["updatedReplicas"] == 3
                && s["status"]["readyReplicas"] == 3
                && s["status"]["currentRevision"] == s["status"]["updateRevision"]
        };
        let set = sets(&t).wait("ss", "the update done", done).await?;
        let pods = pods_ready(&t, SELECTOR, 3).await?;
        expect::same("the images", &images(&pods), &vec![image; 3])?;
        // A roll back finds the old revision again.
        expect::same(
            "whether it is the first revision",
            &(expect::text(&set, "/status/currentRevision") == revision),
            &same,
        )?;
    }
    Ok(())
}

async fn canary(t: Test) -> anyhow::Result<()> {
    create(&t, 3, "OrderedReady").await?;
    pods_ready(&t, SELECTOR, 3).await?;
    let partition = |from: u32| json!({ "spec": { "updateStrategy": { "type": "RollingUpdate", "rollingUpdate": { "partition": from } } } });
    sets(&t).patch("ss", Patch::Merge, &partition(3)).await?;
    let body = json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": NEW }] } } } });
    sets(&t).patch("ss", Patch::Strategic, &body).await?;
    for (from, new) in [(3, 0), (2, 1), (0, 3)] {
        sets(&t).patch("ss", Patch::Merge, &partition(from)).await?;
        let wanted = |list: &[Value]| {
            list.len() == 3
                && list.iter().all(pods::is_ready)
                && list.iter().enumerate().all(|(number, pod)| {
                    let updated = pod["spec"]["containers"][0]["image"] == NEW;
                    updated == (number >= 3 - new)
                })
        };
        t.objects("v1", "pods").wait_list(SELECTOR, &format!("the new image from {from} on"), wanted).await?;
        sets(&t)
            .wait("ss", "the updated replicas", |s| s["status"]["updatedReplicas"].as_u64().unwrap_or(0) == new as u64)
            .await?;
    }
    Ok(())
}

/// A pod that cannot run where it must is replaced until it can.
async fn evicted(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let node = t.cluster.nodes[0].clone();
    let mut holder = pods::pod("holder", &[container("main", workloads::STAY)]);
    holder["spec"]["nodeName"] = node.clone().into();
    holder["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 21017, "hostPort": 21017 }]);
    pods::start(&t, &holder).await?;
    let mut set = workload("ss", Some(1));
    set["spec"]["serviceName"] = "test".into();
    set["spec"]["template"]["spec"]["nodeName"] = node.into();
    set["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 21017, "hostPort": 21017 }]);
    let mut watch = pods.watch("fieldSelector=metadata.name=ss-0").await?;
    sets(&t).create(&set).await?;
    let first = watch.until("the first pod", |e| e.kind == "ADDED").await?;
    watch.until("the deletion of the pod that does not fit", |e| e.kind == "DELETED").await?;
    pods::remove(&t, "holder").await?;
    let again = |pod: &Value| pods::is_ready(pod) && pod["metadata"]["uid"] != first.object["metadata"]["uid"];
    pods.wait("ss-0", "another life", again).await?;
    Ok(())
}
