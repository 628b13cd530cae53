//! What aggregated servers say they serve, merged into this server's discovery
//! (`kube-aggregator/pkg/apiserver/handler_{discovery,apis}.go`).

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::{Place, Remote, autoregister, own_user};
use crate::app::{App, text};
use crate::outbound::{self, resolve};
use crate::registry::custom::compare_versions;
use crate::registry::resource::{self, Catalogue};

const PATIENCE: Duration = Duration::from_secs(5);
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// What one server said of its group and version.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Learned {
    /// An `APIVersionDiscovery`'s resources, the last that could be had.
    resources: Value,
    /// That was the last time it was asked.
    fresh: bool,
    /// Its OpenAPI v3 document's address, with the hash.
    pub open_api: Option<String>,
}

/// A version of a group, and who serves it.
pub struct Version {
    pub name: String,
    /// None: this server.
    pub remote: Option<Arc<Remote>>,
}

/// A group with its versions, preferred first.
pub struct Group {
    pub name: String,
    pub versions: Vec<Version>,
}

/// All groups there are, by priority and name.
#[must_use]
pub fn groups(app: &App, catalogue: &Catalogue) -> Vec<Group> {
    let version = |name: &String| Version { name: name.clone(), remote: None };
    if app.aggregator.remotes().is_empty() {
        let own = |group: &resource::Group| Group {
            name: group.name.clone(),
            versions: group.versions.iter().map(version).collect(),
        };
        return catalogue.groups.iter().map(own).collect();
    }
    merge(catalogue, &app.aggregator.remotes().values().cloned().collect::<Vec<_>>(), &[])
}

/// The same with what is registered for this server, and it serves nothing under: plain discovery names it.
#[must_use]
pub fn registered_groups(app: &App, catalogue: &Catalogue) -> Vec<Group> {
    let idle = app.aggregator.idle(catalogue);
    if idle.is_empty() {
        return groups(app, catalogue);
    }
    merge(catalogue, &app.aggregator.remotes().values().cloned().collect::<Vec<_>>(), &idle)
}

fn merge(catalogue: &Catalogue, remotes: &[Arc<Remote>], idle: &[Place]) -> Vec<Group> {
    let mut all: Vec<(i64, Group)> = Vec::new();
    for group in &catalogue.groups {
        let taken = |version: &&String| !remotes.iter().any(|r| r.group == group.name && r.version == **version);
        let version = |name: &String| Version { name: name.clone(), remote: None };
        let versions: Vec<Version> = group.versions.iter().filter(taken).map(version).collect();
        let custom = group.versions.iter().all(|v| catalogue.of(&group.name, v).iter().all(|r| r.is_custom()));
        let priority = match group.name.as_str() {
            // The aggregator tells of itself first.
            super::GROUP => i64::MAX,
            _ if custom => 1000,
            name => autoregister::priority(name),
        };
        all.push((priority, Group { name: group.name.clone(), versions }));
    }
    let served = remotes.iter().map(|remote| {
        let version = Version { name: remote.version.clone(), remote: Some(remote.clone()) };
        (&remote.group, remote.group_priority, remote.version_priority, version)
    });
    let named = idle.iter().map(|place| {
        let version = Version { name: place.version.clone(), remote: None };
        (&place.group, place.group_priority, place.version_priority, version)
    });
    let mut sorted: Vec<(&String, i64, i64, Version)> = served.chain(named).collect();
    sorted.sort_by(|a, b| b.2.cmp(&a.2).then_with(|| compare_versions(&a.3.name, &b.3.name)));
    for (name, of_group, _, version) in sorted {
        match all.iter_mut().find(|(_, group)| group.name == *name) {
            Some((priority, group)) => {
                *priority = (*priority).max(of_group);
                group.versions.push(version);
            }
            None => all.push((of_group, Group { name: name.clone(), versions: vec![version] })),
        }
    }
    all.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| x.name.cmp(&y.name)));
    all.into_iter().map(|(_, group)| group).filter(|group| !group.versions.is_empty()).collect()
}

