//! PersistentVolumes and PersistentVolumeClaims.

use serde_json::{Value, json};

use crate::client::{Objects, Patch};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-storage] PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC [Conformance]" => lifecycle,
    "[sig-storage] PersistentVolumes CSI Conformance should apply changes to a pv/pvc status [Conformance]" => status,
}

/// No class of this name exists, so nobody binds or provisions.
fn volume(t: &Test, name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "e2e-pv-pool": t.namespace } },
        "spec": {
            "capacity": { "storage": "1Gi" }, "accessModes": ["ReadWriteOnce"], "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": t.namespace, "csi": { "driver": "e2e.example.com", "volumeHandle": "e2e-vol" },
        },
    })
}

fn claim(t: &Test, name: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "e2e-pv-pool": t.namespace } },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeName": "none", "resources": { "requests": { "storage": "1Gi" } } },
    })
}

async fn one(objects: &Objects, name: &str, object: &Value, selector: &str) -> anyhow::Result<()> {
    objects.create(object).await?;
    expect::same("the number of objects", &objects.items(selector).await?.len(), &1)?;
    let got = objects.get(name).await?;
    let body = json!({ "metadata": { "labels": { name: "patched" } } });
    expect::contains(&objects.patch(name, Patch::Strategic, &body).await?, &body)?;
    let updated = objects.modify(name, |o| o["metadata"]["labels"][name] = "updated".into()).await?;
    expect::at(&updated, "/metadata/uid", got["metadata"]["uid"].clone())?;
    expect::at(&updated, &format!("/metadata/labels/{name}"), "updated")?;
    objects.delete(name).await?;
    objects.gone(name).await?;
    objects.create(object).await?;
    objects.delete_collection(selector).await?;
    objects.wait_list(selector, "no objects", <[Value]>::is_empty).await?;
    Ok(())
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let selector = format!("labelSelector=e2e-pv-pool={}", t.namespace);
    let name = t.name("pv");
    one(&t.everywhere("v1", "persistentvolumes"), &name, &volume(&t, &name), &selector).await?;
    one(&t.objects("v1", "persistentvolumeclaims"), "pvc", &claim(&t, "pvc"), &selector).await
}

async fn status(t: Test) -> anyhow::Result<()> {
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set by an e2e test", "lastProbeTime": null, "lastTransitionTime": "2024-01-02T03:04:05Z" });
    let claims = t.objects("v1", "persistentvolumeclaims");
    claims.create(&claim(&t, "pvc")).await?;
    claims
        .patch_sub("pvc", "status", Patch::Merge, &json!({ "status": { "conditions": [condition("StatusPatched")] } }))
        .await?;
    expect::at(&claims.get_sub("pvc", "status").await?, "/status/conditions/0/type", "StatusPatched")?;
    let updated =
        claims.modify_sub("pvc", "status", |c| c["status"]["conditions"] = json!([condition("StatusUpdated")])).await?;
    expect::at(&updated, "/status/conditions/0/type", "StatusUpdated")?;

    let volumes = t.everywhere("v1", "persistentvolumes");
    let name = t.name("pv");
    volumes.create(&volume(&t, &name)).await?;
    // Who gives a volume its first phase empties its message.
    volumes.wait(&name, "the phase Available", |v| v["status"]["phase"] == "Available").await?;
    let body = json!({ "status": { "message": "StatusPatched", "reason": "E2E patchStatus" } });
    expect::contains(&volumes.patch_sub(&name, "status", Patch::Merge, &body).await?, &body)?;
    expect::contains(&volumes.get_sub(&name, "status").await?, &body)?;
    let updated = volumes.modify_sub(&name, "status", |v| v["status"]["message"] = "StatusUpdated".into()).await?;
    expect::at(&updated, "/status/message", "StatusUpdated")?;
    expect::at(&updated, "/status/reason", "E2E patchStatus")?;
    volumes.delete(&name).await?;
    claims.delete("pvc").await?;
    Ok(())
}
