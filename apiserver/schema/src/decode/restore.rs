//! What upstream's `runtime.DefaultUnstructuredConverter` says of a value of another type than its field: strategic merge
//! patches are read by it, and not by the decoder of bodies.

use serde_json::Value;

use crate::{
    Schema,
    model::{Node, Scalar, Shape},
};

/// The first value that does not fit, `None` where all do.
#[must_use]
pub fn restore_error(value: &Value, schema: &Schema) -> Option<String> {
    at(value, &schema.root)
}

fn at(value: &Value, node: &Node) -> Option<String> {
    match (&node.shape, value) {
        (_, Value::Null) => None,
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            map.iter().find_map(|(name, value)| at(value, &of.field(name)?.node))
        }
        (Shape::Map { values, .. }, Value::Object(map)) => map.values().find_map(|value| at(value, values)),
        (Shape::List { items, .. }, Value::Array(list)) => list.iter().find_map(|item| at(item, items)),
        (Shape::Struct { .. }, other) => Some(format!("cannot restore struct from: {}", go_kind(other))),
        (Shape::Map { .. }, other) => Some(format!("cannot restore map from {}", go_kind(other))),
        (Shape::List { .. }, other) => Some(format!("cannot restore slice from {}", go_kind(other))),
        (Shape::Scalar(scalar), value) => scalar_error(*scalar, value),
        _ => None,
    }
}

fn scalar_error(scalar: Scalar, value: &Value) -> Option<String> {
    let (wanted, fits) = match scalar {
        Scalar::Bool => ("bool", value.is_boolean()),
        Scalar::Int32 => ("int32", value.is_i64()),
        Scalar::Int64 => ("int64", value.is_i64()),
        Scalar::Double => ("float64", value.is_number()),
        Scalar::String => ("string", value.is_string()),
        // Types that read themselves.
        _ => return None,
    };
    // Go would convert between these, if it were let.
    let convertible = matches!((go_kind(value), wanted), ("int64", "string") | ("float64", "int32" | "int64"));
    match () {
        () if fits => None,
        () if convertible => Some(format!("cannot convert {} to {wanted}", go_kind(value))),
        () => Some(format!("unrecognized type: {wanted}")),
    }
}

/// Go's `reflect.Kind` of a decoded value.
fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
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
    fn texts_are_the_converters() {
        let schema = crate::builtin("apps/v1", "Deployment").unwrap();
        for (spec, expected) in [
            (json!({"replicas": 1, "paused": true, "template": {"spec": {"containers": []}}}), None),
            (json!({"replicas": "x"}), Some("unrecognized type: int32")),
            (json!({"replicas": 2.5}), Some("cannot convert float64 to int32")),
            (json!({"paused": 1}), Some("unrecognized type: bool")),
            (json!({"selector": {"matchLabels": {"a": 1}}}), Some("cannot convert int64 to string")),
            (json!({"selector": {"matchLabels": ["a"]}}), Some("cannot restore map from slice")),
            (json!({"template": {"spec": {"containers": {}}}}), Some("cannot restore slice from map")),
            (json!({"template": "x"}), Some("cannot restore struct from: string")),
        ] {
            assert_eq!(restore_error(&json!({ "spec": spec }), &schema).as_deref(), expected, "{spec}");
        }
    }
}
