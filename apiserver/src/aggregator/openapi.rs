//! The OpenAPI documents of aggregated servers: v3 passed on by group and version, v2 merged into the one document
//! (`kube-aggregator/pkg/controllers/openapi*`).

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Remote, own_user};
use crate::app::App;
use crate::outbound::{self, resolve};

const PATIENCE: Duration = Duration::from_secs(5);
const REFERENCE: &str = "#/definitions/";

/// Adds the remote documents to the index of v3: path → address with hash.
pub fn index(app: &App, paths: &mut Map<String, Value>) {
    let remotes = app.aggregator.remotes();
    let learned = app.aggregator.learned.lock();
    for remote in remotes.values() {
        let path = remote.root().trim_start_matches('/').to_owned();
        paths.remove(&path);
        if let Some(address) = learned.get(&remote.name).and_then(|learned| learned.open_api.clone()) {
            paths.insert(path, json!({ "serverRelativeURL": address }));
        }
    }
}

/// The v2 documents of all remote servers, each with the paths of its group and version only.
pub async fn v2(app: &App) -> Vec<Value> {
    let remotes = app.aggregator.remotes();
    let all = remotes.values().filter(|remote| remote.available).map(|remote| async move {
        let document = ask(app, remote).await;
        document
            .inspect_err(|why| tracing::debug!(why, name = remote.name, "an aggregated server has no OpenAPI v2"))
            .ok()
            .map(|document| narrowed(document, &remote.root()))
    });
    futures::future::join_all(all).await.into_iter().flatten().collect()
}

async fn ask(app: &App, remote: &Remote) -> Result<Value, String> {
    let (host, port) =
        resolve::service(app, &remote.namespace, &remote.service, remote.port).await.map_err(|error| error.message)?;
    let (address, user) = (resolve::join(&host, port), own_user());
    let accept = "application/json";
    let (status, _, body) = outbound::get(app, &remote.peer, &address, "/openapi/v2", accept, &user, PATIENCE).await?;
    if !status.is_success() {
        return Err(format!("/openapi/v2: {status}"));
    }
    serde_json::from_slice(&body).map_err(|error| error.to_string())
}

/// A document without the paths of other groups.
fn narrowed(mut document: Value, root: &str) -> Value {
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|path, _| path == root || path.strip_prefix(root).is_some_and(|rest| rest.starts_with('/')));
    }
    document
}

/// Merges a document into another; definitions of the same name that differ are renamed.
pub fn merge(into: &mut Value, mut other: Value) {
    let mut renamed: Vec<(String, String)> = Vec::new();
    let empty = Map::new();
    let have = into["definitions"].as_object().unwrap_or(&empty);
    let theirs = other["definitions"].as_object().unwrap_or(&empty);
    for (name, definition) in theirs {
        if have.get(name).is_some_and(|own| own != definition) {
            let free =
                |n: &u32| !have.contains_key(&format!("{name}_v{n}")) && !theirs.contains_key(&format!("{name}_v{n}"));
            // The first of infinitely many numbers that no definition bears.
            let number = (2..).find(free).unwrap_or_default();
            renamed.push((name.clone(), format!("{name}_v{number}")));
        }
    }
    if !renamed.is_empty() {
        rename(&mut other, &renamed);
    }
    for field in ["paths", "definitions"] {
        let Value::Object(theirs) = other[field].take() else { continue };
        if !into[field].is_object() {
            into[field] = json!({});
        }
        for (name, value) in theirs {
            let new = renamed.iter().find(|(old, _)| field == "definitions" && *old == name);
            let name = new.map_or(name, |(_, new)| new.clone());
            if into[field].get(&name).is_none() {
                into[field][name] = value;
            }
        }
    }
}

fn rename(value: &mut Value, names: &[(String, String)]) {
    match value {
        Value::Object(map) => {
            for (field, below) in map {
                let target =
                    if field == "$ref" { below.as_str().and_then(|r| r.strip_prefix(REFERENCE)) } else { None };
                match target.and_then(|target| names.iter().find(|(old, _)| old == target)) {
                    Some((_, new)) => *below = format!("{REFERENCE}{new}").into(),
                    None => rename(below, names),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|below| rename(below, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_merged_and_clashes_renamed() {
        let mut own = json!({ "paths": { "/api": 1 }, "definitions": { "A": { "type": "object" }, "B": 1 } });
        let other = json!({
            "paths": { "/apis/g.io/v1/": { "$ref": "#/definitions/A" }, "/apis/other/v1/": 1, "/apis/g.io/v10/": 1 },
            "definitions": { "A": { "type": "string" }, "B": 1, "C": 2 } });
        merge(&mut own, narrowed(other, "/apis/g.io/v1"));
        assert_eq!(
            own,
            json!({ "paths": { "/api": 1, "/apis/g.io/v1/": { "$ref": "#/definitions/A_v2" } },
                "definitions": { "A": { "type": "object" }, "A_v2": { "type": "string" }, "B": 1, "C": 2 } })
        );
    }
}
