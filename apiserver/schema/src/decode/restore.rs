//! How upstream's `runtime.DefaultUnstructuredConverter` reads values, and what it says of one of another type than its field: what
//! strategic merge patches, applied configurations and policies make is read by it, and not by the decoder of bodies.

use serde_json::Value;

use super::walk;
use crate::{
    Schema,
    model::{Node, Scalar, Shape},
};

/// Brings numbers into the types of their fields as Go converts them: whole ones are integers, and what is too large is cut. Returns
/// what is wrong with the first value that does not fit, `None` where all do.
#[must_use]
pub fn restore(value: &mut Value, schema: &Schema) -> Option<String> {
    at(value, &schema.root)
}

fn at(value: &mut Value, node: &Node) -> Option<String> {
    match (&node.shape, value) {
        (_, Value::Null) => None,
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            // Upstream looks for one field after the other.
            let wrong = map.iter_mut().filter_map(|(name, value)| {
                let field = of.field(name)?;
                Some((field.order, at(value, &field.node)?))
            });
            wrong.min_by_key(|(order, _)| *order).map(|(_, why)| why)
        }
        (Shape::Map { values, .. }, Value::Object(map)) => map.values_mut().find_map(|value| at(value, values)),
        (Shape::List { items, .. }, Value::Array(list)) => list.iter_mut().find_map(|item| at(item, items)),
        (Shape::Struct { .. }, other) => Some(format!("cannot restore struct from: {}", go_kind(other))),
        (Shape::Map { .. }, other) => Some(format!("cannot restore map from {}", go_kind(other))),
        (Shape::List { .. }, other) => Some(format!("cannot restore slice from {}", go_kind(other))),
        (Shape::Scalar(scalar), value) => {
            if let Some(number) = converted(*scalar, value) {
                *value = number.into();
            }
            scalar_error(*scalar, value, node)
        }
        _ => None,
    }
}

/// A whole number as the type of an integer field holds it.
#[expect(clippy::cast_possible_truncation, reason = "Go cuts it as well")]
fn converted(scalar: Scalar, value: &Value) -> Option<i64> {
    // 2^63. What is beyond Go leaves to the processor.
    const BEYOND: f64 = 9_223_372_036_854_775_808.0;
    let whole = || {
        let float = value.as_f64().filter(|float| float.fract() == 0.0)?;
        Some(if (-BEYOND..BEYOND).contains(&float) { float as i64 } else { i64::MIN })
    };
    let number = value.as_i64().or_else(whole)?;
    match scalar {
        Scalar::Int32 => Some(i64::from(number as i32)),
        Scalar::Int64 => Some(number),
        _ => None,
    }
}

fn scalar_error(scalar: Scalar, value: &Value, node: &Node) -> Option<String> {
    let (wanted, fits) = match scalar {
        Scalar::Bool => ("bool", value.is_boolean()),
        Scalar::Int32 => ("int32", value.is_i64()),
        Scalar::Int64 => ("int64", value.is_i64()),
        Scalar::Double => ("float64", value.is_number()),
        Scalar::String => ("string", value.is_string()),
        Scalar::Bytes => return bytes_error(value, node),
        // Types that read themselves, knowing nothing of where they stand.
        Scalar::Quantity | Scalar::IntOrString | Scalar::Time | Scalar::MicroTime | Scalar::Duration => {
            return alone(value, node);
        }
    };
    // What the converter makes numbers of a field's type of has been made of them; these Go would convert, if it were let.
    let convertible = matches!((go_kind(value), wanted), ("int64", "string") | ("float64", "int32" | "int64"));
    match () {
        () if fits => None,
        () if convertible => Some(format!("cannot convert {} to {}", go_kind(value), walk::go_type(node))),
        () => Some(format!("unrecognized type: {wanted}")),
    }
}

/// Bytes are a text, or a list of numbers.
fn bytes_error(value: &Value, node: &Node) -> Option<String> {
    match value {
        Value::String(_) => alone(value, node).map(|why| format!("error decoding from json: {why}")),
        Value::Array(list) => list.iter().find_map(|item| match go_kind(item) {
            "invalid" | "int64" => None,
            "float64" if item.as_f64().is_some_and(|number| number.fract() == 0.0) => None,
            "float64" => Some("cannot convert float64 to uint8".to_owned()),
            _ => Some("unrecognized type: uint8".to_owned()),
        }),
        other => Some(format!("cannot restore slice from {}", go_kind(other))),
    }
}

/// What is wrong with a value that is a document of its own.
fn alone(value: &Value, node: &Node) -> Option<String> {
    walk::typed(&mut value.clone(), node, false, &[]).errors.first().map(|wrong| wrong.text(None))
}

