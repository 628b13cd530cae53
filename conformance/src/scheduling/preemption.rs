//! SchedulerPreemption, with an extended resource that only these pods use.

use serde_json::{Value, json};

use super::predicates::stay;
use crate::client::{Patch, Refusal};
use crate::pods;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-scheduling] SchedulerPreemption [Serial] validates basic preemption works [Conformance]" => |t| preempt(t, false),
    "[sig-scheduling] SchedulerPreemption [Serial] validates lower priority pod preemption by critical pod [Conformance]" => |t| preempt(t, true),
    "[sig-scheduling] SchedulerPreemption [Serial] validates pod disruption condition is added to the preempted pod [Conformance]" => condition,
    "[sig-scheduling] SchedulerPreemption [Serial] PreemptionExecutionPath runs ReplicaSets to verify preemption running path [Conformance]" => replica_sets,
    "[sig-scheduling] SchedulerPreemption [Serial] PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods [Conformance]" => classes,
}

const RESOURCE: &str = "example.com/fakecpu";

async fn prepare(t: &Test) -> anyhow::Result<[String; 3]> {
    let amount = json!({ "status": { "capacity": { RESOURCE: "5" }, "allocatable": { RESOURCE: "5" } } });
    for node in &t.cluster.nodes {
        t.everywhere("v1", "nodes").patch_sub(node, "status", Patch::Merge, &amount).await?;
    }
    let names = [t.name("low"), t.name("medium"), t.name("high")];
    for (name, value) in names.iter().zip([1, 100, 1000]) {
        t.everywhere("scheduling.k8s.io/v1", "priorityclasses")
            .create(&json!({ "metadata": { "name": name }, "value": value }))
            .await?;
    }
    Ok(names)
}

async fn clean(t: &Test, classes: &[String; 3]) -> anyhow::Result<()> {
    for name in classes {
        t.everywhere("scheduling.k8s.io/v1", "priorityclasses").delete(name).await?;
    }
    for node in &t.cluster.nodes {
        let nothing = json!({ "status": { "capacity": { RESOURCE: null }, "allocatable": { RESOURCE: null } } });
        t.everywhere("v1", "nodes").patch_sub(node, "status", Patch::Merge, &nothing).await?;
    }
    Ok(())
}

fn wants(name: &str, class: &str, amount: &str) -> Value {
    let mut pod = stay(name);
    pod["spec"]["priorityClassName"] = class.into();
    pod["spec"]["containers"][0]["resources"] =
        json!({ "requests": { RESOURCE: amount }, "limits": { RESOURCE: amount } });
    pod
}

/// Every node is full; the pod of the lowest priority makes room.
async fn preempt(t: Test, critical: bool) -> anyhow::Result<()> {
    let classes = prepare(&t).await?;
    let pods = t.objects("v1", "pods");
    for (number, node) in t.cluster.nodes.iter().enumerate() {
        let mut pod = wants(&format!("pod{number}"), if number == 0 { &classes[0] } else { &classes[1] }, "4");
        pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        pods::start(&t, &pod).await?;
    }
    let class = if critical { "system-cluster-critical" } else { &classes[2] };
    let winner = pods::start(&t, &wants("preemptor", class, "4")).await?;
    expect::at(&winner, "/spec/nodeName", t.cluster.nodes[0].clone())?;
    let gone = pods.get("pod0").await;
    let leaves = match gone {
        Ok(pod) => !pod["metadata"]["deletionTimestamp"].is_null() || pod["status"]["phase"] == "Failed",
        Err(_) => true,
    };
    expect::that(leaves, || "the pod of low priority should have gone".to_owned())?;
    for number in 1..t.cluster.nodes.len() {
        expect::at(&pods.get(&format!("pod{number}")).await?, "/metadata/deletionTimestamp", Value::Null)?;
    }
    clean(&t, &classes).await
}

async fn condition(t: Test) -> anyhow::Result<()> {
    let classes = prepare(&t).await?;
    let pods = t.objects("v1", "pods");
    let node = t.cluster.nodes[0].as_str();
    let on_node = |mut pod: Value| {
        pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        pod
    };
    let mut victim = on_node(wants("victim-pod", &classes[0], "4"));
    victim["metadata"]["finalizers"] = json!(["example.com/test-finalizer"]);
    pods::start(&t, &victim).await?;
    pods.create(&on_node(wants("preemptor-pod", &classes[2], "4"))).await?;
    let marked = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "DisruptionTarget" && c["reason"] == "PreemptionByScheduler")
    };
    pods.wait("victim-pod", "condition DisruptionTarget", marked).await?;
    pods.modify("victim-pod", |pod| pod["metadata"]["finalizers"] = Value::Null).await?;
    pods::ready(&t, "preemptor-pod").await?;
    clean(&t, &classes).await
}

async fn replica_sets(t: Test) -> anyhow::Result<()> {
    let classes = prepare(&t).await?;
    let sets = t.objects("apps/v1", "replicasets");
    let node = t.cluster.nodes[0].as_str();
    let set = |name: &str, class: &str, replicas: usize, amount: &str| {
        let mut template = wants(name, class, amount);
        template["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        template["spec"]["restartPolicy"] = "Always".into();
        template["metadata"] = json!({ "labels": { "name": name } });
        json!({ "metadata": { "name": name }, "spec": { "replicas": replicas, "selector": { "matchLabels": { "name": name } }, "template": template } })
    };
    sets.create(&set("rs-pod1", &classes[0], 2, "1")).await?;
    sets.create(&set("rs-pod2", &classes[1], 1, "2")).await?;
    for (name, replicas) in [("rs-pod1", 2), ("rs-pod2", 1)] {
        sets.wait(name, "its replicas", |s| s["status"]["readyReplicas"] == replicas).await?;
    }
    sets.create(&set("rs-pod3", &classes[2], 1, "3")).await?;
    sets.wait("rs-pod3", "its replica", |s| s["status"]["readyReplicas"] == 1).await?;
    // The one of medium priority stays: room was made at the bottom.
    expect::at(&sets.get("rs-pod2").await?, "/status/readyReplicas", 1)?;
    sets.delete_collection("").await?;
    clean(&t, &classes).await
}

async fn classes(t: Test) -> anyhow::Result<()> {
    let classes = t.everywhere("scheduling.k8s.io/v1", "priorityclasses");
    let (first, second) = (t.name("p1"), t.name("p2"));
    classes.create(&json!({ "metadata": { "name": first, "labels": { "e2e": first } }, "value": 2 })).await?;
    classes.create(&json!({ "metadata": { "name": second }, "value": 3 })).await?;
    for name in [&first, &second] {
        let mut changed = classes.get(name).await?;
        changed["value"] = 10.into();
        let refused = classes.update(&changed).await.refused_with(422)?;
        expect::has_text(refused.message(), "Forbidden: may not be changed in an update")?;
        let updated = classes.modify(name, |class| class["description"] = "updated".into()).await?;
        expect::at(&updated, "/description", "updated")?;
        let body = json!({ "metadata": { "annotations": { "patched": "true" } } });
        expect::contains(&classes.patch(name, Patch::Merge, &body).await?, &body)?;
    }
    expect::same("the number of such classes", &classes.items(&format!("labelSelector=e2e={first}")).await?.len(), &1)?;
    classes.delete_collection(&format!("labelSelector=e2e={first}")).await?;
    classes.gone(&first).await?;
    classes.delete(&second).await?;
    Ok(())
}
