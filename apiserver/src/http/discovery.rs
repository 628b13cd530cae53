//! Discovery: /api, /apis, /api/v1, /apis/GROUP, /apis/GROUP/VERSION, plain and aggregated (KEP-3352), and /version.

use axum::body::Body;
use http::header::{ACCEPT, HeaderValue, VARY};
use http::{HeaderMap, Response};
use serde_json::{Value, json};

use super::answer;
use super::status::{ApiError, ApiResult};
use crate::aggregator;
use crate::aggregator::discovery::{Group, Version, groups};
use crate::app::App;
use crate::registry::resource::{Catalogue, Resource, Sub};

pub fn answer(app: &App, path: &str, headers: &HeaderMap) -> ApiResult<Response<Body>> {
    let catalogue = app.catalogue.load_full();
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let value = match parts.as_slice() {
        [""] => root(app, &catalogue),
        ["version"] => version(),
        [which @ ("api" | "apis")] => {
            if let Some(version) = aggregated(headers) {
                let groups = groups(app, &catalogue).into_iter().filter(|g| g.name.is_empty() == (*which == "api"));
                let items: Vec<Value> = groups.map(|g| group_discovery(app, &catalogue, &g)).collect();
                let list = json!({ "kind": "APIGroupDiscoveryList", "apiVersion": format!("apidiscovery.k8s.io/{version}"), "metadata": {}, "items": items });
                let kind = format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
                let gzip = headers
                    .get(http::header::ACCEPT_ENCODING)
                    .and_then(|v| v.to_str().ok())
                    .is_some_and(|v| v.contains("gzip"));
                let mut response = answer::bytes(200, &kind, answer::to_json(&list), gzip);
                response.headers_mut().insert(VARY, HeaderValue::from_static("Accept"));
                return Ok(response);
            }
            if *which == "api" {
                let address = format!("{}:{}", app.options.advertised(), app.options.secure_port);
                json!({ "kind": "APIVersions", "versions": ["v1"],
                    "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }] })
            } else {
                let groups = groups(app, &catalogue);
                let groups: Vec<Value> = groups.iter().filter(|g| !g.name.is_empty()).map(group).collect();
                json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
            }
        }
        ["api", version] => resources(&catalogue, "", version)?,
        ["apis", name] => {
            let found = groups(app, &catalogue).into_iter().find(|g| g.name == *name && !name.is_empty());
            let mut value = group(&found.ok_or_else(ApiError::no_route)?);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            value
        }
        ["apis", group, version] => resources(&catalogue, group, version)?,
        _ => return Err(ApiError::no_route()),
    };
    Ok(answer::json(200, &value))
}

/// The version of aggregated discovery the client asks for first, if it does.
fn aggregated(headers: &HeaderMap) -> Option<&'static str> {
    let accept = headers.get(ACCEPT)?.to_str().ok()?;
    for range in accept.split(',') {
        let parts: Vec<&str> = range.split(';').map(str::trim).collect();
        if parts.first() != Some(&"application/json") {
            continue;
        }
        let has = |part: &str| parts.contains(&part);
        if has("as=APIGroupDiscoveryList") && has("g=apidiscovery.k8s.io") {
            return match () {
                () if has("v=v2") => Some("v2"),
                () if has("v=v2beta1") => Some("v2beta1"),
                () => continue,
            };
        }
        return None;
    }
    None
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "35", "emulationMajor": "1", "emulationMinor": "35", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "34", "gitVersion": "v1.35.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    })
}

fn root(app: &App, catalogue: &Catalogue) -> Value {
    let mut paths = vec!["/.well-known/openid-configuration".to_owned(), "/api".to_owned(), "/apis".to_owned()];
    for group in groups(app, catalogue) {
        if group.name.is_empty() {
            paths.push("/api/v1".to_owned());
            continue;
        }
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{}", group.name, version.name)));
    }
    let rest =
        ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/openid/v1/jwks", "/readyz", "/version"];
    paths.extend(rest.map(str::to_owned));
    paths.sort();
    json!({ "paths": paths })
}

fn group(group: &Group) -> Value {
    let version = |version: &Version| json!({ "groupVersion": format!("{}/{}", group.name, version.name), "version": version.name });
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    json!({ "name": group.name, "preferredVersion": versions.first(), "versions": versions })
}

/// The plain list of one group and version.
fn resources(catalogue: &Catalogue, group: &str, version: &str) -> ApiResult<Value> {
    let rows = catalogue.of(group, version);
    if rows.is_empty() {
        return Err(ApiError::no_route());
    }
    let api_version = rows[0].api_version();
    let mut list = Vec::new();
    for resource in rows {
        let mut row = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.verbs,
        });
        if !resource.short_names.is_empty() {
            row["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            row["categories"] = json!(resource.categories);
        }
        if resource.has_verb("list") {
            row["storageVersionHash"] = storage_hash(resource).into();
        }
        list.push(row);
        for sub in &resource.subresources {
            let mut row = json!({
                "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if !sub.version.is_empty() {
                row["group"] = sub.group.clone().into();
                row["version"] = sub.version.clone().into();
            }
            list.push(row);
        }
    }
    Ok(json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": list }))
}

/// Changes when objects are stored under another version (upstream's `discovery.StorageVersionHash`).
fn storage_hash(resource: &Resource) -> String {
    use base64::Engine;
    use sha2::{Digest, Sha256};
    let (group, version) = resource.storage_api_version.rsplit_once('/').unwrap_or(("", &resource.storage_api_version));
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    base64::prelude::BASE64_STANDARD.encode(&digest[..8])
}

fn group_discovery(app: &App, catalogue: &Catalogue, group: &Group) -> Value {
    let version = |version: &Version| {
        if let Some(remote) = &version.remote {
            return aggregator::discovery::version(app, remote);
        }
        let rows = catalogue.of(&group.name, &version.name);
        let list: Vec<Value> = rows.into_iter().map(|r| resource_discovery(r)).collect();
        json!({ "version": version.name, "resources": list, "freshness": "Current" })
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let metadata = if group.name.is_empty() {
        json!({ "creationTimestamp": null })
    } else {
        json!({ "name": group.name, "creationTimestamp": null })
    };
    json!({ "metadata": metadata, "versions": versions })
}

fn resource_discovery(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    let own = kind(&resource.group, &resource.version, &resource.kind);
    let mut row = json!({
        "resource": resource.plural, "responseKind": own, "verbs": resource.verbs,
        "scope": if resource.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": resource.singular,
    });
    if !resource.short_names.is_empty() {
        row["shortNames"] = json!(resource.short_names);
    }
    if !resource.categories.is_empty() {
        row["categories"] = json!(resource.categories);
    }
    if !resource.subresources.is_empty() {
        let sub = |sub: &Sub| {
            let kind = if sub.version.is_empty() { own.clone() } else { kind(&sub.group, &sub.version, &sub.kind) };
            json!({ "subresource": sub.name, "responseKind": kind, "verbs": sub.verbs })
        };
        row["subresources"] = resource.subresources.iter().map(sub).collect();
    }
    row
}
