//! Laying an apply configuration over an object without owning its fields: what mutating admission policies do
//! (`admission/plugin/policy/mutating/patch/smd.go`).

use serde_json::Value;

use super::typed;
use crate::model::{ListKind, Node, Schema, Shape};

/// `live` with the fields of `configuration` set. What merges only as a whole may not be said in it, lest fields that it does
/// not mention be lost.
///
/// # Errors
/// Upstream's text: a field that is not of the schema, or something atomic.
pub fn overlay(schema: &Schema, live: &Value, configuration: &Value) -> Result<Value, String> {
    super::fits(schema, configuration)
        .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    let mut atomic = Vec::new();
    atomics(configuration, &schema.root, String::new(), &mut atomic);
    if !atomic.is_empty() {
        let paths = atomic.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"));
    }
    let mut merged = live.clone();
    typed::merge(&mut merged, configuration, &schema.root);
    Ok(merged)
}

fn atomics(value: &Value, node: &Node, path: String, found: &mut Vec<String>) {
    let whole = match (&node.shape, value) {
        (Shape::Struct { of, atomic }, Value::Object(_)) => *atomic || of.atomic,
        (Shape::Map { atomic, .. }, Value::Object(_)) => *atomic,
        (Shape::List { kind, .. }, Value::Array(_)) => *kind == ListKind::Atomic,
        _ => false,
    };
    if whole {
        found.push(path.clone());
    }
    match (&node.shape, value) {
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            for (name, value) in map {
                if let Some(field) = of.field(name) {
                    atomics(value, &field.node, format!("{path}.{name}"), found);
                }
            }
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            for (name, value) in map {
                atomics(value, values, format!("{path}.{name}"), found);
            }
        }
        (Shape::List { items, .. }, Value::Array(list)) => {
            for (at, value) in list.iter().enumerate() {
                atomics(value, items, format!("{path}[{at}]"), found);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_are_laid_over() {
        let schema = crate::builtin("apps/v1", "Deployment").unwrap();
        let live = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 1, "template": {"spec": {"containers": [
            {"name": "a", "image": "x"}, {"name": "b", "image": "y"}]}}}});
        let patch = json!({"metadata": {"labels": {"b": "2"}}, "spec": {"template": {"spec": {"containers": [
            {"name": "b", "image": "z"}, {"name": "c", "image": "w"}]}}}});
        let merged = overlay(&schema, &live, &patch).unwrap();
        assert_eq!(
            merged,
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "a", "image": "x"}, {"name": "b", "image": "z"}, {"name": "c", "image": "w"}]}}}})
        );
        assert_eq!(
            overlay(&schema, &live, &json!({"spec": {"foo": 1}})).unwrap_err(),
            "failed to convert patch object to typed object: .spec.foo: field not declared in schema"
        );
        let atomic = json!({"spec": {"template": {"spec": {"tolerations": [{"key": "a"}]}}}});
        assert_eq!(
            overlay(&schema, &live, &atomic).unwrap_err(),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.tolerations"
        );
    }
}
