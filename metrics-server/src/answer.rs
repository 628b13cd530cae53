//! The API: group metrics.k8s.io, version v1beta1, nodes and pods, to be got and listed. Pure but for the time.

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::Method;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use schema::quantity::Quantity;
use schema::selector::{FieldSelector, LabelSelector};
use serde_json::{Value, json};

use crate::State;
use crate::storage::{Storage, Usage};

const GROUP: &str = "metrics.k8s.io";
const VERSION: &str = "metrics.k8s.io/v1beta1";

/// A Status.
pub fn failure(code: u16, reason: &str, message: &str) -> (u16, Value) {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "code": code });
    (code, status)
}

fn missing() -> (u16, Value) {
    failure(404, "NotFound", "the server could not find the requested resource")
}

/// What is asked for.
struct Wanted<'a> {
    namespace: Option<&'a str>,
    name: Option<&'a str>,
    labels: LabelSelector,
    fields: FieldSelector,
    table: bool,
}

/// Answers one request with a code and a body.
pub fn answer(state: &State, method: &Method, path: &str, query: &str, table: bool) -> (u16, Value) {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let version = json!({ "groupVersion": VERSION, "version": "v1beta1" });
    let group = json!({ "kind": "APIGroup", "apiVersion": "v1", "name": GROUP, "versions": [version], "preferredVersion": version });
    let (kind, namespace, name) = match parts.as_slice() {
        ["apis"] => return (200, json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] })),
        ["apis", GROUP] => return (200, group),
        ["apis", GROUP, "v1beta1"] => return (200, resources()),
        ["apis", GROUP, "v1beta1", "nodes"] => (Kind::Nodes, None, None),
        ["apis", GROUP, "v1beta1", "nodes", name] => (Kind::Nodes, None, Some(*name)),
        ["apis", GROUP, "v1beta1", "pods"] => (Kind::Pods, None, None),
        ["apis", GROUP, "v1beta1", "namespaces", namespace, "pods"] => (Kind::Pods, Some(*namespace), None),
        ["apis", GROUP, "v1beta1", "namespaces", namespace, "pods", name] => {
            (Kind::Pods, Some(*namespace), Some(*name))
        }
        _ => return missing(),
    };
    if method != Method::GET {
        let message = "the server does not allow this method on the requested resource";
        return failure(405, "MethodNotAllowed", message);
    }
    let value = |wanted: &str| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == wanted).map(|(_, value)| decode(value)).next().unwrap_or_default()
    };
    let labels = LabelSelector::parse(&value("labelSelector")).map_err(|error| error.to_string());
    let fields = FieldSelector::parse(&value("fieldSelector")).map_err(|error| error.to_string());
    let (labels, fields) = match (labels, fields) {
        (Ok(labels), Ok(fields)) => (labels, fields),
        (Err(message), _) | (_, Err(message)) => return failure(400, "BadRequest", &message),
    };
    let wanted = Wanted { namespace, name, labels, fields, table };
    let storage = state.storage.read();
    match kind {
        Kind::Nodes => {
            let nodes = state.nodes.state();
            kind.answer(&wanted, nodes.iter().map(|node| &node.metadata), &storage)
        }
        Kind::Pods => {
            let pods = state.pods.state();
            kind.answer(&wanted, pods.iter().map(|pod| &pod.metadata), &storage)
        }
    }
}

fn resources() -> Value {
    let resource = |name: &str, kind: &str, namespaced: bool| json!({ "name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"] });
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": VERSION,
        "resources": [resource("nodes", "NodeMetrics", false), resource("pods", "PodMetrics", true)] })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nodes,
    Pods,
}

