//! Writing `metadata.resourceVersion` into an object's JSON, and finding its metadata, without parsing it into a tree.
//!
//! As upstream, a stored object does not carry its own resource version, for it is only known once the write is
//! committed; whoever reads the object puts the mod revision in. The cache does this once for each state of an object, so it
//! is a scan over bytes: find `metadata` at the top level, leave out a `resourceVersion` that is there, insert the new one.

use crate::Revision;
use bytes::Bytes;

/// What stands before `resourceVersion` in the metadata of a built-in kind, which is written in the order of Go's fields.
const BEFORE: [&[u8]; 5] = [b"name", b"generateName", b"namespace", b"selfLink", b"uid"];

/// `json` with `metadata.resourceVersion` set to `revision`, at its place in upstream's order; `None` when it is no JSON
/// object with an object `metadata`.
///
/// Only as much is checked as is needed to find the place: what follows `metadata` is copied unseen.
pub fn stamp(json: &[u8], revision: Revision) -> Option<Bytes> {
    // Go's encoder ends with a line break, which would end an event of a watch.
    let json = json.trim_ascii_end();
    let metadata = member(json, 0, |name| name == b"metadata").found()?;
    // Custom resources are written by name, from apiVersion on.
    let ordered = member(json, 0, |_| true).found().is_some_and(|first| json[first.name..].starts_with(b"\"kind\""));
    let later = |name: &[u8]| if ordered { !BEFORE.contains(&name) } else { name > b"resourceVersion".as_slice() };

    let mut out = Vec::with_capacity(json.len() + 32);
    let mut put = |before: &[u8], text: [&str; 2], behind: &[u8]| {
        out.extend_from_slice(before);
        out.extend_from_slice(text[0].as_bytes());
        out.extend_from_slice(revision.to_string().as_bytes());
        out.extend_from_slice(text[1].as_bytes());
        out.extend_from_slice(behind);
    };
    if let Search::Found(old) = member(json, metadata.value, |name| name == b"resourceVersion") {
        put(&json[..old.value], ["\"", "\""], &json[skip_value(json, old.value)?..]);
    } else {
        match member(json, metadata.value, later) {
            Search::Found(next) => put(&json[..next.name], ["\"resourceVersion\":\"", "\","], &json[next.name..]),
            Search::Missing { end, empty: true } => put(&json[..end], ["\"resourceVersion\":\"", "\""], &json[end..]),
            Search::Missing { end, .. } => put(&json[..end], [",\"resourceVersion\":\"", "\""], &json[end..]),
            Search::Broken => return None,
        }
    }
    Some(out.into())
}

/// The bytes of `metadata`, an object; `None` where [`stamp`] has none.
pub fn metadata(json: &[u8]) -> Option<&[u8]> {
    let begin = member(json, 0, |name| name == b"metadata").found()?.value;
    if json.get(begin) != Some(&b'{') {
        return None;
    }
    json.get(begin..skip_value(json, begin)?)
}

/// The text of a member at the top level, as it is written there; `None` where there is none, or it is no text. Looks no further
/// than there.
pub fn text<'a>(json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let begin = member(json, 0, |found| found == name).found()?.value;
    json.get(begin..skip_value(json, begin)?)?.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

/// Where a member's name (its opening quote) and its value begin.
struct Member {
    name: usize,
    value: usize,
}

enum Search {
    Found(Member),
    /// There is none in the object, which is closed at `end`.
    Missing {
        end: usize,
        empty: bool,
    },
    /// What is there is no object.
    Broken,
}

impl Search {
    fn found(self) -> Option<Member> {
        if let Self::Found(member) = self { Some(member) } else { None }
    }
}

/// The first member that is `wanted` of the object that begins at or after `at`.
fn member(json: &[u8], at: usize, wanted: impl Fn(&[u8]) -> bool) -> Search {
    search(json, at, wanted).unwrap_or(Search::Broken)
}

fn search(json: &[u8], at: usize, wanted: impl Fn(&[u8]) -> bool) -> Option<Search> {
    let mut at = skip_space(json, at);
    if json.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(json, at + 1);
    if json.get(at) == Some(&b'}') {
        return Some(Search::Missing { end: at, empty: true });
    }
    loop {
        let name = at;
        if json.get(name) != Some(&b'"') {
            return None;
        }
        let end = skip_string(json, at)?;
        let colon = skip_space(json, end);
        if json.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_space(json, colon + 1);
        if wanted(&json[name + 1..end - 1]) {
            return Some(Search::Found(Member { name, value }));
        }
        let end = skip_value(json, value)?;
        at = skip_space(json, end);
        match json.get(at) {
            Some(b',') => at = skip_space(json, at + 1),
            Some(b'}') => return Some(Search::Missing { end, empty: false }),
            _ => return None,
        }
    }
}

