//! Conversion webhooks of custom resources.

use serde_json::{Value, json};

use super::Hook;
use crate::api_machinery::crd;
use crate::client::Objects;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert from CR v1 to CR v2 [Conformance]" => one,
    "[sig-api-machinery] CustomResourceConversionWebhook [Privileged:ClusterAdmin] should be able to convert a non homogeneous list of CRs [Conformance]" => list,
}

/// The kind that the server converts, stored in its first version: the server knows the group by name.
async fn define(t: &Test, hook: &Hook) -> anyhow::Result<crd::Custom> {
    let text = json!({ "type": "string" });
    let schema = |fields: Value| json!({ "type": "object", "properties": fields });
    let versions = [
        crd::version("v1", true, &schema(json!({ "hostPort": text }))),
        crd::version("v2", false, &schema(json!({ "host": text, "port": text }))),
    ];
    let mut definition = crd::definition(t, "stable.example.com", true, &versions);
    definition["spec"]["conversion"] = json!({ "strategy": "Webhook", "webhook":
        { "clientConfig": hook.client("/crdconvert"), "conversionReviewVersions": ["v1", "v1beta1"] } });
    crd::create(t, &definition).await
}

fn v1() -> Value {
    json!({ "hostPort": "localhost:8080" })
}

fn v2() -> Value {
    json!({ "host": "localhost", "port": "8080" })
}

async fn one(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "crd-conversion-webhook").await?;
    let custom = define(&t, &hook).await?;
    custom.objects("v1").create(&custom.object("v1", "cr-instance-1", &v1())).await?;
    let object = custom.objects("v2").get("cr-instance-1").await?;
    expect::contains(&object, &v2())?;
    expect::that(object.get("hostPort").is_none(), || format!("a field of v1 is left: {object}"))?;
    custom.objects("v1").delete("cr-instance-1").await?;
    custom.remove().await
}

async fn list(t: Test) -> anyhow::Result<()> {
    let hook = Hook::start(&t, "crd-conversion-webhook").await?;
    let custom = define(&t, &hook).await?;
    custom.objects("v1").create(&custom.object("v1", "cr-instance-1", &v1())).await?;
    crd::definitions(&t)
        .modify(&custom.name(), |definition| {
            definition["spec"]["versions"][0]["storage"] = false.into();
            definition["spec"]["versions"][1]["storage"] = true.into();
        })
        .await?;
    custom.objects("v1").create(&custom.object("v1", "cr-instance-2", &v1())).await?;
    let all = async |objects: Objects, fields: Value| -> anyhow::Result<()> {
        let items = objects.items("").await?;
        expect::same("how many are listed", &items.len(), &2)?;
        items.iter().try_for_each(|item| expect::contains(item, &fields))
    };
    all(custom.objects("v1"), v1()).await?;
    all(custom.objects("v2"), v2()).await?;
    for name in ["cr-instance-1", "cr-instance-2"] {
        custom.objects("v1").delete(name).await?;
    }
    custom.remove().await
}
