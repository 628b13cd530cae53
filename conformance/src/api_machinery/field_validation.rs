//! FieldValidation: `fieldValidation=Strict` for built-in and custom kinds.

use http::Method;
use serde_json::{Value, json};

use super::crd::{self, Custom};
use crate::client::{Refusal, Refused};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] FieldValidation should detect unknown and duplicate fields of a typed object [Conformance]" => typed_fields,
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields of a typed object [Conformance]" => typed_metadata,
    "[sig-api-machinery] FieldValidation should create/apply a valid CR for CRD with validation schema [Conformance]" => valid,
    "[sig-api-machinery] FieldValidation should create/apply a CR with unknown fields for CRD with no validation schema [Conformance]" => no_schema,
    "[sig-api-machinery] FieldValidation should create/apply an invalid CR with extra properties for CRD with validation schema [Conformance]" => unknown_field,
    "[sig-api-machinery] FieldValidation should detect unknown metadata fields in both the root and embedded object of a CR [Conformance]" => unknown_metadata,
    "[sig-api-machinery] FieldValidation should detect duplicates in a CR when preserving unknown fields [Conformance]" => duplicates,
}

const STRICT: &str = "fieldManager=field_validation_mgr&fieldValidation=Strict";

async fn refused_deployment(t: &Test, metadata: &str, spec: &str) -> anyhow::Result<Refused> {
    let template =
        r#"{"metadata":{"labels":{"app":"nginx"}},"spec":{"containers":[{"name":"nginx","image":"nginx:latest"}]}}"#;
    let body = format!(
        r#"{{"apiVersion":"apps/v1","kind":"Deployment","metadata":{{"name":"my-dep",{metadata}"labels":{{"app":"nginx"}}}},"spec":{{{spec}"selector":{{"matchLabels":{{"app":"nginx"}}}},"template":{template}}}}}"#
    );
    let path = t.objects("apps/v1", "deployments").path(STRICT);
    let reply = t.api().raw(Method::POST, &path, &[("content-type", "application/json")], body.into_bytes()).await?;
    reply.ok().refused_with(400)
}

async fn typed_fields(t: Test) -> anyhow::Result<()> {
    let refused = refused_deployment(&t, "", r#""unknownField":"foo","replicas":2,"replicas":3,"#).await?;
    expect::has_text(
        refused.message(),
        r#"strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas""#,
    )
}

async fn typed_metadata(t: Test) -> anyhow::Result<()> {
    let refused = refused_deployment(&t, r#""unknownMeta":"foo","#, "").await?;
    expect::has_text(refused.message(), r#"strict decoding error: unknown field "metadata.unknownMeta""#)
}

fn properties() -> Value {
    let text = json!({ "type": "string" });
    let number = json!({ "type": "integer", "format": "int32" });
    json!({
        "foo": text,
        "cronSpec": { "type": "string", "pattern": r"^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$" },
        "ports": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
            "items": {
                "type": "object", "required": ["containerPort", "protocol"],
                "properties": { "containerPort": number, "hostPort": number, "hostIP": text, "name": text, "protocol": text },
            },
        },
    })
}

fn schema() -> Value {
    json!({ "type": "object", "properties": { "spec": { "type": "object", "properties": properties() } } })
}

async fn define(t: &Test, schema: &Value) -> anyhow::Result<Custom> {
    let group = format!("{}.example.com", t.name("mygroup"));
    let versions = [crd::version("v1beta1", false, schema), crd::version("v1beta2", true, schema)];
    crd::create(t, &crd::definition(t, &group, false, &versions)).await
}

/// Applies YAML: the head, then `body`, whose lines are the object's fields from `metadata` on.
async fn apply(custom: &Custom, body: &str) -> anyhow::Result<crate::client::Reply> {
    let yaml = format!("apiVersion: {}\nkind: {}\n{body}", custom.api_version("v1beta1"), custom.kind);
    custom.objects("v1beta1").apply("mytest", STRICT, &yaml).await
}

const PORTS: &str = "  cronSpec: \"* * * * */5\"\n  ports:\n  - name: x\n    containerPort: 80\n    protocol: TCP\n";

async fn valid(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &schema()).await?;
    apply(&custom, &format!("metadata:\n  name: mytest\nspec:\n  foo: foo1\n{PORTS}")).await?.ok()?;
    custom.remove().await
}

async fn no_schema(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &crd::anything()).await?;
    apply(&custom, &format!("metadata:\n  name: mytest\nspec:\n  unknown: uk1\n{PORTS}")).await?.ok()?;
    custom.remove().await
}

async fn unknown_field(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &schema()).await?;
    let body = format!("metadata:\n  name: mytest\nunknownField: unknown\nspec:\n  foo: foo1\n{PORTS}");
    let refused = apply(&custom, &body).await?.ok().refused()?;
    expect::has_text(&refused.status.to_string(), ".unknownField: field not declared in schema")?;
    custom.remove().await
}

fn embedding() -> Value {
    let mut properties = properties();
    properties["template"] = json!({
        "type": "object", "x-kubernetes-embedded-resource": true,
        "properties": { "metadata": { "type": "object", "properties": { "name": { "type": "string" } } }, "spec": { "type": "object" } },
    });
    json!({ "type": "object", "properties": {
        "spec": { "type": "object", "x-kubernetes-preserve-unknown-fields": true, "properties": properties },
    } })
}

async fn unknown_metadata(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &embedding()).await?;
    let template = format!(
        "  template:\n    apiVersion: foo/v1\n    kind: Sub\n    metadata:\n      unknownSubMeta: unknown\n      name: subobject\n      namespace: {}\n",
        t.namespace
    );
    let body = format!("metadata:\n  name: mytest\n  unknownMeta: unknown\nspec:\n{template}  foo: foo1\n{PORTS}");
    let refused = apply(&custom, &body).await?.ok().refused()?;
    let text = refused.status.to_string();
    expect::that(
        text.contains(".spec.template.metadata.unknownSubMeta: field not declared in schema")
            || text.contains(".metadata.unknownMeta: field not declared in schema"),
        || format!("neither unknown field is named in {text}"),
    )?;
    custom.remove().await
}

async fn duplicates(t: Test) -> anyhow::Result<()> {
    let custom = define(&t, &embedding()).await?;
    let body = format!("metadata:\n  name: mytest\nspec:\n  unknown: uk1\n  unknown: uk2\n  foo: foo1\n{PORTS}");
    let refused = apply(&custom, &body).await?.ok().refused()?;
    expect::has_text(refused.message(), "key \"unknown\" already set in map")?;
    custom.remove().await
}
