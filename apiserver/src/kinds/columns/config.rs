//! ConfigMaps, Secrets, quotas.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, plain, text};

pub const CONFIG_MAPS: &[Column] =
    &[text("Data", |object, _| (object.entries("data").len() + object.entries("binaryData").len()).into()), AGE];

pub const SECRETS: &[Column] = &[
    text("Type", |object, _| object.text("type").into()),
    text("Data", |object, _| object.entries("data").len().into()),
    AGE,
];

pub const RESOURCE_QUOTAS: &[Column] = &[
    text("Request", |object, _| quota(object, false).into()),
    text("Limit", |object, _| quota(object, true).into()),
    AGE,
];

/// `cpu: 1/2, pods: 0/4`; what limits limits stands in a column of its own.
fn quota(object: &Value, limits: bool) -> String {
    let used = object.entries("status.used");
    let hard = object.entries("status.hard");
    let mut names: Vec<&String> = hard.keys().filter(|name| name.starts_with("limits") == limits).collect();
    names.sort();
    let part = |name: &String| {
        let used = used.get(name).map_or_else(|| "0".to_owned(), plain);
        format!("{name}: {used}/{}", plain(&hard[name]))
    };
    names.into_iter().map(part).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quotas_are_split() {
        let object = json!({"status": {"hard": {"pods": "4", "limits.cpu": "2", "cpu": 1}, "used": {"pods": "1"}}});
        assert_eq!(quota(&object, false), "cpu: 0/1, pods: 1/4");
        assert_eq!(quota(&object, true), "limits.cpu: 0/2");
    }
}
