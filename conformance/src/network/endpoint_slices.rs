//! EndpointSlice.

use serde_json::{Value, json};

use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-network] EndpointSlice should create and delete EndpointSlices for a Service with a selector that matches no pods [Conformance]" => of_no_pods,
    "[sig-network] EndpointSlice should support creating EndpointSlice API operations [Conformance]" => api_operations,
}

async fn of_no_pods(t: Test) -> anyhow::Result<()> {
    let (services, slices) = (t.objects("v1", "services"), t.objects("discovery.k8s.io/v1", "endpointslices"));
    let spec = json!({ "selector": { "does-not-match-anything": "endpoints-and-endpoint-slices-should-still-be-created" }, "ports": [{ "name": "example", "port": 80, "protocol": "TCP" }] });
    services.create(&json!({ "metadata": { "name": "example-empty-selector" }, "spec": spec })).await?;
    let selector = "labelSelector=kubernetes.io/service-name=example-empty-selector";
    let list = slices.wait_list(selector, "a slice", |list| !list.is_empty()).await?;
    expect::same("the number of slices", &list.len(), &1)?;
    expect::that(list[0]["endpoints"].as_array().is_none_or(Vec::is_empty), || {
        format!("there should be no endpoints: {}", list[0])
    })?;
    expect::at(
        &list[0],
        "/metadata/labels/endpointslice.kubernetes.io~1managed-by",
        "endpointslice-controller.k8s.io",
    )?;
    expect::at(&list[0], "/metadata/ownerReferences/0/name", "example-empty-selector")?;
    services.delete("example-empty-selector").await?;
    slices.wait_list(selector, "no slice", <[Value]>::is_empty).await?;
    Ok(())
}

async fn api_operations(t: Test) -> anyhow::Result<()> {
    let operations = Operations {
        api_version: "discovery.k8s.io/v1",
        kind: "EndpointSlice",
        plural: "endpointslices",
        namespaced: true,
        object: json!({ "addressType": "IPv4", "endpoints": [{ "addresses": ["1.2.3.4", "5.6.7.8"] }], "ports": [{ "name": "a", "port": 80 }] }),
        change: Value::Null,
        status: None,
    };
    operations::run(&t, &operations).await
}
