//! RuntimeClass.

use serde_json::{Value, json};

use crate::client::Refusal;
use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] RuntimeClass should reject a Pod requesting a non-existent RuntimeClass [NodeConformance] [Conformance]" => missing,
    "[sig-node] RuntimeClass should reject a Pod requesting a deleted RuntimeClass [NodeConformance] [Conformance]" => deleted,
    "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass without PodOverhead [NodeConformance] [Conformance]" => without_overhead,
    "[sig-node] RuntimeClass should schedule a Pod requesting a RuntimeClass and initialize its Overhead [NodeConformance] [Conformance]" => overhead,
    "[sig-node] RuntimeClass should support RuntimeClasses API operations [Conformance]" => api_operations,
}

const VERSION: &str = "node.k8s.io/v1";

fn pod(class: &str) -> Value {
    json!({
        "metadata": { "generateName": "test-runtimeclass-" },
        "spec": { "runtimeClassName": class, "containers": [{ "name": "test", "image": "registry.k8s.io/pause:3.10" }] },
    })
}

async fn refused(t: &Test, class: &str) -> anyhow::Result<()> {
    let refused = t.objects("v1", "pods").create(&pod(class)).await.refused_with(403)?;
    expect::has_text(refused.message(), &format!("pod rejected: RuntimeClass {class:?} not found"))
}

async fn missing(t: Test) -> anyhow::Result<()> {
    refused(&t, &t.name("nonexistent")).await
}

async fn deleted(t: Test) -> anyhow::Result<()> {
    let (classes, name) = (t.everywhere(VERSION, "runtimeclasses"), t.name("delete-me"));
    classes.create(&json!({ "metadata": { "name": name }, "handler": "runc" })).await?;
    classes.delete(&name).await?;
    classes.gone(&name).await?;
    refused(&t, &name).await
}

async fn scheduled(t: &Test, class: Value) -> anyhow::Result<Value> {
    let (classes, name) = (t.everywhere(VERSION, "runtimeclasses"), t.name("preconfigured"));
    let mut class = class;
    class["metadata"] = json!({ "name": name });
    class["handler"] = "runc".into();
    classes.create(&class).await?;
    let pods = t.objects("v1", "pods");
    let created = pods.create(&pod(&name)).await?;
    let placed = |pod: &Value| {
        let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
        conditions.into_iter().any(|c| c["type"] == "PodScheduled" && c["status"] == "True")
    };
    let pod = pods.wait(expect::name(&created), "a node", placed).await;
    classes.delete(&name).await?;
    pod
}

async fn without_overhead(t: Test) -> anyhow::Result<()> {
    let pod = scheduled(&t, json!({})).await?;
    expect::that(pod["spec"]["overhead"].is_null(), || format!("the pod has an overhead: {}", pod["spec"]["overhead"]))
}

async fn overhead(t: Test) -> anyhow::Result<()> {
    let fixed = json!({ "cpu": "10m", "memory": "1Mi" });
    let pod = scheduled(&t, json!({ "overhead": { "podFixed": fixed } })).await?;
    expect::at(&pod, "/spec/overhead", fixed)
}

async fn api_operations(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: VERSION,
        kind: "RuntimeClass",
        plural: "runtimeclasses",
        namespaced: false,
        object: json!({ "handler": "e2e-handler" }),
        change: Value::Null,
        status: None,
    };
    operations::run(&t, &operations).await
}
