//! LimitRange.

use serde_json::{Value, json};

use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-scheduling] LimitRange should create a LimitRange with defaults and ensure pod has those defaults applied. [Conformance]" => defaults,
    "[sig-scheduling] LimitRange should list, patch and delete a LimitRange by collection [Conformance]" => collection,
}

fn amounts(cpu: &str, memory: &str, storage: &str) -> Value {
    json!({ "cpu": cpu, "memory": memory, "ephemeral-storage": storage })
}

fn range(name: &str, labels: Value) -> Value {
    json!({
        "metadata": { "name": name, "labels": labels },
        "spec": { "limits": [{
            "type": "Container",
            "min": amounts("50m", "100Mi", "100Gi"), "max": amounts("500m", "500Mi", "500Gi"),
            "default": amounts("500m", "500Mi", "500Gi"), "defaultRequest": amounts("100m", "200Mi", "200Gi"),
        }] },
    })
}

fn pod(name: &str, requests: Value, limits: Value) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10",
            "resources": { "requests": requests, "limits": limits } }] },
    })
}

async fn defaults(t: Test) -> anyhow::Result<()> {
    let (ranges, pods) = (t.objects("v1", "limitranges"), t.objects("v1", "pods"));
    let mut watch = ranges.watch("").await?;
    ranges.create(&range("limit-range", json!({}))).await?;
    watch.until("the LimitRange", |e| e.kind == "ADDED").await?;
    let got = ranges.get("limit-range").await?;
    expect::contains(&got, &range("limit-range", json!({})))?;

    let created = pods.create(&pod("pod-no-resources", json!({}), json!({}))).await?;
    let resources = "/spec/containers/0/resources";
    let wanted = json!({ "requests": amounts("100m", "200Mi", "200Gi"), "limits": amounts("500m", "500Mi", "500Gi") });
    expect::at(&created, resources, wanted)?;
    let asked = json!({ "cpu": "300m", "memory": "150Mi" });
    let created = pods.create(&pod("pod-partial-resources", asked, json!({ "cpu": "300m" }))).await?;
    let wanted = json!({ "requests": amounts("300m", "150Mi", "200Gi"), "limits": amounts("300m", "500Mi", "500Gi") });
    expect::at(&created, resources, wanted)?;

    pods.create(&pod("too-small", json!({ "cpu": "10m" }), json!({}))).await.refused_with(403)?;
    pods.create(&pod("too-large", json!({ "cpu": "600m" }), json!({ "cpu": "600m" }))).await.refused_with(403)?;

    ranges.modify("limit-range", |range| range["spec"]["limits"][0]["min"]["cpu"] = "9m".into()).await?;
    watch.until("the update", |e| e.kind == "MODIFIED").await?;
    let small = json!({ "cpu": "10m" });
    pods.create(&pod("no-longer-too-small", small.clone(), json!({}))).await?;
    pods.create(&pod("still-too-large", json!({ "cpu": "600m" }), json!({ "cpu": "600m" }))).await.refused_with(403)?;

    ranges.delete("limit-range").await?;
    ranges.gone("limit-range").await?;
    pods.create(&pod("no-longer-too-large", json!({ "cpu": "600m" }), json!({ "cpu": "600m" }))).await?;
    Ok(())
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let (here, all) = (t.objects("v1", "limitranges"), t.everywhere("v1", "limitranges"));
    let other = t.objects_in(&t.another_namespace("other").await?, "v1", "limitranges");
    let label = t.name("range");
    let selector = format!("labelSelector=e2e={label}");
    for ranges in [&here, &other] {
        ranges.create(&range("limit-range", json!({ "e2e": label }))).await?;
    }
    expect::same("the number of LimitRanges in all namespaces", &all.items(&selector).await?.len(), &2)?;
    let patch = json!({ "metadata": { "labels": { "patched": "true" } },
        "spec": { "limits": [{ "type": "Container", "max": { "cpu": "600m" } }] } });
    let patched = here.patch("limit-range", Patch::Merge, &patch).await?;
    expect::at(&patched, "/metadata/labels/patched", "true")?;
    expect::at(&patched, "/spec/limits/0/max/cpu", "600m")?;
    here.delete_collection(&selector).await?;
    here.wait_list(&selector, "no LimitRanges", <[Value]>::is_empty).await?;
    expect::same("the number of LimitRanges left", &all.items(&selector).await?.len(), &1)
}
