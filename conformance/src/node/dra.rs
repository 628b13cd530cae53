//! DRA: the kinds of resource.k8s.io.

use serde_json::{Value, json};

use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::specs;

specs! { Api;
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 DeviceClass [Conformance]" => device_classes,
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaim [Conformance]" => claims,
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceClaimTemplate [Conformance]" => templates,
    "[sig-node] [DRA] CRUD Tests resource.k8s.io/v1 ResourceSlice [Conformance]" => slices,
}

const VERSION: &str = "resource.k8s.io/v1";

async fn device_classes(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: VERSION,
        kind: "DeviceClass",
        plural: "deviceclasses",
        namespaced: false,
        object: json!({ "spec": { "selectors": [{ "cel": { "expression": "device.driver == \"dra.example.com\"" } }] } }),
        change: json!({ "spec": { "config": [{ "opaque": { "driver": "dra.example.com", "parameters": { "a": 1 } } }] } }),
        status: None,
    };
    operations::run(&t, &operations).await
}

fn request() -> Value {
    json!({ "devices": { "requests": [{ "name": "req", "exactly": { "deviceClassName": "example", "allocationMode": "ExactCount", "count": 1 } }] } })
}

async fn claims(t: Test) -> anyhow::Result<()> {
    let device = json!({ "request": "req", "driver": "dra.example.com", "pool": "pool", "device": "dev-0" });
    let operations = Operations {
        api_version: VERSION,
        kind: "ResourceClaim",
        plural: "resourceclaims",
        namespaced: true,
        object: json!({ "spec": request() }),
        change: Value::Null,
        status: Some(json!({ "allocation": { "devices": { "results": [device] } } })),
    };
    operations::run(&t, &operations).await
}

async fn templates(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: VERSION,
        kind: "ResourceClaimTemplate",
        plural: "resourceclaimtemplates",
        namespaced: true,
        object: json!({ "spec": { "spec": request() } }),
        change: Value::Null,
        status: None,
    };
    operations::run(&t, &operations).await
}

async fn slices(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: VERSION,
        kind: "ResourceSlice",
        plural: "resourceslices",
        namespaced: false,
        object: json!({ "spec": {
            "driver": "dra.example.com", "nodeName": "node-a",
            "pool": { "name": "pool", "generation": 1, "resourceSliceCount": 1 },
            "devices": [{ "name": "dev-0" }],
        } }),
        change: json!({ "spec": { "devices": [{ "name": "dev-0" }, { "name": "dev-1" }] } }),
        status: None,
    };
    operations::run(&t, &operations).await
}
