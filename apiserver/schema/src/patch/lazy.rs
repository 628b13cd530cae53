//! A JSON text of which only that is read which somebody has looked at, as upstream's library for patches keeps documents. It
//! shows: where a patch has been, members are written by name, all else as it was written before; and two values are the same
//! where their texts are.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::json;

/// A value; `None` is null.
pub(super) type Slot = Option<Lazy>;

#[derive(Debug)]
pub(super) enum Lazy {
    /// What nobody has looked into, without spaces.
    Text(String),
    Object(BTreeMap<String, Slot>),
    List(Vec<Slot>),
}

impl Lazy {
    /// An object of the server's, as it is written.
    pub fn of(value: &Value) -> Slot {
        let text = String::from_utf8(json::to_vec(value)).unwrap_or_default();
        read(&escaped(&text))
    }

    pub fn null() -> Self {
        Self::Text("null".to_owned())
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Self::Text(text) if text == "null")
    }

    /// Reads one level of an object or a list.
    pub fn open(&mut self) -> &mut Self {
        let Self::Text(text) = self else { return self };
        let opened = match text.as_bytes().first() {
            Some(b'{') => Self::Object(members(text).map(|(name, value)| (name, read(value))).collect()),
            Some(b'[') => Self::List(parts(text).map(read).collect()),
            _ => return self,
        };
        *self = opened;
        self
    }

    /// What a merge patch makes of it: it looks into all objects it has something for, and into what it adds.
    pub fn merged(mut self, mut patch: Self) -> Self {
        let Self::Object(map) = self.open() else {
            patch.prune();
            return patch;
        };
        // What takes the place of an object stays as it was sent.
        if matches!(&patch, Self::Text(text) if !text.starts_with('{')) {
            return patch;
        }
        let Self::Object(patch) = patch.open() else { return self };
        for (name, change) in std::mem::take(patch) {
            match (map.remove(&name).flatten(), change) {
                (_, None) => {}
                (Some(own), Some(change)) => drop(map.insert(name, Some(own.merged(change)))),
                (None, Some(mut change)) => {
                    change.prune();
                    map.insert(name, Some(change));
                }
            }
        }
        self
    }

    /// Takes the nulls out of all objects.
    pub fn prune(&mut self) {
        match self.open() {
            Self::Object(map) => {
                map.retain(|_, value| value.is_some());
                map.values_mut().flatten().for_each(Self::prune);
            }
            Self::List(list) => list.iter_mut().flatten().for_each(Self::prune),
            Self::Text(_) => {}
        }
    }

    /// Whether both say the same; looks into all of it.
    pub fn same(&mut self, other: &mut Self) -> bool {
        match (self.open(), other.open()) {
            (Self::Object(own), Self::Object(other)) => {
                own.len() == other.len()
                    && own.iter_mut().all(|(name, own)| other.get_mut(name).is_some_and(|other| alike(own, other)))
            }
            (Self::List(own), Self::List(other)) => {
                own.len() == other.len() && own.iter_mut().zip(other).all(|(own, other)| alike(own, other))
            }
            (Self::Text(own), Self::Text(other)) => own == other,
            _ => false,
        }
    }

    /// How many levels there are in it.
    pub fn depth(&self) -> usize {
        let most = |below: Option<usize>| below.unwrap_or(0) + 1;
        match self {
            Self::Text(text) => levels(text),
            Self::Object(map) => most(map.values().flatten().map(Self::depth).max()),
            Self::List(list) => most(list.iter().flatten().map(Self::depth).max()),
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => out.push_str(&escaped(text)),
            Self::Object(map) => {
                out.push('{');
                for (at, (name, value)) in map.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    out.push_str(&escaped(&Value::from(name.as_str()).to_string()));
                    out.push(':');
                    write(value.as_ref(), out);
                }
                out.push('}');
            }
            Self::List(list) => {
                out.push('[');
                for (at, value) in list.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write(value.as_ref(), out);
                }
                out.push(']');
            }
        }
    }
}

fn alike(own: &mut Slot, other: &mut Slot) -> bool {
    match (own, other) {
        (Some(own), Some(other)) => own.same(other),
        (own, other) => own.is_none() && other.is_none(),
    }
}

fn write(value: Option<&Lazy>, out: &mut String) {
    match value {
        Some(value) => value.write(out),
        None => out.push_str("null"),
    }
}

pub(super) fn text_of(value: &Slot) -> String {
    let mut out = String::with_capacity(1024);
    write(value.as_ref(), &mut out);
    out
}

