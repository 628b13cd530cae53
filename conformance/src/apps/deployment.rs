//! Deployment.

use serde_json::{Value, json};

use super::workloads::{self, images, pods_ready, ready, workload};
use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-apps] Deployment Deployment should have a working scale subresource [Conformance]" => scale,
    "[sig-apps] Deployment RecreateDeployment should delete old pods and create new ones [Conformance]" => recreate,
    "[sig-apps] Deployment RollingUpdateDeployment should delete old pods and create new ones [Conformance]" => rolling,
    "[sig-apps] Deployment deployment should delete old replica sets [Conformance]" => old_sets,
    "[sig-apps] Deployment deployment should support proportional scaling [Conformance]" => proportional,
    "[sig-apps] Deployment deployment should support rollover [Conformance]" => rollover,
    "[sig-apps] Deployment should run the lifecycle of a Deployment [Conformance]" => lifecycle,
    "[sig-apps] Deployment should validate Deployment Status endpoints [Conformance]" => status,
}

const NEW: &str = "busybox:1.37";

fn with_image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

async fn scale(t: Test) -> anyhow::Result<()> {
    let deployments = t.objects("apps/v1", "deployments");
    deployments.create(&workload("d", Some(1))).await?;
    ready(&deployments, "d", 1).await?;
    workloads::scale_endpoints(&deployments, "d", 1).await?;
    ready(&deployments, "d", 4).await?;
    Ok(())
}

async fn status(t: Test) -> anyhow::Result<()> {
    let deployments = t.objects("apps/v1", "deployments");
    deployments.create(&workload("d", Some(1))).await?;
    ready(&deployments, "d", 1).await?;
    workloads::status_endpoints(&deployments, "d").await
}

async fn recreate(t: Test) -> anyhow::Result<()> {
    let deployments = t.objects("apps/v1", "deployments");
    let mut deployment = workload("d", Some(1));
    deployment["spec"]["strategy"] = json!({ "type": "Recreate" });
    deployments.create(&deployment).await?;
    ready(&deployments, "d", 1).await?;
    let mut watch = t.objects("v1", "pods").watch("labelSelector=app=d").await?;
    deployments.patch("d", Patch::Strategic, &with_image(NEW)).await?;
    // No pod of the new template before those of the old one have ended.
    let mut old_is_gone = false;
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    loop {
        let event = tokio::time::timeout_at(deadline, watch.expect_next()).await??;
        let new = event.object["spec"]["containers"][0]["image"] == NEW;
        match (event.kind.as_str(), new) {
            ("DELETED", false) => old_is_gone = true,
            ("ADDED", true) => {
                return expect::that(old_is_gone, || "a new pod came while an old one was there".to_owned());
            }
            _ => {}
        }
    }
}

async fn rolling(t: Test) -> anyhow::Result<()> {
    let (sets, deployments) = (t.objects("apps/v1", "replicasets"), t.objects("apps/v1", "deployments"));
    // The Deployment adopts a ReplicaSet that fits its selector.
    let mut set = workload("sample", Some(1));
    set["metadata"]["annotations"] = json!({ "deployment.kubernetes.io/revision": "3546343826724305832" });
    sets.create(&set).await?;
    ready(&sets, "sample", 1).await?;
    let mut deployment = workload("sample", Some(1));
    deployment["spec"]["template"]["spec"]["containers"][0]["image"] = NEW.into();
    deployments.create(&deployment).await?;
    let done = ready(&deployments, "sample", 1).await?;
    deployments
        .wait("sample", "updated replicas", |d| d["status"]["updatedReplicas"] == 1 && d["status"]["replicas"] == 1)
        .await?;
    expect::that(!done["metadata"]["annotations"]["deployment.kubernetes.io/revision"].is_null(), || {
        "no revision".to_owned()
    })?;
    sets.wait("sample", "no replicas and an owner", |s| {
        s["spec"]["replicas"] == 0 && s["metadata"]["ownerReferences"][0]["kind"] == "Deployment"
    })
    .await?;
    let pods = pods_ready(&t, "labelSelector=app=sample", 1).await?;
    expect::same("the images", &images(&pods), &vec![NEW])
}

async fn old_sets(t: Test) -> anyhow::Result<()> {
    let (sets, deployments) = (t.objects("apps/v1", "replicasets"), t.objects("apps/v1", "deployments"));
    let mut deployment = workload("d", Some(1));
    deployment["spec"]["revisionHistoryLimit"] = 0.into();
    deployments.create(&deployment).await?;
    ready(&deployments, "d", 1).await?;
    deployments.patch("d", Patch::Strategic, &with_image(NEW)).await?;
    let only_new =
        |list: &[Value]| list.len() == 1 && list[0]["spec"]["template"]["spec"]["containers"][0]["image"] == NEW;
    sets.wait_list("labelSelector=app=d", "the new ReplicaSet alone", only_new).await?;
    Ok(())
}