/// The `APIVersionDiscovery` of a remote version.
#[must_use]
pub fn version(app: &App, remote: &Remote) -> Value {
    let learned = app.aggregator.learned.lock().get(&remote.name).cloned().unwrap_or_default();
    let mut version = json!({ "version": remote.version });
    if learned.resources.as_array().is_some_and(|all| !all.is_empty()) {
        version["resources"] = learned.resources;
    }
    version["freshness"] = if learned.fresh { "Current" } else { "Stale" }.into();
    version
}

/// Asks a server what it serves; false when it does not say. `there`: whether asking makes sense.
pub async fn learn(app: &App, remote: &Remote, there: bool) -> bool {
    let asked = if there { ask(app, remote).await } else { Err("service unavailable".to_owned()) };
    let mut learned = app.aggregator.learned.lock();
    let entry = learned.entry(remote.name.clone()).or_default();
    let before = entry.open_api.clone();
    let good = match asked {
        Ok((resources, open_api)) => {
            *entry = Learned { resources, fresh: true, open_api };
            true
        }
        Err(why) => {
            tracing::debug!(why, name = remote.name, "an aggregated server does not say what it serves");
            entry.fresh = false;
            false
        }
    };
    if entry.open_api != before {
        app.documents.forget();
    }
    good
}

