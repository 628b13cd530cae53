//! Namespaces.

use serde_json::{Value, json};

use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Namespaces [Serial] should apply a finalizer to a Namespace [Conformance]" => finalizer,
    "[sig-api-machinery] Namespaces [Serial] should apply an update to a Namespace [Conformance]" => update,
    "[sig-api-machinery] Namespaces [Serial] should apply changes to a namespace status [Conformance]" => status,
    "[sig-api-machinery] Namespaces [Serial] should ensure that all services are removed when a namespace is deleted [Conformance]" => services_go_too,
    "[sig-api-machinery] Namespaces [Serial] should patch a Namespace [Conformance]" => patch,
}

async fn services_go_too(t: Test) -> anyhow::Result<()> {
    let name = t.another_namespace("nsdeletetest").await?;
    let service = json!({ "metadata": { "name": "test-service" }, "spec": {
        "selector": { "foo": "bar" }, "ports": [{ "port": 80, "targetPort": 80 }],
    } });
    t.objects_in(&name, "v1", "services").create(&service).await?;
    let namespaces = t.everywhere("v1", "namespaces");
    namespaces.delete(&name).await?;
    namespaces.gone(&name).await?;
    t.cluster.make_namespace(&name).await?;
    t.objects_in(&name, "v1", "services").get("test-service").await.refused_with(404)?;
    Ok(())
}

async fn patch(t: Test) -> anyhow::Result<()> {
    let name = t.another_namespace("nspatchtest").await?;
    let body = json!({ "metadata": { "labels": { "testLabel": "testValue" } } });
    let namespaces = t.everywhere("v1", "namespaces");
    namespaces.patch(&name, Patch::Strategic, &body).await?;
    expect::at(&namespaces.get(&name).await?, "/metadata/labels/testLabel", "testValue")
}

async fn update(t: Test) -> anyhow::Result<()> {
    let namespaces = t.everywhere("v1", "namespaces");
    let updated = namespaces.modify(&t.namespace, |ns| ns["metadata"]["labels"]["name"] = "updated".into()).await?;
    expect::at(&updated, "/metadata/labels/name", "updated")
}

async fn status(t: Test) -> anyhow::Result<()> {
    let namespaces = t.everywhere("v1", "namespaces");
    let got = namespaces.get_sub(&t.namespace, "status").await?;
    expect::at(&got, "/status/phase", "Active")?;
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set by an e2e test", "lastTransitionTime": "2024-01-02T03:04:05Z" });
    let body = json!({ "metadata": { "annotations": { "e2e-patched-ns-status": t.namespace } }, "status": { "conditions": [condition("StatusPatch")] } });
    let patched = namespaces.patch_sub(&t.namespace, "status", Patch::Merge, &body).await?;
    expect::contains(&patched, &body)?;
    let updated = namespaces
        .modify_sub(&t.namespace, "status", |ns| {
            if let Some(conditions) = ns["status"]["conditions"].as_array_mut() {
                conditions.push(condition("StatusUpdate"));
            }
        })
        .await?;
    let conditions = updated["status"]["conditions"].as_array();
    expect::same("the number of conditions", &conditions.map(Vec::len), &Some(2))?;
    expect::at(&updated, "/status/phase", "Active")
}

async fn finalizer(t: Test) -> anyhow::Result<()> {
    const OURS: &str = "e2e.example.com/fakeFinalizer";
    let name = t.another_namespace("e2e-ns").await?;
    let namespaces = t.everywhere("v1", "namespaces");
    let has = |object: &Value, finalizer: &str| {
        object["spec"]["finalizers"].as_array().is_some_and(|list| list.iter().any(|f| f == finalizer))
    };
    let mut namespace = namespaces.get(&name).await?;
    expect::that(has(&namespace, "kubernetes"), || format!("spec.finalizers should have kubernetes: {namespace}"))?;
    if let Some(list) = namespace["spec"]["finalizers"].as_array_mut() {
        list.push(OURS.into());
    }
    let updated = namespaces.update_sub("finalize", &namespace).await?;
    expect::that(has(&updated, OURS), || format!("the finalizer was not added: {updated}"))?;
    let mut namespace = namespaces.get(&name).await?;
    expect::that(has(&namespace, OURS), || format!("the finalizer was not kept: {namespace}"))?;
    if let Some(list) = namespace["spec"]["finalizers"].as_array_mut() {
        list.retain(|f| f != OURS);
    }
    let updated = namespaces.update_sub("finalize", &namespace).await?;
    expect::that(!has(&updated, OURS), || format!("the finalizer was not removed: {updated}"))
}
