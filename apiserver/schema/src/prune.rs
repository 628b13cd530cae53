//! Removal of fields the model does not know, and of nulls where it knows none.

use serde_json::Value;

use crate::{
    Schema, facts,
    model::{Node, Shape, Struct, StructRef, Unknown},
};

/// Removes unknown fields; returns their paths (`spec.foo`, `spec.list[0].bar`), those of embedded metadata last, which
/// upstream reads by itself.
pub fn prune(schema: &Schema, value: &mut Value) -> Vec<String> {
    let mut removed = Removed::default();
    node(value, &schema.root, &mut String::new(), &mut removed);
    removed.fields.append(&mut removed.metadata);
    removed.fields
}

#[derive(Default)]
struct Removed {
    fields: Vec<String>,
    /// Of types that have a name, which in a custom resource metadata is alone.
    metadata: Vec<String>,
}

/// Removes nulls from the structs and maps of a custom resource whose fields neither may be null nor have a default, as Go's
/// decoder passes over them in built-in kinds (`defaulting.PruneNonNullableNullsWithoutDefaults`). Items of lists stay.
pub fn drop_nulls(schema: &Schema, value: &mut Value) {
    drop_nulls_at(value, &schema.root);
}

fn drop_nulls_at(value: &mut Value, at: &Node) {
    let stays = |value: &Value, node: &Node| !value.is_null() || node.nullable || node.default.is_some();
    match (&at.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => list.iter_mut().for_each(|item| drop_nulls_at(item, items)),
        (Shape::Map { values, .. }, Value::Object(map)) => map.retain(|_, value| {
            drop_nulls_at(value, values);
            stays(value, values)
        }),
        (Shape::Struct { of, .. }, Value::Object(map)) => map.retain(|name, value| {
            let Some(field) = of.field(name) else { return true };
            drop_nulls_at(value, &field.node);
            stays(value, &field.node)
        }),
        _ => {}
    }
}

fn node(value: &mut Value, at: &Node, path: &mut String, removed: &mut Removed) {
    match (&at.shape, value) {
        (Shape::List { items, .. }, Value::Array(list)) => {
            for (index, item) in list.iter_mut().enumerate() {
                within(path, &format!("[{index}]"), |path| node(item, items, path, removed));
            }
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            for (key, item) in map {
                within(path, key, |path| node(item, values, path, removed));
            }
        }
        (Shape::Struct { of, .. }, value @ Value::Object(_)) => of_struct(value, of, path, removed),
        (Shape::Union(_), value @ Value::Object(_)) => of_struct(value, &facts::json_schema_props(), path, removed),
        (Shape::Union(_), Value::Array(list)) => {
            let props = StructRef::clone(&facts::json_schema_props());
            for (index, item) in list.iter_mut().enumerate() {
                within(path, &format!("[{index}]"), |path| of_struct(item, &props, path, removed));
            }
        }
        // What is of another type altogether has no known fields at any depth.
        (Shape::Scalar(_), value) => bare(value, path, removed),
        _ => {}
    }
}

/// Removes every field of objects, in lists, too.
fn bare(value: &mut Value, path: &mut String, removed: &mut Removed) {
    match value {
        Value::Object(map) => {
            for key in std::mem::take(map).keys() {
                within(path, key, |path| removed.fields.push(path.clone()));
            }
        }
        Value::Array(list) => {
            for (index, item) in list.iter_mut().enumerate() {
                within(path, &format!("[{index}]"), |path| bare(item, path, removed));
            }
        }
        _ => {}
    }
}

fn of_struct(value: &mut Value, of: &Struct, path: &mut String, removed: &mut Removed) {
    let Value::Object(map) = value else { return };
    let keep = matches!(of.unknown, Unknown::Keep);
    map.retain(|key, value| match of.field(key) {
        Some(field) => {
            within(path, key, |path| node(value, &field.node, path, removed));
            true
        }
        None if keep => true,
        None => {
            let gone = if of.name.is_empty() { &mut removed.fields } else { &mut removed.metadata };
            within(path, key, |path| gone.push(path.clone()));
            false
        }
    });
}

fn within(path: &mut String, step: &str, then: impl FnOnce(&mut String)) {
    let length = path.len();
    if !path.is_empty() && !step.starts_with('[') {
        path.push('.');
    }
    path.push_str(step);
    then(path);
    path.truncate(length);
}
