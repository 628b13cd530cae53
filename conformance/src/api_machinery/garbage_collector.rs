//! Garbage collector.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Garbage collector should delete RS created by deployment when not orphaning [Conformance]" => background,
    "[sig-api-machinery] Garbage collector should delete pods created by rc when not orphaning [Conformance]" => pods_of_controller,
    "[sig-api-machinery] Garbage collector should keep the rc around until all its pods are deleted if the deleteOptions says so [Serial] [Conformance]" => foreground,
    "[sig-api-machinery] Garbage collector should not be blocked by dependency circle [Conformance]" => circle,
    "[sig-api-machinery] Garbage collector should not delete dependents that have both valid owner and owner that's waiting for dependents to be deleted [Serial] [Conformance]" => two_owners,
    "[sig-api-machinery] Garbage collector should orphan RS created by deployment when deleteOptions.PropagationPolicy is Orphan [Conformance]" => orphan_sets,
    "[sig-api-machinery] Garbage collector should orphan pods created by rc if delete options say so [Serial] [Conformance]" => orphan_pods,
}

/// So long what must stay is watched: upstream gives the collector 30 s to do wrong; ours acts on events, at once.
const SETTLE: Duration = Duration::from_millis(700);

fn template(label: &str) -> Value {
    json!({
        "metadata": { "labels": { "gctest": label } },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [{ "name": "nginx", "image": "nginx" }] },
    })
}

fn controller(name: &str, label: &str, replicas: usize) -> Value {
    json!({ "metadata": { "name": name }, "spec": { "replicas": replicas, "selector": { "gctest": label }, "template": template(label) } })
}

fn deployment(label: &str) -> Value {
    json!({ "metadata": { "name": "simpletest.deployment" }, "spec": {
        "replicas": 2, "strategy": { "type": "RollingUpdate" }, "selector": { "matchLabels": { "gctest": label } }, "template": template(label),
    } })
}

fn options(policy: &str, object: &Value) -> Value {
    json!({ "propagationPolicy": policy, "preconditions": { "uid": object["metadata"]["uid"] } })
}

async fn background(t: Test) -> anyhow::Result<()> {
    let (deployments, sets) = (t.objects("apps/v1", "deployments"), t.objects("apps/v1", "replicasets"));
    let created = deployments.create(&deployment("a")).await?;
    sets.wait_list("", "a ReplicaSet", |list| !list.is_empty()).await?;
    deployments.delete_with("simpletest.deployment", &options("Background", &created)).await?;
    sets.wait_list("", "no ReplicaSet", <[Value]>::is_empty).await?;
    t.objects("v1", "pods").wait_list("", "no pods", <[Value]>::is_empty).await?;
    Ok(())
}

async fn pods_of_controller(t: Test) -> anyhow::Result<()> {
    let (controllers, pods) = (t.objects("v1", "replicationcontrollers"), t.objects("v1", "pods"));
    let created = controllers.create(&controller("simpletest.rc", "a", 2)).await?;
    pods.wait_list("", "a pod", |list| !list.is_empty()).await?;
    controllers.delete_with("simpletest.rc", &options("Background", &created)).await?;
    pods.wait_list("", "no pods", <[Value]>::is_empty).await?;
    controllers.gone("simpletest.rc").await
}

async fn orphan_pods(t: Test) -> anyhow::Result<()> {
    const REPLICAS: usize = 20;
    let (controllers, pods) = (t.objects("v1", "replicationcontrollers"), t.objects("v1", "pods"));
    let created = controllers.create(&controller("simpletest.rc", "a", REPLICAS)).await?;
    controllers.wait("simpletest.rc", "its replicas", |rc| rc["status"]["replicas"] == REPLICAS).await?;
    controllers.delete_with("simpletest.rc", &options("Orphan", &created)).await?;
    controllers.gone("simpletest.rc").await?;
    tokio::time::sleep(SETTLE).await;
    let left = pods.items("").await?;
    expect::same("the number of pods left", &left.len(), &REPLICAS)?;
    for pod in &left {
        expect::at(pod, "/metadata/ownerReferences", Value::Null)?;
    }
    Ok(())
}

