//! Sets of field paths, in the form of `FieldsV1` (structured-merge-diff's `fieldpath`).
//!
//! A path element is kept as its serialised text: `f:name`, `k:{"name":"a"}`, `v:"x"`.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    fmt::{self, Write as _},
};

use serde_json::{Map, Value};

use crate::decode::with_whole_numbers;

/// No step leads nowhere: each is a member or has members below.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Set(BTreeMap<String, Entry>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Entry {
    member: bool,
    below: Set,
}

impl Set {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert(&mut self, trail: &Trail<'_>) {
        let (above, step) = match trail {
            Trail::Root => return,
            Trail::Field(above, name) => (above, field(name)),
            Trail::Item(above, step) => (above, (*step).to_owned()),
        };
        self.at(above).0.entry(step).or_default().member = true;
    }

    /// The set of one path.
    pub fn of(path: &[String]) -> Self {
        let Some((first, rest)) = path.split_first() else { return Self::default() };
        let entry = Entry { member: rest.is_empty(), below: Self::of(rest) };
        Self(BTreeMap::from([(first.clone(), entry)]))
    }

    /// Whether a path is a member.
    pub fn contains(&self, path: &[String]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        let entry = self.0.get(first);
        entry.is_some_and(|entry| if rest.is_empty() { entry.member } else { entry.below.contains(rest) })
    }

    /// What stands below a place.
    fn at(&mut self, trail: &Trail<'_>) -> &mut Self {
        match trail {
            Trail::Root => self,
            Trail::Field(above, name) => &mut self.at(above).0.entry(field(name)).or_default().below,
            Trail::Item(above, step) => &mut self.at(above).0.entry((*step).to_owned()).or_default().below,
        }
    }

    /// Adds what `other` holds.
    pub fn unite(&mut self, other: &Self) {
        for (step, theirs) in &other.0 {
            match self.0.get_mut(step) {
                Some(mine) => {
                    mine.member |= theirs.member;
                    mine.below.unite(&theirs.below);
                }
                None => {
                    self.0.insert(step.clone(), theirs.clone());
                }
            }
        }
    }

    /// Takes away what `other` holds, and with it the steps that lead nowhere then, so that equal sets compare equal.
    pub fn subtract(&mut self, other: &Self) {
        for (step, theirs) in &other.0 {
            let Some(mine) = self.0.get_mut(step) else { continue };
            mine.member &= !theirs.member;
            mine.below.subtract(&theirs.below);
            if !mine.member && mine.below.0.is_empty() {
                self.0.remove(step);
            }
        }
    }

    pub fn intersection(&self, other: &Self) -> Self {
        let both = self.0.iter().filter_map(|(step, mine)| {
            let theirs = other.0.get(step)?;
            let below = mine.below.intersection(&theirs.below);
            let entry = Entry { member: mine.member && theirs.member, below };
            (entry.member || !entry.below.0.is_empty()).then(|| (step.clone(), entry))
        });
        Self(both.collect())
    }

    /// Whether the path is a member, or a named field on the way to one.
    pub fn holds(&self, step: &str) -> bool {
        self.0.get(step).is_some_and(|entry| entry.member || (step.starts_with("f:") && !entry.below.is_empty()))
    }

    pub fn below(&self, step: &str) -> Option<&Self> {
        self.0.get(step).map(|entry| &entry.below)
    }

    /// Every member's path, in the way errors print it: `.spec.containers[name="a"].image`. As upstream goes through a set, those
    /// of a level come before those below it.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.collect("", &mut out);
        out
    }

    fn collect(&self, prefix: &str, out: &mut Vec<String>) {
        let path = |step: &str| format!("{prefix}{}", shown(step));
        out.extend(self.0.iter().filter(|(_, entry)| entry.member).map(|(step, _)| path(step)));
        for (step, entry) in self.0.iter().filter(|(_, entry)| !entry.below.0.is_empty()) {
            entry.below.collect(&path(step), out);
        }
    }

    /// Whether it has a member in common with what is stored as `FieldsV1`, which must be canonical.
    pub fn meets(&self, stored: &Value) -> bool {
        self.0.iter().any(|(step, entry)| {
            let below = stored.get(step);
            below.is_some_and(|below| (entry.member && is_member(below)) || entry.below.meets(below))
        })
    }

    /// Whether all its members are in what is stored as `FieldsV1`, which must be canonical.
    pub fn is_within(&self, stored: &Value) -> bool {
        self.0.iter().all(|(step, entry)| {
            let below = stored.get(step);
            below.is_some_and(|below| (!entry.member || is_member(below)) && entry.below.is_within(below))
        })
    }

    /// Whether `FieldsV1` is as [`Set::into_fields_v1`] writes it.
    pub fn is_canonical(stored: &Value) -> bool {
        stored.get(".").is_none() && is_canonical(stored)
    }

    pub fn into_fields_v1(self) -> Value {
        let entries = self.0.into_iter().map(|(step, Entry { member, below })| {
            let mut below = below.into_fields_v1();
            if member
                && let Value::Object(below) = &mut below
                && !below.is_empty()
            {
                below.insert(".".to_owned(), Value::Object(Map::new()));
            }
            (step, below)
        });
        Value::Object(entries.collect())
    }

    pub fn from_fields_v1(value: Value) -> Self {
        let Value::Object(map) = value else { return Self::default() };
        let entries = map.into_iter().filter(|(step, _)| step != ".").map(|(step, below)| {
            let member = is_member(&below);
            (canonical(step), Entry { member, below: Self::from_fields_v1(below) })
        });
        Self(entries.collect())
    }
}

