//! The Aggregator. Upstream deploys its sample API server as a pod; where no pod runs, ours is a second API server on loopback
//! behind a Service of another host's name, with flunders as a custom resource.

use serde_json::{Value, json};
use tokio::time::Instant;

use super::crd;
use crate::client::{Objects, PATIENCE, Patch, Refusal};
use crate::fixture::Behind;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Aggregator Should be able to support the 1.17 Sample API Server using the current Aggregator [LinuxOnly] [Conformance]" => sample,
}

const GROUP: &str = "wardle.example.com";
const NAME: &str = "v1alpha1.wardle.example.com";
const SERVICE: &str = "sample-api";

async fn sample(t: Test) -> anyhow::Result<()> {
    let behind = Behind::start(&t.cluster, &t.cluster.program, &t.name("behind")).await?;
    define(&t, &behind).await?;
    let services = t.objects_in("default", "v1", "services");
    let spec = json!({ "type": "ExternalName", "externalName": "localhost" });
    services.create(&json!({ "metadata": { "name": SERVICE }, "spec": spec })).await?;

    let registered = t.everywhere("apiregistration.k8s.io/v1", "apiservices");
    let object = json!({ "metadata": { "name": NAME }, "spec": {
        "group": GROUP, "version": "v1alpha1", "groupPriorityMinimum": 2000, "versionPriority": 200,
        "caBundle": behind.bundle, "service": { "namespace": "default", "name": SERVICE, "port": behind.port } } });
    registered.create(&object).await?;
    registered.wait(NAME, "condition Available", available).await?;

    // It is in discovery, and its objects can be had under all verbs.
    let deadline = Instant::now() + PATIENCE;
    while !discovered(&t).await? {
        anyhow::ensure!(Instant::now() < deadline, "flunders are not in aggregated discovery");
        tokio::task::yield_now().await;
    }
    let flunders = t.objects_in("default", "wardle.example.com/v1alpha1", "flunders");
    flunders.create(&flunder("rest-flunder-1")).await?;
    expect::same("how many there are", &flunders.items("").await?.len(), &1)?;
    expect::same("how many the server behind has", &behind_flunders(&behind).items("").await?.len(), &1)?;
    let mut watch = flunders.watch("").await?;
    expect::same("the first event", &watch.expect("ADDED").await?.name(), &"rest-flunder-1")?;
    flunders.patch("rest-flunder-1", Patch::Merge, &json!({ "spec": { "reference": "a" } })).await?;
    expect::same("the second event", &watch.expect("MODIFIED").await?.name(), &"rest-flunder-1")?;
    flunders.delete("rest-flunder-1").await?;
    flunders.get("rest-flunder-1").await.refused_with(404)?;

    // The APIService's own status: read, patched, replaced.
    let status = registered.get_sub(NAME, "status").await?;
    expect::that(available(&status), || format!("the status does not say that it is available: {status}"))?;
    let patch = json!({ "metadata": { "annotations": { "patched": "yes" } } });
    registered.patch_sub(NAME, "status", Patch::Merge, &patch).await?;
    let condition =
        json!({ "type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from an e2e test" });
    let updated = registered
        .modify_sub(NAME, "status", |object| {
            if let Some(list) = object["status"]["conditions"].as_array_mut() {
                list.push(condition.clone());
            }
        })
        .await?;
    expect::contains(&updated["status"]["conditions"][1], &condition)?;
    registered.modify(NAME, |object| object["metadata"]["labels"] = json!({ "aggregator": "e2e" })).await?;
    let mine = "labelSelector=aggregator%3De2e";
    expect::same("how many are labelled", &registered.items(mine).await?.len(), &1)?;
    registered.delete_collection(mine).await?;
    registered.wait_list(mine, "no labelled APIService", <[Value]>::is_empty).await?;
    services.delete(SERVICE).await?;
    Ok(())
}

fn available(object: &Value) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    conditions
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Available" && c["status"] == "True" && c["reason"] == "Passed")
}

/// Gives the server behind its flunders.
async fn define(t: &Test, behind: &Behind) -> anyhow::Result<()> {
    let mut definition = crd::definition(t, GROUP, true, &[crd::version("v1alpha1", true, &crd::anything())]);
    definition["metadata"]["name"] = "flunders.wardle.example.com".into();
    definition["spec"]["names"] =
        json!({ "plural": "flunders", "singular": "flunder", "kind": "Flunder", "listKind": "FlunderList" });
    let definitions = Objects::new(behind.api.clone(), None, "apiextensions.k8s.io/v1", "customresourcedefinitions");
    definitions.create(&definition).await?;
    definitions.wait("flunders.wardle.example.com", "condition Established", crd::established).await?;
    Ok(())
}

fn behind_flunders(behind: &Behind) -> Objects {
    Objects::new(behind.api.clone(), Some("default"), "wardle.example.com/v1alpha1", "flunders")
}

fn flunder(name: &str) -> Value {
    json!({ "apiVersion": "wardle.example.com/v1alpha1", "kind": "Flunder",
        "metadata": { "name": name, "labels": { "sample-label": "true" } } })
}

async fn discovered(t: &Test) -> anyhow::Result<bool> {
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let reply = t.api().raw(http::Method::GET, "/apis", &[("accept", accept)], Vec::new()).await?.ok()?.json()?;
    let group = reply["items"].as_array().into_iter().flatten().find(|group| group["metadata"]["name"] == GROUP);
    let version = group.map(|group| &group["versions"][0]);
    Ok(version.is_some_and(|v| v["freshness"] == "Current" && v["resources"][0]["resource"] == "flunders"))
}
