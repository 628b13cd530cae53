//! ServiceCIDR and IPAddress API.

use serde_json::{Value, json};

use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, operations, specs};

specs! { Api;
    "[sig-network] ServiceCIDR and IPAddress API should support IPAddress API operations [Conformance]" => addresses,
    "[sig-network] ServiceCIDR and IPAddress API should support ServiceCIDR API operations [Conformance]" => ranges,
}

const GROUP: &str = "networking.k8s.io/v1";

async fn addresses(t: Test) -> anyhow::Result<()> {
    operations::discovery(&t, GROUP, "ipaddresses", false).await?;
    let addresses = t.everywhere(GROUP, "ipaddresses");
    let label = t.name("address");
    let selector = format!("labelSelector=special-label={label}");
    let address = |name: &str| {
        json!({
            "metadata": { "name": name, "labels": { "special-label": label } },
            "spec": { "parentRef": { "group": "", "resource": "services", "name": "example", "namespace": t.namespace } },
        })
    };
    let mut watch = addresses.watch(&selector).await?;
    addresses.create(&address("not-an-address")).await.refused_with(422)?;
    for name in ["192.0.2.201", "192.0.2.202", "2001:db8::ffff"] {
        addresses.create(&address(name)).await?;
        expect::same("the address told as ADDED", &watch.expect("ADDED").await?.name(), &name)?;
    }
    expect::same("the number of addresses", &addresses.items(&selector).await?.len(), &3)?;
    let body = json!({ "metadata": { "annotations": { "patched": "true" } } });
    let patched = addresses.patch("192.0.2.201", Patch::Merge, &body).await?;
    expect::contains(&patched, &body)?;
    let updated = addresses.modify("192.0.2.201", |a| a["metadata"]["annotations"]["updated"] = "true".into()).await?;
    expect::at(&updated, "/metadata/annotations/patched", "true")?;
    // What an address is for can't be changed.
    let mut other = updated.clone();
    other["spec"]["parentRef"]["name"] = "other".into();
    addresses.update(&other).await.refused_with(422)?;
    addresses.delete("192.0.2.201").await?;
    addresses.gone("192.0.2.201").await?;
    addresses.delete_collection(&selector).await?;
    addresses.wait_list(&selector, "no addresses", <[Value]>::is_empty).await?;
    Ok(())
}

async fn ranges(t: Test) -> anyhow::Result<()> {
    operations::discovery(&t, GROUP, "servicecidrs", true).await?;
    let ranges = t.everywhere(GROUP, "servicecidrs");
    // The range the server was started with is there, and ready.
    let default = ranges.get("kubernetes").await?;
    expect::that(!default["spec"]["cidrs"].as_array().is_none_or(Vec::is_empty), || format!("no range in {default}"))?;
    let ready = |range: &Value| {
        let conditions = range["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
    };
    ranges.wait("kubernetes", "condition Ready", ready).await?;
    let label = t.name("range");
    let selector = format!("labelSelector=special-label={label}");
    let name = t.name("test-svc-cidr");
    let range = json!({ "metadata": { "name": name, "labels": { "special-label": label } }, "spec": { "cidrs": ["10.196.196.0/24"] } });
    let mut watch = ranges.watch(&selector).await?;
    ranges.create(&range).await?;
    watch.until("the range", |e| e.kind == "ADDED" && e.name() == name).await?;
    ranges.wait(&name, "condition Ready", ready).await?;
    let got = ranges.get(&name).await?;
    let mut other = got.clone();
    other["spec"]["cidrs"] = json!(["10.196.197.0/24"]);
    ranges.update(&other).await.refused_with(422)?;
    let body = json!({ "metadata": { "annotations": { "patched": "true" } } });
    expect::contains(&ranges.patch(&name, Patch::Merge, &body).await?, &body)?;
    ranges.modify(&name, |r| r["metadata"]["annotations"]["updated"] = "true".into()).await?;
    watch.until("the update", |e| e.object["metadata"]["annotations"]["updated"] == "true").await?;
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set by an e2e test", "lastTransitionTime": "2024-01-02T03:04:05Z" });
    let got = ranges.get_sub(&name, "status").await?;
    let mut conditions = got["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.push(condition("StatusPatched"));
    let body = json!({ "status": { "conditions": conditions } });
    let patched = ranges.patch_sub(&name, "status", Patch::Merge, &body).await?;
    let has = |range: &Value, kind: &str| {
        range["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == kind)
    };
    expect::that(has(&patched, "StatusPatched"), || format!("the condition was not patched in: {patched}"))?;
    let updated = ranges
        .modify_sub(&name, "status", |r| {
            if let Some(list) = r["status"]["conditions"].as_array_mut() {
                list.push(condition("StatusUpdated"));
            }
        })
        .await?;
    expect::that(has(&updated, "StatusUpdated"), || format!("the condition was not added: {updated}"))?;
    ranges.delete(&name).await?;
    ranges.gone(&name).await
}