/// Go's `reflect.Kind` of a decoded value.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_are_read_from_json() {
        let schema = crate::builtin("v1", "Secret").unwrap();
        let found = restore(&mut json!({ "data": { "a": "%" } }), &schema);
        assert_eq!(found.as_deref(), Some("error decoding from json: illegal base64 data at input byte 0"));
        for (bytes, why) in [
            (json!({}), "cannot restore slice from map"),
            (json!(1), "cannot restore slice from int64"),
            (json!([1, "x"]), "unrecognized type: uint8"),
            (json!([1.5]), "cannot convert float64 to uint8"),
        ] {
            assert_eq!(restore(&mut json!({ "data": { "a": bytes } }), &schema).as_deref(), Some(why));
        }
    }

    #[test]
    fn no_bytes_are_an_empty_text() {
        let schema = crate::builtin("v1", "Secret").unwrap();
        let read = crate::decode::value(json!({"data": {"a": null}}), &schema, crate::FieldValidation::Ignore);
        assert_eq!(read.unwrap().value, json!({"data": {"a": ""}}));
    }

    #[test]
    fn numbers_become_what_their_field_is() {
        let schema = crate::builtin("apps/v1", "Deployment").unwrap();
        for (replicas, expected) in [
            (json!(4_294_967_298_i64), Some(2)),
            (json!(-4_294_967_298_i64), Some(-2)),
            (json!(2_147_483_648_i64), Some(-2_147_483_648)),
            (json!(9_223_372_036_854_775_808_u64), Some(0)),
            (json!(1e19), Some(0)),
            (json!(2.0), Some(2)),
            (json!(2.5), None),
        ] {
            let value = json!({ "spec": { "replicas": replicas } });
            let restored = crate::decode::restored(value, &schema, crate::FieldValidation::Ignore);
            assert_eq!(restored.ok().and_then(|read| read.value["spec"]["replicas"].as_i64()), expected, "{replicas}");
        }
    }

    #[test]
    fn texts_are_the_converters() {
        let schema = crate::builtin("apps/v1", "Deployment").unwrap();
        for (spec, expected) in [
            (json!({"replicas": 1, "paused": true, "template": {"spec": {"containers": []}}}), None),
            (json!({"replicas": "x"}), Some("unrecognized type: int32")),
            (json!({"replicas": 2.5}), Some("cannot convert float64 to int32")),
            (json!({"paused": 1}), Some("unrecognized type: bool")),
            (json!({"selector": {"matchLabels": {"a": 1}}}), Some("cannot convert int64 to string")),
            (json!({"strategy": {"type": 1}}), Some("cannot convert int64 to v1.DeploymentStrategyType")),
            (json!({"selector": {"matchLabels": ["a"]}}), Some("cannot restore map from slice")),
            (json!({"template": {"spec": {"containers": {}}}}), Some("cannot restore slice from map")),
            (json!({"template": "x"}), Some("cannot restore struct from: string")),
            (
                json!({"strategy": {"rollingUpdate": {"maxSurge": 1.5}}}),
                Some("json: cannot unmarshal number 1.5 into Go value of type int32"),
            ),
        ] {
            assert_eq!(restore(&mut json!({ "spec": spec }), &schema).as_deref(), expected, "{spec}");
        }
    }

    #[test]
    fn fields_are_looked_at_in_their_own_order() {
        for ((version, kind), object, expected) in [
            (
                ("v1", "ConfigMap"),
                json!({"metadata": {"labels": {"x": ["a"]}}, "data": [""]}),
                "unrecognized type: string",
            ),
            (("v1", "ConfigMap"), json!({"metadata": 1, "kind": {}, "apiVersion": 1}), "unrecognized type: string"),
            (
                ("v1", "PersistentVolume"),
                json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": "x"}}, "storageClassName": {}}}),
                "unrecognized type: string",
            ),
            (
                ("v1", "PersistentVolume"),
                json!({"spec": {"nfs": 1, "accessModes": 1}}),
                "cannot restore struct from: int64",
            ),
            // Go has no whole numbers of that size there.
            (("v1", "PersistentVolume"), json!({"spec": {"nfs": u64::MAX}}), "cannot restore struct from: float64"),
        ] {
            let schema = crate::builtin(version, kind).unwrap();
            assert_eq!(restore(&mut object.clone(), &schema).as_deref(), Some(expected), "{object}");
        }
    }

    #[test]
    fn numbers_are_converted() {
        let schema = crate::builtin("apps/v1", "Deployment").unwrap();
        for (sent, read) in [(json!(5.0), 5), (json!(99_999_999_999_i64), 1_215_752_191), (json!(-1), -1)] {
            let mut object = json!({ "spec": { "replicas": sent } });
            assert_eq!(restore(&mut object, &schema), None);
            assert_eq!(object, json!({ "spec": { "replicas": read } }));
        }
    }
}