async fn ask(app: &App, remote: &Remote) -> Result<(Value, Option<String>), String> {
    let (host, port) =
        resolve::service(app, &remote.namespace, &remote.service, remote.port).await.map_err(|error| error.message)?;
    let address = resolve::join(&host, port);
    let get = async |path: &str, accept: &str| {
        let user = own_user();
        outbound::get(app, &remote.peer, &address, path, accept, &user, PATIENCE).await
    };
    let parse = |body: &[u8]| serde_json::from_slice::<Value>(body).map_err(|error| error.to_string());
    let (status, headers, body) = get("/apis", AGGREGATED).await?;
    let kind = headers.get(http::header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let whole = if status.is_success() && kind.contains("as=APIGroupDiscoveryList") {
        let list = parse(&body)?;
        let groups = list["items"].as_array().into_iter().flatten();
        let group = groups.into_iter().find(|group| text(group, "/metadata/name") == remote.group);
        let versions = group.and_then(|group| group["versions"].as_array()).into_iter().flatten();
        versions.into_iter().find(|v| v["version"] == remote.version.as_str()).map(|v| v["resources"].clone())
    } else {
        None
    };
    let resources = match whole {
        Some(mut resources) => {
            name_kinds(&mut resources);
            resources
        }
        None => {
            let (status, _, body) = get(&remote.root(), "application/json").await?;
            if !status.is_success() {
                return Err(format!("failed to download legacy discovery for {}: {status}", remote.root()));
            }
            converted(&parse(&body)?)
        }
    };
    // Not every server has it.
    let open_api = match get("/openapi/v3", "application/json").await {
        Ok((status, _, body)) if status.is_success() => {
            let key = remote.root();
            let index = parse(&body).unwrap_or_default();
            index["paths"][key.trim_start_matches('/')]["serverRelativeURL"].as_str().map(str::to_owned)
        }
        _ => None,
    };
    Ok((resources, open_api))
}

/// Names a kind, if an empty one, where none is: clients look at it unasked.
fn name_kinds(resources: &mut Value) {
    for resource in resources.as_array_mut().into_iter().flatten() {
        if resource["responseKind"].is_null() {
            resource["responseKind"] = json!({ "group": "", "version": "", "kind": "" });
        }
        if let Some(below) = resource.get_mut("subresources") {
            name_kinds(below);
        }
    }
}

/// An `APIResourceList` as the resources of an `APIVersionDiscovery`.
fn converted(list: &Value) -> Value {
    let rows = list["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    // As said: a group that is not named is the resource's own.
    let kind =
        |row: &Value| json!({ "group": text(row, "/group"), "version": text(row, "/version"), "kind": row["kind"] });
    let mut resources: Vec<Value> = Vec::new();
    for row in rows.iter().filter(|row| !text(row, "/name").contains('/')) {
        let mut resource = json!({
            "resource": row["name"], "responseKind": kind(row), "singularResource": text(row, "/singularName"),
            "scope": if row["namespaced"] == true { "Namespaced" } else { "Cluster" }, "verbs": row["verbs"],
        });
        for field in ["shortNames", "categories"] {
            if row[field].is_array() {
                resource[field] = row[field].clone();
            }
        }
        let prefix = format!("{}/", text(row, "/name"));
        let sub = |sub: &Value| {
            let name = text(sub, "/name").strip_prefix(&prefix)?;
            Some(json!({ "subresource": name, "responseKind": kind(sub), "verbs": sub["verbs"] }))
        };
        let below: Vec<Value> = rows.iter().filter_map(sub).collect();
        if !below.is_empty() {
            resource["subresources"] = Value::Array(below);
        }
        resources.push(resource);
    }
    Value::Array(resources)
}

#[cfg(test)]
mod tests {
    use super::super::Remote;
    use super::*;

    fn remote(group: &str, version: &str, priority: i64) -> Arc<Remote> {
        let object = json!({ "metadata": { "name": format!("{version}.{group}") }, "spec": { "group": group,
            "version": version, "groupPriorityMinimum": priority, "versionPriority": 15,
            "service": { "namespace": "n", "name": "s" } } });
        Arc::new(Remote::parse(&object).unwrap())
    }

    #[test]
    fn groups_are_sorted_by_priority_and_name() {
        let catalogue = Catalogue::new(&[]);
        let remotes = [
            remote("b.io", "v1alpha1", 100),
            remote("b.io", "v1", 100),
            remote("a.io", "v1", 90),
            remote("z.io", "v1", 17_790),
        ];
        let all = merge(&catalogue, &remotes, &[]);
        let names: Vec<&str> = all.iter().map(|group| group.name.as_str()).filter(|name| !name.is_empty()).collect();
        assert_eq!(names[..4], ["apiregistration.k8s.io", "apps", "z.io", "events.k8s.io"]);
        assert_eq!(names[names.len() - 2..], ["b.io", "a.io"]);
        let b = all.iter().find(|group| group.name == "b.io").unwrap();
        assert_eq!(b.versions.iter().map(|v| v.name.as_str()).collect::<Vec<_>>(), ["v1", "v1alpha1"]);
        // Without others, the catalogue's own order is the same.
        let own: Vec<&str> = catalogue.groups.iter().map(|group| group.name.as_str()).collect();
        let alone = merge(&catalogue, &[], &[]);
        let sorted: Vec<&str> = alone.iter().map(|group| group.name.as_str()).filter(|name| !name.is_empty()).collect();
        assert_eq!(sorted, own.into_iter().filter(|name| !name.is_empty()).collect::<Vec<_>>());
        // Who registers a version of ours takes it over.
        let all = merge(&catalogue, &[remote("apps", "v1", 100)], &[]);
        let apps = all.iter().find(|group| group.name == "apps").unwrap();
        assert!(apps.versions.len() == 1 && apps.versions[0].remote.is_some());
        // What is registered for this server is named, though it serves nothing there.
        let idle = |group: &str, version: &str, version_priority: i64| Place {
            group: group.to_owned(),
            version: version.to_owned(),
            group_priority: 90,
            version_priority,
        };
        let all = merge(&catalogue, &[], &[idle("a.io", "v1", 1), idle("a.io", "v2", 5), idle("apps", "v9", 10)]);
        let versions = |name: &str| -> Vec<&str> {
            let group = all.iter().find(|group| group.name == name).unwrap();
            group.versions.iter().map(|version| version.name.as_str()).collect()
        };
        assert_eq!((versions("a.io"), versions("apps")), (vec!["v2", "v1"], vec!["v1", "v9"]));
    }

    #[test]
    fn plain_discovery_is_converted() {
        let list = json!({ "resources": [
            { "name": "flunders", "singularName": "flunder", "namespaced": true, "kind": "Flunder", "verbs": ["get"] },
            { "name": "flunders/scale", "kind": "Scale", "group": "autoscaling", "version": "v1", "verbs": ["get"] },
        ] });
        assert_eq!(
            converted(&list),
            json!([{ "resource": "flunders", "responseKind": { "group": "", "version": "", "kind": "Flunder" },
                "singularResource": "flunder", "scope": "Namespaced", "verbs": ["get"],
                "subresources": [{ "subresource": "scale", "verbs": ["get"],
                    "responseKind": { "group": "autoscaling", "version": "v1", "kind": "Scale" } }] }])
        );
    }
}
