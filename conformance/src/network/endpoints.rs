//! Endpoints, and the controllers that keep them and their slices.

use serde_json::{Value, json};

use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-network] Endpoints should test the lifecycle of an Endpoint [Conformance]" => lifecycle,
    "[sig-network] EndpointsController should create and delete Endpoints for a Service with a selector that matches no pods [Conformance]" => of_no_pods,
    "[sig-network] EndpointSliceMirroring should mirror a custom Endpoints resource through create update and delete [Conformance]" => mirrored,
}

fn subsets(ip: &str, port: u16) -> Value {
    json!([{ "addresses": [{ "ip": ip }], "ports": [{ "name": "http", "port": port, "protocol": "TCP" }] }])
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (endpoints, all) = (t.objects("v1", "endpoints"), t.everywhere("v1", "endpoints"));
    let label = t.name("static");
    let selector = format!("labelSelector=test-endpoint-static={label}");
    let mut watch = endpoints.watch(&selector).await?;
    let labels = json!({ "test-endpoint-static": label });
    endpoints
        .create(
            &json!({ "metadata": { "name": "testservice", "labels": labels }, "subsets": subsets("10.0.0.24", 80) }),
        )
        .await?;
    watch.until("the creation", |e| e.kind == "ADDED" && e.name() == "testservice").await?;
    expect::same("the number of Endpoints in all namespaces", &all.items(&selector).await?.len(), &1)?;
    let updated =
        endpoints.modify("testservice", |e| e["metadata"]["labels"]["test-service"] = "updated".into()).await?;
    watch
        .until("the update", |e| e.kind == "MODIFIED" && e.object["metadata"]["labels"]["test-service"] == "updated")
        .await?;
    expect::at(&updated, "/metadata/labels/test-service", "updated")?;
    let body =
        json!({ "metadata": { "labels": { "test-service": "patched" } }, "subsets": subsets("10.0.0.25", 8080) });
    endpoints.patch("testservice", Patch::Strategic, &body).await?;
    watch.until("the patch", |e| e.object["metadata"]["labels"]["test-service"] == "patched").await?;
    let got = endpoints.get("testservice").await?;
    expect::at(&got, "/subsets/0/addresses/0/ip", "10.0.0.25")?;
    expect::at(&got, "/subsets/0/ports/0/port", 8080)?;
    endpoints.delete_collection(&selector).await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    endpoints.get("testservice").await.refused_with(404)?;
    Ok(())
}

async fn of_no_pods(t: Test) -> anyhow::Result<()> {
    let (services, endpoints) = (t.objects("v1", "services"), t.objects("v1", "endpoints"));
    let spec = json!({ "selector": { "does-not-match-anything": "endpoints-should-still-be-created" }, "ports": [{ "name": "example", "port": 80, "protocol": "TCP" }] });
    services.create(&json!({ "metadata": { "name": "example-empty-selector" }, "spec": spec })).await?;
    let made = endpoints.wait("example-empty-selector", "existence", |_| true).await?;
    expect::that(made["subsets"].as_array().is_none_or(Vec::is_empty), || {
        format!("there should be no subsets: {made}")
    })?;
    services.delete("example-empty-selector").await?;
    endpoints.gone("example-empty-selector").await
}

async fn mirrored(t: Test) -> anyhow::Result<()> {
    let (services, endpoints) = (t.objects("v1", "services"), t.objects("v1", "endpoints"));
    let slices = t.objects("discovery.k8s.io/v1", "endpointslices");
    let port = json!({ "name": "example", "port": 80, "protocol": "TCP" });
    services
        .create(&json!({ "metadata": { "name": "example-custom-endpoints" }, "spec": { "ports": [port] } }))
        .await?;
    let object = json!({
        "metadata": { "name": "example-custom-endpoints" },
        "subsets": [{ "ports": [port], "addresses": [{ "ip": "10.1.2.3" }] }],
    });
    endpoints.create(&object).await?;
    let selector = "labelSelector=kubernetes.io/service-name=example-custom-endpoints";
    let list = slices.wait_list(selector, "one slice", |list| list.len() == 1).await?;
    let slice = &list[0];
    expect::at(
        slice,
        "/metadata/labels/endpointslice.kubernetes.io~1managed-by",
        "endpointslicemirroring-controller.k8s.io",
    )?;
    expect::at(slice, "/addressType", "IPv4")?;
    expect::at(slice, "/ports/0/port", 80)?;
    expect::at(slice, "/ports/0/name", "example")?;
    expect::at(slice, "/endpoints/0/addresses/0", "10.1.2.3")?;
    expect::at(slice, "/endpoints/0/conditions/ready", true)?;
    endpoints
        .modify("example-custom-endpoints", |e| e["subsets"][0]["addresses"] = json!([{ "ip": "10.2.3.4" }]))
        .await?;
    slices
        .wait_list(selector, "the new address", |list| {
            list.len() == 1 && list[0]["endpoints"][0]["addresses"][0] == "10.2.3.4"
        })
        .await?;
    endpoints.delete("example-custom-endpoints").await?;
    slices.wait_list(selector, "no slice", <[Value]>::is_empty).await?;
    Ok(())
}
