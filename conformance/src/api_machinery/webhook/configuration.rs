//! The configurations as objects: discovery, listing, changes, match conditions, and that no webhook may touch them.

use serde_json::{Value, json};

use super::{GROUP, Hook, Kind, config_map};
use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should include webhook resources in discovery documents [Conformance]" => discovery,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should not be able to mutate or prevent deletion of webhook configuration objects [Conformance]" => exempt,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing mutating webhooks should work [Conformance]" => list_mutating,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] listing validating webhooks should work [Conformance]" => list_validating,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a mutating webhook should work [Conformance]" => change_mutating,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] patching/updating a validating webhook should work [Conformance]" => change_validating,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update mutating webhook configurations with match conditions [Conformance]" => conditions_mutating,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should be able to create and update validating webhook configurations with match conditions [Conformance]" => conditions_validating,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject mutating webhook configurations with invalid match conditions [Conformance]" => bad_conditions_mutating,
    "[sig-api-machinery] AdmissionWebhook [Privileged:ClusterAdmin] should reject validating webhook configurations with invalid match conditions [Conformance]" => bad_conditions_validating,
}

async fn discovery(t: Test) -> anyhow::Result<()> {
    let groups = t.api().get("/apis").await?;
    let group = groups["groups"].as_array().into_iter().flatten().find(|g| g["name"] == "admissionregistration.k8s.io");
    let group = group.ok_or_else(|| anyhow::anyhow!("the group is not in /apis"))?;
    // The group may have versions for other kinds besides.
    expect::at(group, "/versions/0", json!({ "groupVersion": GROUP, "version": "v1" }))?;
    let group = t.api().get("/apis/admissionregistration.k8s.io").await?;
    expect::at(&group, "/preferredVersion/version", "v1")?;
    let list = t.api().get("/apis/admissionregistration.k8s.io/v1").await?;
    let names: Vec<&str> =
        list["resources"].as_array().into_iter().flatten().filter_map(|r| r["name"].as_str()).collect();
    for name in ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"] {
        expect::that(names.contains(&name), || format!("{name} is not among {names:?}"))?;
    }
    Ok(())
}

async fn exempt(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let plurals = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
    let about = |name: &str, path: &str, operation: &str| -> Vec<Value> {
        let webhook = |plural: &str| {
            let name = format!("{name}-{plural}");
            let mut webhook = hook.webhook(&name, path, &[operation], "admissionregistration.k8s.io", plural);
            webhook["objectSelector"] = json!({ "matchLabels": { "exempt": t.namespace } });
            webhook
        };
        plurals.map(webhook).to_vec()
    };
    hook.configure(Kind::Validating, &about("deny-deletions", "/always-deny", "DELETE")).await?;
    hook.configure(Kind::Mutating, &about("add-label", "/add-label", "CREATE")).await?;
    for kind in [Kind::Validating, Kind::Mutating] {
        let name = t.name("dummy");
        let object = json!({ "metadata": { "name": name, "labels": { "exempt": t.namespace } },
            "webhooks": [hook.webhook("dummy", "/invalid", &["CREATE"], "", "invalid")] });
        let created = kind.objects(&t).create(&object).await?;
        expect::at(&created, "/metadata/labels", json!({ "exempt": t.namespace }))?;
        kind.objects(&t).delete(&name).await?;
    }
    Ok(())
}

/// Webhooks of a kind that show what they do to a ConfigMap: the page, and what comes of the map then.
fn page(kind: Kind) -> &'static str {
    if kind == Kind::Mutating { "/mutating-configmaps" } else { "/configmaps" }
}

/// Whether the webhook is asked about the creation of a ConfigMap.
async fn asked(t: &Test, kind: Kind) -> anyhow::Result<bool> {
    let maps = t.objects("v1", "configmaps");
    let name = t.name("map");
    if kind == Kind::Mutating {
        let map = maps.create(&config_map(&name, "mutation-start", "yes")).await?;
        return Ok(map["data"]["mutation-stage-1"] == "yes");
    }
    match maps.create(&config_map(&name, "webhook-e2e-test", "webhook-disallow")).await {
        Ok(_) => Ok(false),
        answer => {
            let refused = answer.refused()?;
            expect::has_text(refused.message(), "the configmap contains unwanted key and value").map(|()| true)
        }
    }
}

