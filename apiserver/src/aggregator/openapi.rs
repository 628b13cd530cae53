//! The OpenAPI documents of aggregated servers: v3 passed on by group and version, v2 merged into the one document
//! (`kube-aggregator/pkg/controllers/openapi*`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{Remote, own_user};
use crate::app::App;
use crate::outbound::{self, resolve};

const PATIENCE: Duration = Duration::from_secs(5);
const DEFINITIONS: &str = "#/definitions/";
const PARAMETERS: &str = "#/parameters/";

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

/// A document without the paths of other groups, nor the definitions that only these used.
fn narrowed(mut document: Value, root: &str) -> Value {
    let before = used(&document);
    let root = format!("{root}/");
    if let Some(paths) = document["paths"].as_object_mut() {
        paths.retain(|path, _| path.starts_with(&root));
    }
    let after = used(&document);
    if let Some(definitions) = document["definitions"].as_object_mut() {
        definitions.retain(|name, _| after.contains(name) || !before.contains(name));
    }
    document
}

/// The definitions that the paths of a document refer to, and what these refer to.
fn used(document: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, definitions: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                let name = map.get("$ref").and_then(Value::as_str).and_then(|r| r.strip_prefix(DEFINITIONS));
                if let Some(name) = name
                    && found.insert(name.to_owned())
                {
                    walk(&definitions[name], definitions, found);
                }
                map.values().for_each(|below| walk(below, definitions, found));
            }
            Value::Array(list) => list.iter().for_each(|below| walk(below, definitions, found)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    walk(&document["paths"], &document["definitions"], &mut found);
    found
}

/// Merges a document into another; definitions and parameters of the same name that differ are renamed.
pub fn merge(into: &mut Value, mut other: Value) {
    for (field, place) in [("definitions", DEFINITIONS), ("parameters", PARAMETERS)] {
        let renamed = clashes(&into[field], &other[field], place);
        if !renamed.is_empty() {
            refer(&mut other, place, &renamed);
            let Value::Object(theirs) = other[field].take() else { continue };
            let new = |name: String| renamed.get(&name).cloned().unwrap_or(name);
            other[field] = theirs.into_iter().map(|(name, value)| (new(name), value)).collect::<Map<_, _>>().into();
        }
    }
    for field in ["paths", "definitions", "parameters"] {
        let Value::Object(theirs) = other[field].take() else { continue };
        if !into[field].is_object() {
            into[field] = json!({});
        }
        for (name, value) in theirs {
            if into[field].get(&name).is_none() {
                into[field][name] = value;
            }
        }
    }
}

/// The new names of what bears a name that means something else already: one that means the same, or a free one.
fn clashes(own: &Value, theirs: &Value, place: &str) -> BTreeMap<String, String> {
    let empty = Map::new();
    let (own, theirs) = (own.as_object().unwrap_or(&empty), theirs.as_object().unwrap_or(&empty));
    let mut renamed = BTreeMap::new();
    // What refers to something renamed is another thing, too.
    loop {
        let known = renamed.len();
        for (name, value) in theirs {
            let mut value = value.clone();
            refer(&mut value, place, &renamed);
            if renamed.contains_key(name) || own.get(name).is_none_or(|own| *own == value) {
                continue;
            }
            let candidates = (2u32..).map(|number| format!("{name}_v{number}"));
            let fits = |new: &String| own.get(new).map_or(!theirs.contains_key(new), |own| *own == value);
            // The first of infinitely many numbers that fits.
            renamed.extend(candidates.into_iter().find(fits).map(|new| (name.clone(), new)));
        }
        if renamed.len() == known {
            return renamed;
        }
    }
}

/// Lets references follow to new names.
fn refer(value: &mut Value, place: &str, names: &BTreeMap<String, String>) {
    match value {
        Value::Object(map) => {
            for (field, below) in map {
                let target = if field == "$ref" { below.as_str().and_then(|r| r.strip_prefix(place)) } else { None };
                match target.and_then(|target| names.get(target)) {
                    Some(new) => *below = format!("{place}{new}").into(),
                    None => refer(below, place, names),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|below| refer(below, place, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_merged_and_clashes_renamed() {
        let mut own = json!({ "paths": { "/api": 1 }, "parameters": { "p": 1 },
            "definitions": { "A": { "type": "object" }, "B": 1 } });
        let reference = |name: &str| json!({ "$ref": format!("#/definitions/{name}") });
        let other = json!({
            "paths": { "/apis/g.io/v1/": { "a": reference("A"), "d": reference("D"), "p": { "$ref": "#/parameters/p" } },
                "/apis/other/v1/": reference("C"), "/apis/g.io/v10/": 1 },
            "parameters": { "p": 2 },
            "definitions": { "A": { "type": "string" }, "B": 1, "C": 2, "D": { "a": reference("A") }, "unused": 3 } });
        let merged = json!({ "paths": { "/api": 1, "/apis/g.io/v1/":
                { "a": reference("A_v2"), "d": reference("D"), "p": { "$ref": "#/parameters/p_v2" } } },
            "parameters": { "p": 1, "p_v2": 2 },
            "definitions": { "A": { "type": "object" }, "A_v2": { "type": "string" }, "B": 1,
                "D": { "a": reference("A_v2") }, "unused": 3 } });
        merge(&mut own, narrowed(other.clone(), "/apis/g.io/v1"));
        assert_eq!(own, merged);
        // Who says the same again adds nothing.
        merge(&mut own, narrowed(other.clone(), "/apis/g.io/v1"));
        merge(&mut own, narrowed(other, "/apis/g.io/v7"));
        assert_eq!(own, merged);
    }
}
