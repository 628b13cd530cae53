//! Defaults that follow from the model alone, and the look of Go's own encoding.
//!
//! Order in a write: decode → [`apply_defaults`] → the kind's derived defaults → [`normalize`] → validation → store.

use serde_json::{Map, Value};

use crate::{
    Schema,
    decode::zero,
    model::{Field, Node, Presence, Scalar, Shape, Struct},
    quantity,
};

/// Drops what Go would read as "not set" (zero values under `omitempty`), then fills marker or OpenAPI defaults,
/// recursively. For custom resources: upstream's structural defaulting, in which a null that may not be one is as good as nothing
/// where there is a default, and stays where there is none ([`crate::drop_nulls`] removes those that are read).
pub fn apply_defaults(schema: &Schema, value: &mut Value) {
    default_node(value, &schema.root);
}

/// Brings a built-in object to what Go would print: structs that are always there (`resources: {}`), zero values without
/// `omitempty` (`rules: null`). Idempotent; nothing happens to custom resources.
pub fn normalize(schema: &Schema, value: &mut Value) {
    if !schema.is_custom() {
        show_node(value, &schema.root, true);
    }
}

/// Makes lists and maps that hold nothing, and are shown all the same, what comes back from the store, where what is empty is not
/// written: null. Until then whoever gives an empty one has said something.
pub fn forget_empty(schema: &Schema, value: &mut Value) {
    if !schema.is_custom() {
        forget_empty_at(value, &schema.root);
    }
}

fn forget_empty_at(value: &mut Value, node: &Node) {
    match (&node.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|item| forget_empty_at(item, items))
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            map.values_mut().for_each(|item| forget_empty_at(item, values))
        }
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            for (name, value) in map {
                let Some(field) = of.field(name) else { continue };
                if field.presence == Presence::Always && is_empty(value, &field.node) {
                    *value = zero(&field.node);
                }
                forget_empty_at(value, &field.node);
            }
        }
        _ => {}
    }
}

fn default_node(value: &mut Value, node: &Node) {
    match (&node.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => list.iter_mut().for_each(|item| {
            if item.is_null()
                && !items.nullable
                && let Some(default) = &items.default
            {
                *item = Value::clone(default);
            }
            default_node(item, items);
        }),
        (Shape::Map { values, .. }, Value::Object(map)) => map.values_mut().for_each(|item| {
            if item.is_null()
                && !values.nullable
                && let Some(default) = &values.default
            {
                *item = Value::clone(default);
            }
            default_node(item, values);
        }),
        (Shape::Struct { of, .. }, Value::Object(map)) => default_struct(map, of),
        _ => {}
    }
}

fn default_struct(map: &mut Map<String, Value>, of: &Struct) {
    map.retain(|name, value| {
        let Some(field) = of.field(name) else { return true };
        let set = !unset(value, field);
        if set {
            if is_resource_list(of, &field.node) {
                round_resources(value);
            }
            default_node(value, &field.node);
        }
        set
    });
    for field in &of.fields {
        if let Some(default) = &field.node.default
            && !map.contains_key(&*field.name)
        {
            let mut value = Value::clone(default);
            default_node(&mut value, &field.node);
            map.insert(field.name.to_string(), value);
        }
    }
}

/// Whether a field is one of core's `ResourceList`s, which upstream gives a default to.
fn is_resource_list(of: &Struct, node: &Node) -> bool {
    of.name.starts_with("api.core.v1.")
        && matches!(&node.shape, Shape::Map { values, .. } if matches!(values.shape, Shape::Scalar(Scalar::Quantity)))
}

fn round_resources(list: &mut Value) {
    for amount in list.as_object_mut().into_iter().flat_map(Map::values_mut) {
        if let Some(rounded) = amount.as_str().and_then(quantity::in_thousandths) {
            *amount = rounded.into();
        }
    }
}

/// Go's `omitempty`: false, 0, "", an empty list or map; never a struct. Pointers only when null.
fn unset(value: &Value, field: &Field) -> bool {
    if value.is_null() {
        return !field.node.nullable && (field.presence != Presence::Free || field.node.default.is_some());
    }
    match field.presence {
        Presence::Pointer | Presence::Null | Presence::Free => false,
        Presence::Always => field.node.default.is_some() && value == "",
        Presence::OmitEmpty | Presence::OmitZero => match (&field.node.shape, value) {
            (Shape::Scalar(Scalar::IntOrString | Scalar::Quantity), _) => false,
            (Shape::Scalar(_), Value::Bool(set)) => !set,
            (Shape::Scalar(_), Value::Number(number)) => number.as_f64() == Some(0.0),
            (Shape::Scalar(_), Value::String(text)) => text.is_empty(),
            (Shape::List { .. }, Value::Array(list)) => list.is_empty(),
            (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
            (Shape::Struct { .. }, Value::Object(map)) => map.is_empty() && field.presence == Presence::OmitZero,
            _ => false,
        },
    }
}

fn show_node(value: &mut Value, node: &Node, top: bool) {
    match (&node.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|item| show_node(item, items, false))
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            map.values_mut().for_each(|item| show_node(item, values, false))
        }
        (Shape::Struct { of, .. }, Value::Object(map)) => show_struct(map, of, top),
        _ => {}
    }
}