async fn rollover(t: Test) -> anyhow::Result<()> {
    let (sets, deployments) = (t.objects("apps/v1", "replicasets"), t.objects("apps/v1", "deployments"));
    deployments.create(&workload("d", Some(1))).await?;
    ready(&deployments, "d", 1).await?;
    // This rollout never gets anywhere; the next one takes over.
    deployments.patch("d", Patch::Strategic, &with_image("no-such-image-anywhere:1")).await?;
    sets.wait_list("labelSelector=app=d", "two ReplicaSets", |list| list.len() == 2).await?;
    deployments.patch("d", Patch::Strategic, &with_image(NEW)).await?;
    ready(&deployments, "d", 1).await?;
    let old_are_empty = |list: &[Value]| {
        list.len() == 3
            && list.iter().all(|set| {
                let new = set["spec"]["template"]["spec"]["containers"][0]["image"] == NEW;
                set["spec"]["replicas"] == i32::from(new)
            })
    };
    sets.wait_list("labelSelector=app=d", "replicas of the newest ReplicaSet only", old_are_empty).await?;
    Ok(())
}

/// While a rollout is stuck, more replicas are shared out between old and new as they stand.
async fn proportional(t: Test) -> anyhow::Result<()> {
    let (sets, deployments) = (t.objects("apps/v1", "replicasets"), t.objects("apps/v1", "deployments"));
    let mut deployment = workload("d", Some(10));
    deployment["spec"]["strategy"] =
        json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 3, "maxUnavailable": 2 } });
    deployments.create(&deployment).await?;
    ready(&deployments, "d", 10).await?;
    deployments.patch("d", Patch::Strategic, &with_image("no-such-image-anywhere:1")).await?;
    let sizes = |list: &[Value]| -> Vec<i64> {
        let mut sizes: Vec<i64> = list.iter().filter_map(|set| set["spec"]["replicas"].as_i64()).collect();
        sizes.sort_unstable();
        sizes
    };
    sets.wait_list("labelSelector=app=d", "8 and 5 replicas", |list| sizes(list) == [5, 8]).await?;
    deployments.patch("d", Patch::Merge, &json!({ "spec": { "replicas": 30 } })).await?;
    sets.wait_list("labelSelector=app=d", "20 and 13 replicas", |list| sizes(list) == [13, 20]).await?;
    Ok(())
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (deployments, all) = (t.objects("apps/v1", "deployments"), t.everywhere("apps/v1", "deployments"));
    let label = t.name("static");
    let selector = format!("labelSelector=test-deployment-static={label}");
    let mut watch = deployments.watch(&selector).await?;
    let mut deployment = workload("test", Some(2));
    deployment["metadata"]["labels"]["test-deployment-static"] = label.clone().into();
    deployments.create(&deployment).await?;
    watch.until("the creation", |e| e.kind == "ADDED").await?;
    watch.until("two ready replicas", |e| e.object["status"]["readyReplicas"] == 2).await?;
    let body = json!({ "metadata": { "labels": { "test-deployment": "patched" } }, "spec": { "replicas": 1, "template": { "spec": { "terminationGracePeriodSeconds": 1, "containers": [{ "name": "main", "image": NEW }] } } } });
    deployments.patch("test", Patch::Strategic, &body).await?;
    watch
        .until("the patch done", |e| {
            let o = &e.object;
            o["metadata"]["labels"]["test-deployment"] == "patched"
                && o["status"]["readyReplicas"] == 1
                && o["status"]["availableReplicas"] == 1
                && o["status"]["updatedReplicas"] == 1
                && o["status"]["observedGeneration"] == o["metadata"]["generation"]
        })
        .await?;
    expect::same("the number of Deployments in all namespaces", &all.items(&selector).await?.len(), &1)?;
    deployments.modify("test", |d| d["metadata"]["labels"]["test-deployment"] = "updated".into()).await?;
    watch.until("the update", |e| e.object["metadata"]["labels"]["test-deployment"] == "updated").await?;
    let status = deployments.get_sub("test", "status").await?;
    expect::at(&status, "/metadata/name", "test")?;
    let mut body =
        json!({ "metadata": { "labels": { "test-deployment": "patched-status" } }, "status": { "readyReplicas": 0 } });
    let refused = deployments.patch_sub("test", "status", Patch::Merge, &body).await.refused_with(422)?;
    expect::has_text(
        refused.message(),
        "status.availableReplicas: Invalid value: 1: cannot be greater than readyReplicas",
    )?;
    body["status"] = json!({ "readyReplicas": 0, "availableReplicas": 0 });
    deployments.patch_sub("test", "status", Patch::Merge, &body).await?;
    // The labels sent along do not count; the controller puts the number right.
    watch
        .until("the patch of the status", |e| {
            let o = &e.object;
            o["status"]["readyReplicas"].as_i64().unwrap_or(0) == 0
                && o["metadata"]["labels"]["test-deployment"] == "updated"
        })
        .await?;
    deployments.delete_collection(&selector).await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    Ok(())
}
