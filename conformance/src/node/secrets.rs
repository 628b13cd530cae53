//! Secrets.

use serde_json::{Value, json};

use crate::client::{Patch, Refusal};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] Secrets should fail to create secret due to empty secret key [Conformance]" => empty_key,
    "[sig-node] Secrets should patch a secret [Conformance]" => patch,
    "[sig-storage] Secrets should be immutable if `immutable` field is set [Conformance]" => immutable,
}

async fn empty_key(t: Test) -> anyhow::Result<()> {
    let secret = json!({ "metadata": { "name": "empty-key" }, "data": { "": "dmFsdWUtMQo=" } });
    let refused = t.objects("v1", "secrets").create(&secret).await.refused_with(422)?;
    expect::has_text(refused.message(), "data[]: Invalid value")
}

async fn patch(t: Test) -> anyhow::Result<()> {
    let (secrets, all) = (t.objects("v1", "secrets"), t.everywhere("v1", "secrets"));
    let label = t.name("constant");
    let selector = format!("labelSelector=testsecret-constant={label}");
    let labels = json!({ "testsecret-constant": label });
    let created = secrets
        .create(&json!({ "metadata": { "name": "test", "labels": labels }, "data": { "key": "dmFsdWU=" } }))
        .await?;
    expect::at(&created, "/type", "Opaque")?;
    expect::same("the number of secrets in all namespaces", &all.items(&selector).await?.len(), &1)?;
    let body = json!({ "metadata": { "labels": { "testsecret": "true" } }, "data": { "key": "dmFsdWUx" } });
    secrets.patch("test", Patch::Strategic, &body).await?;
    let got = secrets.get("test").await?;
    expect::contains(&got, &body)?;
    expect::same("the number of patched secrets", &all.items("labelSelector=testsecret=true").await?.len(), &1)?;
    secrets.delete_collection(&selector).await?;
    secrets.wait_list(&selector, "no secrets", <[Value]>::is_empty).await?;
    Ok(())
}

async fn immutable(t: Test) -> anyhow::Result<()> {
    super::config_maps::immutable_data(&t, "secrets", "stringData").await
}
