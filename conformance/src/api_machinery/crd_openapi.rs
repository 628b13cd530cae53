//! CustomResourcePublishOpenAPI: custom kinds in `/openapi/v2`, and what kubectl makes of them.

use anyhow::bail;
use http::Method;
use serde_json::{Value, json};

use super::crd::{self, Custom};
use crate::client::Patch;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD with validation schema [Conformance]" => validation_schema,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD without validation schema [Conformance]" => no_schema,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields at the schema root [Conformance]" => preserving_at_root,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for CRD preserving unknown fields in an embedded object [Conformance]" => preserving_nested,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of different groups [Conformance]" => different_groups,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group but different versions [Conformance]" => different_versions,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] works for multiple CRDs of same group and version but different kinds [Conformance]" => different_kinds,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] updates the published spec when one version gets renamed [Conformance]" => renamed_version,
    "[sig-api-machinery] CustomResourcePublishOpenAPI [Privileged:ClusterAdmin] removes definition from spec when one version gets changed to not be served [Conformance]" => unserved_version,
}

fn foo() -> Value {
    let text = |words: &str| json!({ "type": "string", "description": words });
    json!({
        "type": "object", "description": "Foo CRD for Testing",
        "properties": {
            "spec": { "type": "object", "description": "Specification of Foo", "properties": {
                "bars": { "type": "array", "description": "List of Bars and their specs.", "items": {
                    "type": "object", "required": ["name"], "properties": {
                        "name": text("Name of Bar."), "age": text("Age of Bar."),
                        "feeling": { "type": "string", "description": "Whether Bar is feeling great.", "enum": ["Great", "Down"] },
                        "bazs": { "type": "array", "description": "List of Bazs.", "items": { "type": "string" } },
                    },
                } },
            } },
            "status": { "type": "object", "description": "Status of Foo", "properties": {
                "bars": { "type": "array", "description": "List of Bars and their statuses.", "items": {
                    "type": "object", "properties": {
                        "name": text("Name of Bar."),
                        "available": { "type": "boolean", "description": "Whether the Bar is installed." },
                        "quxType": { "type": "string", "description": "Indicates to external qux type.", "pattern": "in-tree|out-of-tree" },
                    },
                } },
            } },
        },
    })
}

fn waldo() -> Value {
    json!({ "type": "object", "description": "Waldo CRD for Testing", "properties": {
        "spec": { "type": "object", "description": "Specification of Waldo", "properties": {
            "dummy": { "type": "string", "description": "Dummy property." } } },
        "status": { "type": "object", "description": "Status of Waldo", "properties": {
            "bars": { "type": "array", "description": "List of Bars and their statuses.", "items": { "type": "string" } } } },
    } })
}

async fn define(t: &Test, group: &str, schema: &Value, versions: &[&str]) -> anyhow::Result<Custom> {
    let rows: Vec<Value> =
        versions.iter().enumerate().map(|(number, name)| crd::version(name, number == 0, schema)).collect();
    crd::create(t, &crd::definition(t, group, true, &rows)).await
}

/// `com.example.group.v1.Kind`
fn definition_name(custom: &Custom, version: &str) -> String {
    let mut group: Vec<&str> = custom.group.split('.').collect();
    group.reverse();
    format!("{}.{version}.{}", group.join("."), custom.kind)
}

/// Waits until the published document's definition is as wanted.
async fn published(t: &Test, name: &str, what: &str, wanted: impl Fn(Option<&Value>) -> bool) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    loop {
        let reply = t.api().raw(Method::GET, "/openapi/v2", &[("accept", "application/json")], Vec::new()).await?;
        let document = reply.ok()?.json()?;
        let definition = document["definitions"].get(name);
        if wanted(definition) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("definition {name} should be {what} and is {definition:?}");
        }
        tokio::task::yield_now().await;
    }
}

async fn has(t: &Test, custom: &Custom, version: &str, schema: &Value) -> anyhow::Result<()> {
    let name = definition_name(custom, version);
    published(t, &name, &schema.to_string(), |definition| {
        let Some(mut have) = definition.cloned() else { return false };
        if let Some(properties) = have["properties"].as_object_mut() {
            for own in ["apiVersion", "kind", "metadata"] {
                properties.remove(own);
            }
        }
        if let Some(fields) = have.as_object_mut() {
            fields.remove("x-kubernetes-group-version-kind");
        }
        have == *schema
    })
    .await
}

async fn has_not(t: &Test, custom: &Custom, version: &str) -> anyhow::Result<()> {
    published(t, &definition_name(custom, version), "gone", |definition| definition.is_none()).await
}

