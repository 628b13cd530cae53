//! Services: what needs no pods.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-network] Services should complete a service status lifecycle [Conformance]" => status,
    "[sig-network] Services should delete a collection of services [Conformance]" => collection,
    "[sig-network] Services should find a service from listing all namespaces [Conformance]" => find,
}

async fn find(t: Test) -> anyhow::Result<()> {
    let services = t.everywhere("v1", "services").items("").await?;
    let found = services.iter().any(|s| expect::name(s) == "kubernetes" && s["metadata"]["namespace"] == "default");
    expect::that(found, || "there is no Service kubernetes in the list of all namespaces".to_owned())
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let services = t.objects("v1", "services");
    let label = t.name("set");
    for (name, label) in [("a", label.as_str()), ("b", &label), ("c", "not-in-the-set")] {
        let spec = json!({ "type": "ClusterIP", "ports": [{ "name": "http", "port": 80, "targetPort": 9376, "protocol": "TCP" }] });
        services.create(&json!({ "metadata": { "name": name, "labels": { "e2e": label } }, "spec": spec })).await?;
    }
    let selector = format!("labelSelector=e2e={label}");
    expect::same("the number of services in the set", &services.items(&selector).await?.len(), &2)?;
    expect::same("the number of services", &services.items("").await?.len(), &3)?;
    services.delete_collection(&selector).await?;
    services.wait_list(&selector, "no services", <[Value]>::is_empty).await?;
    let left = services.items("").await?;
    expect::same("the services left", &left.iter().map(expect::name).collect(), &vec!["c"])
}

async fn status(t: Test) -> anyhow::Result<()> {
    let services = t.objects("v1", "services");
    let label = t.name("static");
    let selector = format!("labelSelector=test-service-static={label}");
    let mut watch = services.watch(&selector).await?;
    let spec = json!({
        "type": "LoadBalancer", "loadBalancerClass": "example.com/internal-vip",
        "ports": [{ "name": "http", "port": 80, "protocol": "TCP" }],
    });
    services
        .create(&json!({ "metadata": { "name": "svc", "labels": { "test-service-static": label } }, "spec": spec }))
        .await?;
    watch.until("the service", |e| e.kind == "ADDED" && e.name() == "svc").await?;
    let got = services.get_sub("svc", "status").await?;
    expect::at(&got, "/status/loadBalancer/ingress", Value::Null)?;
    let ingress = json!([{ "ip": "203.0.113.1" }]);
    let body = json!({ "metadata": { "annotations": { "patchedstatus": "true" } }, "status": { "loadBalancer": { "ingress": ingress } } });
    let patched = services.patch_sub("svc", "status", Patch::Merge, &body).await?;
    expect::at(&patched, "/status/loadBalancer/ingress/0/ip", "203.0.113.1")?;
    expect::at(&patched, "/metadata/annotations/patchedstatus", "true")?;
    watch
        .until("the patch of the status", |e| e.object["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1")
        .await?;
    let condition = json!({ "type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test", "lastTransitionTime": "2024-01-02T03:04:05Z" });
    let updated = services.modify_sub("svc", "status", |s| s["status"]["conditions"] = json!([condition])).await?;
    expect::at(&updated, "/status/conditions/0/type", "StatusUpdate")?;
    expect::at(&updated, "/status/loadBalancer/ingress/0/ip", "203.0.113.1")?;
    watch.until("the update of the status", |e| e.object["status"]["conditions"][0]["type"] == "StatusUpdate").await?;
    services
        .patch("svc", Patch::Strategic, &json!({ "metadata": { "labels": { "test-service": "patched" } } }))
        .await?;
    watch.until("the patch", |e| e.object["metadata"]["labels"]["test-service"] == "patched").await?;
    services.delete("svc").await?;
    watch.until("the deletion", |e| e.kind == "DELETED").await?;
    Ok(())
}
