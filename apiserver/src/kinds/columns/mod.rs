//! What a Table says of each kind: names, order, priorities and exact texts of `pkg/printers/internalversion/printers.go`.
//! One file a group; here are the constructors and the texts that several kinds share.

pub mod apps;
pub mod batch;
pub mod config;
pub mod event;
pub mod network;
pub mod node;
pub mod pod;
pub mod policy;
pub mod rbac;
pub mod scaling;
pub mod service;
pub mod storage;
pub mod system;

mod age;

use serde_json::{Map, Value};

pub use self::age::{human_duration, seconds, since};
use super::Column;
use super::json::Json;

type Cell = fn(&Value, i64) -> Value;

/// A column that is always shown.
const fn text(name: &'static str, cell: Cell) -> Column {
    Column { name, kind: "string", format: "", description: "", priority: 0, cell }
}

const fn integer(name: &'static str, cell: Cell) -> Column {
    Column { kind: "integer", ..text(name, cell) }
}

/// A column of `-o wide`.
const fn wide(name: &'static str, cell: Cell) -> Column {
    Column { priority: 1, ..text(name, cell) }
}

const AGE: Column = Column {
    description: "Time since creation",
    ..text("Age", |object, now| since(object.at("metadata.creationTimestamp"), now).into())
};

/// Go's time that is none.
const GO_ZERO: &str = "0001-01-01T00:00:00Z";

/// The only column of kinds upstream has no printer for: the creation time itself; kubectl shows it as it is.
const CREATED_AT: Column = Column {
    kind: "date",
    description: "Time of creation",
    ..text("Created At", |object, _| or(object.text("metadata.creationTimestamp"), GO_ZERO).into())
};

/// Whether the columns are those of kinds upstream has no printer for.
#[must_use]
pub fn are_generic(columns: &[Column]) -> bool {
    matches!(columns, [only] if only.name == CREATED_AT.name)
}

pub const ONLY_AGE: &[Column] = &[AGE];
pub const ONLY_CREATED_AT: &[Column] = &[CREATED_AT];

/// `x`, or `otherwise` where it is empty.
fn or<'a>(x: &'a str, otherwise: &'a str) -> &'a str {
    if x.is_empty() { otherwise } else { x }
}

/// The names and the images of a template's containers, comma separated.
const CONTAINERS: Column = wide("Containers", |object, _| names(object.list("spec.template.spec.containers")).into());
const IMAGES: Column = wide("Images", |object, _| images(object.list("spec.template.spec.containers")).into());
const SELECTOR: Column = wide("Selector", |object, _| selector(object.at("spec.selector")).into());

fn names(containers: &[Value]) -> String {
    containers.iter().map(|c| c.text("name")).collect::<Vec<_>>().join(",")
}

fn images(containers: &[Value]) -> String {
    containers.iter().map(|c| c.text("image")).collect::<Vec<_>>().join(",")
}

/// `a=1,b=2`, or `<none>`.
fn labels(labels: &Map<String, Value>) -> String {
    let mut pairs: Vec<String> =
        labels.iter().map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default())).collect();
    pairs.sort();
    if pairs.is_empty() { "<none>".to_owned() } else { pairs.join(",") }
}

/// A label selector in the form `kubectl -l` takes, requirements in the order of their keys; `<none>` when it is empty.
fn selector(selector: &Value) -> String {
    let mut parts: Vec<(String, String)> = selector
        .entries("matchLabels")
        .iter()
        .map(|(k, v)| (k.clone(), format!("{k}={}", v.as_str().unwrap_or_default())))
        .collect();
    for expression in selector.list("matchExpressions") {
        let key = expression.text("key");
        let mut values = expression.texts("values");
        values.sort_unstable();
        let values = values.join(",");
        let text = match expression.text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            "DoesNotExist" => format!("!{key}"),
            _ => return "<error>".to_owned(),
        };
        parts.push((key.to_owned(), text));
    }
    parts.sort_by(|a, b| a.0.cmp(&b.0));
    if parts.is_empty() {
        return "<none>".to_owned();
    }
    parts.into_iter().map(|p| p.1).collect::<Vec<_>>().join(",")
}

/// The first three of a list, and how many more there are: `a,b,c + 2 more...`.
fn first_three(all: &[String], empty: &str) -> String {
    const MAX: usize = 3;
    match all.len() {
        0 => empty.to_owned(),
        n if n > MAX => format!("{} + {} more...", all[..MAX].join(","), n - MAX),
        _ => all.join(","),
    }
}

/// Quantities, ports and the like are numbers or strings in JSON; this is how they read.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(s) => s.clone(),
        other => other.to_string(),
    }
}

fn condition<'a>(object: &'a Value, kind: &str) -> &'a Value {
    object.list("status.conditions").iter().find(|c| c.text("type") == kind).unwrap_or(&super::json::NULL)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_read_as_kubectl_writes_them() {
        let s = json!({"matchLabels": {"b": "2", "a": "1"}, "matchExpressions": [
            {"key": "aa", "operator": "In", "values": ["y", "x"]}, {"key": "z", "operator": "DoesNotExist"}]});
        assert_eq!(selector(&s), "a=1,aa in (x,y),b=2,!z");
        assert_eq!(selector(&json!({})), "<none>");
    }

    #[test]
    fn long_lists_are_cut_after_three() {
        let all: Vec<String> = ["a", "b", "c", "d", "e"].map(String::from).to_vec();
        assert_eq!(first_three(&all, "<none>"), "a,b,c + 2 more...");
        assert_eq!(first_three(&all[..3], "<none>"), "a,b,c");
        assert_eq!(first_three(&[], "<unset>"), "<unset>");
    }
}
