//! DisruptionController.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
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