impl Kind {
    fn name(self) -> &'static str {
        if self == Self::Nodes { "NodeMetrics" } else { "PodMetrics" }
    }

    fn answer<'o>(
        self,
        wanted: &Wanted<'_>,
        objects: impl Iterator<Item = &'o ObjectMeta>,
        storage: &Storage,
    ) -> (u16, Value) {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut found: Vec<(String, String, &ObjectMeta)> =
            objects.map(|meta| (text(&meta.namespace), text(&meta.name), meta)).collect();
        found.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        let selected = found.into_iter().filter(|(namespace, name, meta)| {
            let field = |path: &str| match path {
                "metadata.name" => Cow::Borrowed(name.as_str()),
                "metadata.namespace" => Cow::Borrowed(namespace.as_str()),
                _ => Cow::Borrowed(""),
            };
            let label = |key: &str| meta.labels.as_ref()?.get(key).map(String::as_str);
            wanted.namespace.is_none_or(|wanted| wanted == namespace)
                && wanted.name.is_none_or(|wanted| wanted == name)
                && wanted.labels.matches_by(label)
                && wanted.fields.matches(field)
        });
        let now = Timestamp::now();
        let mut items: Vec<Value> = selected.filter_map(|(_, _, meta)| self.object(meta, storage, now)).collect();
        if let Some(name) = wanted.name {
            let Some(mut one) = items.pop() else {
                let kind = self.name().to_lowercase();
                let name = wanted.namespace.map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"));
                return failure(404, "NotFound", &format!("{kind}.{GROUP} {name:?} not found"));
            };
            if wanted.table {
                return (200, self.table(vec![one]));
            }
            one["kind"] = self.name().into();
            one["apiVersion"] = VERSION.into();
            return (200, one);
        }
        if wanted.table {
            return (200, self.table(items));
        }
        let kind = format!("{}List", self.name());
        (200, json!({ "kind": kind, "apiVersion": VERSION, "metadata": {}, "items": items }))
    }

    /// What one object uses; nothing is said of one that was not measured.
    fn object(self, meta: &ObjectMeta, storage: &Storage, now: Timestamp) -> Option<Value> {
        let name = meta.name.as_deref()?;
        let mut metadata = json!({ "name": name, "creationTimestamp": whole(now) });
        if let Some(labels) = meta.labels.as_ref().filter(|labels| !labels.is_empty()) {
            metadata["labels"] = json!(labels);
        }
        if self == Self::Nodes {
            let usage = storage.node(name)?;
            return Some(json!({ "metadata": metadata, "timestamp": time(usage.at), "window": window(usage.window),
                "usage": amounts(usage.cpu, usage.memory) }));
        }
        let namespace = meta.namespace.as_deref()?;
        metadata["namespace"] = namespace.into();
        let containers = storage.pod(namespace, name)?;
        // The pod was measured when the first of its containers was.
        let first: Usage = containers.iter().map(|(_, usage)| *usage).min_by(|a, b| a.at.total_cmp(&b.at))?;
        let each =
            containers.iter().map(|(name, usage)| json!({ "name": name, "usage": amounts(usage.cpu, usage.memory) }));
        Some(json!({ "metadata": metadata, "timestamp": time(first.at), "window": window(first.window),
            "containers": each.collect::<Vec<_>>() }))
    }

    fn table(self, items: Vec<Value>) -> Value {
        let column = |name: &str, kind: &str, format: &str| json!({ "name": name, "type": kind, "format": format, "description": "", "priority": 0 });
        let rows = items.into_iter().map(|mut item| {
            let sum = |name: &str| {
                let parts = item["containers"].as_array().map_or_else(|| std::slice::from_ref(&item), Vec::as_slice);
                let amounts = parts.iter().filter_map(|part| Quantity::parse(part["usage"][name].as_str()?).ok());
                amounts.fold(Quantity::ZERO, |sum, amount| sum.add(&amount)).to_string()
            };
            let cells = json!([item["metadata"]["name"], sum("cpu"), sum("memory"), item["window"]]);
            let metadata = item["metadata"].take();
            let object =
                json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata });
            json!({ "cells": cells, "object": object })
        });
        json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {},
            "columnDefinitions": [column("Name", "string", "name"), column("cpu", "string", "quantity"),
                column("memory", "string", "quantity"), column("Window", "string", "duration")],
            "rows": rows.collect::<Vec<_>>() })
    }
}

/// Nanocores and bytes as upstream writes them: `1500000n`, `13412Ki`.
fn amounts(cpu: u64, memory: u64) -> BTreeMap<&'static str, String> {
    let cpu = if cpu == 0 { "0".to_owned() } else { format!("{cpu}n") };
    let memory = Quantity::units(i64::try_from(memory).unwrap_or(i64::MAX)).binary();
    [("cpu", cpu), ("memory", memory.to_string())].into()
}

fn whole(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

fn time(seconds: f64) -> String {
    Timestamp::from_second(seconds as i64).unwrap_or_default().to_string()
}

/// A length of time as Go writes it: `15.25s`, `1m0s`.
fn window(seconds: f64) -> String {
    let millis = (seconds * 1000.0).round() as u64;
    let (minutes, rest) = (millis / 60_000, (millis % 60_000) as f64 / 1000.0);
    match minutes {
        0 => format!("{rest}s"),
        1..60 => format!("{minutes}m{rest}s"),
        _ => format!("{}h{}m{rest}s", minutes / 60, minutes % 60),
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let code = tail.get(..2).and_then(|code| u8::from_str_radix(std::str::from_utf8(code).ok()?, 16).ok());
        rest = tail;
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            (b'+', _) => bytes.push(b' '),
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
#[path = "answer/tests.rs"]
mod tests;
