//! Discovery: /api, /apis, /api/v1, /apis/GROUP, /apis/GROUP/VERSION, plain and aggregated (KEP-3352), and /version.

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, ETAG, HeaderValue, IF_NONE_MATCH, VARY};
use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

use super::answer;
use super::negotiate::{self, Accept};
use super::status::{ApiError, ApiResult};
use crate::aggregator;
use crate::aggregator::discovery::{Group, Version, groups, registered_groups};
use crate::app::App;
use crate::registry::resource::{Catalogue, Resource, Sub};

pub fn answer(app: &App, path: &str, headers: &HeaderMap) -> ApiResult<Response<Body>> {
    let catalogue = app.catalogue.load_full();
    let parts = parts(path);
    let value = match parts.as_slice() {
        ["" | "index.html"] => root(app, &catalogue),
        ["version"] => version(),
        [which @ ("api" | "apis")] => {
            if is_aggregated(headers) {
                let groups = groups(app, &catalogue).into_iter().filter(|g| g.name.is_empty() == (*which == "api"));
                let items: Vec<Value> = groups.map(|g| group_discovery(app, &catalogue, &g)).collect();
                let list = json!({ "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items });
                return Ok(kept(headers, answer::line(answer::to_json(&list))));
            }
            if *which == "api" {
                let address = app.options.external_address();
                json!({ "kind": "APIVersions", "versions": ["v1"],
                    "serverAddressByClientCIDRs": [{ "clientCIDR": "0.0.0.0/0", "serverAddress": address }] })
            } else {
                let groups = registered_groups(app, &catalogue);
                let groups: Vec<Value> = groups.iter().filter(|g| !g.name.is_empty()).map(group).collect();
                json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": groups })
            }
        }
        ["api", version] => resources(&catalogue, "", version)?,
        ["apis", name] => {
            let found = registered_groups(app, &catalogue).into_iter().find(|g| g.name == *name && !name.is_empty());
            let Some(found) = found else { return Ok(answer::page_not_found()) };
            let mut value = group(&found);
            value["kind"] = "APIGroup".into();
            value["apiVersion"] = "v1".into();
            value
        }
        ["apis", group, version] if catalogue.is_built_in(group) || !catalogue.of(group, version).is_empty() => {
            resources(&catalogue, group, version)?
        }
        _ => return Ok(answer::page_not_found()),
    };
    // Upstream's REST services and its other handlers refuse in different words.
    let restful = matches!(parts.as_slice(), ["api"] | ["api", _] | ["apis", _, _]);
    let kind = value["kind"].as_str().unwrap_or_default();
    let protobuf = schema::protobuf::supports("v1", kind);
    let known = names_one_of(headers, &FORMS);
    let accept = match parts.as_slice() {
        ["" | "index.html" | "version"] => Accept::JSON,
        _ => Accept::parse(headers, protobuf, false)
            .map_err(|error| if restful && !known { no_representation(&FORMS.join(", ")) } else { error })?,
    };
    let body = answer::encode(accept, "v1", kind, &value)?;
    Ok(answer::bytes(200, accept.content_type(false), body, accept.gzip))
}

/// Whether the client names one of `forms`, whatever it wants to see in it: parameters do not count.
pub fn names_one_of(headers: &HeaderMap, forms: &[&str]) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or("*/*");
    accept.split(',').any(|range| {
        let form = range.split(';').next().unwrap_or_default().trim();
        matches!(form, "*/*" | "") || forms.contains(&form)
    })
}

/// The forms that most is offered in.
pub const FORMS: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

/// The one form that a REST service of upstream's offers, besides those of discovery.
pub fn only_form(path: &str) -> Option<&'static str> {
    match path.trim_end_matches('/') {
        "/version" | "/.well-known/openid-configuration" => Some("application/json"),
        "/openid/v1/jwks" => Some("application/jwk-set+json"),
        _ => None,
    }
}

/// What upstream's REST library says where no wish can be granted.
pub fn no_representation(offers: &str) -> ApiError {
    let text = format!("406: Not Acceptable\n\nAvailable representations: {offers}");
    ApiError { details: json!({}), ..ApiError::new(406, "NotAcceptable", text) }
}

/// The parts of a path, which may end with a slash.
fn parts(path: &str) -> Vec<&str> {
    path.strip_prefix('/').map(|path| path.strip_suffix('/').unwrap_or(path)).unwrap_or(path).split('/').collect()
}

/// Whether a path is one of upstream's REST services of discovery: `/api`, `/api/v1`, and built-in groups' versions.
pub fn is_restful(app: &App, path: &str) -> bool {
    match parts(path).as_slice() {
        ["api"] | ["api", _] => true,
        ["apis", group, version] => {
            let catalogue = app.catalogue.load();
            catalogue.is_built_in(group) && !catalogue.of(group, version).is_empty()
        }
        _ => false,
    }
}

