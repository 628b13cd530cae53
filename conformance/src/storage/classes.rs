//! StorageClasses and VolumeAttributesClasses.

use serde_json::{Value, json};

use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::specs;

specs! { Api;
    "[sig-storage] StorageClasses CSI Conformance should run through the lifecycle of a StorageClass [Conformance]" => storage_classes,
    "[sig-storage] VolumeAttributesClass [FeatureGate:VolumeAttributesClass] should run through the lifecycle of a VolumeAttributesClass [Conformance]" => attributes_classes,
}

async fn storage_classes(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "storage.k8s.io/v1",
        kind: "StorageClass",
        plural: "storageclasses",
        namespaced: false,
        object: json!({ "provisioner": "e2e-fake-provisioner" }),
        change: json!({ "allowVolumeExpansion": true }),
        status: None,
    };
    operations::run(&t, &operations).await
}

async fn attributes_classes(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "storage.k8s.io/v1",
        kind: "VolumeAttributesClass",
        plural: "volumeattributesclasses",
        namespaced: false,
        object: json!({ "driverName": "e2e-fake-csi-driver", "parameters": { "iops": "1000" } }),
        change: Value::Null,
        status: None,
    };
    operations::run(&t, &operations).await
}
