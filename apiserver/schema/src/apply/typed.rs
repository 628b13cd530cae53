//! Values seen through the model: which fields they set, how two of them differ, how they merge
//! (structured-merge-diff's `typed`).

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::set::{self, Set};
use crate::model::{AnyKind, ListKind, Node, Shape, Unknown};

/// What stands below fields of no fixed type: objects are granular, lists atomic.
static DEDUCED: LazyLock<Node> = LazyLock::new(|| Node::new(Shape::Any(AnyKind::Custom)));

/// How a place merges.
enum View<'a> {
    Leaf,
    /// A set or map list.
    List(&'a Node, &'a ListKind),
    Object,
}

fn view<'a>(node: &'a Node, values: [Option<&Value>; 2]) -> View<'a> {
    match &node.shape {
        Shape::Struct { of, atomic } if !atomic && !of.atomic => View::Object,
        Shape::Map { atomic: false, .. } => View::Object,
        Shape::List { items, kind: kind @ (ListKind::Set | ListKind::Map(_)), .. } => View::List(items, kind),
        Shape::Any(AnyKind::Custom) if values.iter().flatten().all(|value| value.is_object()) => View::Object,
        _ => View::Leaf,
    }
}

/// The node of an object's entry, and whether it is a struct's named field (map keys are members themselves).
fn entry<'a>(node: &'a Node, name: &str) -> (&'a Node, bool) {
    match &node.shape {
        Shape::Struct { of, .. } => match of.field(name) {
            Some(field) => (&field.node, true),
            None => (&DEDUCED, !matches!(of.unknown, Unknown::Keep)),
        },
        Shape::Map { values, .. } => (values, false),
        _ => (&DEDUCED, false),
    }
}

/// A list item's path element; an error names the key that is missing.
fn element(item: &Value, items: &Node, kind: &ListKind) -> Result<String, String> {
    let ListKind::Map(keys) = kind else { return Ok(set::value(item)) };
    let mut found = Vec::with_capacity(keys.len());
    for name in keys.iter() {
        let default = || match &items.shape {
            Shape::Struct { of, .. } => of.field(name).and_then(|field| field.node.default.as_deref().cloned()),
            _ => None,
        };
        match item.get(&**name).filter(|value| !value.is_null()).cloned().or_else(default) {
            Some(value) => found.push((&**name, value)),
            // Optional keys may be absent as long as one key is there.
            None if keys.len() > 1 => {}
            None => {
                return Err(format!(
                    "associative list with keys has an element that omits key field {name:?} (and doesn't have default value)"
                ));
            }
        }
    }
    if found.is_empty() {
        return Err(format!(
            "associative list with keys has an element that omits all key fields {keys:?} (and doesn't have default values for any key fields)"
        ));
    }
    Ok(set::key(found))
}

/// Duplicates and missing keys of set and map lists, which make an applied configuration ambiguous.
pub(super) fn check(value: &Value, node: &Node) -> Result<(), String> {
    check_at(value, node, "")
}

fn check_at(value: &Value, node: &Node, path: &str) -> Result<(), String> {
    match (view(node, [Some(value), None]), value) {
        (View::Object, Value::Object(map)) => {
            map.iter().try_for_each(|(name, value)| check_at(value, entry(node, name).0, &format!("{path}.{name}")))
        }
        (View::List(items, kind), Value::Array(list)) => {
            let mut seen = Vec::new();
            for (at, item) in list.iter().enumerate() {
                let step = element(item, items, kind).map_err(|error| format!("{path}: element {at}: {error}"))?;
                if seen.contains(&step) {
                    return Err(format!("{path}: duplicate entries for key {}", set::shown(&step)));
                }
                check_at(item, items, &format!("{path}{}", set::shown(&step)))?;
                seen.push(step);
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Every field the model does not declare, in upstream's words.
pub(super) fn undeclared(value: &Value, node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    undeclared_at(value, node, &mut String::new(), &mut out);
    out
}

fn undeclared_at(value: &Value, node: &Node, path: &mut String, out: &mut Vec<String>) {
    let length = path.len();
    match (&node.shape, value) {
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            for (name, value) in map {
                path.push('.');
                path.push_str(name);
                match of.field(name) {
                    Some(field) => undeclared_at(value, &field.node, path, out),
                    None if matches!(of.unknown, Unknown::Keep) => {}
                    None => out.push(format!("{path}: field not declared in schema")),
                }
                path.truncate(length);
            }
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            for (name, value) in map {
                path.push('.');
                path.push_str(name);
                undeclared_at(value, values, path, out);
                path.truncate(length);
            }
        }
        (Shape::List { items, kind, .. }, Value::Array(list)) => {
            for (at, item) in list.iter().enumerate() {
                match element(item, items, kind) {
                    Ok(step) if !matches!(kind, ListKind::Atomic) => path.push_str(&set::shown(&step)),
                    _ => path.push_str(&format!("[{at}]")),
                }
                undeclared_at(item, items, path, out);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

/// Every field a value sets.
pub(super) fn to_set(value: &Value, node: &Node) -> Set {
    let mut out = Set::default();
    collect(value, node, &mut Vec::new(), &mut out);
    out
}

fn collect(value: &Value, node: &Node, path: &mut Vec<String>, out: &mut Set) {
    match (view(node, [Some(value), None]), value) {
        (View::Object, Value::Object(map)) => {
            for (name, value) in map {
                let (below, named) = entry(node, name);
                path.push(set::field(name));
                collect(value, below, path, out);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || !named {
                    out.insert(path);
                }
                path.pop();
            }
        }
        (View::List(items, kind), Value::Array(list)) => {
            for item in list {
                let Ok(step) = element(item, items, kind) else { continue };
                path.push(step);
                collect(item, items, path, out);
                out.insert(path);
                path.pop();
            }
        }
        (View::Object | View::List(..), _) => {}
        (View::Leaf, _) => out.insert(path),
    }
}

#[derive(Default)]
pub(super) struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
}

pub(super) fn compare(old: &Value, new: &Value, node: &Node) -> Comparison {
    let mut out = Comparison::default();
    difference(Some(old), Some(new), node, &mut Vec::new(), &mut out);
    out
}

fn difference(old: Option<&Value>, new: Option<&Value>, node: &Node, path: &mut Vec<String>, out: &mut Comparison) {
    match (view(node, [old, new]), old, new) {
        (View::Object, _, _) if !(blank(old) && blank(new)) => {
            let none = Map::new();
            let (left, right) = (object(old).unwrap_or(&none), object(new).unwrap_or(&none));
            for (name, value) in left {
                path.push(set::field(name));
                difference(Some(value), right.get(name), entry(node, name).0, path, out);
                path.pop();
            }
            for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
                path.push(set::field(name));
                difference(None, Some(value), entry(node, name).0, path, out);
                path.pop();
            }
        }
        (View::List(items, kind), _, _) if !(blank(old) && blank(new)) => {
            let (left, right) = (keyed(old, items, kind), keyed(new, items, kind));
            for (step, value) in &left {
                path.push(step.clone());
                difference(Some(value), find(&right, step), items, path, out);
                path.pop();
            }
            for (step, value) in right.iter().filter(|(step, _)| find(&left, step).is_none()) {
                path.push(step.clone());
                difference(None, Some(value), items, path, out);
                path.pop();
            }
        }
        (_, Some(old), Some(new)) if old != new => out.modified.insert(path),
        _ => {}
    }
    match (old, new) {
        (None, Some(_)) => out.added.insert(path),
        (Some(_), None) => out.removed.insert(path),
        _ => {}
    }
}

fn blank(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    }
}

fn object(value: Option<&Value>) -> Option<&Map<String, Value>> {
    value.and_then(Value::as_object)
}

/// Items with their path elements; of duplicates the first counts.
fn keyed<'a>(value: Option<&'a Value>, items: &Node, kind: &ListKind) -> Vec<(String, &'a Value)> {
    let list = value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    list.iter().filter_map(|item| Some((element(item, items, kind).ok()?, item))).collect()
}

fn find<'a>(list: &[(String, &'a Value)], step: &str) -> Option<&'a Value> {
    list.iter().find(|(other, _)| other == step).map(|(_, value)| *value)
}