/// Aggregated discovery, which clients keep: they are told by its hash that it is still the same (KEP-3352).
fn kept(headers: &HeaderMap, body: Bytes) -> Response<Body> {
    const KIND: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let hash = Sha512::digest(&body).iter().fold(String::from("\""), |text, byte| format!("{text}{byte:02X}")) + "\"";
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = match text(IF_NONE_MATCH) == hash {
        true => {
            let mut same = Response::new(Body::empty());
            *same.status_mut() = StatusCode::NOT_MODIFIED;
            same
        }
        false => answer::bytes(200, KIND, body, text(ACCEPT_ENCODING).contains("gzip")),
    };
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("Accept"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
    if let Ok(hash) = HeaderValue::from_str(&hash) {
        headers.insert(ETAG, hash);
    }
    response
}

/// Whether the first of the client's wishes that can be granted is aggregated discovery, of which v2 is left.
fn is_aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut wishes = negotiate::ranges(accept).into_iter().filter_map(|range| {
        let parts: Vec<&str> = range.split(';').map(str::trim).collect();
        let plain = !parts.iter().any(|part| ["as=", "g=", "v="].iter().any(|name| part.starts_with(name)));
        let whole =
            ["as=APIGroupDiscoveryList", "g=apidiscovery.k8s.io", "v=v2"].iter().all(|part| parts.contains(part));
        let json = parts.first() == Some(&"application/json");
        if json && whole { Some(true) } else { plain.then_some(false) }
    });
    wishes.next().unwrap_or(false)
}

pub fn version() -> Value {
    json!({
        "major": "1", "minor": "35", "emulationMajor": "1", "emulationMinor": "35", "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "34", "gitVersion": "v1.35.0", "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" }),
    })
}

fn root(app: &App, catalogue: &Catalogue) -> Value {
    let mut paths = vec!["/.well-known/openid-configuration".to_owned(), "/api".to_owned(), "/apis".to_owned()];
    for group in registered_groups(app, catalogue) {
        if group.name.is_empty() {
            paths.push("/api/v1".to_owned());
            continue;
        }
        paths.push(format!("/apis/{}", group.name));
        paths.extend(group.versions.iter().map(|version| format!("/apis/{}/{}", group.name, version.name)));
    }
    let rest = [
        "/apis/",
        "/metrics",
        "/metrics/slis",
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/",
        "/openid/v1/jwks",
        "/version",
    ];
    paths.extend(rest.map(str::to_owned));
    paths.extend(app.health.paths());
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
    let rows = catalogue.told(group, version);
    if rows.is_empty() {
        return Err(ApiError::no_route());
    }
    let api_version = rows[0].api_version();
    let mut list = Vec::new();
    for resource in rows {
        let mut row = json!({
            "name": resource.plural, "singularName": resource.singular, "namespaced": resource.namespaced,
            "kind": resource.kind, "verbs": resource.offered_verbs(),
        });
        if !resource.short_names.is_empty() {
            row["shortNames"] = json!(resource.short_names);
        }
        if !resource.categories.is_empty() {
            row["categories"] = json!(resource.categories);
        }
        if resource.has_verb("list") && !resource.prefix.is_empty() {
            row["storageVersionHash"] = storage_hash(resource).into();
        }
        list.push(row);
        for sub in &resource.subresources {
            let mut row = json!({
                "name": format!("{}/{}", resource.plural, sub.name), "singularName": "",
                "namespaced": resource.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if !sub.version.is_empty() && !is_own(resource, sub) {
                row["group"] = sub.group.clone().into();
                row["version"] = sub.version.clone().into();
            }
            list.push(row);
        }
    }
    Ok(json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": api_version, "resources": list }))
}

/// Whether what a subresource takes is of the resource's own group and version.
fn is_own(resource: &Resource, sub: &Sub) -> bool {
    sub.group == resource.group && sub.version == resource.version
}

/// Changes when objects are stored under another version (upstream's `discovery.StorageVersionHash`).
fn storage_hash(resource: &Resource) -> String {
    use base64::Engine;
    use sha2::Sha256;
    let (group, version) = resource.storage_api_version.rsplit_once('/').unwrap_or(("", &resource.storage_api_version));
    let digest = Sha256::digest(format!("{group}/{version}/{}", resource.kind));
    base64::prelude::BASE64_STANDARD.encode(&digest[..8])
}

fn group_discovery(app: &App, catalogue: &Catalogue, group: &Group) -> Value {
    let version = |version: &Version| {
        if let Some(remote) = &version.remote {
            return aggregator::discovery::version(app, remote);
        }
        let rows = catalogue.told(&group.name, &version.name);
        let list: Vec<Value> = rows.into_iter().map(|r| resource_discovery(r)).collect();
        json!({ "version": version.name, "resources": list, "freshness": "Current" })
    };
    let versions: Vec<Value> = group.versions.iter().map(version).collect();
    let metadata = if group.name.is_empty() { json!({}) } else { json!({ "name": group.name }) };
    json!({ "metadata": metadata, "versions": versions })
}

fn resource_discovery(resource: &Resource) -> Value {
    let kind = |group: &str, version: &str, kind: &str| json!({ "group": group, "version": version, "kind": kind });
    // Upstream leaves out what is the group's own.
    let own = kind("", "", &resource.kind);
    let mut row = json!({
        "resource": resource.plural, "responseKind": own, "verbs": resource.offered_verbs(),
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
            let kind = match sub.version.is_empty() || is_own(resource, sub) {
                true => kind("", "", &sub.kind),
                false => kind(&sub.group, &sub.version, &sub.kind),
            };
            json!({ "subresource": sub.name, "responseKind": kind, "verbs": sub.verbs })
        };
        row["subresources"] = resource.subresources.iter().map(sub).collect();
    }
    row
}
