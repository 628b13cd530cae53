//! Lease.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] Lease lease API should be available [Conformance]" => available,
}

async fn available(t: Test) -> anyhow::Result<()> {
    let leases = t.objects("coordination.k8s.io/v1", "leases");
    let lease = |holder: &str, second: u32| {
        json!({
            "holderIdentity": holder, "leaseDurationSeconds": 30, "leaseTransitions": 0,
            "acquireTime": "2024-01-02T03:04:05.000000Z", "renewTime": format!("2024-01-02T03:04:{second:02}.000000Z"),
        })
    };
    leases.create(&json!({ "metadata": { "name": "lease", "labels": { "deletecollection": "true" } }, "spec": lease("holder", 6) })).await?;
    let got = leases.get("lease").await?;
    expect::same("the spec", &got["spec"], &lease("holder", 6))?;
    let updated = leases.modify("lease", |l| l["spec"] = lease("holder2", 7)).await?;
    expect::same("the updated spec", &updated["spec"], &lease("holder2", 7))?;
    let patched = leases
        .patch("lease", Patch::Strategic, &json!({ "spec": { "holderIdentity": "holder3", "leaseTransitions": 1 } }))
        .await?;
    expect::at(&patched, "/spec/holderIdentity", "holder3")?;
    expect::at(&patched, "/spec/leaseTransitions", 1)?;
    expect::at(&patched, "/spec/renewTime", "2024-01-02T03:04:07.000000Z")?;
    leases.create(&json!({ "metadata": { "name": "lease2", "labels": { "deletecollection": "true" } }, "spec": lease("holder", 6) })).await?;
    let selector = "labelSelector=deletecollection=true";
    expect::same("the number of leases", &leases.items(selector).await?.len(), &2)?;
    leases.delete_collection(selector).await?;
    leases.wait_list(selector, "no leases", <[Value]>::is_empty).await?;
    leases.create(&json!({ "metadata": { "name": "lease" }, "spec": lease("holder", 6) })).await?;
    leases.delete("lease").await?;
    leases.gone("lease").await
}