/// A place on the way down a value: each step lies on the stack of the one who took it, for most places are passed by
/// without anybody asking for their text.
#[derive(Clone, Copy)]
pub(super) enum Trail<'a> {
    Root,
    Field(&'a Trail<'a>, &'a str),
    /// An item of a list by its serialised path element.
    Item(&'a Trail<'a>, &'a str),
}

/// As error messages print it.
impl fmt::Display for Trail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(above, name) => write!(f, "{above}.{name}"),
            Self::Item(above, step) => write!(f, "{above}{}", shown(step)),
        }
    }
}

/// Whether a step with this below it is a member.
fn is_member(below: &Value) -> bool {
    below.as_object().is_none_or(|below| below.is_empty() || below.contains_key("."))
}

fn is_canonical(below: &Value) -> bool {
    let Value::Object(steps) = below else { return false };
    steps.iter().all(|(step, below)| match step.as_str() {
        "." => steps.len() > 1 && below.as_object().is_some_and(Map::is_empty),
        step => is_canonical(below) && is_canonical_step(step),
    })
}

fn is_canonical_step(step: &str) -> bool {
    !step.starts_with("k:") || is_plain_key(step) || canonical(step.to_owned()) == step
}

/// Clients may write keys in another order or spacing; the text is the identity here.
fn canonical(step: String) -> String {
    if is_plain_key(&step) {
        return step;
    }
    match step.strip_prefix("k:").and_then(|text| serde_json::from_str::<Value>(text).ok()) {
        Some(Value::Object(keys)) => key(keys.iter().map(|(name, value)| (name.as_str(), value)).collect()),
        _ => step,
    }
}

/// One key and its text without anything to escape, as most are: there is one way only to write that.
fn is_plain_key(step: &str) -> bool {
    let parts =
        step.strip_prefix("k:{\"").and_then(|rest| rest.strip_suffix("\"}")).and_then(|rest| rest.split_once("\":\""));
    let plain = |text: &str| !text.bytes().any(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    parts.is_some_and(|(name, value)| plain(name) && plain(value))
}

pub(super) fn field(name: &str) -> String {
    ["f:", name].concat()
}

pub(super) fn value(value: &Value) -> String {
    format!("v:{}", scalar(value))
}

/// A whole float is the same as the integer.
fn scalar(value: &Value) -> Cow<'_, Value> {
    if value.is_f64() { with_whole_numbers(value) } else { Cow::Borrowed(value) }
}

/// Keys are sorted by name.
pub(super) fn key(mut keys: Vec<(&str, &Value)>) -> String {
    keys.sort_by(|a, b| a.0.cmp(b.0));
    let mut out = "k:{".to_owned();
    for (at, (name, value)) in keys.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        let _ = write!(out, "{comma}{}:{}", Value::from(*name), scalar(value));
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
        let keys: Vec<String> = keys.iter().map(|(name, value)| format!("{name}={}", printed(value))).collect();
        return format!("[{}]", keys.join(","));
    }
    format!("[{}]", step.trim_start_matches("i:"))
}

/// A key's value, which may be anything as long as nobody has said that it is no key (`value.ToString`).
fn printed(value: &Value) -> String {
    match value {
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name}={}", printed(value))).collect(),
        Value::Array(list) => format!("[{}]", list.iter().map(printed).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn steps_are_shown() {
        for (step, expected) in [
            ("f:spec", ".spec"),
            ("v:\"a\"", "[=\"a\"]"),
            ("i:3", "[3]"),
            (r#"k:{"port":80,"protocol":"TCP"}"#, r#"[port=80,protocol="TCP"]"#),
            (r#"k:{"name":{"a":"b","c":[1,{"d":null}]}}"#, r#"[name=a="b"c=[1,d=null]]"#),
        ] {
            assert_eq!(shown(step), expected);
        }
    }

    #[test]
    fn fields_v1_goes_both_ways() {
        let fields = json!({"f:metadata":{"f:labels":{".":{},"f:app":{}}},
            "f:spec":{"f:ports":{"k:{\"port\":80,\"protocol\":\"TCP\"}":{".":{},"f:port":{}}},"f:finalizers":{"v:\"a\"":{}}}});
        let set = Set::from_fields_v1(fields.clone());
        assert_eq!(set.clone().into_fields_v1(), fields);
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
        let set = Set::from_fields_v1(json!({"f:spec":{"f:ports":{"f:a":{}},"f:selector":{}},"f:subsets":{}}));
        assert_eq!(set.paths(), [".subsets", ".spec.selector", ".spec.ports.a"], "those of a level come first");
        assert_eq!(set.intersection(&set), set);
        let mut none = set.clone();
        none.subtract(&set);
        assert!(none.is_empty());
        none.unite(&set);
        assert_eq!(none, set);
    }

    #[test]
    fn keys_have_one_form() {
        let keys = |step: &str| Set::from_fields_v1(json!({ step: {} })).into_fields_v1();
        let canonical = |step: &str| json!({ step: {} });
        for step in
            [r#"k:{"name":"a"}"#, r#"k:{"name":"é/b c"}"#, r#"k:{"a":1,"b":"x"}"#, r#"k:{"a":"x\"\n"}"#, "k:nonsense"]
        {
            assert_eq!(keys(step), canonical(step));
        }
        assert_eq!(keys(r#"k:{ "b":"x", "a":1 }"#), canonical(r#"k:{"a":1,"b":"x"}"#));
        assert_eq!(keys(r#"k:{"name":"\u0061"}"#), canonical(r#"k:{"name":"a"}"#));
        assert_eq!(keys(r#"k:{"a":"x","b":"y"}"#), canonical(r#"k:{"a":"x","b":"y"}"#));
        assert_eq!(keys(r#"k:{"b":"x","a":"y"}"#), canonical(r#"k:{"a":"y","b":"x"}"#));
    }
}
