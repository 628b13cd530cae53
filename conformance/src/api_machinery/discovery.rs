//! Discovery.

use anyhow::Context;
use serde_json::Value;

use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-api-machinery] Discovery should validate PreferredVersion for each APIGroup [Conformance]" => preferred_versions,
    "[sig-api-machinery] Discovery should locate the groupVersion and a resource within each APIGroup [Conformance]" => locate,
}

async fn preferred_versions(t: Test) -> anyhow::Result<()> {
    let groups = t.api().get("/apis").await?;
    let groups = groups["groups"].as_array().cloned().context("/apis should have groups")?;
    expect::that(!groups.is_empty(), || "/apis has no groups".to_owned())?;
    // Groups of custom kinds come and go with the specs beside this one.
    for group in groups.iter().filter(|group| !expect::text(group, "/name").ends_with(".example.com")) {
        let path = format!("/apis/{}", expect::text(group, "/name"));
        let own = t.api().get(&path).await?;
        let preferred = &own["preferredVersion"]["groupVersion"];
        expect::same(
            &format!("the preferred version of {path}"),
            &&group["preferredVersion"],
            &&own["preferredVersion"],
        )?;
        let versions = own["versions"].as_array().cloned().unwrap_or_default();
        expect::that(versions.iter().any(|v| v["groupVersion"] == *preferred), || {
            format!("{path} prefers {preferred}, which is none of its versions {versions:?}")
        })?;
    }
    Ok(())
}

async fn locate(t: Test) -> anyhow::Result<()> {
    const WANTED: [(&str, &str, &str, bool); 14] = [
        ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations", false),
        ("apiextensions.k8s.io", "v1", "customresourcedefinitions", false),
        ("apiregistration.k8s.io", "v1", "apiservices", false),
        ("apps", "v1", "deployments", true),
        ("authentication.k8s.io", "v1", "tokenreviews", false),
        ("authorization.k8s.io", "v1", "selfsubjectaccessreviews", false),
        ("autoscaling", "v1", "horizontalpodautoscalers", true),
        ("batch", "v1", "jobs", true),
        ("certificates.k8s.io", "v1", "certificatesigningrequests", false),
        ("coordination.k8s.io", "v1", "leases", true),
        ("discovery.k8s.io", "v1", "endpointslices", true),
        ("networking.k8s.io", "v1", "ingresses", true),
        ("policy", "v1", "poddisruptionbudgets", true),
        ("rbac.authorization.k8s.io", "v1", "clusterroles", false),
    ];
    let groups = t.api().get("/apis").await?;
    for (group, version, resource, namespaced) in WANTED {
        let row = groups["groups"].as_array().into_iter().flatten().find(|g| g["name"] == group);
        let row = row.with_context(|| format!("/apis should list {group}"))?;
        let versions = row["versions"].as_array().into_iter().flatten();
        let listed = versions.into_iter().any(|v| v["version"] == version);
        expect::that(listed, || format!("{group} should have {version} and is {row}"))?;
        let list = t.api().get(&format!("/apis/{group}/{version}")).await?;
        expect::at(&list, "/groupVersion", format!("{group}/{version}"))?;
        let found = list["resources"].as_array().into_iter().flatten().find(|r| r["name"] == resource);
        let found: &Value = found.with_context(|| format!("{group}/{version} should list {resource}"))?;
        expect::at(found, "/namespaced", namespaced)?;
    }
    Ok(())
}
