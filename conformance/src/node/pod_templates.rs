//! PodTemplates.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-node] PodTemplates should delete a collection of pod templates [Conformance]" => collection,
    "[sig-node] PodTemplates should replace a pod template [Conformance]" => replace,
    "[sig-node] PodTemplates should run the lifecycle of PodTemplates [Conformance]" => lifecycle,
}

fn template(name: &str, label: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "podtemplate-static": label } },
        "template": { "spec": { "containers": [{ "name": "nginx", "image": "nginx" }] } },
    })
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let (templates, all) = (t.objects("v1", "podtemplates"), t.everywhere("v1", "podtemplates"));
    let label = t.name("static");
    let selector = format!("labelSelector=podtemplate-static={label}");
    let created = templates.create(&template("nginx", &label)).await?;
    expect::at(&created, "/template/spec/containers/0/imagePullPolicy", "Always")?;
    expect::same("the number of templates in all namespaces", &all.items(&selector).await?.len(), &1)?;
    let body = json!({ "metadata": { "labels": { "podtemplate": "patched" } } });
    templates.patch("nginx", Patch::Strategic, &body).await?;
    expect::contains(&templates.get("nginx").await?, &body)?;
    templates.delete("nginx").await?;
    expect::same("the number of templates left", &all.items(&selector).await?.len(), &0)
}

async fn collection(t: Test) -> anyhow::Result<()> {
    let templates = t.objects("v1", "podtemplates");
    let label = t.name("set");
    let selector = format!("labelSelector=podtemplate-static={label}");
    for name in ["test-podtemplate-1", "test-podtemplate-2", "test-podtemplate-3"] {
        templates.create(&template(name, &label)).await?;
    }
    expect::same("the number of templates", &templates.items(&selector).await?.len(), &3)?;
    templates.delete_collection(&selector).await?;
    templates.wait_list(&selector, "no templates", <[Value]>::is_empty).await?;
    Ok(())
}

async fn replace(t: Test) -> anyhow::Result<()> {
    let templates = t.objects("v1", "podtemplates");
    templates.create(&template("pt", "x")).await?;
    let updated = templates.modify("pt", |p| p["metadata"]["annotations"] = json!({ "updated": "true" })).await?;
    expect::at(&updated, "/metadata/annotations/updated", "true")
}
