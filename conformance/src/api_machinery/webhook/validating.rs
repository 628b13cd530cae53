//! Webhooks that refuse.

use serde_json::{Value, json};

use super::{Hook, Kind, config_map, pod};
use crate::api_machinery::crd;
use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny pod and configmap creation [Conformance]" => pods_and_config_maps,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny attaching pod [Conformance]" => attaching,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to deny custom resource creation, update and deletion [Conformance]" => custom_resources,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should deny crd creation [Conformance]" => definitions,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should honor timeout [Conformance]" => timeouts,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should unconditionally reject operations on fail closed webhook [Conformance]" => fail_closed,
}

/// A webhook whose server shows a certificate that nobody trusts.
fn failing(hook: &Hook, name: &str, resource: &str) -> Value {
    let mut webhook = hook.webhook(name, "/configmaps", &["CREATE"], "", resource);
    webhook["clientConfig"]["caBundle"] = Value::Null;
    webhook
}

async fn pods_and_config_maps(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let mut open = failing(&hook, "fail-open", "configmaps");
    open["failurePolicy"] = "Ignore".into();
    let mut pods = hook.webhook("deny-unwanted-pod", "/pods", &["CREATE"], "", "pods");
    pods["timeoutSeconds"] = 2.into();
    let mut maps =
        hook.webhook("deny-unwanted-configmap", "/configmaps", &["CREATE", "UPDATE", "DELETE"], "", "configmaps");
    maps["namespaceSelector"] = json!({ "matchExpressions": [
        { "key": "skip-webhook-admission", "operator": "NotIn", "values": ["yes"] },
        { "key": "kubernetes.io/metadata.name", "operator": "In", "values": [t.namespace, format!("{}-skipped", t.namespace)] },
    ] });
    hook.configure(Kind::Validating, &[pods, maps, open]).await?;

    let mut bad = pod("disallowed-pod", "webhook-disallow");
    bad["metadata"]["labels"] = json!({ "webhook-e2e-test": "webhook-disallow" });
    let refused = t.objects("v1", "pods").create(&bad).await.refused()?;
    expect::has_text(refused.message(), "the pod contains unwanted container name")?;
    expect::has_text(refused.message(), "the pod contains unwanted label")?;
    let mut hanging = pod("hanging-pod", "hanging");
    hanging["metadata"]["labels"] = json!({ "webhook-e2e-test": "wait-forever" });
    let refused = t.objects("v1", "pods").create(&hanging).await.refused_with(500)?;
    expect::has_text(refused.message(), "deadline")?;
    t.objects("v1", "pods").get("hanging-pod").await.refused_with(404)?;

    let maps = t.objects("v1", "configmaps");
    let unwanted = "the configmap contains unwanted key and value";
    let bad = config_map("disallowed-configmap", "webhook-e2e-test", "webhook-disallow");
    expect::has_text(maps.create(&bad).await.refused()?.message(), unwanted)?;
    let mut good = maps.create(&config_map("allowed-configmap", "admit", "this")).await?;
    good["data"] = json!({ "webhook-e2e-test": "webhook-disallow" });
    expect::has_text(maps.update(&good).await.refused()?.message(), unwanted)?;
    let patch = json!({ "data": { "webhook-e2e-test": "webhook-disallow" } });
    expect::has_text(maps.patch("allowed-configmap", Patch::Merge, &patch).await.refused()?.message(), unwanted)?;

    // A namespace that the selector leaves out.
    let skipped = t.another_namespace("skipped").await?;
    let label = json!({ "metadata": { "labels": { "skip-webhook-admission": "yes" } } });
    t.everywhere("v1", "namespaces").patch(&skipped, Patch::Merge, &label).await?;
    t.objects_in(&skipped, "v1", "configmaps").create(&bad).await?;
    Ok(())
}

async fn attaching(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    hook.configure(
        Kind::Validating,
        &[hook.webhook("deny-attaching-pod", "/pods/attach", &["CONNECT"], "", "pods/attach")],
    )
    .await?;
    t.objects("v1", "pods").create(&pod("to-be-attached-pod", "container1")).await?;
    let args = ["attach", "-n", &t.namespace, "to-be-attached-pod", "-i", "-c=container1"];
    let said = t.cluster.kubectl(&args, "").await?;
    expect::that(!said.ok, || "attaching should fail".to_owned())?;
    expect::has_text(&said.stderr, "attaching to pod 'to-be-attached-pod' is not allowed")
}

