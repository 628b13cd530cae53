//! Whatever a client sends: no panic, no overflow of the stack, no memory out of proportion.
//!
//! Every decoder, patch and schema path is run on arbitrary input, and on damaged forms of good input, which gets further.

use knetsim_schema as schema;
use proptest::prelude::*;
use schema::FieldValidation;
use schema::apply::{Manager, Operation};
use schema::decode::{self, MAX_DEPTH, fits};
use serde_json::{Map, Value, json};

const KINDS: &[(&str, &str)] = &[
    ("v1", "Pod"),
    ("v1", "Service"),
    ("apps/v1", "Deployment"),
    ("networking.k8s.io/v1", "NetworkPolicy"),
    ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
    ("rbac.authorization.k8s.io/v1", "ClusterRole"),
];

/// Names that mean something to the code under test, besides arbitrary ones.
const NAMES: &[&str] = &[
    "metadata",
    "spec",
    "status",
    "containers",
    "ports",
    "name",
    "labels",
    "managedFields",
    "template",
    "selector",
    "matchLabels",
    "matchExpressions",
    "items",
    "properties",
    "type",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
    "additionalProperties",
    "default",
    "versions",
    "schema",
    "openAPIV3Schema",
    "$patch",
    "$retainKeys",
    "$setElementOrder/containers",
    "$deleteFromPrimitiveList/args",
    "fieldsV1",
    "f:spec",
    "k:{\"name\":\"a\"}",
];
const WORDS: &[&str] = &["merge", "replace", "delete", "map", "set", "object", "string", "array", "Apply", "a"];
const OPERATIONS: &[&str] = &["add", "remove", "replace", "move", "copy", "test", ""];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![4 => prop::sample::select(NAMES).prop_map(str::to_owned), 1 => ".{0,12}"]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        prop::sample::select(WORDS).prop_map(Value::from),
        ".{0,20}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array);
        prop_oneof![list, fields(inner)]
    })
}

fn fields(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::vec((name(), of), 0..6).prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

/// A pod with most things in it.
fn pod() -> Value {
    let owned = json!({ "f:spec": { "f:containers": { "k:{\"name\":\"c\"}": { ".": {}, "f:image": {} } } } });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "a", "labels": { "x": "y" }, "managedFields": [{
            "manager": "m", "operation": "Apply", "apiVersion": "v1", "time": "2020-01-01T00:00:00Z",
            "fieldsType": "FieldsV1", "fieldsV1": owned }] },
        "spec": { "containers": [{ "name": "c", "image": "i", "ports": [{ "containerPort": 80, "protocol": "TCP" }],
            "resources": { "limits": { "cpu": "100m" } } }], "tolerations": [{ "operator": "Exists" }] },
    })
}

/// `good` with the value at the `at`-th place (counted from the root down) replaced.
fn damaged(good: &Value, at: usize, by: Value) -> Value {
    fn place<'a>(value: &'a mut Value, at: &mut usize) -> Option<&'a mut Value> {
        if *at == 0 {
            return Some(value);
        }
        *at -= 1;
        match value {
            Value::Object(map) => map.values_mut().find_map(|value| place(value, at)),
            Value::Array(list) => list.iter_mut().find_map(|value| place(value, at)),
            _ => None,
        }
    }
    let mut damaged = good.clone();
    if let Some(place) = place(&mut damaged, &mut (at % 40)) {
        *place = by;
    }
    damaged
}

fn manager() -> Manager {
    Manager {
        name: "m".into(),
        operation: Operation::Apply,
        api_version: "v1".into(),
        subresource: String::new(),
        time: "2020-01-01T00:00:00Z".into(),
    }
}

