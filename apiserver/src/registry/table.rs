//! Tables: what `kubectl get` prints (`meta.k8s.io/v1 Table`). Columns of built-in kinds are functions of their row in
//! [`crate::kinds`], those of custom resources JSONPaths of the definition.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::jsonpath;
use super::resource::{Resource, Source};

/// Query parameter `includeObject`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    None,
    Metadata,
    Object,
}

impl Include {
    #[must_use]
    pub fn parse(text: Option<&str>) -> Self {
        match text {
            Some("None") => Self::None,
            Some("Object") => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// A Table of `objects`; `metadata` is that of the list, or of the single object's version.
#[must_use]
pub fn table(resource: &Resource, objects: &[Value], metadata: &Value, include: Include, headers: bool) -> Value {
    let now = Timestamp::now().as_second();
    let rows: Vec<Value> = objects.iter().map(|object| row(resource, object, include, now)).collect();
    let columns = if headers { columns(resource) } else { Value::Null };
    json!({ "kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "columnDefinitions": columns, "rows": rows })
}

fn columns(resource: &Resource) -> Value {
    let column = |name: &str, kind: &str, format: &str, description: &str, priority: i64| {
        json!({ "name": name, "type": kind, "format": format, "description": description, "priority": priority })
    };
    match &resource.source {
        Source::BuiltIn(kind) => kind
            .table_columns()
            .map(|c| column(c.name, c.kind, c.format, c.description, i64::from(c.priority)))
            .collect(),
        Source::Custom(custom) => {
            let name = column("Name", "string", "name", "Name of the resource", 0);
            let own = custom.version(&resource.version).into_iter().flat_map(|v| &v.columns);
            std::iter::once(name)
                .chain(own.map(|c| column(&c.name, &c.kind, &c.format, &c.description, c.priority)))
                .collect()
        }
    }
}

fn row(resource: &Resource, object: &Value, include: Include, now: i64) -> Value {
    let cells: Vec<Value> = match &resource.source {
        Source::BuiltIn(kind) => kind.table_columns().map(|c| (c.cell)(object, now)).collect(),
        Source::Custom(custom) => {
            let own = custom.version(&resource.version).into_iter().flat_map(|v| &v.columns);
            std::iter::once(object["metadata"]["name"].clone())
                .chain(own.map(|c| cell(jsonpath::find(object, &c.json_path), &c.kind, now)))
                .collect()
        }
    };
    let mut row = json!({ "cells": cells });
    match include {
        Include::None => {}
        Include::Metadata => row["object"] = partial(object),
        Include::Object => row["object"] = object.clone(),
    }
    row
}

/// One cell of a custom column; nothing found is an empty cell, several strings are joined.
fn cell(found: Vec<&Value>, kind: &str, now: i64) -> Value {
    let Some(first) = found.first().filter(|v| !v.is_null()) else { return Value::Null };
    match kind {
        "date" => match first.as_str().and_then(|text| text.parse::<Timestamp>().ok()) {
            Some(then) => human_duration(now - then.as_second()).into(),
            None => "<unknown>".into(),
        },
        "integer" => first.as_i64().map_or(Value::Null, Value::from),
        "number" => if first.is_number() { (*first).clone() } else { Value::Null },
        "boolean" => first.as_bool().map_or(Value::Null, Value::from),
        _ => found.iter().map(|value| plain(value)).collect::<Vec<_>>().join(",").into(),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Upstream's `duration.HumanDuration`: `5s`, `3m20s`, `2h5m`, `4d3h`, `1y20d`.
#[must_use]
pub fn human_duration(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    let pair = |large: i64, unit: &str, small: i64, sub: &str| {
        if small == 0 { format!("{large}{unit}") } else { format!("{large}{unit}{small}{sub}") }
    };
    match seconds {
        s if s < -1 => "<invalid>".to_owned(),
        s if s < 0 => "0s".to_owned(),
        s if s < 120 => format!("{s}s"),
        s if minutes < 10 => pair(minutes, "m", s % 60, "s"),
        _ if hours < 3 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, "h", minutes % 60, "m"),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => pair(days, "d", hours % 24, "h"),
        _ if days < 365 * 2 => format!("{days}d"),
        _ if days < 365 * 8 => pair(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// An object reduced to its metadata (`meta.k8s.io/v1 PartialObjectMetadata`).
#[must_use]
pub fn partial(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_upstreams() {
        for (seconds, text) in
            [(0, "0s"), (119, "119s"), (200, "3m20s"), (600, "10m"), (10_800, "3h"), (90_000, "25h"), (200_000, "2d7h")]
        {
            assert_eq!(human_duration(seconds), text);
        }
    }
}