fn show_struct(map: &mut Map<String, Value>, of: &Struct, top: bool) {
    // apiVersion and kind are the caller's.
    let callers = |name: &str| top && matches!(name, "apiVersion" | "kind");
    map.retain(|name, value| {
        let Some(field) = of.field(name).filter(|_| !callers(name)) else { return true };
        let shown =
            matches!(field.presence, Presence::Always | Presence::Null) || !unset(value, field) || shown_null(field);
        if shown {
            show_node(value, &field.node, false);
        }
        shown
    });
    for field in of.fields.iter().filter(|field| shows_zero(field) && !callers(&field.name)) {
        if !map.contains_key(&*field.name) {
            let mut value = if field.presence == Presence::Null { Value::Null } else { zero(&field.node) };
            show_node(&mut value, &field.node, false);
            map.insert(field.name.to_string(), value);
        }
    }
}

/// Whether it is a list or map that holds nothing.
fn is_empty(value: &Value, node: &Node) -> bool {
    match (&node.shape, value) {
        (Shape::List { .. }, Value::Array(list)) => list.is_empty(),
        (Shape::Map { .. }, Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// Whether a field is there that nobody has set.
fn shows_zero(field: &Field) -> bool {
    match field.presence {
        Presence::Always | Presence::Null => true,
        // Go's omitempty never leaves out a struct, and these are structs.
        Presence::OmitEmpty => {
            matches!(
                field.node.shape,
                Shape::Struct { .. }
                    | Shape::Scalar(
                        Scalar::Time | Scalar::MicroTime | Scalar::IntOrString | Scalar::Quantity | Scalar::Duration
                    )
            )
        }
        Presence::Pointer | Presence::OmitZero | Presence::Free => false,
    }
}

/// A zero Time prints as null.
fn shown_null(field: &Field) -> bool {
    field.presence == Presence::OmitEmpty && matches!(field.node.shape, Shape::Scalar(Scalar::Time | Scalar::MicroTime))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin;

    #[test]
    fn marker_defaults_reach_every_list() {
        let schema = builtin("v1", "Service").unwrap();
        let mut value = json!({"spec":{"ports":[{"port":80},{"port":53,"protocol":"UDP"},{"port":1,"protocol":""}], "clusterIP": ""}});
        apply_defaults(&schema, &mut value);
        assert_eq!(
            value,
            json!({"spec":{"ports":[{"port":80,"protocol":"TCP"},{"port":53,"protocol":"UDP"},{"port":1,"protocol":"TCP"}]}})
        );
    }

    #[test]
    fn pointers_keep_explicit_zeros() {
        let schema = builtin("apps/v1", "Deployment").unwrap();
        let mut value = json!({"spec":{"replicas":0,"paused":false,"minReadySeconds":0}});
        apply_defaults(&schema, &mut value);
        assert_eq!(value, json!({"spec":{"replicas":0}}));
    }

    #[test]
    fn resource_lists_count_thousandths() {
        let amount = json!({"cpu": "100u", "memory": "1Gi"});
        let mut pod = json!({"spec": {"containers": [{"resources": {"limits": amount}}]}});
        apply_defaults(&builtin("v1", "Pod").unwrap(), &mut pod);
        let limits = pod.pointer("/spec/containers/0/resources/limits");
        assert_eq!(limits, Some(&json!({"cpu": "1m", "memory": "1Gi"})));
        let class = json!({"overhead": {"podFixed": amount}});
        let mut same = class.clone();
        apply_defaults(&builtin("node.k8s.io/v1", "RuntimeClass").unwrap(), &mut same);
        assert_eq!(same, class);
    }

    #[test]
    fn some_pointers_are_shown_as_null() {
        let schema = builtin("v1", "PersistentVolumeClaim").unwrap();
        let mut value = json!({"spec": {"dataSource": {"kind": "PersistentVolumeClaim", "name": "a"}}});
        normalize(&schema, &mut value);
        assert_eq!(value["spec"]["dataSource"]["apiGroup"], json!(null));
        assert!(value["spec"]["dataSource"].as_object().unwrap().contains_key("apiGroup"));
    }

    #[test]
    fn what_is_empty_is_shown_as_null() {
        let (schema, mut role) = (builtin("rbac.authorization.k8s.io/v1", "Role").unwrap(), json!({"rules": []}));
        normalize(&schema, &mut role);
        assert_eq!(role["rules"], json!([]), "it was given");
        forget_empty(&schema, &mut role);
        assert_eq!(role["rules"], json!(null));
    }

    #[test]
    fn normalize_shows_what_go_shows() {
        let schema = builtin("v1", "Pod").unwrap();
        let mut value = json!({"apiVersion":"v1","kind":"Pod","spec":{"containers":[{"name":"a"}]},
            "status":{"conditions":[{"type":"Ready","status":"True"}]}});
        normalize(&schema, &mut value);
        assert_eq!(
            value,
            json!({"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{"containers":[{"name":"a","resources":{}}]},
                "status":{"conditions":[{"type":"Ready","status":"True","lastProbeTime":null,"lastTransitionTime":null}]}})
        );
        let again = value.clone();
        normalize(&schema, &mut value);
        assert_eq!(value, again);
    }
}