/// Everything that is done with an object that has been decoded.
fn exercise(schema: &schema::Schema, value: &Value) {
    let Ok(decoded) = decode::value(value.clone(), schema, FieldValidation::Warn) else { return };
    let mut object = decoded.value;
    schema::apply_defaults(schema, &mut object);
    let _ = schema::validate(schema, &object);
    let _ = schema::prune(schema, &mut object);
    schema::apply::track_update(schema, None, &mut object, &manager());
    let _ = schema::apply::apply(schema, Some(&object), value, &manager(), true);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn bytes_are_decoded_or_refused(
        bytes: Vec<u8>, text in "\\PC{0,200}", markup in "[-:{}\\[\\]&*! a\n\"'|>#%,0-9]{0,120}",
    ) {
        for input in [&bytes[..], text.as_bytes(), markup.as_bytes()] {
            let _ = decode::json(input, None, FieldValidation::Strict);
            let _ = decode::yaml(input, None, FieldValidation::Strict);
            let _ = schema::protobuf::decode(input);
        }
    }

    #[test]
    fn messages_are_decoded_or_refused(raw: Vec<u8>, kind in prop::sample::select(KINDS), at: usize, byte: u8) {
        let _ = schema::protobuf::decode(&schema::protobuf::envelope(kind.0, kind.1, &raw));
        let mut good = schema::protobuf::encode("v1", "Pod", &pod()).unwrap();
        let at = at % good.len();
        good[at] = byte;
        if let Ok((version, kind, value)) = schema::protobuf::decode(&good) {
            let _ = schema::protobuf::encode(&version, &kind, &value);
        }
        good.truncate(at);
        let _ = schema::protobuf::decode(&good);
    }

    #[test]
    fn objects_of_any_shape_are_handled(value in fields(value()), by in value(), at: usize) {
        for (version, kind) in KINDS {
            let schema = schema::builtin(version, kind).unwrap();
            exercise(&schema, &value);
            let _ = schema::protobuf::encode(version, kind, &value);
        }
        let damaged = damaged(&pod(), at, by);
        exercise(&schema::builtin("v1", "Pod").unwrap(), &damaged);
        let _ = schema::protobuf::encode("v1", "Pod", &damaged);
    }

    #[test]
    fn patches_of_any_shape_are_handled(original in fields(value()), patch in value(), by in value(), at: usize) {
        let schema = schema::builtin("v1", "Pod").unwrap();
        for original in [&original, &pod()] {
            for patch in [&patch, &damaged(&pod(), at, by.clone())] {
                let _ = schema::patch::json_patch(original, patch, true);
                let _ = schema::patch::merge_patch(original, patch, true);
                let _ = schema::patch::strategic_merge(&schema, original, &mut patch.clone());
                let _ = schema::apply::apply(&schema, Some(original), patch, &manager(), false);
            }
        }
    }

    #[test]
    fn operations_on_any_path_are_handled(
        paths in prop::collection::vec(
            ("(/(spec|containers|0|1|-|name|a|~0|~1|~)){0,5}", "(/(spec|containers|0|a)){0,4}"), 0..12),
        operations in prop::collection::vec(prop::sample::select(OPERATIONS), 12),
        value in value(),
    ) {
        let patch = paths.iter().zip(&operations)
            .map(|((path, from), op)| json!({ "op": op, "path": path, "from": from, "value": value }));
        if let Ok(patched) = schema::patch::json_patch(&pod(), &patch.collect(), true) {
            prop_assert!(fits(&patched, MAX_DEPTH));
        }
    }

    #[test]
    fn schemas_of_any_shape_are_handled(open_api in fields(value()), value in value(), preserve: bool) {
        let mut typed = open_api;
        typed["type"] = "object".into();
        if let Ok(schema) = schema::crd::structural(&schema::field::Path::new("spec"), &typed, preserve) {
            exercise(&schema, &value);
        }
    }

    #[test]
    fn texts_are_parsed_or_refused(
        text in "\\PC{0,60}", selector in "[a-z!=,()<> innot./-]{0,60}", number in "[-+0-9.eEKMGTPimnu]{0,30}",
    ) {
        for text in [&text, &selector, &number] {
            let _ = schema::selector::LabelSelector::parse(text);
            let _ = schema::selector::FieldSelector::parse(text);
            let _ = schema::quantity::Quantity::parse(text);
        }
    }
}

fn nested(depth: usize, open: &str, close: &str) -> String {
    open.repeat(depth) + "1" + &close.repeat(depth)
}

#[test]
fn depth_is_bounded() {
    for depth in [MAX_DEPTH + 1, 1000, 100_000] {
        for text in [nested(depth, "[", "]"), nested(depth, "{\"a\":", "}")] {
            assert!(decode::json(text.as_bytes(), None, FieldValidation::Ignore).is_err());
            assert!(decode::yaml(text.as_bytes(), None, FieldValidation::Ignore).is_err());
        }
        let blocks: String = (0..depth.min(1000)).map(|level| " ".repeat(level) + "a:\n").collect();
        assert!(decode::yaml(blocks.as_bytes(), None, FieldValidation::Ignore).is_err());
    }
    let most = nested(MAX_DEPTH, "{\"a\":", "}");
    let value = decode::json(most.as_bytes(), None, FieldValidation::Ignore).unwrap().value;
    assert_eq!(decode::yaml(most.as_bytes(), None, FieldValidation::Ignore).unwrap().value, value);
    // As deep as may be, with managed fields, it can be read again from where it is stored.
    let schema = schema::crd::schemaless();
    let mut object = json!({ "apiVersion": "a/v1", "kind": "A", "metadata": { "name": "a" }, "spec": value["a"] });
    schema::apply::track_update(&schema, None, &mut object, &manager());
    serde_json::from_slice::<Value>(&serde_json::to_vec(&object).unwrap()).unwrap();
}

#[test]
fn aliases_do_not_multiply() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for level in 1..9 {
        let before = format!("*a{}", level - 1);
        text += &format!("a{level}: &a{level} [{}]\n", [before.as_str(); 10].join(","));
    }
    assert!(decode::yaml(text.as_bytes(), None, FieldValidation::Ignore).is_err());
}

#[test]
fn many_small_things_take_no_more_than_their_share() {
    let begin = std::time::Instant::now();
    let many: Map<String, Value> = (0..60_000).map(|n| (format!("k{n}"), "v".into())).collect();
    let large = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "a" }, "data": many });
    exercise(&schema::builtin("v1", "ConfigMap").unwrap(), &large);
    let list: Vec<Value> = (0..10_000).map(|n| json!({ "name": format!("c{n}") })).collect();
    let wide =
        json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" }, "spec": { "containers": list } });
    exercise(&schema::builtin("v1", "Pod").unwrap(), &wide);
    let merged =
        schema::patch::strategic_merge(&schema::builtin("v1", "Pod").unwrap(), &wide, &mut wide.clone()).unwrap();
    assert_eq!(merged["spec"]["containers"].as_array().map(Vec::len), Some(10_000));
    // Generous: only what grows with the square of the input takes this long.
    assert!(begin.elapsed().as_secs() < 60, "{:?}", begin.elapsed());
}
