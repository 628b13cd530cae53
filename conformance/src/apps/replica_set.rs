//! ReplicaSet, and what ReplicationController has like it.

use serde_json::{Value, json};

use super::workloads::{self, hostname_server, pods_ready, ready, workload};
use crate::client::Patch;
use crate::pods::{self, container};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-apps] ReplicaSet Replace and Patch tests [Conformance]" => replace_and_patch,
    "[sig-apps] ReplicaSet Replicaset should have a working scale subresource [Conformance]" => scale,
    "[sig-apps] ReplicaSet should adopt matching pods on creation and release no longer matching pods [Conformance]" => adopt_and_release,
    "[sig-apps] ReplicaSet should list and delete a collection of ReplicaSets [Conformance]" => collection,
    "[sig-apps] ReplicaSet should serve a basic image on each replica with a public image [Conformance]" => serve,
    "[sig-apps] ReplicaSet should validate Replicaset Status endpoints [Conformance]" => status,
    "[sig-apps] ReplicationController should adopt matching pods on creation [Conformance]" => controller_adopts,
    "[sig-apps] ReplicationController should serve a basic image on each replica with a public image [Conformance]" => controller_serves,
    "[sig-apps] ReplicationController should test the lifecycle of a ReplicationController [Conformance]" => controller_lifecycle,
}

async fn scale(t: Test) -> anyhow::Result<()> {
    let sets = t.objects("apps/v1", "replicasets");
    sets.create(&workload("rs", Some(1))).await?;
    ready(&sets, "rs", 1).await?;
    workloads::scale_endpoints(&sets, "rs", 1).await?;
    ready(&sets, "rs", 4).await?;
    Ok(())
}

async fn status(t: Test) -> anyhow::Result<()> {
    let sets = t.objects("apps/v1", "replicasets");
    sets.create(&workload("rs", Some(1))).await?;
    ready(&sets, "rs", 1).await?;
    workloads::status_endpoints(&sets, "rs").await
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let sets = t.objects("apps/v1", "replicasets");
    sets.create(&workload("rs", Some(3))).await?;
    ready(&sets, "rs", 3).await?;
    expect::same("the number of ReplicaSets", &sets.items("labelSelector=app=rs").await?.len(), &1)?;
    sets.delete_collection("labelSelector=app=rs").await?;
    sets.wait_list("labelSelector=app=rs", "no ReplicaSets", <[Value]>::is_empty).await?;
    Ok(())
}

async fn replace_and_patch(t: Test) -> anyhow::Result<()> {
    let sets = t.objects("apps/v1", "replicasets");
    sets.create(&workload("rs", Some(1))).await?;
    ready(&sets, "rs", 1).await?;
    sets.modify("rs", |rs| {
        rs["spec"]["replicas"] = 2.into();
        rs["spec"]["template"]["spec"]["containers"][0]["image"] = "busybox:1.37".into();
    })
    .await?;
    ready(&sets, "rs", 2).await?;
    let body = json!({ "metadata": { "labels": { "test-rs": "patched" } }, "spec": { "replicas": 3, "template": { "spec": { "terminationGracePeriodSeconds": 0 } } } });
    sets.patch("rs", Patch::Strategic, &body).await?;
    let done = ready(&sets, "rs", 3).await?;
    expect::contains(&done, &body)
}

fn orphan(name: &str) -> Value {
    let mut pod = pods::pod(name, &[container("main", workloads::STAY)]);
    pod["metadata"]["labels"] = json!({ "app": name });
    pod
}

async fn adopt_and_release(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &orphan("adoption")).await?;
    let (sets, pods) = (t.objects("apps/v1", "replicasets"), t.objects("v1", "pods"));
    let set = sets.create(&workload("adoption", Some(1))).await?;
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == set["metadata"]["uid"];
    pods.wait("adoption", "the ReplicaSet as its owner", owned).await?;
    pods.patch("adoption", Patch::Strategic, &json!({ "metadata": { "labels": { "app": "other" } } })).await?;
    pods.wait("adoption", "no owner", |pod| !owned(pod)).await?;
    pods_ready(&t, "labelSelector=app=adoption", 1).await?;
    Ok(())
}

async fn serve(t: Test) -> anyhow::Result<()> {
    let sets = t.objects("apps/v1", "replicasets");
    let mut set = workload("basic", Some(2));
    set["spec"]["template"]["spec"]["containers"] = json!([hostname_server()]);
    sets.create(&set).await?;
    ready(&sets, "basic", 2).await?;
    workloads::serve_names(&t, "labelSelector=app=basic").await
}

fn controller(name: &str, replicas: usize) -> Value {
    json!({ "metadata": { "name": name, "labels": { "app": name } }, "spec": {
        "replicas": replicas, "selector": { "app": name }, "template": workloads::template(name),
    } })
}

async fn controller_adopts(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &orphan("adoption")).await?;
    let made = t.objects("v1", "replicationcontrollers").create(&controller("adoption", 1)).await?;
    let owned = |pod: &Value| pod["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"];
    t.objects("v1", "pods").wait("adoption", "the controller as its owner", owned).await?;
    Ok(())
}

async fn controller_serves(t: Test) -> anyhow::Result<()> {
    let controllers = t.objects("v1", "replicationcontrollers");
    let mut object = controller("basic", 2);
    object["spec"]["template"]["spec"]["containers"] = json!([hostname_server()]);
    controllers.create(&object).await?;
    ready(&controllers, "basic", 2).await?;
    workloads::serve_names(&t, "labelSelector=app=basic").await
}

async fn controller_lifecycle(t: Test) -> anyhow::Result<()> {
    let (controllers, all) = (t.objects("v1", "replicationcontrollers"), t.everywhere("v1", "replicationcontrollers"));
    let label = t.name("static");
    let selector = format!("labelSelector=test-rc-static={label}");
    let mut watch = controllers.watch(&selector).await?;
    let mut object = controller("rc-test", 1);
    object["metadata"]["labels"]["test-rc-static"] = label.clone().into();
    controllers.create(&object).await?;
    watch.until("a ready replica", |e| e.object["status"]["readyReplicas"] == 1).await?;
    controllers
        .patch("rc-test", Patch::Strategic, &json!({ "metadata": { "labels": { "test-rc": "patched" } } }))
        .await?;
    watch.until("the patch", |e| e.object["metadata"]["labels"]["test-rc"] == "patched").await?;
    let body = json!({ "status": { "readyReplicas": 0, "availableReplicas": 0 } });
    let patched = controllers.patch_sub("rc-test", "status", Patch::Merge, &body).await?;
    expect::at(&patched, "/metadata/name", "rc-test")?;
    controllers.get_sub("rc-test", "status").await?;
    let scale = json!({ "spec": { "replicas": 2 } });
    controllers.patch_sub("rc-test", "scale", Patch::Strategic, &scale).await?;
    watch
        .until("two ready replicas", |e| e.object["status"]["readyReplicas"] == 2 && e.object["spec"]["replicas"] == 2)
        .await?;
    expect::same("the number of controllers in all namespaces", &all.items(&selector).await?.len(), &1)?;
    controllers.modify("rc-test", |rc| rc["spec"]["replicas"] = 1.into()).await?;
    watch.until("one replica", |e| e.object["status"]["replicas"] == 1).await?;
    controllers.delete_collection(&selector).await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    Ok(())
}
