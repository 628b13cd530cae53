//! NoExecute taints: pods leave when their time is up, and stay when the taint goes before.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] NoExecuteTaintManager Multiple Pods [Serial] evicts pods with minTolerationSeconds [Disruptive] [Conformance]" => several,
    "[sig-node] NoExecuteTaintManager Single Pod [Serial] removing taint cancels eviction [Disruptive] [Conformance]" => cancelled,
}

const KEY: &str = "kubernetes.io/e2e-evict-taint-key";

fn pod(name: &str, node: &str, seconds: u32) -> Value {
    let toleration =
        json!({ "key": KEY, "value": "evictTaintVal", "effect": "NoExecute", "tolerationSeconds": seconds });
    json!({ "metadata": { "name": name }, "spec": {
        "nodeName": node, "tolerations": [toleration], "containers": [{ "name": "pause", "image": "pause" }] } })
}

async fn taint(t: &Test, node: &str, on: bool) -> anyhow::Result<()> {
    let taints =
        if on { json!([{ "key": KEY, "value": "evictTaintVal", "effect": "NoExecute" }]) } else { Value::Null };
    let change = json!({ "spec": { "taints": taints } });
    t.everywhere("v1", "nodes").patch(node, Patch::Merge, &change).await.map(drop)
}

fn leaves(pod: &Value) -> bool {
    pod["metadata"]["deletionTimestamp"].is_string()
}

async fn several(t: Test) -> anyhow::Result<()> {
    let node = t.cluster.nodes[0].clone();
    let pods = t.objects("v1", "pods");
    pods.create(&pod("soon", &node, 1)).await?;
    pods.create(&pod("late", &node, 300)).await?;
    taint(&t, &node, true).await?;
    let left = pods.wait_list("", "the first pod gone or going", |list| {
        list.iter().all(|pod| expect::name(pod) != "soon" || leaves(pod))
    });
    let left = left.await;
    taint(&t, &node, false).await?;
    left?;
    expect::that(!leaves(&pods.get("late").await?), || "the other pod should have stayed".to_owned())
}

async fn cancelled(t: Test) -> anyhow::Result<()> {
    const TOLERATED: u32 = 3;
    let node = t.cluster.nodes[0].clone();
    let pods = t.objects("v1", "pods");
    pods.create(&pod("stays", &node, TOLERATED)).await?;
    // Whoever tolerates nothing shows that the taint is acted on.
    let mut gauge = pod("goes", &node, 0);
    gauge["spec"]["tolerations"] = json!([]);
    pods.create(&gauge).await?;
    taint(&t, &node, true).await?;
    let acted = pods.wait_list("", "the intolerant pod gone or going", |list| {
        list.iter().all(|pod| expect::name(pod) != "goes" || leaves(pod))
    });
    let acted = acted.await;
    taint(&t, &node, false).await?;
    acted?;
    let list = pods.list("fieldSelector=metadata.name=stays").await?;
    let query = format!("fieldSelector=metadata.name=stays&resourceVersion={}", expect::revision(&list));
    pods.watch(&query).await?.expect_silence(Duration::from_secs(u64::from(TOLERATED) + 2)).await?;
    expect::that(!leaves(&pods.get("stays").await?), || "the pod should have stayed".to_owned())
}
