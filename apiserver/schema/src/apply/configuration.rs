//! Laying an apply configuration over an object without owning its fields: what mutating admission policies do
//! (`admission/plugin/policy/mutating/patch/smd.go`).

use serde_json::Value;

use super::{set::Trail, typed};
use crate::go::Printed;
use crate::model::{ListKind, Node, Schema, Shape};

/// A value of a configuration that JSON has no type for, and that a field of the schema therefore does not take. In the
/// configuration itself null stands for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    pub path: Vec<Step>,
    pub printed: Printed,
    /// What it is where anything may be.
    pub json: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Field(String),
    Item(usize),
}

/// `live` with the fields of `configuration` set. What merges only as a whole may not be said in it, lest fields that it does
/// not mention be lost.
///
/// # Errors
/// Upstream's text: a field that is not of the schema, or something atomic.
pub fn overlay(schema: &Schema, live: &Value, mut configuration: Value, foreign: &[Foreign]) -> Result<Value, String> {
    let mut unfit = typed::undeclared(&configuration, &schema.root);
    unfit.extend(
        foreign
            .iter()
            .filter_map(|foreign| misfit(&foreign.path, &foreign.printed, &configuration, &schema.root, &Trail::Root)),
    );
    super::no_more(unfit)
        .and_then(|()| super::no_more(typed::check(&configuration, &schema.root)))
        .map_err(|error| format!("failed to convert patch object to typed object: {error}"))?;
    for Foreign { path, json, .. } in foreign {
        put(&mut configuration, path, json);
    }
    let mut atomic = Vec::new();
    atomics(&configuration, &schema.root, String::new(), &mut atomic);
    if !atomic.is_empty() {
        let paths = atomic.join(", ");
        return Err(format!("invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: {paths}"));
    }
    let mut merged = live.clone();
    typed::merge(&mut merged, &configuration, &schema.root);
    Ok(merged)
}

/// What is wrong with the value that stands at `path`, if the schema knows the place.
fn misfit(path: &[Step], printed: &Printed, value: &Value, node: &Node, at: &Trail<'_>) -> Option<String> {
    let Some((step, rest)) = path.split_first() else {
        return typed::expected(&node.shape, printed).map(|text| format!("{at}: {text}"));
    };
    match (&node.shape, step) {
        (Shape::Struct { of, .. }, Step::Field(name)) => {
            misfit(rest, printed, value.get(name)?, &of.field(name)?.node, &Trail::Field(at, name))
        }
        (Shape::Map { values, .. }, Step::Field(name)) => {
            misfit(rest, printed, value.get(name)?, values, &Trail::Field(at, name))
        }
        (Shape::List { kind: ListKind::Map(_), .. }, Step::Item(index)) if rest.is_empty() => {
            Some(format!("{at}: element {index}: associative list with keys may not have non-map elements"))
        }
        (Shape::List { items, kind, .. }, Step::Item(index)) => {
            let item = value.get(*index)?;
            misfit(rest, printed, item, items, &Trail::Item(at, &typed::step(item, *index, items, kind)))
        }
        _ => None,
    }
}

fn put(value: &mut Value, path: &[Step], json: &Value) {
    let place = path.iter().try_fold(value, |value, step| match step {
        Step::Field(name) => value.get_mut(name),
        Step::Item(index) => value.get_mut(index),
    });
    if let Some(place) = place {
        place.clone_from(json);
    }
}

fn atomics(value: &Value, node: &Node, path: String, found: &mut Vec<String>) {
    let whole = match (&node.shape, value) {
        (Shape::Struct { atomic, .. } | Shape::Map { atomic, .. }, Value::Object(_)) => *atomic,
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
        let merged = overlay(&schema, &live, patch, &[]).unwrap();
        assert_eq!(
            merged,
            json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"replicas": 1, "template": {"spec": {"containers": [
                {"name": "a", "image": "x"}, {"name": "b", "image": "z"}, {"name": "c", "image": "w"}]}}}})
        );
        assert_eq!(
            overlay(&schema, &live, json!({"spec": {"foo": 1}}), &[]).unwrap_err(),
            "failed to convert patch object to typed object: .spec.foo: field not declared in schema"
        );
        let atomic = json!({"spec": {"template": {"spec": {"tolerations": [{"key": "a"}]}}}});
        assert_eq!(
            overlay(&schema, &live, atomic, &[]).unwrap_err(),
            "invalid ApplyConfiguration: may not mutate atomic arrays, maps or structs: .spec.template.spec.tolerations"
        );
    }

    #[test]
    fn values_that_json_does_not_have_fit_nowhere() {
        let schema = crate::builtin("v1", "Pod").unwrap();
        let null = Printed { plain: "NULL_VALUE".to_owned(), syntax: "0".to_owned(), kind: "null".to_owned() };
        let refused = |configuration: Value, path: Vec<Step>| {
            let foreign = Foreign { path, printed: null.clone(), json: Value::Null };
            overlay(&schema, &json!({}), configuration, &[foreign]).unwrap_err()
        };
        let field = |name: &str| Step::Field(name.to_owned());
        let container = || vec![field("spec"), field("containers"), Step::Item(0)];
        let of_container = |name: &str| [container(), vec![field(name)]].concat();
        for (configuration, path, said) in [
            (
                json!({"spec": {"hostname": null}}),
                vec![field("spec"), field("hostname")],
                ".spec.hostname: expected string, got &value.valueUnstructured{Value:0}",
            ),
            (
                json!({"spec": {"containers": [{"name": "a", "args": null}]}}),
                of_container("args"),
                ".spec.containers[name=\"a\"].args: expected list, got &{NULL_VALUE}",
            ),
            (
                json!({"spec": {"containers": [null]}}),
                container(),
                ".spec.containers: element 0: associative list with keys may not have non-map elements",
            ),
            (
                json!({"metadata": {"creationTimestamp": null}}),
                vec![field("metadata"), field("creationTimestamp")],
                ".metadata.creationTimestamp: expected any scalar, got &{NULL_VALUE}",
            ),
        ] {
            assert_eq!(refused(configuration, path), format!("failed to convert patch object to typed object: {said}"));
        }
    }
}
