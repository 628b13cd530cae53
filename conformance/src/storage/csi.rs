//! CSI: drivers, nodes, capacities, and inline volumes.

use serde_json::{Value, json};

use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-storage] CSIInlineVolumes should run through the lifecycle of a CSIDriver [Conformance]" => drivers,
    "[sig-storage] CSIInlineVolumes should support CSIVolumeSource in Pod API [Conformance]" => inline_volumes,
    "[sig-storage] CSINodes CSI Conformance should run through the lifecycle of a csinode [Conformance]" => nodes,
    "[sig-storage] CSIStorageCapacity should support CSIStorageCapacities API operations [Conformance]" => capacities,
}

async fn drivers(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "storage.k8s.io/v1",
        kind: "CSIDriver",
        plural: "csidrivers",
        namespaced: false,
        object: json!({ "spec": { "attachRequired": true, "volumeLifecycleModes": ["Ephemeral"] } }),
        change: json!({ "spec": { "requiresRepublish": true } }),
        status: None,
    };
    operations::run(&t, &operations).await
}

async fn nodes(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "storage.k8s.io/v1",
        kind: "CSINode",
        plural: "csinodes",
        namespaced: false,
        object: json!({ "spec": { "drivers": [{ "name": "e2e.example.com", "nodeID": "node", "topologyKeys": [] }] } }),
        change: Value::Null,
        status: None,
    };
    operations::run(&t, &operations).await
}

async fn capacities(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "storage.k8s.io/v1",
        kind: "CSIStorageCapacity",
        plural: "csistoragecapacities",
        namespaced: true,
        object: json!({ "storageClassName": "e2e-fake-class", "nodeTopology": { "matchLabels": { "a": "b" } } }),
        change: json!({ "capacity": "100Gi" }),
        status: None,
    };
    operations::run(&t, &operations).await
}

async fn inline_volumes(t: Test) -> anyhow::Result<()> {
    let pods = t.objects("v1", "pods");
    let label = t.name("inline");
    let volume = json!({ "name": "my-csi-volume", "csi": {
        "driver": "inline.csi.example.com", "readOnly": true, "fsType": "ext4", "volumeAttributes": { "attribute": "value" },
    } });
    let pod = json!({
        "metadata": { "name": "pod", "labels": { "inline": label } },
        "spec": {
            "containers": [{ "name": "test", "image": "busybox", "volumeMounts": [{ "name": "my-csi-volume", "mountPath": "/data" }] }],
            "volumes": [volume],
        },
    });
    pods.create(&pod).await?;
    let items = t.everywhere("v1", "pods").items(&format!("labelSelector=inline={label}")).await?;
    expect::same("the number of pods", &items.len(), &1)?;
    expect::contains(&items[0]["spec"]["volumes"][0], &volume)?;
    pods.delete_with("pod", &json!({ "gracePeriodSeconds": 0 })).await?;
    pods.gone("pod").await
}
