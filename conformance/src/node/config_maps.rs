//! ConfigMap.

use serde_json::{Value, json};

use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] ConfigMap should fail to create ConfigMap with empty key [Conformance]" => empty_key,
    "[sig-node] ConfigMap should run through a ConfigMap lifecycle [Conformance]" => lifecycle,
    "[sig-node] ConfigMap should update ConfigMap successfully [NodeConformance] [Conformance]" => update,
    "[sig-storage] ConfigMap should be immutable if `immutable` field is set [Conformance]" => immutable,
}

async fn empty_key(t: Test) -> anyhow::Result<()> {
    let map = json!({ "metadata": { "name": "empty-key" }, "data": { "": "value-1" } });
    let refused = t.objects("v1", "configmaps").create(&map).await.refused_with(422)?;
    expect::has_text(refused.message(), "data[]: Invalid value")
}

async fn update(t: Test) -> anyhow::Result<()> {
    let maps = t.objects("v1", "configmaps");
    maps.create(&json!({ "metadata": { "name": "test" }, "data": { "data": "value" } })).await?;
    let updated = maps.modify("test", |map| map["data"] = json!({ "data": "updated" })).await?;
    expect::at(&updated, "/data/data", "updated")?;
    expect::at(&maps.get("test").await?, "/data/data", "updated")
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (maps, all) = (t.objects("v1", "configmaps"), t.everywhere("v1", "configmaps"));
    let label = t.name("static");
    let selector = format!("labelSelector=test-configmap-static={label}");
    let mut watch = maps.watch(&selector).await?;
    let map = json!({ "metadata": { "name": "test", "labels": { "test-configmap-static": label } }, "data": { "valueName": "value" } });
    maps.create(&map).await?;
    watch.until("the creation", |e| e.kind == "ADDED" && e.name() == "test").await?;
    let body = json!({ "metadata": { "labels": { "test-configmap": "patched" } }, "data": { "valueName": "value1" } });
    maps.patch("test", Patch::Strategic, &body).await?;
    watch
        .until("the patch", |e| e.kind == "MODIFIED" && e.object["metadata"]["labels"]["test-configmap"] == "patched")
        .await?;
    let got = maps.get("test").await?;
    expect::contains(&got, &body)?;
    let items = all.items(&selector).await?;
    expect::same("the number of ConfigMaps in all namespaces", &items.len(), &1)?;
    maps.delete_collection(&selector).await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    expect::same("the number of ConfigMaps left", &maps.items(&selector).await?.len(), &0)
}

pub async fn immutable_data(t: &Test, plural: &str, field: &str) -> anyhow::Result<()> {
    let objects = t.objects("v1", plural);
    let created =
        objects.create(&json!({ "metadata": { "name": "immutable" }, field: { "data-1": "value-1" } })).await?;
    let value = created[if field == "stringData" { "data" } else { field }]["data-1"].clone();
    expect::that(!value.is_null(), || format!("data-1 should be there: {created}"))?;
    let change = |object: &mut Value, key: &'static str| object["data"][key] = "dmFsdWUtMg==".into();
    objects.modify("immutable", |object| change(object, "data-2")).await?;
    objects.modify("immutable", |object| object["immutable"] = true.into()).await?;
    let got = objects.get("immutable").await?;
    let mut other = got.clone();
    change(&mut other, "data-3");
    let refused = objects.update(&other).await.refused_with(422)?;
    expect::has_text(refused.message(), "field is immutable when `immutable` is set")?;
    for value in [Value::Null, false.into()] {
        let mut other = got.clone();
        other["immutable"] = value;
        objects.update(&other).await.refused_with(422)?;
    }
    // Metadata may be changed all the same.
    let labelled =
        objects.modify("immutable", |object| object["metadata"]["labels"] = json!({ "label1": "value1" })).await?;
    expect::at(&labelled, "/metadata/labels/label1", "value1")?;
    objects.delete("immutable").await?;
    Ok(())
}

async fn immutable(t: Test) -> anyhow::Result<()> {
    immutable_data(&t, "configmaps", "data").await
}
