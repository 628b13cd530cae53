//! DisruptionController.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-apps] DisruptionController should block an eviction until the PDB is updated to allow it [Conformance]" => eviction,
    "[sig-apps] DisruptionController should observe PodDisruptionBudget status updated [Conformance]" => status,
    "[sig-apps] DisruptionController should update/patch PodDisruptionBudget status [Conformance]" => status_written,
    "[sig-apps] DisruptionController should create a PodDisruptionBudget [Conformance]" => create,
    "[sig-apps] DisruptionController Listing PodDisruptionBudgets for all namespaces should list and delete a collection of PodDisruptionBudgets [Conformance]" => collection,
}

fn budget(name: &str, label: &str, least: impl Into<Value>) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "e2e": label } },
        "spec": { "selector": { "matchLabels": { "foo": "bar" } }, "minAvailable": least.into() },
    })
}

fn observed(budget: &Value) -> bool {
    budget["status"]["observedGeneration"].as_i64() >= budget["metadata"]["generation"].as_i64()
}

async fn create(t: Test) -> anyhow::Result<()> {
    let budgets = t.objects("policy/v1", "poddisruptionbudgets");
    let created = budgets.create(&budget("foo", "x", 1)).await?;
    expect::at(&created, "/metadata/generation", 1)?;
    budgets.wait("foo", "an observed generation", observed).await?;
    let updated = budgets.modify("foo", |b| b["spec"]["minAvailable"] = "1%".into()).await?;
    expect::at(&updated, "/spec/minAvailable", "1%")?;
    budgets.wait("foo", "the new generation observed", |b| b["metadata"]["generation"] == 2 && observed(b)).await?;
    let patched = budgets.patch("foo", Patch::Strategic, &json!({ "spec": { "minAvailable": "3%" } })).await?;
    expect::at(&patched, "/spec/minAvailable", "3%")?;
    budgets.delete("foo").await?;
    budgets.gone("foo").await
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let other = t.another_namespace("disruption-2").await?;
    let label = t.name("collection");
    let here = t.objects("policy/v1", "poddisruptionbudgets");
    let there = t.objects_in(&other, "policy/v1", "poddisruptionbudgets");
    here.create(&budget("foo", &label, 1)).await?;
    here.create(&budget("foo2", &label, "1%")).await?;
    there.create(&budget("foo3", &label, 2)).await?;
    let all = t.everywhere("policy/v1", "poddisruptionbudgets");
    let selector = format!("labelSelector=e2e={label}");
    expect::same("the number of budgets in all namespaces", &all.items(&selector).await?.len(), &3)?;
    expect::same("the number of budgets in one", &here.items("").await?.len(), &2)?;
    here.delete_collection("").await?;
    here.wait_list("", "no budgets", <[Value]>::is_empty).await?;
    expect::same("the number of budgets in the other", &there.items("").await?.len(), &1)
}

/// Pods that a kubelet would have made ready; here we say so.
async fn healthy(t: &Test, count: usize) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    for index in 0..count {
        let name = format!("pod-{index}");
        let containers = json!([{ "name": "c", "image": "none" }]);
        let labels = json!({ "foo": "bar" });
        pods.create(&json!({ "metadata": { "name": name, "labels": labels }, "spec": { "containers": containers } }))
            .await?;
        pods.wait(&name, "a node", |pod| !expect::text(pod, "/spec/nodeName").is_empty()).await?;
        let ready = json!({ "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] } });
        pods.patch_sub(&name, "status", Patch::Strategic, &ready).await?;
    }
    Ok(())
}

fn allows(count: i64) -> impl Fn(&Value) -> bool {
    move |budget: &Value| observed(budget) && budget["status"]["disruptionsAllowed"] == count
}

async fn status(t: Test) -> anyhow::Result<()> {
    let budgets = t.objects("policy/v1", "poddisruptionbudgets");
    budgets.create(&budget("foo", "x", 1)).await?;
    let before = budgets.wait("foo", "no pods observed", |b| observed(b) && b["status"]["expectedPods"] == 0).await?;
    expect::at(&before, "/status/desiredHealthy", 1)?;
    healthy(&t, 2).await?;
    let after = budgets.wait("foo", "room for one disruption", allows(1)).await?;
    expect::contains(&after["status"], &json!({ "currentHealthy": 2, "desiredHealthy": 1, "expectedPods": 2 }))?;
    let conditions = after["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let allowed = conditions.iter().find(|condition| condition["type"] == "DisruptionAllowed").cloned();
    expect::contains(&allowed.unwrap_or_default(), &json!({ "status": "True", "reason": "SufficientPods" }))
}

async fn status_written(t: Test) -> anyhow::Result<()> {
    let budgets = t.objects("policy/v1", "poddisruptionbudgets");
    budgets.create(&budget("foo", "x", 1)).await?;
    healthy(&t, 1).await?;
    budgets.wait("foo", "a healthy pod", |b| observed(b) && b["status"]["currentHealthy"] == 1).await?;
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let disrupted = json!({ "pod-0": now });
    let written = budgets.modify_sub("foo", "status", |b| b["status"]["disruptedPods"] = disrupted.clone()).await?;
    expect::at(&written, "/status/disruptedPods", disrupted)?;
    let nobody = json!({ "status": { "disruptedPods": null } });
    let patched = budgets.patch_sub("foo", "status", Patch::Merge, &nobody).await?;
    expect::at(&patched, "/status/disruptedPods", Value::Null)
}

/// Whether the pod may be evicted. kubectl asks, since our client asks again by itself where it is told to wait.
async fn evict(t: &Test, name: &str) -> anyhow::Result<bool> {
    let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": { "name": name, "namespace": t.namespace } });
    let path = t.objects("v1", "pods").path_of(name, "eviction");
    let result = t.cluster.kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string()).await?.success();
    match result {
        Ok(_) => Ok(true),
        Err(error) => {
            expect::has_text(
                &format!("{error:#}"),
                "Cannot evict pod as it would violate the pod's disruption budget.",
            )?;
            Ok(false)
        }
    }
}

async fn eviction(t: Test) -> anyhow::Result<()> {
    let budgets = t.objects("policy/v1", "poddisruptionbudgets");
    budgets.create(&budget("foo", "x", 3)).await?;
    healthy(&t, 3).await?;
    budgets.wait("foo", "three healthy pods", |b| observed(b) && b["status"]["currentHealthy"] == 3).await?;
    expect::same("whether one may be evicted of three", &evict(&t, "pod-0").await?, &false)?;
    budgets.modify("foo", |b| b["spec"]["minAvailable"] = 2.into()).await?;
    budgets.wait("foo", "room for one disruption", allows(1)).await?;
    expect::same("whether one may be evicted", &evict(&t, "pod-0").await?, &true)?;
    budgets.wait("foo", "no more room", allows(0)).await?;
    expect::same("whether one more may be evicted", &evict(&t, "pod-1").await?, &false)?;
    budgets.delete("foo").await?;
    budgets.gone("foo").await?;
    expect::same("whether one may be evicted without a budget", &evict(&t, "pod-1").await?, &true)
}