fn skip_space(json: &[u8], mut at: usize) -> usize {
    while matches!(json.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The position behind the string that begins at `at`.
fn skip_string(json: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    loop {
        match json.get(at)? {
            b'\\' => at += 2,
            b'"' => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The position behind the value that begins at `at`.
fn skip_value(json: &[u8], at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => skip_string(json, at),
        b'{' | b'[' => {
            let (mut at, mut depth) = (at, 0_usize);
            loop {
                match json.get(at)? {
                    b'"' => {
                        at = skip_string(json, at)?;
                        continue;
                    }
                    b'{' | b'[' => depth += 1,
                    b'}' | b']' => depth -= 1,
                    _ => {}
                }
                at += 1;
                if depth == 0 {
                    return Some(at);
                }
            }
        }
        _ => {
            let length = json[at..].iter().position(|byte| matches!(byte, b',' | b'}' | b']'))?;
            Some(at + length)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    fn check(before: &str, after: &str) {
        let stamped = stamp(before.as_bytes(), 7).map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
        assert_eq!(stamped.as_deref(), Some(after), "{before}");
    }

    #[test]
    fn sets_and_replaces() {
        check(r#"{"metadata":{}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#);
        check(r#"{"metadata":{"resourceVersion":"1"}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#);
        check(
            r#"{"metadata":{"a":1,"resourceVersion":"1","z":2},"b":2}"#,
            r#"{"metadata":{"a":1,"resourceVersion":"7","z":2},"b":2}"#,
        );
        check(
            r#"{"a":{"metadata":{"x":"}"}},"metadata":{"n":"\"{","resourceVersion":"","z":[1,{}]}}"#,
            r#"{"a":{"metadata":{"x":"}"}},"metadata":{"n":"\"{","resourceVersion":"7","z":[1,{}]}}"#,
        );
        check("{\"metadata\":{}}\n", r#"{"metadata":{"resourceVersion":"7"}}"#);
        check("{ \"metadata\" : { } }", "{ \"metadata\" : { \"resourceVersion\":\"7\"} }");
        check("{ \"metadata\" : { \"a\": 1 } }", "{ \"metadata\" : { \"a\": 1 ,\"resourceVersion\":\"7\"} }");
    }

    #[test]
    fn the_place_is_upstreams() {
        check(
            r#"{"apiVersion":"a/v1","metadata":{"name":"a","ownerReferences":[],"uid":"u"}}"#,
            r#"{"apiVersion":"a/v1","metadata":{"name":"a","ownerReferences":[],"resourceVersion":"7","uid":"u"}}"#,
        );
        check(
            r#"{"kind":"Pod","metadata":{"name":"a","namespace":"b","uid":"u","generation":1,"labels":{}}}"#,
            r#"{"kind":"Pod","metadata":{"name":"a","namespace":"b","uid":"u","resourceVersion":"7","generation":1,"labels":{}}}"#,
        );
        check(
            r#"{"kind":"Pod","metadata":{"name":"a"},"spec":{}}"#,
            r#"{"kind":"Pod","metadata":{"name":"a","resourceVersion":"7"},"spec":{}}"#,
        );
    }

    #[test]
    fn metadata_is_found() {
        let check = |json: &str, found: Option<&str>| {
            assert_eq!(metadata(json.as_bytes()), found.map(str::as_bytes), "{json}");
        };
        check(r#"{"a":{"metadata":{}},"metadata":{"n":"}","l":[{}]},"z":1}"#, Some(r#"{"n":"}","l":[{}]}"#));
        for bad in ["", "{}", r#"{"metadata":[]}"#, r#"{"metadata":{"a":1"#] {
            check(bad, None);
        }
    }

    #[test]
    fn texts_are_found() {
        for (json, found) in [
            (r#"{"kind":"A","apiVersion":"a/v1","metadata":{}}"#, Some("a/v1")),
            (r#"{"metadata":{"apiVersion":"b"}, "apiVersion" : "a\"" ,"x"#, Some(r#"a\""#)),
            (r#"{"apiVersion":"","#, Some("")),
            (r#"{"apiVersion":1}"#, None),
            (r#"{"apiVersion":["a"]}"#, None),
            (r#"{"apiVersion":"a"#, None),
            ("{}", None),
            ("", None),
        ] {
            assert_eq!(text(json.as_bytes(), b"apiVersion"), found.map(str::as_bytes), "{json}");
        }
    }

    #[test]
    fn refuses_what_is_no_object_with_metadata() {
        for bad in ["", "[]", "{}", "null", r#"{"metadata":3}"#, r#"{"a":"#, r#"{"spec":{}}"#, r#"{"metadata":{"a":1"#]
        {
            assert_eq!(stamp(bad.as_bytes(), 7), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_parsed_way(name in ".*", other in ".*", version in proptest::option::of("[0-9]*"), first in "apiVersion|kind", pretty: bool) {
            let mut object = json!({first: "v1", "a": [1.5, null, {"metadata": other}], "metadata": {"name": name, "a": {}, "z": [true]}});
            if let Some(version) = version {
                object["metadata"]["resourceVersion"] = version.into();
            }
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let stamped: Value = serde_json::from_slice(&stamp(text.as_bytes(), 42).unwrap()).unwrap();
            object["metadata"]["resourceVersion"] = "42".into();
            let metadata: Value = serde_json::from_slice(metadata(text.as_bytes()).unwrap()).unwrap();
            prop_assert_eq!(&metadata["name"], &object["metadata"]["name"]);
            prop_assert_eq!(stamped, object);
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            stamp(&bytes, 1);
            metadata(&bytes);
        }
    }
}
