//! CustomResourceDefinition resources.

use serde_json::{Value, json};

use super::crd;
use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition creating/deleting custom resource definition objects works [Conformance]" => create_and_delete,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition getting/updating/patching custom resource definition status sub-resource works [Conformance]" => status,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] Simple CustomResourceDefinition listing custom resource definition objects works [Conformance]" => list,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] custom resource defaulting for requests and from storage works [Conformance]" => defaulting,
    "[sig-api-machinery] CustomResourceDefinition resources [Privileged:ClusterAdmin] should include custom resource definition resources in discovery documents [Conformance]" => discovery,
}

fn simple(t: &Test) -> Value {
    crd::definition(
        t,
        &format!("{}.example.com", t.name("simple")),
        false,
        &[crd::version("v1", true, &crd::anything())],
    )
}

async fn create_and_delete(t: Test) -> anyhow::Result<()> {
    let custom = crd::create(&t, &simple(&t)).await?;
    custom.remove().await?;
    crd::definitions(&t).gone(&custom.name()).await
}

async fn list(t: Test) -> anyhow::Result<()> {
    let label = t.name("list");
    let definitions = crd::definitions(&t);
    let mut names = Vec::new();
    for _ in 0..10 {
        let mut definition = simple(&t);
        definition["metadata"]["labels"] = json!({ "e2e-list-test-uuid": label });
        names.push(crd::create(&t, &definition).await?.name());
    }
    let selector = format!("labelSelector=e2e-list-test-uuid={label}");
    let listed = definitions.items(&selector).await?;
    let mut have: Vec<&str> = listed.iter().map(expect::name).collect();
    have.sort_unstable();
    names.sort_unstable();
    expect::same("the definitions listed", &have, &names.iter().map(String::as_str).collect())?;
    definitions.delete_collection(&selector).await?;
    definitions.wait_list(&selector, "no definitions", <[Value]>::is_empty).await?;
    Ok(())
}

async fn status(t: Test) -> anyhow::Result<()> {
    let custom = crd::create(&t, &simple(&t)).await?;
    let definitions = crd::definitions(&t);
    let got = definitions.get_sub(&custom.name(), "status").await?;
    expect::that(crd::established(&got), || format!("the status should have Established in {got}"))?;
    let condition =
        |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set from an e2e test" });
    let has = |object: &Value, kind: &str| {
        object["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == kind)
    };
    let updated = definitions
        .modify_sub(&custom.name(), "status", |object| {
            if let Some(conditions) = object["status"]["conditions"].as_array_mut() {
                conditions.push(condition("StatusUpdate"));
            }
        })
        .await?;
    expect::that(has(&updated, "StatusUpdate"), || format!("the condition was not added: {updated}"))?;
    let patch = json!([{ "op": "add", "path": "/status/conditions", "value": [condition("StatusPatched")] }]);
    let patched = definitions.patch_sub(&custom.name(), "status", Patch::Json, &patch).await?;
    expect::that(has(&patched, "StatusPatched"), || format!("the condition was not patched in: {patched}"))?;
    custom.remove().await
}

async fn discovery(t: Test) -> anyhow::Result<()> {
    let groups = t.api().get("/apis").await?;
    let group = groups["groups"].as_array().into_iter().flatten().find(|g| g["name"] == "apiextensions.k8s.io");
    let group = group.cloned().unwrap_or_default();
    let versions = group["versions"].as_array().cloned().unwrap_or_default();
    let has_v1 = versions.iter().any(|v| v["groupVersion"] == "apiextensions.k8s.io/v1" && v["version"] == "v1");
    expect::that(has_v1, || format!("/apis should have apiextensions.k8s.io/v1 and has {group}"))?;
    let own = t.api().get("/apis/apiextensions.k8s.io").await?;
    expect::that(own["versions"].as_array().is_some_and(|v| v.iter().any(|v| v["version"] == "v1")), || {
        format!("/apis/apiextensions.k8s.io should have v1 and is {own}")
    })?;
    crate::operations::discovery(&t, "apiextensions.k8s.io/v1", "customresourcedefinitions", true).await
}

/// Defaults are filled in on the way in and, for fields that came to the schema later, on the way out of the store.
async fn defaulting(t: Test) -> anyhow::Result<()> {
    let schema = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": {
        "a": { "type": "string", "default": "A" }, "b": { "type": "string" },
    } });
    let group = format!("{}.example.com", t.name("defaults"));
    let custom = crd::create(&t, &crd::definition(&t, &group, false, &[crd::version("v1", true, &schema)])).await?;
    let objects = custom.objects("v1");
    let created = objects.create(&custom.object("v1", "x", &json!({}))).await?;
    expect::at(&created, "/a", "A")?;
    expect::at(&created, "/b", Value::Null)?;
    let patch = json!([
        { "op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/b/default", "value": "B" },
        { "op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/c", "value": { "type": "string", "default": "C" } },
    ]);
    crd::definitions(&t).patch(&custom.name(), Patch::Json, &patch).await?;
    // The new schema is served a moment later.
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    let mut got = objects.get("x").await?;
    while got["c"] != "C" && tokio::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
        got = objects.get("x").await?;
    }
    expect::contains(&got, &json!({ "a": "A", "b": "B", "c": "C" }))?;
    let created = objects.create(&custom.object("v1", "y", &json!({}))).await?;
    expect::contains(&created, &json!({ "a": "A", "b": "B", "c": "C" }))?;
    custom.remove().await
}
