//! Writing `metadata.resourceVersion` into an object's JSON, and finding its metadata, without parsing it into a tree.
//!
//! As upstream, a stored object does not carry its own resource version, for it is only known once the write is
//! committed; whoever reads the object puts the mod revision in. The cache does this once for each state of an object, so it
//! is a scan over bytes: find `metadata` at the top level, leave out a `resourceVersion` that is there, insert the new one.

use crate::Revision;
use bytes::Bytes;

/// `json` with `metadata.resourceVersion` set to `revision`; `None` when it is no JSON object with an object `metadata`.
///
/// Only as much is checked as is needed to find the place: what follows `metadata` is copied unseen.
pub fn stamp(json: &[u8], revision: Revision) -> Option<Bytes> {
    let metadata = member(json, 0, b"metadata")?;
    if json.get(metadata.value) != Some(&b'{') {
        return None;
    }
    let open = metadata.value + 1;
    let mut out = Vec::with_capacity(json.len() + 32);
    out.extend_from_slice(&json[..open]);
    out.extend_from_slice(b"\"resourceVersion\":\"");
    out.extend_from_slice(revision.to_string().as_bytes());
    out.push(b'"');

    let rest = out.len();
    match member(json, metadata.value, b"resourceVersion") {
        Some(old) => {
            out.extend_from_slice(trim_commas(&json[open..old.name]));
            let mut after = skip_space(json, skip_value(json, old.value)?);
            if json.get(after) == Some(&b',') {
                after = skip_space(json, after + 1);
            }
            if out.len() > rest && json.get(after) != Some(&b'}') {
                out.push(b',');
            }
            out.extend_from_slice(&json[after..]);
        }
        None => out.extend_from_slice(&json[open..]),
    }
    if out.get(skip_space(&out, rest)) != Some(&b'}') {
        out.insert(rest, b',');
    }
    Some(out.into())
}

/// The bytes of `metadata`, an object; `None` where [`stamp`] has none.
pub fn metadata(json: &[u8]) -> Option<&[u8]> {
    let begin = member(json, 0, b"metadata")?.value;
    if json.get(begin) != Some(&b'{') {
        return None;
    }
    json.get(begin..skip_value(json, begin)?)
}

/// Where a member's name (its opening quote) and its value begin.
struct Member {
    name: usize,
    value: usize,
}

/// The member `wanted` of the object that begins at or after `at`.
fn member(json: &[u8], at: usize, wanted: &[u8]) -> Option<Member> {
    let mut at = skip_space(json, at);
    if json.get(at) != Some(&b'{') {
        return None;
    }
    at = skip_space(json, at + 1);
    while json.get(at) == Some(&b'"') {
        let name = at;
        let end = skip_string(json, at)?;
        let colon = skip_space(json, end);
        if json.get(colon) != Some(&b':') {
            return None;
        }
        let value = skip_space(json, colon + 1);
        if &json[name + 1..end - 1] == wanted {
            return Some(Member { name, value });
        }
        at = skip_space(json, skip_value(json, value)?);
        if json.get(at) != Some(&b',') {
            return None;
        }
        at = skip_space(json, at + 1);
    }
    None
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

fn trim_commas(bytes: &[u8]) -> &[u8] {
    let end =
        bytes.iter().rposition(|byte| !matches!(byte, b',' | b' ' | b'\n' | b'\r' | b'\t')).map_or(0, |last| last + 1);
    &bytes[..end]
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
        check(r#"{"metadata":{"name":"a"}}"#, r#"{"metadata":{"resourceVersion":"7","name":"a"}}"#);
        check(r#"{"metadata":{"resourceVersion":"1"}}"#, r#"{"metadata":{"resourceVersion":"7"}}"#);
        check(
            r#"{"metadata":{"a":1,"resourceVersion":"1"},"b":2}"#,
            r#"{"metadata":{"resourceVersion":"7","a":1},"b":2}"#,
        );
        check(
            r#"{"a":{"metadata":{"x":"}"}},"metadata":{"n":"\"{","resourceVersion":"","z":[1,{}]}}"#,
            r#"{"a":{"metadata":{"x":"}"}},"metadata":{"resourceVersion":"7","n":"\"{","z":[1,{}]}}"#,
        );
        check("{ \"metadata\" : { } }", "{ \"metadata\" : {\"resourceVersion\":\"7\" } }");
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
    fn refuses_what_is_no_object_with_metadata() {
        for bad in ["", "[]", "{}", "null", r#"{"metadata":3}"#, r#"{"a":"#, r#"{"spec":{}}"#] {
            assert_eq!(stamp(bad.as_bytes(), 7), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn equals_the_parsed_way(name in ".*", other in ".*", version in proptest::option::of("[0-9]*"), pretty: bool) {
            let mut object = json!({"apiVersion": "v1", "a": [1.5, null, {"metadata": other}], "metadata": {"name": name, "a": {}, "z": [true]}});
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
