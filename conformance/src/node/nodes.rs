//! Node Lifecycle.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] Node Lifecycle should run through the lifecycle of a node [Conformance]" => lifecycle,
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let nodes = t.everywhere("v1", "nodes");
    let name = t.name("e2e-fake-node");
    let amounts = json!({ "cpu": "10", "memory": "10G", "pods": "10" });
    // Nobody shall schedule on it or evict from it meanwhile.
    let condition = json!({ "type": "Ready", "status": "True", "reason": "E2E" });
    let node = json!({
        "metadata": { "name": name }, "spec": { "unschedulable": true },
        "status": { "phase": "Running", "conditions": [condition], "allocatable": amounts, "capacity": amounts },
    });
    let created = nodes.create(&node).await?;
    expect::at(&created, "/metadata/name", name.clone())?;
    // Nodes register with a status.
    expect::at(&created, "/status/capacity/pods", "10")?;
    let got = nodes.get(&name).await?;
    expect::at(&got, "/metadata/uid", created["metadata"]["uid"].clone())?;
    let body = json!({ "metadata": { "labels": { name.clone(): "patched" } } });
    expect::contains(&nodes.patch(&name, Patch::Strategic, &body).await?, &body)?;
    let updated = nodes.modify(&name, |n| n["metadata"]["labels"][&name] = "updated".into()).await?;
    expect::at(&updated, &format!("/metadata/labels/{name}"), "updated")?;
    let selector = format!("labelSelector={name}=updated");
    expect::same("the number of such nodes", &nodes.items(&selector).await?.len(), &1)?;
    nodes.delete_collection(&selector).await?;
    nodes.wait_list(&selector, "no such node", <[Value]>::is_empty).await?;
    Ok(())
}