/// `config` laid over `live`.
pub(super) fn merge(live: &Value, config: &Value, node: &Node) -> Value {
    match (view(node, [Some(live), Some(config)]), live, config) {
        (_, _, Value::Null) => Value::Null,
        (View::Object, Value::Object(live), Value::Object(config)) => {
            let mut merged = live.clone();
            for (name, value) in config {
                let value = match live.get(name) {
                    Some(live) => merge(live, value, entry(node, name).0),
                    None => value.clone(),
                };
                merged.insert(name.clone(), value);
            }
            Value::Object(merged)
        }
        (View::List(items, kind), Value::Array(_), Value::Array(_)) => {
            merge_lists(&keyed(Some(live), items, kind), &keyed(Some(config), items, kind), items).into()
        }
        _ => config.clone(),
    }
}

/// Shared items come in the order of the configuration; those of one side stay around their neighbours.
fn merge_lists(live: &[(String, &Value)], config: &[(String, &Value)], items: &Node) -> Vec<Value> {
    let mut out = Vec::with_capacity(live.len() + config.len());
    let (mut left, mut right) = (live.iter().peekable(), config.iter().peekable());
    loop {
        match (left.peek(), right.peek()) {
            (None, None) => return out,
            (Some((step, value)), _) if find(config, step).is_none() => {
                out.push(Value::clone(value));
                left.next();
            }
            (left_item, Some((step, value))) => {
                let same = left_item.is_some_and(|(other, _)| other == step);
                match find(live, step) {
                    Some(old) => out.push(merge(old, value, items)),
                    None => out.push(Value::clone(value)),
                }
                if same {
                    left.next();
                }
                right.next();
                // A live item that the configuration placed earlier or later is passed over.
                while left.peek().is_some_and(|(step, _)| find(config, step).is_some() && !ahead(right.clone(), step)) {
                    left.next();
                }
            }
            (Some(_), None) => {
                left.next();
            }
        }
    }
}

fn ahead<'a>(mut rest: impl Iterator<Item = &'a (String, &'a Value)>, step: &str) -> bool {
    rest.any(|(other, _)| other == step)
}

/// Removes what `gone` holds unless `kept` holds it: fields an applier gave up and nobody else claims.
pub(super) fn remove(value: &mut Value, node: &Node, gone: &Set, kept: &Set) {
    let none = Set::default();
    match (view(node, [Some(value), None]), value) {
        (View::Object, Value::Object(map)) => map.retain(|name, value| {
            let step = set::field(name);
            survives(value, entry(node, name).0, &step, gone, kept, &none)
        }),
        (View::List(items, kind), Value::Array(list)) => list.retain_mut(|item| {
            let Ok(step) = element(item, items, kind) else { return true };
            survives(item, items, &step, gone, kept, &none)
        }),
        _ => {}
    }
}

fn survives(value: &mut Value, node: &Node, step: &str, gone: &Set, kept: &Set, none: &Set) -> bool {
    if gone.holds(step) && !kept.holds(step) {
        return false;
    }
    if let Some(gone) = gone.below(step) {
        remove(value, node, gone, kept.below(step).unwrap_or(none));
    }
    true
}