/// kubectl in the spec's namespace.
async fn kubectl(t: &Test, args: &[&str], input: &str) -> anyhow::Result<String> {
    let mut all = vec!["-n", t.namespace.as_str()];
    all.extend(args);
    t.cluster.kubectl(&all, input).await?.success()
}

async fn create_and_apply(t: &Test, custom: &Custom, object: &Value) -> anyhow::Result<()> {
    let resource = custom.name();
    for verb in ["create", "apply"] {
        kubectl(t, &[verb, "-f", "-"], &object.to_string()).await?;
        kubectl(t, &["delete", &resource, expect::name(object)], "").await?;
    }
    Ok(())
}

/// The parts must come in this order.
async fn explains(t: &Test, what: &str, parts: &[&str]) -> anyhow::Result<()> {
    let text = kubectl(t, &["explain", what], "").await?;
    let mut rest = text.as_str();
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => bail!("kubectl explain {what} should say {part:?} (in the order {parts:?}) and says {text}"),
        }
    }
    Ok(())
}

async fn gone(t: &Test, custom: &Custom, versions: &[&str]) -> anyhow::Result<()> {
    custom.remove().await?;
    for version in versions {
        has_not(t, custom, version).await?;
    }
    Ok(())
}

fn group(t: &Test) -> String {
    format!("{}.example.com", t.name("openapi"))
}

async fn validation_schema(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &group(&t), &foo(), &["v1"]).await?;
    has(&t, &custom, "v1", &foo()).await?;
    let object = |spec: Value| custom.object("v1", "test-foo", &json!({ "spec": spec }));
    create_and_apply(&t, &custom, &object(json!({ "bars": [{ "name": "test-bar" }] }))).await?;
    for (spec, complaint) in [
        (
            json!({ "bars": [{ "name": "test-bar", "feeling": "NonExistentValue" }] }),
            "Unsupported value: \"NonExistentValue\"",
        ),
        (json!({ "foo": true }), "unknown field \"spec.foo\""),
        (json!({ "bars": [{ "age": "10" }] }), "spec.bars[0].name: Required value"),
    ] {
        for verb in ["create", "apply"] {
            let args = ["-n", &t.namespace, verb, "-f", "-"];
            let said = t.cluster.kubectl(&args, &object(spec.clone()).to_string()).await?;
            expect::that(!said.ok, || format!("kubectl {verb} should have refused {spec}"))?;
            expect::has_text(&said.stderr, complaint)?;
        }
    }
    let plural = custom.name();
    explains(
        &t,
        &plural,
        &[
            "DESCRIPTION:",
            "Foo CRD for Testing",
            "FIELDS:",
            "apiVersion",
            "<string>",
            "APIVersion defines",
            "spec",
            "<Object>",
            "Specification of Foo",
        ],
    )
    .await?;
    let plural = &custom.plural;
    explains(
        &t,
        &format!("{plural}.metadata"),
        &[
            "DESCRIPTION:",
            "Standard object's metadata",
            "FIELDS:",
            "creationTimestamp",
            "<string>",
            "CreationTimestamp is a timestamp",
        ],
    )
    .await?;
    explains(
        &t,
        &format!("{plural}.spec"),
        &["DESCRIPTION:", "Specification of Foo", "FIELDS:", "bars", "<[]Object>", "List of Bars and their specs"],
    )
    .await?;
    explains(
        &t,
        &format!("{plural}.spec.bars"),
        &[
            "bars",
            "<[]Object>",
            "DESCRIPTION:",
            "List of Bars and their specs",
            "FIELDS:",
            "bazs",
            "<[]string>",
            "List of Bazs",
            "name",
            "<string>",
            "Name of Bar",
        ],
    )
    .await?;
    let said = t.cluster.kubectl(&["explain", &format!("{plural}.spec.bars2")], "").await?;
    expect::that(!said.ok, || "a field that does not exist was explained".to_owned())?;
    expect::has_text(&said.stderr, "field \"bars2\" does not exist")?;
    gone(&t, &custom, &["v1"]).await
}

async fn no_schema(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &group(&t), &crd::anything(), &["v1"]).await?;
    published(&t, &definition_name(&custom, "v1"), "an object", |d| d.is_some_and(|d| d["type"] == "object")).await?;
    create_and_apply(&t, &custom, &custom.object("v1", "test-cr", &json!({ "a": { "b": [{ "c": "d" }] } }))).await?;
    explains(&t, &custom.name(), &["DESCRIPTION:", "<empty>"]).await?;
    gone(&t, &custom, &["v1"]).await
}

