//! Values seen through the model: which fields they set, how two of them differ, how they merge
//! (structured-merge-diff's `typed`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::set::{self, Set, Trail};
use crate::go::Printed;
use crate::model::{AnyKind, ListKind, Node, Scalar, Shape, StructRef, Unknown};

/// What stands below fields of no fixed type: objects are granular, lists atomic.
static DEDUCED: LazyLock<Node> = LazyLock::new(|| Node::new(Shape::Any(AnyKind::Custom)));

/// Who manages the fields is not one of them.
static UNCOMPARED: LazyLock<Set> =
    LazyLock::new(|| Set::from_fields_v1(json!({ "f:metadata": { "f:managedFields": {} } })));

/// How a place merges.
enum View<'a> {
    Leaf,
    /// A set or map list.
    List(&'a Node, &'a ListKind),
    Object,
}

fn view<'a>(node: &'a Node, values: [Option<&Value>; 2]) -> View<'a> {
    match &node.shape {
        Shape::Struct { atomic: false, .. } => View::Object,
        Shape::Map { atomic: false, .. } => View::Object,
        Shape::List { items, kind: kind @ (ListKind::Set | ListKind::Map(_)), .. } => View::List(items, kind),
        // Null fits whatever the other one is.
        Shape::Any(AnyKind::Custom) if values.iter().flatten().all(|value| value.is_object() || value.is_null()) => {
            View::Object
        }
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

/// A list item's path element; an error says why it has none.
fn element(item: &Value, items: &Node, kind: &ListKind) -> Result<String, String> {
    let ListKind::Map(keys) = kind else {
        return match item {
            Value::Object(_) => Err("associative list without keys has an element that's a map type".to_owned()),
            Value::Array(_) => Err("not supported: associative list with lists as elements".to_owned()),
            Value::Null => Err("associative list without keys has an element that's an explicit null".to_owned()),
            _ => Ok(set::value(item)),
        };
    };
    match item {
        Value::Object(_) => {}
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    }
    let mut found = Vec::with_capacity(keys.len());
    for name in keys.iter() {
        let default = || match &items.shape {
            Shape::Struct { of: of @ StructRef::Builtin(_), .. } => of.field(name)?.implied().map(Cow::Owned),
            Shape::Struct { of, .. } => of.field(name)?.node.default.as_deref().map(Cow::Borrowed),
            _ => None,
        };
        // Keys may be absent as long as one is there.
        let said = item.get(&**name).map(Cow::Borrowed);
        found.extend(said.or_else(default).map(|value| (&**name, value)));
    }
    if found.is_empty() {
        let keys = keys.iter().map(|key| crate::go::quote(key)).collect::<Vec<_>>().join(" ");
        return Err(format!(
            "associative list with keys has an element that omits all key fields [{keys}] (and doesn't have default values for any \
             key fields)"
        ));
    }
    Ok(set::key(found.iter().map(|(name, value)| (*name, &**value)).collect()))
}

/// Duplicates and missing keys of set and map lists, which make an applied configuration ambiguous.
pub(super) fn check(value: &Value, node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    check_at(value, node, &Trail::Root, &mut out);
    out
}

/// What is atomic is looked into, too.
fn check_at(value: &Value, node: &Node, at: &Trail<'_>, out: &mut Vec<String>) {
    match (&node.shape, value) {
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            for (name, value) in map {
                if let Some(field) = of.field(name) {
                    check_at(value, &field.node, &Trail::Field(at, name), out);
                }
            }
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            map.iter().for_each(|(name, value)| check_at(value, values, &Trail::Field(at, name), out));
        }
        (Shape::List { items, kind: ListKind::Atomic, .. }, Value::Array(list)) => {
            for (index, item) in list.iter().enumerate() {
                check_at(item, items, &Trail::Item(at, &format!("i:{index}")), out);
            }
        }
        (Shape::List { items, kind, .. }, Value::Array(list)) => {
            let mut seen = HashSet::new();
            for (index, item) in list.iter().enumerate() {
                match element(item, items, kind) {
                    Err(error) => out.push(format!("{at}: element {index}: {error}")),
                    Ok(step) if seen.contains(&step) => {
                        out.push(format!("{at}: duplicate entries for key {}", set::shown(&step)));
                    }
                    Ok(step) => {
                        check_at(item, items, &Trail::Item(at, &step), out);
                        seen.insert(step);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Every field the model does not declare, or declares as something else, in upstream's words.
pub(super) fn undeclared(value: &Value, node: &Node) -> Vec<String> {
    let mut out = Vec::new();
    undeclared_at(value, node, &Trail::Root, &mut out);
    out
}

fn undeclared_at(value: &Value, node: &Node, at: &Trail<'_>, out: &mut Vec<String>) {
    match (&node.shape, value) {
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            for (name, value) in map {
                let at = Trail::Field(at, name);
                match of.field(name) {
                    Some(field) => undeclared_at(value, &field.node, &at, out),
                    None if matches!(of.unknown, Unknown::Keep) => {}
                    // Upstream looks at no more of the object, whose fields come in no order there.
                    None => return out.push(format!("{at}: field not declared in schema")),
                }
            }
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            for (name, value) in map {
                undeclared_at(value, values, &Trail::Field(at, name), out);
            }
        }
        (_, Value::Null) => {}
        (Shape::List { items, kind, .. }, Value::Array(list)) => {
            for (index, item) in list.iter().enumerate() {
                // What has no place is not looked into.
                if *kind == ListKind::Atomic || element(item, items, kind).is_ok() {
                    undeclared_at(item, items, &Trail::Item(at, &step(item, index, items, kind)), out);
                }
            }
        }
        (shape, value) => out.extend(unfit(shape, value).map(|text| format!("{at}: {text}"))),
    }
}

/// The path element of any list's item: its key, else its place.
pub(super) fn step(item: &Value, index: usize, items: &Node, kind: &ListKind) -> String {
    let keyed = Some(kind).filter(|kind| !matches!(kind, ListKind::Atomic));
    keyed.and_then(|kind| element(item, items, kind).ok()).unwrap_or_else(|| format!("i:{index}"))
}

/// What a configuration of a built-in kind says of fields that there are.
pub(super) fn said(value: &Value, node: &Node) -> Value {
    match (&node.shape, value) {
        (Shape::Struct { of, .. }, Value::Object(map)) => {
            let field = |(name, value): (&String, &Value)| Some((name.clone(), said(value, &of.field(name)?.node)));
            map.iter().filter_map(field).collect::<Map<_, _>>().into()
        }
        (Shape::Map { values, .. }, Value::Object(map)) => {
            map.iter().map(|(name, value)| (name.clone(), said(value, values))).collect::<Map<_, _>>().into()
        }
        (Shape::List { items, .. }, Value::Array(list)) => list.iter().map(|item| said(item, items)).collect(),
        _ => value.clone(),
    }
}

/// What is wrong with a value that is of another type than its place, in the words of upstream's structured-merge-diff.
fn unfit(shape: &Shape, value: &Value) -> Option<String> {
    let fits = match shape {
        Shape::Struct { .. } | Shape::Map { .. } | Shape::List { .. } => false,
        Shape::Scalar(Scalar::Bool) => value.is_boolean(),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => value.is_number(),
        Shape::Scalar(Scalar::String | Scalar::Bytes | Scalar::Duration) => value.is_string(),
        Shape::Scalar(Scalar::Quantity | Scalar::Time | Scalar::MicroTime) => !value.is_array() && !value.is_object(),
        // OpenAPI says of it that it has several types, and so anything fits.
        Shape::Scalar(Scalar::IntOrString) | Shape::Any(_) | Shape::Union(_) => true,
    };
    if fits { None } else { expected(shape, &value.into()) }
}

/// The complaint about anything that does not fit there; `None` where everything does.
pub(super) fn expected(shape: &Shape, found: &Printed) -> Option<String> {
    let got = format!("got &{{{}}}", found.plain);
    Some(match shape {
        Shape::Struct { .. } | Shape::Map { .. } => format!("expected map, {got}"),
        Shape::List { .. } => format!("expected list, {got}"),
        Shape::Scalar(Scalar::Bool) => format!("expected boolean, {got}"),
        Shape::Scalar(Scalar::Int32 | Scalar::Int64 | Scalar::Double) => {
            format!("expected numeric (int or float), got {}", found.kind)
        }
        Shape::Scalar(Scalar::String | Scalar::Bytes | Scalar::Duration) => {
            format!("expected string, got &value.valueUnstructured{{Value:{}}}", found.syntax)
        }
        Shape::Scalar(Scalar::Quantity | Scalar::Time | Scalar::MicroTime) => format!("expected any scalar, {got}"),
        Shape::Scalar(Scalar::IntOrString) | Shape::Any(_) | Shape::Union(_) => return None,
    })
}

/// Every field a value sets.
pub(super) fn to_set(value: &Value, node: &Node) -> Set {
    let mut out = Set::default();
    collect(value, node, &Trail::Root, &mut out);
    out
}

fn collect(value: &Value, node: &Node, at: &Trail<'_>, out: &mut Set) {
    match (view(node, [Some(value), None]), value) {
        (View::Object, Value::Object(map)) => {
            for (name, value) in map {
                let (below, named) = entry(node, name);
                let at = Trail::Field(at, name);
                collect(value, below, &at, out);
                let empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
                if empty || !named {
                    out.insert(&at);
                }
            }
        }
        (View::List(items, kind), Value::Array(list)) => {
            let keyed = keyed(list, items, kind);
            let repeated = repeated(&keyed);
            for (step, item) in &keyed {
                let at = Trail::Item(at, step);
                // Of what is there more than once nobody knows whose fields are whose.
                if !repeated.contains(step.as_str()) {
                    collect(item, items, &at, out);
                }
                out.insert(&at);
            }
        }
        (View::Object | View::List(..), _) => {}
        (View::Leaf, _) => out.insert(at),
    }
}

#[derive(Default)]
pub(super) struct Comparison {
    pub added: Set,
    pub modified: Set,
    pub removed: Set,
    /// There is an item that has no path: what has changed cannot be told.
    pub unclear: bool,
}

/// How two objects differ, but for the entries of their managers.
pub(super) fn compare(old: &Value, new: &Value, node: &Node) -> Comparison {
    let mut out = Comparison::default();
    difference(Some(old), Some(new), node, &Trail::Root, &mut out);
    for set in [&mut out.added, &mut out.modified, &mut out.removed] {
        set.subtract(&UNCOMPARED);
    }
    out
}

fn difference(old: Option<&Value>, new: Option<&Value>, node: &Node, at: &Trail<'_>, out: &mut Comparison) {
    // Most of an object is as it was: an equality asks for no memory, what comes below does.
    if old == new {
        return;
    }
    match (view(node, [old, new]), old, new) {
        (View::Object, _, _) if !(blank(old) && blank(new)) => {
            let none = Map::new();
            let (left, right) = (object(old).unwrap_or(&none), object(new).unwrap_or(&none));
            for (name, value) in left {
                difference(Some(value), right.get(name), entry(node, name).0, &Trail::Field(at, name), out);
            }
            for (name, value) in right.iter().filter(|(name, _)| !left.contains_key(*name)) {
                difference(None, Some(value), entry(node, name).0, &Trail::Field(at, name), out);
            }
        }
        (View::List(items, kind), _, _) if !(blank(old) && blank(new)) => {
            let (left, right) = (keyed(array(old), items, kind), keyed(array(new), items, kind));
            out.unclear |= left.len() < array(old).len() || right.len() < array(new).len();
            let [twice, again] = [repeated(&left), repeated(&right)];
            for step in twice.union(&again) {
                repeated_difference([&left, &right], step, items, &Trail::Item(at, step), out);
            }
            let once = |step: &str| !twice.contains(step) && !again.contains(step);
            for (step, value) in left.iter().filter(|(step, _)| once(step)) {
                difference(Some(value), find(&right, step), items, &Trail::Item(at, step), out);
            }
            for (step, value) in right.iter().filter(|(step, _)| once(step) && find(&left, step).is_none()) {
                difference(None, Some(value), items, &Trail::Item(at, step), out);
            }
        }
        (_, Some(old), Some(new)) if equal(old, new) => {}
        (_, Some(_), Some(_)) => out.modified.insert(at),
        _ => {}
    }
    match (old, new) {
        (None, Some(_)) => out.added.insert(at),
        (Some(_), None) => out.removed.insert(at),
        _ => {}
    }
}

/// Whether values are the same where integers are floats, too.
fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => x == y || ((x.is_f64() || y.is_f64()) && x.as_f64() == y.as_f64()),
        (Value::Array(x), Value::Array(y)) => x.len() == y.len() && x.iter().zip(y).all(|(x, y)| equal(x, y)),
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len() && x.iter().all(|(name, x)| y.get(name).is_some_and(|y| equal(x, y)))
        }
        _ => a == b,
    }
}

/// Items of one path, of which there are several on one side: they are compared as a whole.
fn repeated_difference(
    sides: [&[(String, &Value)]; 2],
    step: &str,
    items: &Node,
    at: &Trail<'_>,
    out: &mut Comparison,
) {
    let [old, new] =
        sides.map(|side| side.iter().filter(|(other, _)| other == step).map(|(_, value)| *value).collect());
    let (old, new): (Vec<&Value>, Vec<&Value>) = (old, new);
    match (old.as_slice(), new.as_slice()) {
        ([_, _, ..], [_, _, ..]) if old == new => {}
        ([_, _, ..], [_, _, ..]) => out.modified.insert(at),
        ([_, _, ..], one) => {
            one.iter().for_each(|value| difference(None, Some(value), items, at, out));
            out.removed.insert(at);
        }
        (one, _) => {
            one.iter().for_each(|value| difference(Some(value), None, items, at, out));
            out.added.insert(at);
        }
    }
}

/// The paths that more than one item has.
fn repeated<'a>(keyed: &'a [(String, &Value)]) -> HashSet<&'a str> {
    let mut seen = HashSet::with_capacity(keyed.len());
    keyed.iter().map(|(step, _)| step.as_str()).filter(|step| !seen.insert(*step)).collect()
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

fn array(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Items with their path elements; of duplicates the first counts.
fn keyed<'a>(list: &'a [Value], items: &Node, kind: &ListKind) -> Vec<(String, &'a Value)> {
    list.iter().filter_map(|item| Some((element(item, items, kind).ok()?, item))).collect()
}

fn find<'a>(list: &[(String, &'a Value)], step: &str) -> Option<&'a Value> {
    list.iter().find(|(other, _)| other == step).map(|(_, value)| *value)
}

