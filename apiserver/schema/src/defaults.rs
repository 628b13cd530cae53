//! Defaults that follow from the model alone, and the look of Go's own encoding.
//!
//! Order in a write: decode → [`apply_defaults`] → the kind's derived defaults → [`normalize`] → validation → [`forget_empty`] →
//! store.
//!
//! A list or map that is given empty is not one that is not given: until an object is stored Go knows the two apart, and so do
//! rules and messages. Only what is written shows no difference: [`written`] is how an object looks outside meanwhile.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::{
    Schema,
    decode::{with_whole_numbers, zero},
    model::{Field, Node, Presence, Scalar, Shape, Struct},
    quantity,
};

/// Drops what Go would read as "not set" (zero scalars under `omitempty`), then fills marker or OpenAPI defaults,
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

/// An object as Go writes it: a built-in one without lists and maps that hold nothing, but for those that are always shown; a custom
/// one's floats without a fraction that is none.
#[must_use]
pub fn written<'v>(schema: &Schema, value: &'v Value) -> Cow<'v, Value> {
    if schema.is_custom() {
        return with_whole_numbers(value);
    }
    without_empty(schema, value, Empties::LeftOut)
}

/// The same as it comes back from the store: see [`forget_empty`].
#[must_use]
pub fn stored<'v>(schema: &Schema, value: &'v Value) -> Cow<'v, Value> {
    without_empty(schema, value, Empties::Forgotten)
}

/// Makes of lists and maps that hold nothing what comes back from the store, where what is empty is not written: those that are
/// shown all the same are null, the others are gone.
pub fn forget_empty(schema: &Schema, value: &mut Value) {
    if !schema.is_custom() {
        drop_empty(value, &schema.root, Empties::Forgotten);
    }
}

/// What becomes of lists and maps that are given and hold nothing.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Empties {
    /// Those under `omitempty` go.
    LeftOut,
    /// The others become null, besides.
    Forgotten,
}

fn without_empty<'v>(schema: &Schema, value: &'v Value, empties: Empties) -> Cow<'v, Value> {
    // Few objects have any, and most are large.
    if schema.is_custom() || !has_empty(value, &schema.root, empties) {
        return Cow::Borrowed(value);
    }
    let mut value = value.clone();
    drop_empty(&mut value, &schema.root, empties);
    Cow::Owned(value)
}

impl Empties {
    /// What stands for the empty value of a field: `None` for a value that stays, `Some(None)` for one that goes.
    fn instead(self, value: &Value, field: &Field) -> Option<Option<Value>> {
        match field.presence {
            _ if !is_empty(value, &field.node) => None,
            Presence::OmitEmpty | Presence::OmitZero => Some(None),
            Presence::Always if self == Self::Forgotten => Some(Some(zero(&field.node))),
            _ => None,
        }
    }
}

fn has_empty(value: &Value, node: &Node, empties: Empties) -> bool {
    match (&node.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => list.iter().any(|item| has_empty(item, items, empties)),
        (Shape::Map { values, .. }, Value::Object(map)) => map.values().any(|item| has_empty(item, values, empties)),
        (Shape::Struct { of, .. }, Value::Object(map)) => map.iter().any(|(name, value)| {
            of.field(name)
                .is_some_and(|field| empties.instead(value, field).is_some() || has_empty(value, &field.node, empties))
        }),
        _ => false,
    }
}

fn drop_empty(value: &mut Value, node: &Node, empties: Empties) {
    match (&node.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => {
            list.iter_mut().for_each(|item| drop_empty(item, items, empties));
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            map.values_mut().for_each(|item| drop_empty(item, values, empties));
        }
        (Shape::Struct { of, .. }, Value::Object(map)) => map.retain(|name, value| {
            let Some(field) = of.field(name) else { return true };
            match empties.instead(value, field) {
                Some(None) => return false,
                Some(Some(other)) => *value = other,
                None => drop_empty(value, &field.node, empties),
            }
            true
        }),
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

/// Go's `omitempty`: false, 0, ""; never a struct. Pointers only when null. Lists and maps that hold nothing are looked at later.
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
    fn what_is_given_empty_is_known_until_it_is_stored() {
        let schema = builtin("v1", "Pod").unwrap();
        let given = json!({"metadata": {"labels": {}, "finalizers": []}, "spec": {"containers": [], "overhead": {}, "volumes":
            [{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {"sources": []}}]}, "status": {}});
        let mut pod = given.clone();
        apply_defaults(&schema, &mut pod);
        normalize(&schema, &mut pod);
        assert_eq!(pod, given);
        let shown = json!({"metadata": {}, "spec": {"containers": [], "volumes":
            [{"name": "a", "emptyDir": {}}, {"name": "b", "projected": {"sources": []}}]}, "status": {}});
        assert_eq!(*written(&schema, &pod), shown);
        assert!(matches!(written(&schema, &shown), Cow::Borrowed(_)));
        let mut back = shown.clone();
        back["spec"]["containers"] = Value::Null;
        back["spec"]["volumes"][1]["projected"]["sources"] = Value::Null;
        assert_eq!(*stored(&schema, &pod), back);
        forget_empty(&schema, &mut pod);
        assert_eq!(pod, back);
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