async fn preserving_at_root(t: Test) -> anyhow::Result<()> {
    let schema = json!({
        "type": "object", "description": "preserve-unknown-properties at root for Testing",
        "x-kubernetes-preserve-unknown-fields": true,
        "properties": {
            "spec": { "type": "object", "description": "Specification of Waldo", "properties": { "dummy": { "type": "string", "description": "Dummy property." } } },
            "status": { "type": "object", "description": "Status of Waldo", "properties": { "bars": { "type": "array", "description": "List of Bars and their statuses.", "items": { "type": "string" } } } },
        },
    });
    let custom = define(&t, &group(&t), &schema, &["v1"]).await?;
    published(&t, &definition_name(&custom, "v1"), "there", |d| d.is_some()).await?;
    create_and_apply(&t, &custom, &custom.object("v1", "test-cr", &json!({ "a": { "b": [{ "c": "d" }] } }))).await?;
    explains(&t, &custom.name(), &["KIND:", &custom.kind]).await?;
    gone(&t, &custom, &["v1"]).await
}

async fn preserving_nested(t: Test) -> anyhow::Result<()> {
    let schema = json!({
        "type": "object", "description": "preserve-unknown-properties in nested field for Testing",
        "properties": {
            "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": "Specification of Waldo", "properties": { "dummy": { "type": "string", "description": "Dummy property." } } },
            "status": { "type": "object", "description": "Status of Waldo" },
        },
    });
    let custom = define(&t, &group(&t), &schema, &["v1"]).await?;
    published(&t, &definition_name(&custom, "v1"), "there", |d| d.is_some()).await?;
    let object = custom.object("v1", "test-cr", &json!({ "spec": { "a": null, "b": [{ "c": "d" }] } }));
    create_and_apply(&t, &custom, &object).await?;
    explains(&t, &custom.name(), &["DESCRIPTION:", "preserve-unknown-properties in nested field for Testing"]).await?;
    gone(&t, &custom, &["v1"]).await
}

async fn different_groups(t: Test) -> anyhow::Result<()> {
    let a = define(&t, &group(&t), &foo(), &["v1"]).await?;
    let b = define(&t, &group(&t), &waldo(), &["v1beta1"]).await?;
    has(&t, &b, "v1beta1", &waldo()).await?;
    has(&t, &a, "v1", &foo()).await?;
    gone(&t, &a, &["v1"]).await?;
    gone(&t, &b, &["v1beta1"]).await
}

async fn different_versions(t: Test) -> anyhow::Result<()> {
    let both = define(&t, &group(&t), &foo(), &["v2", "v3"]).await?;
    has(&t, &both, "v3", &foo()).await?;
    has(&t, &both, "v2", &foo()).await?;
    gone(&t, &both, &["v2", "v3"]).await?;
    two_in_a_group(&t, "v4", "v5").await
}

async fn different_kinds(t: Test) -> anyhow::Result<()> {
    two_in_a_group(&t, "v6", "v6").await
}

async fn two_in_a_group(t: &Test, one: &str, other: &str) -> anyhow::Result<()> {
    let group = group(t);
    let a = define(t, &group, &foo(), &[one]).await?;
    let b = define(t, &group, &waldo(), &[other]).await?;
    has(t, &b, other, &waldo()).await?;
    has(t, &a, one, &foo()).await?;
    gone(t, &a, &[one]).await?;
    gone(t, &b, &[other]).await
}

async fn renamed_version(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &group(&t), &foo(), &["v2", "v3"]).await?;
    has(&t, &custom, "v3", &foo()).await?;
    has(&t, &custom, "v2", &foo()).await?;
    let patch = json!([
        { "op": "test", "path": "/spec/versions/1/name", "value": "v3" },
        { "op": "replace", "path": "/spec/versions/1/name", "value": "v4" },
    ]);
    crd::definitions(&t).patch(&custom.name(), Patch::Json, &patch).await?;
    has(&t, &custom, "v4", &foo()).await?;
    has_not(&t, &custom, "v3").await?;
    has(&t, &custom, "v2", &foo()).await?;
    gone(&t, &custom, &["v2", "v4"]).await
}

async fn unserved_version(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &group(&t), &foo(), &["v5", "v6alpha1"]).await?;
    has(&t, &custom, "v6alpha1", &foo()).await?;
    has(&t, &custom, "v5", &foo()).await?;
    crd::definitions(&t).modify(&custom.name(), |d| d["spec"]["versions"][1]["served"] = false.into()).await?;
    has_not(&t, &custom, "v6alpha1").await?;
    has(&t, &custom, "v5", &foo()).await?;
    gone(&t, &custom, &["v5"]).await
}
