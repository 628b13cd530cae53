//! AggregatedDiscovery: all groups and their resources in one document.

use anyhow::Context;
use http::Method;
use serde_json::{Value, json};

use super::crd;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface [Conformance]" => built_in,
    "[sig-api-machinery] AggregatedDiscovery should support aggregated discovery interface for CRDs [Conformance]" => custom,
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery endpoint Accept headers [Conformance]" => accept_headers,
    "[sig-api-machinery] AggregatedDiscovery should support raw aggregated discovery request for CRDs [Conformance]" => custom,
}

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// What upstream requires to be there, besides much more.
const BUILT_IN: [(&str, &str, &[&str]); 8] = [
    ("", "v1", &["namespaces", "nodes", "pods", "services", "secrets", "configmaps", "serviceaccounts"]),
    ("admissionregistration.k8s.io", "v1", &["mutatingwebhookconfigurations", "validatingwebhookconfigurations"]),
    ("apiextensions.k8s.io", "v1", &["customresourcedefinitions"]),
    ("apps", "v1", &["deployments", "daemonsets", "replicasets", "statefulsets", "controllerrevisions"]),
    ("batch", "v1", &["jobs", "cronjobs"]),
    ("networking.k8s.io", "v1", &["ingresses", "ingressclasses", "networkpolicies"]),
    ("rbac.authorization.k8s.io", "v1", &["roles", "rolebindings", "clusterroles", "clusterrolebindings"]),
    ("storage.k8s.io", "v1", &["storageclasses", "volumeattachments", "csidrivers", "csinodes"]),
];

async fn documents(t: &Test, accept: &str) -> anyhow::Result<Vec<Value>> {
    let mut items = Vec::new();
    for path in ["/api", "/apis"] {
        let reply = t.api().raw(Method::GET, path, &[("accept", accept)], Vec::new()).await?.ok()?;
        let kind = reply.headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        for part in ["application/json", "g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"] {
            expect::has_text(&kind, part)?;
        }
        let document = reply.json()?;
        expect::contains(
            &document,
            &json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2" }),
        )?;
        items.extend(document["items"].as_array().cloned().with_context(|| format!("{path} has no items"))?);
    }
    Ok(items)
}

/// A resource's row in the documents.
fn row<'a>(documents: &'a [Value], group: &str, version: &str, resource: &str) -> Option<&'a Value> {
    let group = documents.iter().find(|g| expect::text(g, "/metadata/name") == group)?;
    let version = group["versions"].as_array()?.iter().find(|v| v["version"] == version)?;
    version["resources"].as_array()?.iter().find(|r| r["resource"] == resource)
}

fn all_built_in(documents: &[Value]) -> anyhow::Result<()> {
    for (group, version, resources) in BUILT_IN {
        for resource in resources {
            let row = row(documents, group, version, resource)
                .with_context(|| format!("there is no {resource} of {group}/{version}"))?;
            for field in ["responseKind", "scope", "verbs", "singularResource"] {
                expect::that(!row[field].is_null(), || format!("{resource} has no {field}: {row}"))?;
            }
        }
    }
    Ok(())
}

async fn built_in(t: Test) -> anyhow::Result<()> {
    all_built_in(&documents(&t, &format!("{AGGREGATED},application/json")).await?)
}

async fn accept_headers(t: Test) -> anyhow::Result<()> {
    for accept in [AGGREGATED.to_owned(), format!("{AGGREGATED},application/json;q=0.9"), format!("{AGGREGATED},*/*")] {
        all_built_in(&documents(&t, &accept).await?)?;
    }
    // Without the wish the plain documents come.
    let plain = t.api().get("/apis").await?;
    expect::at(&plain, "/kind", "APIGroupList")
}

async fn custom(t: Test) -> anyhow::Result<()> {
    let group = format!("{}.example.com", t.name("aggregated"));
    let custom =
        crd::create(&t, &crd::definition(&t, &group, true, &[crd::version("v1", true, &crd::anything())])).await?;
    let documents = documents(&t, AGGREGATED).await?;
    let row =
        row(&documents, &group, "v1", &custom.plural).with_context(|| format!("there is no {}", custom.name()))?;
    expect::at(row, "/responseKind/kind", custom.kind.clone())?;
    expect::at(row, "/scope", "Namespaced")?;
    custom.remove().await
}
