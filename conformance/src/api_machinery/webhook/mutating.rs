//! Webhooks that change what they see.

use serde_json::{Value, json};

use super::{Hook, Kind, config_map, pod};
use crate::api_machinery::crd::{self, Custom};
use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate configmap [Conformance]" => config_maps,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate pod and apply defaults after mutation [Conformance]" => pods,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource [Conformance]" => custom_resource,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with pruning [Conformance]" => pruning,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate custom resource with different stored version [Conformance]" => stored_version,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should mutate everything except 'skip-me' configmaps [Conformance]" => all_but_skip_me,
}

/// Two webhooks, the second of which continues what the first began.
fn stages(hook: &Hook, path: &str, group: &str, resource: &str) -> [Value; 2] {
    ["stage-1", "stage-2"].map(|stage| {
        let mut webhook = hook.webhook(&format!("adding-{stage}"), path, &["CREATE", "UPDATE"], group, resource);
        webhook["reinvocationPolicy"] = "Never".into();
        webhook
    })
}

fn staged() -> Value {
    json!({ "mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes" })
}

async fn config_maps(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    hook.configure(Kind::Mutating, &stages(&hook, "/mutating-configmaps", "", "configmaps")).await?;
    let map = t.objects("v1", "configmaps").create(&config_map("to-be-mutated", "mutation-start", "yes")).await?;
    expect::at(&map, "/data", staged())
}

async fn pods(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    hook.configure(Kind::Mutating, &[hook.webhook("adding-init-container", "/mutating-pods", &["CREATE"], "", "pods")])
        .await?;
    let pod = t.objects("v1", "pods").create(&pod("webhook-to-be-mutated", "example")).await?;
    expect::same("the number of init containers", &pod["spec"]["initContainers"].as_array().map(Vec::len), &Some(1))?;
    expect::at(&pod, "/spec/initContainers/0/name", "webhook-added-init-container")?;
    expect::at(&pod, "/spec/initContainers/0/terminationMessagePolicy", "File")
}

/// A kind whose versions have the given schemas; the first is the one stored.
async fn custom(t: &Test, hook: &Hook, versions: &[(&str, Value)]) -> anyhow::Result<Custom> {
    let group = format!("{}.example.com", t.name("mutated"));
    let versions: Vec<Value> =
        versions.iter().enumerate().map(|(i, (name, schema))| crd::version(name, i == 0, schema)).collect();
    let custom = crd::create(t, &crd::definition(t, &group, true, &versions)).await?;
    hook.configure(Kind::Mutating, &stages(hook, "/mutating-custom-resource", &group, &custom.plural)).await?;
    Ok(custom)
}

fn start() -> Value {
    json!({ "data": { "mutation-start": "yes" } })
}

async fn custom_resource(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let custom = custom(&t, &hook, &[("v1", crd::anything())]).await?;
    let object = custom.objects("v1").create(&custom.object("v1", "cr-instance-1", &start())).await?;
    expect::at(&object, "/data", staged())?;
    custom.remove().await
}

async fn pruning(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let text = json!({ "type": "string" });
    let schema = json!({ "type": "object", "properties": { "data": { "type": "object", "properties":
        { "mutation-start": text, "mutation-stage-1": text } } } });
    let custom = custom(&t, &hook, &[("v1", schema)]).await?;
    let object = custom.objects("v1").create(&custom.object("v1", "cr-instance-1", &start())).await?;
    // What the second stage adds is not in the schema.
    expect::at(&object, "/data", json!({ "mutation-start": "yes", "mutation-stage-1": "yes" }))?;
    custom.remove().await
}

async fn stored_version(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let custom = custom(&t, &hook, &[("v1", crd::anything()), ("v2", crd::anything())]).await?;
    custom.objects("v1").create(&custom.object("v1", "cr-instance-1", &start())).await?;
    crd::definitions(&t)
        .modify(&custom.name(), |definition| {
            definition["spec"]["versions"][0]["storage"] = false.into();
            definition["spec"]["versions"][1]["storage"] = true.into();
        })
        .await?;
    // Written through one version, stored in the other, shown to the webhook on the way.
    let patch = json!({ "data": { "dummy": "test" } });
    custom.objects("v1").patch("cr-instance-1", Patch::Merge, &patch).await?;
    let object = custom.objects("v2").get("cr-instance-1").await?;
    let mut wanted = staged();
    wanted["dummy"] = "test".into();
    expect::at(&object, "/data", wanted)?;
    custom.remove().await
}

async fn all_but_skip_me(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let mut webhooks = stages(&hook, "/mutating-configmaps", "", "configmaps");
    for webhook in &mut webhooks {
        webhook["matchConditions"] =
            json!([{ "name": "exclude-skip-me", "expression": "object.metadata.name != 'skip-me'" }]);
    }
    hook.configure(Kind::Mutating, &webhooks).await?;
    let maps = t.objects("v1", "configmaps");
    let map = maps.create(&config_map("skip-me", "mutation-start", "yes")).await?;
    expect::at(&map, "/data", json!({ "mutation-start": "yes" }))?;
    let map = maps.create(&config_map("not-skip-me", "mutation-start", "yes")).await?;
    expect::at(&map, "/data", staged())
}