async fn custom_resources(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let group = format!("{}.example.com", t.name("deny"));
    let custom =
        crd::create(&t, &crd::definition(&t, &group, true, &[crd::version("v1", true, &crd::anything())])).await?;
    let operations = ["CREATE", "UPDATE", "DELETE"];
    hook.configure(
        Kind::Validating,
        &[hook.webhook("deny-unwanted-custom-resource", "/custom-resource", &operations, &group, &custom.plural)],
    )
    .await?;
    let objects = custom.objects("v1");
    let unwanted = "the custom resource contains unwanted data";
    let data = |value: &str| json!({ "data": { "webhook-e2e-test": value } });
    let refused = objects.create(&custom.object("v1", "cr-1", &data("webhook-disallow"))).await.refused()?;
    expect::has_text(refused.message(), unwanted)?;
    objects.create(&custom.object("v1", "cr-2", &data("webhook-nondeletable"))).await?;
    let refused = objects.patch("cr-2", Patch::Merge, &data("webhook-disallow")).await.refused()?;
    expect::has_text(refused.message(), unwanted)?;
    let refused = objects.delete("cr-2").await.refused()?;
    expect::has_text(
        refused.message(),
        "the custom resource cannot be deleted because it contains unwanted key and value",
    )?;
    objects.patch("cr-2", Patch::Merge, &data("webhook-allow")).await?;
    objects.delete("cr-2").await?;
    custom.remove().await
}

async fn definitions(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let plural = "customresourcedefinitions";
    let mut webhook = hook.webhook("deny-crd", "/crd", &["CREATE"], "apiextensions.k8s.io", plural);
    // Definitions belong to no namespace; others must not be asked about.
    webhook["objectSelector"] = json!({ "matchLabels": { "owner": t.namespace } });
    hook.configure(Kind::Validating, &[webhook]).await?;
    let group = format!("{}.example.com", t.name("denied"));
    let mut definition = crd::definition(&t, &group, true, &[crd::version("v1", true, &crd::anything())]);
    definition["metadata"]["labels"] = json!({ "owner": t.namespace, "webhook-e2e-test": "webhook-disallow" });
    let refused = crd::definitions(&t).create(&definition).await.refused()?;
    expect::has_text(refused.message(), "the crd contains unwanted label")
}

async fn timeouts(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let slow = |timeout: Value, policy: &str| {
        let mut webhook =
            hook.webhook("allow-configmap-with-delay", "/always-allow-delay-5s", &["CREATE"], "", "configmaps");
        webhook["timeoutSeconds"] = timeout;
        webhook["failurePolicy"] = policy.into();
        webhook["objectSelector"] = json!({ "matchLabels": { "slow": "yes" } });
        webhook
    };
    let maps = t.objects("v1", "configmaps");
    // Four configurations at a time would wait for one another.
    for (timeout, policy, admitted) in
        [(json!(1), "Fail", false), (json!(1), "Ignore", true), (json!(10), "Fail", true), (Value::Null, "Fail", true)]
    {
        let name = hook.configure(Kind::Validating, &[slow(timeout, policy)]).await?;
        let mut map = config_map("e2e-test-slow-webhook-configmap", "a", "b");
        map["metadata"]["labels"] = json!({ "slow": "yes" });
        if admitted {
            maps.create(&map).await?;
            maps.delete("e2e-test-slow-webhook-configmap").await?;
        } else {
            let refused = maps.create(&map).await.refused_with(500)?;
            expect::has_text(refused.message(), "context deadline exceeded")?;
        }
        Kind::Validating.objects(&t).delete(&name).await?;
        hook.settled(&name, false).await?;
    }
    Ok(())
}

async fn fail_closed(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let mut closed = failing(&hook, "fail-closed", "configmaps");
    closed["failurePolicy"] = "Fail".into();
    closed["objectSelector"] = json!({ "matchLabels": { "closed": "yes" } });
    hook.configure(Kind::Validating, &[closed]).await?;
    let mut map = config_map("foo", "a", "b");
    map["metadata"]["labels"] = json!({ "closed": "yes" });
    let refused = t.objects("v1", "configmaps").create(&map).await.refused_with(500)?;
    expect::same("the reason", &refused.reason(), &"InternalError")
}