/// `text` is JSON.
pub(super) fn read(text: &str) -> Slot {
    let text = compact(text);
    (text != "null").then_some(Lazy::Text(text))
}

/// Go's encoder writes these so that a text may stand in HTML. They can only be inside of strings.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' | '<' | '>' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

fn compact(text: &str) -> String {
    let mut inside = Inside::default();
    text.chars().filter(|c| inside.string(*c) || !c.is_ascii_whitespace()).collect()
}

/// How many levels there are in a JSON text.
fn levels(text: &str) -> usize {
    let (mut inside, mut open, mut most) = (Inside::default(), 0_usize, 0);
    for c in text.chars() {
        match c {
            _ if inside.string(c) => {}
            '{' | '[' => open += 1,
            '}' | ']' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// Whether one is inside of a string of a JSON text that is read from its start.
#[derive(Default)]
struct Inside {
    string: bool,
    escaped: bool,
}

impl Inside {
    /// Whether the next character belongs to a string, its quotes included.
    fn string(&mut self, c: char) -> bool {
        if !self.string {
            self.string = c == '"';
            return self.string;
        }
        match c {
            _ if self.escaped => self.escaped = false,
            '\\' => self.escaped = true,
            '"' => self.string = false,
            _ => {}
        }
        true
    }
}

/// The names and values of an object; of one that is given twice the last will count.
pub(super) fn members(text: &str) -> impl Iterator<Item = (String, &str)> {
    parts(text).filter_map(|member| {
        let mut inside = Inside::default();
        let (colon, _) = member.char_indices().find(|(_, c)| !inside.string(*c) && *c == ':')?;
        Some((serde_json::from_str(&member[..colon]).ok()?, &member[colon + 1..]))
    })
}

/// What stands between the commas of an object or a list.
pub(super) fn parts(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    let body = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let (mut inside, mut open) = (Inside::default(), 0_usize);
    let split = move |c: char| {
        match c {
            _ if inside.string(c) => {}
            '{' | '[' => open += 1,
            '}' | ']' => open = open.saturating_sub(1),
            ',' => return open == 0,
            _ => {}
        }
        false
    };
    body.split(split).filter(|part| !part.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_looked_into_is_written_by_name() {
        let text = r#" {"b": {"d": 1.0, "c": ["x,]\"", {}]}, "a": null, "é": "<\u003c" } "#;
        let mut value = read(text);
        assert_eq!(text_of(&value), r#"{"b":{"d":1.0,"c":["x,]\"",{}]},"a":null,"é":"\u003c\u003c"}"#);
        if let Some(Lazy::Object(map)) = value.as_mut().map(Lazy::open) {
            map.get_mut("b").and_then(Option::as_mut).map(Lazy::open);
        }
        assert_eq!(text_of(&value), r#"{"a":null,"b":{"c":["x,]\"",{}],"d":1.0},"é":"\u003c\u003c"}"#);
        assert_eq!(levels(text), 4);
    }

    #[test]
    fn what_a_merge_patch_reaches_is_written_by_name() {
        let live = r#"{"b":{"d":1,"c":{"z":1,"y":2}},"a":{"z":1,"y":2},"l":{}}"#;
        for (patch, expected) in [
            (r#"{"b":{"d":2}}"#, r#"{"a":{"z":1,"y":2},"b":{"c":{"z":1,"y":2},"d":2},"l":{}}"#),
            (r#"{"a":{},"b":null}"#, r#"{"a":{"y":2,"z":1},"l":{}}"#),
            (
                r#"{"a":[{"y":null,"x":1}],"b":null,"n":{"c":1.0,"b":[null,{"a":null}]}}"#,
                r#"{"a":[{"y":null,"x":1}],"l":{},"n":{"b":[null,{}],"c":1.0}}"#,
            ),
        ] {
            let merged = read(live).unwrap().merged(read(patch).unwrap());
            assert_eq!(text_of(&Some(merged)), expected, "{patch}");
        }
    }

    #[test]
    fn texts_are_compared() {
        for (one, other, same) in [
            (r#"{"a":1,"b":[2]}"#, r#"{ "b": [ 2 ], "a": 1 }"#, true),
            ("1.0", "1", false),
            (r#""<""#, r#""\u003c""#, false),
            ("[]", "{}", false),
            (r#"{"a":null}"#, "{}", false),
            (r#"{"a":null}"#, r#"{"a":null}"#, true),
        ] {
            assert_eq!(alike(&mut read(one), &mut read(other)), same, "{one} {other}");
        }
    }
}