async fn orphan_sets(t: Test) -> anyhow::Result<()> {
    let (deployments, sets) = (t.objects("apps/v1", "deployments"), t.objects("apps/v1", "replicasets"));
    let created = deployments.create(&deployment("a")).await?;
    t.objects("v1", "pods").wait_list("", "two pods", |list| list.len() == 2).await?;
    deployments.delete_with("simpletest.deployment", &options("Orphan", &created)).await?;
    deployments.gone("simpletest.deployment").await?;
    tokio::time::sleep(SETTLE).await;
    let left = sets.items("").await?;
    expect::same("the number of ReplicaSets left", &left.len(), &1)?;
    let owners = left[0]["metadata"]["ownerReferences"].as_array().cloned().unwrap_or_default();
    expect::that(owners.iter().all(|o| o["controller"] != true), || {
        format!("the ReplicaSet has the owners {owners:?}")
    })?;
    expect::same("the number of pods left", &t.objects("v1", "pods").items("").await?.len(), &2)
}

async fn foreground(t: Test) -> anyhow::Result<()> {
    const REPLICAS: usize = 20;
    let (controllers, pods) = (t.objects("v1", "replicationcontrollers"), t.objects("v1", "pods"));
    let created = controllers.create(&controller("simpletest.rc", "a", REPLICAS)).await?;
    controllers.wait("simpletest.rc", "its replicas", |rc| rc["status"]["replicas"] == REPLICAS).await?;
    let revision = expect::revision(&controllers.get("simpletest.rc").await?).to_owned();
    let mut watch = controllers.watch(&format!("resourceVersion={revision}")).await?;
    let answer = controllers.delete_with("simpletest.rc", &options("Foreground", &created)).await?;
    expect::that(!answer["metadata"]["deletionTimestamp"].is_null(), || {
        format!("the rc should be answered as deleting: {answer}")
    })?;
    // When the controller goes, no pod may be left.
    watch.until("the rc's end", |event| event.kind == "DELETED").await?;
    let left = pods.items("").await?;
    let alive = left.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null()).count();
    expect::same("the number of pods left when the rc went", &alive, &0)
}

async fn two_owners(t: Test) -> anyhow::Result<()> {
    const REPLICAS: usize = 20;
    let (controllers, pods) = (t.objects("v1", "replicationcontrollers"), t.objects("v1", "pods"));
    let dying = controllers.create(&controller("simpletest-rc-to-be-deleted", "a", REPLICAS)).await?;
    let staying = controllers.create(&controller("simpletest-rc-to-stay", "b", 0)).await?;
    controllers.wait("simpletest-rc-to-be-deleted", "its replicas", |rc| rc["status"]["replicas"] == REPLICAS).await?;
    let owner = json!({ "apiVersion": "v1", "kind": "ReplicationController", "name": "simpletest-rc-to-stay", "uid": staying["metadata"]["uid"] });
    let list = pods.items("").await?;
    for pod in list.iter().take(REPLICAS / 2) {
        pods.patch(expect::name(pod), Patch::Strategic, &json!({ "metadata": { "ownerReferences": [owner] } })).await?;
    }
    controllers.delete_with("simpletest-rc-to-be-deleted", &options("Foreground", &dying)).await?;
    controllers.gone("simpletest-rc-to-be-deleted").await?;
    tokio::time::sleep(SETTLE).await;
    let left = pods.items("").await?;
    expect::same("the number of pods left", &left.len(), &(REPLICAS / 2))?;
    for pod in &left {
        expect::at(pod, "/metadata/deletionTimestamp", Value::Null)?;
        expect::at(pod, "/metadata/ownerReferences/0/name", "simpletest-rc-to-stay")?;
        expect::at(pod, "/metadata/ownerReferences/1", Value::Null)?;
    }
    Ok(())
}

async fn circle(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let mut made = Vec::new();
    for name in ["pod1", "pod2", "pod3"] {
        let pod = json!({ "metadata": { "name": name }, "spec": template("a")["spec"] });
        made.push(pods.create(&pod).await?);
    }
    // pod1 is owned by pod3, pod2 by pod1, pod3 by pod2.
    for (number, pod) in made.iter().enumerate() {
        let owner = &made[(number + 2) % 3];
        let reference = json!({
            "apiVersion": "v1", "kind": "Pod", "name": expect::name(owner), "uid": owner["metadata"]["uid"],
            "controller": true, "blockOwnerDeletion": true,
        });
        let body = json!({ "metadata": { "ownerReferences": [reference] } });
        pods.patch(expect::name(pod), Patch::Strategic, &body).await?;
    }
    pods.delete_with("pod1", &options("Foreground", &made[0])).await?;
    pods.wait_list("", "no pods", <[Value]>::is_empty).await?;
    Ok(())
}