async fn listed(t: Test, kind: Kind) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let webhook = || hook.webhook("listed", page(kind), &["CREATE"], "", "configmaps");
    let first = hook.configure(kind, &[webhook()]).await?;
    hook.configure(kind, &[webhook()]).await?;
    let mine = format!("labelSelector=e2e-list={}", t.namespace);
    expect::same("how many are listed", &kind.objects(&t).items(&mine).await?.len(), &2)?;
    expect::that(asked(&t, kind).await?, || "the webhooks are not asked".to_owned())?;
    kind.objects(&t).delete_collection(&mine).await?;
    hook.settled(&first, false).await?;
    kind.objects(&t).wait_list(&mine, "no configurations of the spec", <[Value]>::is_empty).await?;
    expect::that(!asked(&t, kind).await?, || "the webhooks are still asked".to_owned())
}

async fn list_mutating(t: Test) -> anyhow::Result<()> {
    listed(t, Kind::Mutating).await
}

async fn list_validating(t: Test) -> anyhow::Result<()> {
    listed(t, Kind::Validating).await
}

async fn changed(t: Test, kind: Kind) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let name = hook.configure(kind, &[hook.webhook("changed", page(kind), &["CREATE"], "", "configmaps")]).await?;
    expect::that(asked(&t, kind).await?, || "it is not asked at first".to_owned())?;
    // Neither the webhook nor the marker is to be asked about creations any longer, then both again.
    let operations = |object: &mut Value, operation: &str| {
        for webhook in object["webhooks"].as_array_mut().into_iter().flatten() {
            webhook["rules"][0]["operations"] = json!([operation]);
        }
    };
    let mut last = kind.objects(&t).modify(&name, |object| operations(object, "UPDATE")).await?;
    hook.settled(&name, false).await?;
    expect::that(!asked(&t, kind).await?, || "it is asked though its rule was updated".to_owned())?;
    operations(&mut last, "CREATE");
    kind.objects(&t).patch(&name, Patch::Merge, &json!({ "webhooks": last["webhooks"] })).await?;
    hook.settled(&name, true).await?;
    expect::that(asked(&t, kind).await?, || "it is not asked though its rule was patched".to_owned())
}

async fn change_mutating(t: Test) -> anyhow::Result<()> {
    changed(t, Kind::Mutating).await
}

async fn change_validating(t: Test) -> anyhow::Result<()> {
    changed(t, Kind::Validating).await
}

fn with_condition(hook: &Hook, kind: Kind, name: &str, condition: &Value) -> Value {
    let mut webhook = hook.webhook("conditions", page(kind), &["CREATE"], "", "configmaps");
    webhook["matchConditions"] = json!([condition]);
    json!({ "metadata": { "name": name }, "webhooks": [webhook] })
}

async fn conditions(t: Test, kind: Kind) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let name = t.name("conditions");
    let first = json!({ "name": "expression-1", "expression": "object.metadata.namespace == 'production'" });
    kind.objects(&t).create(&with_condition(&hook, kind, &name, &first)).await?;
    let object = kind.objects(&t).get(&name).await?;
    expect::at(&object, "/webhooks/0/matchConditions/0", first.clone())?;
    let second = json!({ "name": "expression-2", "expression": "object.metadata.namespace == 'staging'" });
    let object = kind
        .objects(&t)
        .modify(&name, |object| object["webhooks"][0]["matchConditions"] = json!([first, second]))
        .await?;
    expect::at(&object, "/webhooks/0/matchConditions", json!([first, second]))
}

async fn conditions_mutating(t: Test) -> anyhow::Result<()> {
    conditions(t, Kind::Mutating).await
}

async fn conditions_validating(t: Test) -> anyhow::Result<()> {
    conditions(t, Kind::Validating).await
}

async fn bad_conditions(t: Test, kind: Kind) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "webhook").await?;
    let bad = json!({ "name": "invalid-expression-1", "expression": "... [] bad expression" });
    let refused =
        kind.objects(&t).create(&with_condition(&hook, kind, &t.name("bad"), &bad)).await.refused_with(422)?;
    expect::has_text(refused.message(), "webhooks[0].matchConditions[0].expression: Invalid value:")?;
    expect::has_text(refused.message(), "compilation failed")
}

async fn bad_conditions_mutating(t: Test) -> anyhow::Result<()> {
    bad_conditions(t, Kind::Mutating).await
}

async fn bad_conditions_validating(t: Test) -> anyhow::Result<()> {
    bad_conditions(t, Kind::Validating).await
}
