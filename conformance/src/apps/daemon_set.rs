//! Daemon set, and the ControllerRevisions behind it.

use serde_json::{Value, json};

use super::workloads::{self, images, pods_ready, workload};
use crate::client::{Patch, Refusal};
use crate::pods;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-apps] Daemon set [Serial] should list and delete a collection of DaemonSets [Conformance]" => collection,
    "[sig-apps] Daemon set [Serial] should retry creating failed daemon pods [Conformance]" => retry,
    "[sig-apps] Daemon set [Serial] should rollback without unnecessary restarts [Conformance]" => rollback,
    "[sig-apps] Daemon set [Serial] should run and stop complex daemon [Conformance]" => complex,
    "[sig-apps] Daemon set [Serial] should run and stop simple daemon [Conformance]" => simple,
    "[sig-apps] Daemon set [Serial] should update pod when spec was updated and update strategy is RollingUpdate [Conformance]" => rolling,
    "[sig-apps] Daemon set [Serial] should verify changes to a daemon set status [Conformance]" => status,
    "[sig-apps] ControllerRevision [Serial] should manage the lifecycle of a ControllerRevision [Conformance]" => revisions,
}

const NEW: &str = "busybox:1.37";
const SELECTOR: &str = "labelSelector=app=ds";

/// Starts a DaemonSet and waits for its pod on every node.
async fn start(t: &Test) -> anyhow::Result<Vec<Value>> {
    t.objects("apps/v1", "daemonsets").create(&workload("ds", None)).await?;
    pods_ready(t, SELECTOR, t.cluster.nodes.len()).await
}

async fn simple(t: Test) -> anyhow::Result<()> {
    let pods = start(&t).await?;
    // One that is deleted comes again.
    pods::remove(&t, expect::name(&pods[0])).await?;
    let count = t.cluster.nodes.len();
    let again = |list: &[Value]| {
        list.len() == count
            && list.iter().all(pods::is_ready)
            && list.iter().all(|p| p["metadata"]["uid"] != pods[0]["metadata"]["uid"])
    };
    t.objects("v1", "pods").wait_list(SELECTOR, "another pod", again).await?;
    Ok(())
}

async fn complex(t: Test) -> anyhow::Result<()> {
    let (sets, nodes) = (t.objects("apps/v1", "daemonsets"), t.everywhere("v1", "nodes"));
    let label = t.name("color");
    let mut set = workload("ds", None);
    set["spec"]["template"]["spec"]["nodeSelector"] = json!({ label.clone(): "blue" });
    sets.create(&set).await?;
    sets.wait("ds", "nothing to schedule", |s| {
        s["status"]["observedGeneration"] == 1 && s["status"]["desiredNumberScheduled"] == 0
    })
    .await?;
    let node = t.cluster.nodes[0].as_str();
    nodes.patch(node, Patch::Strategic, &json!({ "metadata": { "labels": { label.clone(): "blue" } } })).await?;
    let pods = pods_ready(&t, SELECTOR, 1).await?;
    expect::at(&pods[0], "/spec/nodeName", node)?;
    nodes.patch(node, Patch::Strategic, &json!({ "metadata": { "labels": { label.clone(): "green" } } })).await?;
    pods_ready(&t, SELECTOR, 0).await?;
    let body = json!({ "spec": { "updateStrategy": { "type": "RollingUpdate" }, "template": { "spec": { "nodeSelector": { label.clone(): "green" } } } } });
    sets.patch("ds", Patch::Strategic, &body).await?;
    pods_ready(&t, SELECTOR, 1).await?;
    nodes.patch(node, Patch::Merge, &json!({ "metadata": { "labels": { label: null } } })).await?;
    Ok(())
}

async fn retry(t: Test) -> anyhow::Result<()> {
    let pods = start(&t).await?;
    let failed = json!({ "status": { "phase": "Failed" } });
    t.objects("v1", "pods").patch_sub(expect::name(&pods[0]), "status", Patch::Merge, &failed).await?;
    let count = t.cluster.nodes.len();
    let again = |list: &[Value]| {
        list.len() == count
            && list.iter().all(|p| pods::is_ready(p) && p["metadata"]["uid"] != pods[0]["metadata"]["uid"])
    };
    t.objects("v1", "pods").wait_list(SELECTOR, "another pod for the failed one", again).await?;
    Ok(())
}