/// Lays `config` over `live`. Null takes the place of values; of what is made of fields or items that have managers of their own it
/// takes nothing.
pub(super) fn merge(live: &mut Value, config: &Value, node: &Node) {
    match (view(node, [Some(live), Some(config)]), &mut *live, config) {
        (View::Object | View::List(..), live, Value::Null) if !blank(Some(live)) => {}
        (_, _, Value::Null) => *live = Value::Null,
        (View::Object, Value::Object(live), Value::Object(config)) => {
            for (name, value) in config {
                match live.get_mut(name) {
                    Some(live) => merge(live, value, entry(node, name).0),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (View::List(items, kind), Value::Array(list), Value::Array(added)) => {
            let old = std::mem::take(list);
            *list = merge_lists(&keyed(&old, items, kind), &keyed(added, items, kind), items);
        }
        _ => *live = config.clone(),
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
                    Some(old) => {
                        let mut merged = old.clone();
                        merge(&mut merged, value, items);
                        out.push(merged);
                    }
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
            let (node, named) = entry(node, name);
            let step = set::field(name);
            let had_items = named && value.as_array().is_some_and(|list| !list.is_empty());
            // A field of nothing but items that are gone is gone, too.
            survives(value, node, &step, gone, kept, &none)
                && !(had_items && value.as_array().is_some_and(Vec::is_empty))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::builtin;

    /// Every place looked at, whether something differs there or not, with its path in full.
    fn long_way(old: Option<&Value>, new: Option<&Value>, node: &Node, path: &str, out: [&mut BTreeSet<String>; 3]) {
        let [added, modified, removed] = out;
        let mut below = |old: Option<&Value>, new: Option<&Value>, node: &Node, step: &str| {
            long_way(
                old,
                new,
                node,
                &format!("{path}{}", set::shown(step)),
                [&mut *added, &mut *modified, &mut *removed],
            );
        };
        match (view(node, [old, new]), old, new) {
            (View::Object, _, _) if !(blank(old) && blank(new)) => {
                let names: BTreeSet<&String> = [old, new].into_iter().filter_map(object).flat_map(Map::keys).collect();
                let at = |value: Option<&'_ Value>, name: &str| value.and_then(|value| value.get(name)).cloned();
                for name in names {
                    below(at(old, name).as_ref(), at(new, name).as_ref(), entry(node, name).0, &set::field(name));
                }
            }
            (View::List(items, kind), _, _) if !(blank(old) && blank(new)) => {
                let (left, right) = (keyed(array(old), items, kind), keyed(array(new), items, kind));
                let steps: BTreeSet<&String> = left.iter().chain(&right).map(|(step, _)| step).collect();
                for step in steps {
                    below(find(&left, step), find(&right, step), items, step);
                }
            }
            (_, Some(old), Some(new)) if old != new => {
                modified.insert(path.to_owned());
            }
            _ => {}
        }
        match (old, new) {
            (None, Some(_)) => added.insert(path.to_owned()),
            (Some(_), None) => removed.insert(path.to_owned()),
            _ => false,
        };
    }

    /// A pod of few words, so that two of them have much in common.
    fn pod() -> impl Strategy<Value = Value> {
        let text = || prop_oneof![Just(Value::Null), "[ab]".prop_map(Value::from)];
        let map = || prop::collection::btree_map("[ab]", "[ab]", 0..3).prop_map(|map| json!(map));
        let maybe_map = prop_oneof![Just(Value::Null), map()];
        let env = prop::collection::btree_map("[ab]", text(), 0..3).prop_map(|env| {
            env.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect::<Vec<_>>()
        });
        let ports = prop::collection::btree_set(1..3, 0..3)
            .prop_map(|ports| ports.into_iter().map(|port| json!({ "containerPort": port })).collect::<Vec<_>>());
        let containers = prop::collection::btree_map("[ab]", (text(), env, ports), 0..3).prop_map(|containers| {
            let container =
                |(name, (image, env, ports))| json!({ "name": name, "image": image, "env": env, "ports": ports });
            containers.into_iter().map(container).collect::<Vec<Value>>()
        });
        let tolerations = prop::collection::vec("[ab]", 0..2);
        let finalizers = prop::collection::btree_set("[ab]", 0..3);
        (maybe_map, map(), containers, tolerations, finalizers, any::<bool>()).prop_map(
            |(labels, annotations, containers, tolerations, finalizers, status)| {
                let tolerations: Vec<Value> = tolerations.into_iter().map(|key| json!({ "key": key })).collect();
                let mut pod = json!({
                    "metadata": { "labels": labels, "annotations": annotations, "finalizers": finalizers },
                    "spec": { "containers": containers, "tolerations": tolerations },
                });
                if status {
                    pod["status"] = json!({ "phase": "Running", "podIPs": [{ "ip": "::1" }] });
                }
                pod
            },
        )
    }

    proptest! {
        #[test]
        fn passing_by_what_is_equal_finds_all_that_differs(old in pod(), new in pod()) {
            let schema = builtin("v1", "Pod").unwrap();
            let [mut added, mut modified, mut removed] = [BTreeSet::new(), BTreeSet::new(), BTreeSet::new()];
            long_way(Some(&old), Some(&new), &schema.root, "", [&mut added, &mut modified, &mut removed]);
            let found = compare(&old, &new, &schema.root);
            let paths = |set: Set| set.paths().into_iter().collect::<BTreeSet<_>>();
            prop_assert_eq!([paths(found.added), paths(found.modified), paths(found.removed)], [added, modified, removed]);
        }
    }
}
