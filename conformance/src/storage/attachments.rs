//! VolumeAttachment.

use serde_json::{Value, json};

use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::specs;

specs! { Api;
    "[sig-storage] VolumeAttachment Conformance should apply changes to a volumeattachment status [Conformance]" => status,
    "[sig-storage] VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment [Conformance]" => lifecycle,
}

fn attachments(status: Option<Value>) -> Operations {
    Operations {
        api_version: "storage.k8s.io/v1",
        kind: "VolumeAttachment",
        plural: "volumeattachments",
        namespaced: false,
        object: json!({ "spec": { "attacher": "e2e-test.csi.com", "nodeName": "e2e-node", "source": { "persistentVolumeName": "e2e-pv" } } }),
        change: Value::Null,
        status,
    }
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    operations::run(&t, &attachments(None)).await
}

async fn status(t: Test) -> anyhow::Result<()> {
    operations::run(&t, &attachments(Some(json!({ "attached": true })))).await
}
