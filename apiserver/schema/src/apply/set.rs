//! Sets of field paths, in the form of `FieldsV1` (structured-merge-diff's `fieldpath`).
//!
//! A path element is kept as its serialised text: `f:name`, `k:{"name":"a"}`, `v:"x"`.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::{Map, Value};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(BTreeMap<String, Entry>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    member: bool,
    below: Set,
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.0.values().all(|entry| !entry.member && entry.below.is_empty())
    }

    pub fn insert(&mut self, path: &[String]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut at = self;
        for step in parents {
            at = &mut at.0.entry(step.clone()).or_default().below;
        }
        at.0.entry(last.clone()).or_default().member = true;
    }

    pub fn remove(&mut self, path: &[&str]) {
        let Some((last, parents)) = path.split_last() else { return };
        let mut at = self;
        for step in parents {
            match at.0.get_mut(*step) {
                Some(entry) => at = &mut entry.below,
                None => return,
            }
        }
        if let Some(entry) = at.0.get_mut(*last) {
            entry.member = false;
        }
    }

    pub fn union(&self, other: &Self) -> Self {
        let mut out = self.clone();
        for (step, theirs) in &other.0 {
            let mine = out.0.entry(step.clone()).or_default();
            mine.member |= theirs.member;
            mine.below = mine.below.union(&theirs.below);
        }
        out
    }

    pub fn difference(&self, other: &Self) -> Self {
        self.combine(|step, mine| match other.0.get(step) {
            Some(theirs) => {
                Entry { member: mine.member && !theirs.member, below: mine.below.difference(&theirs.below) }
            }
            None => Entry { member: mine.member, below: mine.below.difference(&Self::default()) },
        })
    }

    pub fn intersection(&self, other: &Self) -> Self {
        self.combine(|step, mine| match other.0.get(step) {
            Some(theirs) => {
                Entry { member: mine.member && theirs.member, below: mine.below.intersection(&theirs.below) }
            }
            None => Entry::default(),
        })
    }

    fn combine(&self, entry: impl Fn(&str, &Entry) -> Entry) -> Self {
        let entries = self.0.iter().map(|(step, mine)| (step.clone(), entry(step, mine)));
        Self(entries.filter(|(_, entry)| entry.member || !entry.below.is_empty()).collect())
    }

    /// Whether the path is a member, or a named field on the way to one.
    pub fn holds(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(|entry| entry.member || (step.starts_with("f:") && !entry.below.is_empty()))
    }

    pub fn below(&self, step: &str) -> Option<&Self> {
        self.0.get(step).map(|entry| &entry.below)
    }

    /// Every member's path, in the way errors print it: `.spec.containers[name="a"].image`.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        for (step, entry) in &self.0 {
            let path = format!("{prefix}{}", shown(step));
            if entry.member {
                out.push(path.clone());
            }
            entry.below.collect(&path, out);
        }
    }

    pub fn to_fields_v1(&self) -> Value {
        let entries = self.0.iter().filter(|(_, entry)| entry.member || !entry.below.is_empty());
        let map: Map<String, Value> = entries
            .map(|(step, entry)| {
                let mut below = entry.below.to_fields_v1();
                if entry.member
                    && let Value::Object(below) = &mut below
                    && !below.is_empty()
                {
                    below.insert(".".to_owned(), Value::Object(Map::new()));
                }
                (step.clone(), below)
            })
            .collect();
        Value::Object(map)
    }

    pub fn from_fields_v1(value: &Value) -> Self {
        let Value::Object(map) = value else { return Self::default() };
        let entries = map.iter().filter(|(step, _)| *step != ".").map(|(step, below)| {
            let object = below.as_object();
            let member = object.is_none_or(|below| below.is_empty() || below.contains_key("."));
            (canonical(step), Entry { member, below: Self::from_fields_v1(below) })
        });
        Self(entries.collect())
    }
}

/// Clients may write keys in another order or spacing; the text is the identity here.
fn canonical(step: &str) -> String {
    match step.strip_prefix("k:").and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        Some(Value::Object(keys)) => key(keys.iter().map(|(name, value)| (name.as_str(), value.clone())).collect()),
        _ => step.to_owned(),
    }
}

pub(super) fn field(name: &str) -> String {
    format!("f:{name}")
}

pub(super) fn value(value: &Value) -> String {
    format!("v:{value}")
}

/// Keys are sorted by name.
pub(super) fn key(mut keys: Vec<(&str, Value)>) -> String {
    keys.sort_by(|a, b| a.0.cmp(b.0));
    let mut out = "k:{".to_owned();
    for (at, (name, value)) in keys.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{}:{value}", Value::from(*name));
    }
    out.push('}');
    out
}

/// A step as error messages print it.
pub(super) fn shown(step: &str) -> String {
    if let Some(name) = step.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(value) = step.strip_prefix("v:") {
        return format!("[={value}]");
    }
    if let Some(Value::Object(keys)) = step.strip_prefix("k:").and_then(|text| serde_json::from_str(text).ok()) {
        let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={value}")).collect();
        return format!("[{}]", keys.join(","));
    }
    format!("[{}]", step.trim_start_matches("i:"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_v1_goes_both_ways() {
        let fields = json!({"f:metadata":{"f:labels":{".":{},"f:app":{}}},
            "f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}},"f:finalizers":{"v:\"a\"":{}}}});
        let set = Set::from_fields_v1(&fields);
        assert_eq!(set.to_fields_v1(), fields);
        assert_eq!(
            set.paths(),
            [
                ".metadata.labels",
                ".metadata.labels.app",
                ".spec.finalizers[=\"a\"]",
                ".spec.ports[port=80,protocol=\"TCP\"]",
                ".spec.ports[port=80,protocol=\"TCP\"].port"
            ]
        );
        assert!(set.difference(&set).is_empty());
        assert_eq!(set.intersection(&set), set);
    }
}