async fn all_have(t: &Test, image: &'static str) -> anyhow::Result<Vec<Value>> {
    let count = t.cluster.nodes.len();
    let all = |list: &[Value]| {
        list.len() == count
            && list.iter().all(|pod| pods::is_ready(pod) && pod["spec"]["containers"][0]["image"] == image)
    };
    t.objects("v1", "pods").wait_list(SELECTOR, "the image in all pods", all).await
}

fn with_image(image: &str) -> Value {
    json!({ "spec": { "template": { "spec": { "containers": [{ "name": "main", "image": image }] } } } })
}

async fn rolling(t: Test) -> anyhow::Result<()> {
    let before = start(&t).await?;
    expect::that(images(&before).iter().all(|image| *image != NEW), || "the image is the new one already".to_owned())?;
    t.objects("apps/v1", "daemonsets").patch("ds", Patch::Strategic, &with_image(NEW)).await?;
    all_have(&t, NEW).await?;
    Ok(())
}

async fn rollback(t: Test) -> anyhow::Result<()> {
    let before = start(&t).await?;
    let sets = t.objects("apps/v1", "daemonsets");
    sets.patch("ds", Patch::Strategic, &with_image("no-such-image-anywhere:1")).await?;
    // One pod at a time is unavailable, and stays so.
    let stuck =
        |list: &[Value]| list.iter().any(|pod| pod["spec"]["containers"][0]["image"] == "no-such-image-anywhere:1");
    t.objects("v1", "pods").wait_list(SELECTOR, "a pod of the new template", stuck).await?;
    sets.patch("ds", Patch::Strategic, &with_image(pods::BUSYBOX)).await?;
    let after = all_have(&t, pods::BUSYBOX).await?;
    let kept =
        after.iter().filter(|pod| before.iter().any(|old| old["metadata"]["uid"] == pod["metadata"]["uid"])).count();
    expect::that(kept + 1 >= before.len(), || format!("{kept} of {} pods were kept", before.len()))
}

async fn collection(t: Test) -> anyhow::Result<()> {
    start(&t).await?;
    let sets = t.objects("apps/v1", "daemonsets");
    expect::same("the number of DaemonSets", &sets.items(SELECTOR).await?.len(), &1)?;
    sets.delete_collection(SELECTOR).await?;
    sets.wait_list(SELECTOR, "no DaemonSets", <[Value]>::is_empty).await?;
    Ok(())
}

async fn status(t: Test) -> anyhow::Result<()> {
    start(&t).await?;
    workloads::status_endpoints(&t.objects("apps/v1", "daemonsets"), "ds").await
}

async fn revisions(t: Test) -> anyhow::Result<()> {
    start(&t).await?;
    let revisions = t.objects("apps/v1", "controllerrevisions");
    let list = revisions.wait_list(SELECTOR, "a revision", |list| list.len() == 1).await?;
    let name = expect::name(&list[0]).to_owned();
    let body = json!({ "metadata": { "labels": { name.clone(): "patched" } } });
    expect::contains(&revisions.patch(&name, Patch::Strategic, &body).await?, &body)?;
    let mut other = list[0].clone();
    other["metadata"] = json!({ "name": "another", "labels": other["metadata"]["labels"], "ownerReferences": other["metadata"]["ownerReferences"] });
    other["revision"] = 2.into();
    revisions.create(&other).await?;
    expect::same("the number of revisions", &revisions.items(SELECTOR).await?.len(), &2)?;
    revisions.delete("another").await?;
    revisions.gone("another").await?;
    // What a revision holds never changes.
    let mut changed = revisions.get(&name).await?;
    changed["data"]["spec"] = json!({ "changed": true });
    revisions.update(&changed).await.refused_with(422)?;
    let updated = revisions.modify(&name, |r| r["metadata"]["labels"][&name] = "updated".into()).await?;
    expect::at(&updated, &format!("/metadata/labels/{name}"), "updated")?;
    t.objects("apps/v1", "daemonsets").patch("ds", Patch::Strategic, &with_image(NEW)).await?;
    revisions.wait_list(SELECTOR, "two revisions", |list| list.len() == 2).await?;
    revisions.delete_collection(&format!("labelSelector={name}=updated")).await?;
    revisions.wait_list(SELECTOR, "one revision", |list| list.len() == 1).await?;
    Ok(())
}
