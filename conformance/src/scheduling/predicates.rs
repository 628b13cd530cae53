//! SchedulerPredicates.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-scheduling] SchedulerPredicates [Serial] validates resource limits of pods that are allowed to run [Conformance]" => resources,
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if matching [Conformance]" => matching,
    "[sig-scheduling] SchedulerPredicates [Serial] validates that NodeSelector is respected if not matching [Conformance]" => not_matching,
    "[sig-scheduling] SchedulerPredicates [Serial] validates that there exists conflict between pods with same hostPort and protocol but one using 0.0.0.0 hostIP [Conformance]" => host_port,
}

pub const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

pub fn stay(name: &str) -> Value {
    pod(name, &[container("main", STAY)])
}

/// Waits until the scheduler has said that the pod fits nowhere.
pub async fn unschedulable(t: &Test, name: &str) -> anyhow::Result<Value> {
    let said = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == "PodScheduled" && c["status"] == "False" && c["reason"] == "Unschedulable")
    };
    t.objects("v1", "pods").wait(name, "that it is unschedulable", said).await
}

async fn matching(t: Test) -> anyhow::Result<()> {
    let (nodes, label) = (t.everywhere("v1", "nodes"), t.name("fruit"));
    let node = t.cluster.nodes[0].as_str();
    nodes.patch(node, Patch::Merge, &json!({ "metadata": { "labels": { label.clone(): "42" } } })).await?;
    let mut pod = stay("with-labels");
    pod["spec"]["nodeSelector"] = json!({ label.clone(): "42" });
    let pod = pods::start(&t, &pod).await?;
    expect::at(&pod, "/spec/nodeName", node)?;
    nodes.patch(node, Patch::Merge, &json!({ "metadata": { "labels": { label: null } } })).await?;
    Ok(())
}

async fn not_matching(t: Test) -> anyhow::Result<()> {
    let mut pod = stay("restricted-pod");
    pod["spec"]["nodeSelector"] = json!({ "label": "nonempty" });
    t.objects("v1", "pods").create(&pod).await?;
    let pod = unschedulable(&t, "restricted-pod").await?;
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let message =
        conditions.iter().find(|c| c["type"] == "PodScheduled").map(|c| expect::text(c, "/message").to_owned());
    expect::has_text(&message.unwrap_or_default(), "didn't match Pod's node affinity/selector")?;
    let events = t.objects("v1", "events");
    events.wait_list("fieldSelector=reason=FailedScheduling", "an event", |list| !list.is_empty()).await?;
    Ok(())
}

/// An extended resource nobody else uses fills up.
async fn resources(t: Test) -> anyhow::Result<()> {
    let nodes = t.everywhere("v1", "nodes");
    let node = t.cluster.nodes[0].as_str();
    let amount = json!({ "status": { "capacity": { "example.com/beardsecond": "1000" }, "allocatable": { "example.com/beardsecond": "1000" } } });
    nodes.patch_sub(node, "status", Patch::Merge, &amount).await?;
    let wants = |name: &str, amount: &str| {
        let mut pod = stay(name);
        let amounts = json!({ "example.com/beardsecond": amount });
        pod["spec"]["containers"][0]["resources"] = json!({ "requests": amounts, "limits": amounts });
        pod
    };
    pods::start(&t, &wants("filler", "700")).await?;
    t.objects("v1", "pods").create(&wants("additional", "400")).await?;
    let pod = unschedulable(&t, "additional").await?;
    expect::has_text(&pod["status"].to_string(), "Insufficient example.com/beardsecond")?;
    pods::remove(&t, "filler").await?;
    let pod = pods::ready(&t, "additional").await?;
    expect::at(&pod, "/spec/nodeName", node)
}

async fn host_port(t: Test) -> anyhow::Result<()> {
    let node = t.cluster.nodes[0].clone();
    let holder = |name: &str, ip: &str| {
        let mut pod = stay(name);
        pod["spec"]["nodeSelector"] = json!({ "kubernetes.io/hostname": node });
        pod["spec"]["containers"][0]["ports"] = json!([{ "containerPort": 8080, "hostPort": 54322, "hostIP": ip }]);
        pod
    };
    pods::start(&t, &holder("pod4", "0.0.0.0")).await?;
    t.objects("v1", "pods").create(&holder("pod5", "127.0.0.1")).await?;
    let pod = unschedulable(&t, "pod5").await?;
    expect::has_text(&pod["status"].to_string(), "didn't have free ports")
}
