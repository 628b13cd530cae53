//! JSON as upstream writes it: members of built-in structs in the order of their Go fields (kind, apiVersion, metadata with
//! the name first, spec, status), everything else by name.
//!
//! Nothing depends on the order but eyes, and readers that look for something near the front.

use serde_json::{Map, Value};

use crate::facts;
use crate::model::{Node, Shape, Struct};

/// The JSON of a value. An object that says it is of a built-in kind is written as one.
#[must_use]
pub fn to_vec(value: &Value) -> Vec<u8> {
    let mut out = Vec::with_capacity(1024);
    free(&mut out, value);
    out
}

/// A value of no known type.
fn free(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Object(members) => match kind_of(members) {
            Some(of) => object(out, of, members),
            None => plain(out, value),
        },
        _ => plain(out, value),
    }
}

/// The JSON of an object's metadata.
#[must_use]
pub fn metadata(meta: &Value) -> String {
    let mut out = Vec::new();
    match meta {
        Value::Object(members) => object(&mut out, &facts::object_meta(), members),
        _ => plain(&mut out, meta),
    }
    String::from_utf8(out).expect("JSON is text")
}

fn kind_of(members: &Map<String, Value>) -> Option<&'static Struct> {
    let kind = facts::kind(members.get("apiVersion")?.as_str()?, members.get("kind")?.as_str()?)?;
    Some(facts::by_index(kind))
}

/// By name, all the way down.
fn plain(out: &mut Vec<u8>, value: &Value) {
    serde_json::to_writer(out, value).expect("a Value has only string keys");
}

fn object(out: &mut Vec<u8>, of: &Struct, members: &Map<String, Value>) {
    let mut ordered: Vec<_> = members
        .iter()
        .map(|(name, value)| {
            let field = of.field(name);
            (field.map_or(u16::MAX, |field| field.order), name, field, value)
        })
        .collect();
    ordered.sort_by_key(|(order, ..)| *order);
    let ordered = ordered.into_iter().map(|(_, name, field, value)| (name, (field, value)));
    named(out, ordered, |out, _, (field, value)| match field {
        Some(field) => node(out, &field.node, value),
        None => free(out, value),
    });
}

/// `{"a":…,"b":…}`, each value as `write` writes it.
fn named<'a, V>(
    out: &mut Vec<u8>,
    members: impl IntoIterator<Item = (&'a String, V)>,
    mut write: impl FnMut(&mut Vec<u8>, &str, V),
) {
    out.push(b'{');
    for (at, (name, value)) in members.into_iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        string(out, name);
        out.push(b':');
        write(out, name, value);
    }
    out.push(b'}');
}

/// `[…,…]` in the same way; `write` is told which one it is.
fn items(out: &mut Vec<u8>, list: &[Value], mut write: impl FnMut(&mut Vec<u8>, usize, &Value)) {
    out.push(b'[');
    for (at, value) in list.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, at, value);
    }
    out.push(b']');
}

fn node(out: &mut Vec<u8>, node_: &Node, value: &Value) {
    match (&node_.shape, value) {
        (Shape::Struct { of, .. }, Value::Object(members)) => object(out, of, members),
        (Shape::Union(_), Value::Object(members)) => object(out, &facts::json_schema_props(), members),
        (Shape::List { items: of, .. }, Value::Array(list)) => items(out, list, |out, _, item| node(out, of, item)),
        (Shape::Map { values, .. }, Value::Object(members)) => {
            named(out, members, |out, _, value| node(out, values, value));
        }
        (Shape::Any(_), _) => free(out, value),
        _ => plain(out, value),
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a string is always JSON");
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: &Value, expected: &str) {
        let written = to_vec(value);
        assert_eq!(std::str::from_utf8(&written).unwrap(), expected);
        assert_eq!(&serde_json::from_slice::<Value>(&written).unwrap(), value);
    }

    #[test]
    fn built_in_kinds_are_written_in_the_order_of_their_fields() {
        check(
            &json!({
                "apiVersion": "v1", "kind": "Pod", "data": 1, "status": {},
                "metadata": { "labels": { "b": "1", "a": "2" }, "namespace": "d", "uid": "u", "name": "n" },
                "spec": { "containers": [{ "image": "i", "name": "c", "env": [{ "value": "v", "name": "e" }] }], "volumes": [] },
            }),
            concat!(
                r#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"n","namespace":"d","uid":"u","labels":{"a":"2","b":"1"}},"#,
                r#""spec":{"volumes":[],"containers":[{"name":"c","image":"i","env":[{"name":"e","value":"v"}]}]},"status":{},"data":1}"#,
            ),
        );
        check(
            &json!({ "apiVersion": "v1", "items": [{ "metadata": { "uid": "u", "name": "n" } }], "kind": "PodList", "metadata": {} }),
            r#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"n","uid":"u"}}]}"#,
        );
    }

    #[test]
    fn what_is_inside_a_free_field_is_known_by_what_it_says() {
        check(
            &json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {
                "object": { "apiVersion": "v1", "kind": "Secret", "metadata": { "uid": "u", "name": "n" } }, "uid": "r",
            }}),
            concat!(
                r#"{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":"r","#,
                r#""object":{"kind":"Secret","apiVersion":"v1","metadata":{"name":"n","uid":"u"}}}}"#,
            ),
        );
        check(
            &json!({ "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "spec": { "versions": [
                { "schema": { "openAPIV3Schema": { "properties": { "z": { "items": { "type": "string", "format": "f" } } }, "type": "object" } }, "name": "v1" },
            ]}}),
            concat!(
                r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1","spec":{"versions":[{"name":"v1","#,
                r#""schema":{"openAPIV3Schema":{"type":"object","properties":{"z":{"items":{"type":"string","format":"f"}}}}}}]}}"#,
            ),
        );
    }

    #[test]
    fn anything_else_goes_by_name() {
        check(
            &json!({ "metadata": { "uid": "u", "name": "n" }, "kind": "Shirt", "apiVersion": "stable.example.com/v1" }),
            r#"{"apiVersion":"stable.example.com/v1","kind":"Shirt","metadata":{"name":"n","uid":"u"}}"#,
        );
        check(&json!([{ "b": "\"\n", "a": null }]), r#"[{"a":null,"b":"\"\n"}]"#);
    }
}
