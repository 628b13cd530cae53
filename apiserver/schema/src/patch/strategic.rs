//! Strategic merge patch (`apimachinery/pkg/util/strategicpatch`): a merge patch that knows which lists are sets or
//! maps, and directives: `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/`, `$setElementOrder/`.
//!
//! Upstream uses the patch up: directives are gone from it once they are followed, and what is complained of later is shown with
//! what is left. So it is here.

use serde_json::{Map, Value};

use super::{
    PatchError,
    order::{arrange, identities, identity, position},
};
use crate::{
    Schema,
    decode::unfit,
    go,
    model::{AnyKind, Field, Node, PatchFacts, Presence, Scalar, Shape},
};

/// What upstream says whatever is wrong with these.
const RETAIN_KEYS_FORMAT: &str = "invalid patch format of retainKeys";
const DELETE_FORMAT: &str = "invalid patch format of primitive list";
const ORDER_FORMAT: &str = "invalid patch format of setElementOrder list";
const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList";
const ELEMENT_ORDER: &str = "$setElementOrder";

type Object = Map<String, Value>;

/// What `patch` makes of `original`; of `patch` that is left which upstream shows when the result cannot be read.
pub fn strategic_merge(schema: &Schema, original: &Value, patch: &mut Value) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (original, &mut *patch) else {
        // Go reads null into a map as nothing at all.
        return match std::mem::replace(patch, Value::Object(Object::new())) {
            Value::Null => Ok(original.clone()),
            other => Err(PatchError::bad(unfit(&other, MAP))),
        };
    };
    merge_map(original.clone(), patch, &schema.root).map(Value::Object)
}

/// The field `name` of something shaped like `node`, which both sides have.
fn field<'a>(node: &'a Node, name: &str) -> Result<&'a Field, PatchError> {
    let no_field = |of: &str| format!("unable to find api field in struct {of} for the json field {name:?}");
    let no_struct = |kind: &str| format!("merging an object in json but data type is not struct, instead is: {kind}");
    let why = match &node.shape {
        Shape::Struct { of, .. } => match of.field(name) {
            Some(field) => return Ok(field),
            None => no_field(of.go_name()),
        },
        Shape::Any(AnyKind::RawExtension) => no_field("RawExtension"),
        Shape::Any(AnyKind::FieldsV1) => no_field("FieldsV1"),
        Shape::Any(_) => no_field("JSON"),
        Shape::Map { .. } => no_struct("map"),
        _ => no_struct(kind(node)),
    };
    Err(PatchError::failed(why))
}

/// Go's `reflect.Kind` of a type.
fn kind(node: &Node) -> &'static str {
    match &node.shape {
        Shape::Map { .. } => "map",
        Shape::List { .. } | Shape::Scalar(Scalar::Bytes) => "slice",
        Shape::Scalar(Scalar::String) => "string",
        Shape::Scalar(Scalar::Bool) => "bool",
        Shape::Scalar(Scalar::Int32) => "int32",
        Shape::Scalar(Scalar::Int64) => "int64",
        Shape::Scalar(Scalar::Double) => "float64",
        _ => "struct",
    }
}

/// The items of the field `name`, where a patch has a list.
fn items<'a>(node: &'a Node, name: &str) -> Result<(&'a Node, PatchFacts), PatchError> {
    let field = field(node, name)?;
    match &field.node.shape {
        Shape::List { items, .. } => Ok((items, field.patch)),
        // To upstream, what a pointer leads to is an item as well.
        _ if field.presence == Presence::Pointer => Ok((&field.node, field.patch)),
        _ => Err(PatchError::failed("expected slice or array type, but got: struct")),
    }
}

fn merge_map(mut original: Object, patch: &mut Object, node: &Node) -> Result<Object, PatchError> {
    match patch.get(DIRECTIVE).map(|directive| directive.as_str().unwrap_or_default()) {
        None => {}
        Some("replace") => {
            patch.remove(DIRECTIVE);
            return Ok(patch.clone());
        }
        Some("delete") => return Ok(Object::new()),
        Some(_) => return Err(unknown(&patch[DIRECTIVE], patch)),
    }
    if let Some(retained) = patch.remove(RETAIN_KEYS) {
        retain_keys(&mut original, patch, &retained)?;
    }
    let orders: Vec<String> = patch.keys().filter(|key| key.starts_with(ELEMENT_ORDER)).cloned().collect();
    for key in orders {
        let order = patch.remove(&key).unwrap_or_default();
        let name = suffix(&key, ELEMENT_ORDER).ok_or_else(|| PatchError::bad(ORDER_FORMAT));
        // The list is looked at before its name.
        merge_ordered(&mut original, patch, list(&order).and_then(|order| Ok((name?, order)))?, node)?;
    }
    for (key, value) in patch {
        merge_member(&mut original, key, value, node)?;
    }
    Ok(original)
}

/// What a directive is about: the text behind its slash.
fn suffix<'a>(key: &'a str, directive: &str) -> Option<&'a str> {
    key.strip_prefix(directive)?.strip_prefix('/')
}

fn merge_member(original: &mut Object, key: &str, patch: &mut Value, node: &Node) -> Result<(), PatchError> {
    let deletes = key.starts_with(DELETE_PRIMITIVES);
    let name = match deletes {
        true => suffix(key, DELETE_PRIMITIVES).ok_or_else(|| PatchError::bad(DELETE_FORMAT))?,
        false => key,
    };
    if patch.is_null() {
        original.remove(name);
        return Ok(());
    }
    let merged = match (original.get_mut(name), &mut *patch) {
        (Some(Value::Object(live)), Value::Object(patch)) => {
            let field = field(node, name)?;
            let merged = match field.patch.replace {
                true => patch.clone(),
                false => merge_map(std::mem::take(live), patch, &field.node)?,
            };
            Some(merged.into())
        }
        (Some(Value::Array(live)), Value::Array(patch)) => {
            let (items, facts) = items(node, name)?;
            let merged = match facts.merge || deletes {
                true => merge_list(std::mem::take(live), patch, items, facts, deletes)?,
                false => patch.clone(),
            };
            Some(merged.into())
        }
        (Some(live), patch) if go::type_name(live) == go::type_name(patch) => Some(patch.clone()),
        // What is no list, or is not there, loses nothing.
        _ if deletes => return Ok(()),
        (_, patch) => {
            discard_nulls(patch);
            settled(patch)
        }
    };
    match merged {
        Some(merged) => drop(original.insert(name.to_owned(), merged)),
        None => drop(original.remove(name)),
    }
    Ok(())
}

/// Takes the nulls out of objects.
fn discard_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(discard_nulls);
        }
        Value::Array(list) => list.iter_mut().for_each(discard_nulls),
        _ => {}
    }
}

/// A part of a patch that meets nothing to be merged with: without what it says of deletion. `None` where that is all it says.
/// A list becomes another one, its items are the same as before.
fn settled(patch: &mut Value) -> Option<Value> {
    match patch {
        Value::Array(list) => Some(list.iter_mut().filter_map(|item| stays(item).then(|| item.clone())).collect()),
        _ => stays(patch).then(|| patch.clone()),
    }
}

/// Whether a value is to stay; what is below it and does not is taken out.
fn stays(value: &mut Value) -> bool {
    match value {
        Value::Object(map) if map.contains_key(DIRECTIVE) => return false,
        Value::Object(map) => map.retain(|_, value| stays(value)),
        Value::Array(list) => list.retain_mut(stays),
        _ => {}
    }
    true
}

/// What is merged item by item is of one type, and no lists.
///
/// # Errors
/// In upstream's words, which show both lists.
fn one_type(original: &[Value], patch: &[Value]) -> Result<(), PatchError> {
    let mut items = original.iter().chain(patch);
    let Some(first) = items.next() else {
        return Err(PatchError::failed("no elements in any of the given slices"));
    };
    if first.is_array() {
        return Err(PatchError::unprocessable("lists of lists are not supported"));
    }
    if items.all(|item| go::type_name(item) == go::type_name(first)) {
        return Ok(());
    }
    let shown = go::plain(&Value::from(vec![Value::from(original), Value::from(patch)]));
    Err(PatchError::failed(format!("list element types are not identical: {shown}")))
}

/// `deletes`: what `patch` has is to go, unless these are objects.
fn merge_list(
    original: Vec<Value>,
    patch: &mut [Value],
    node: &Node,
    facts: PatchFacts,
    deletes: bool,
) -> Result<Vec<Value>, PatchError> {
    if original.is_empty() && patch.is_empty() {
        return Ok(original);
    }
    one_type(&original, patch)?;
    let known = identities(&original, facts.merge_key);
    if !original.first().or(patch.first()).is_some_and(Value::is_object) {
        if deletes {
            return Ok(original.into_iter().filter(|item| !patch.contains(item)).collect());
        }
        let mut merged = Vec::with_capacity(original.len() + patch.len());
        for item in original.iter().chain(&*patch) {
            if !merged.contains(item) {
                merged.push(item.clone());
            }
        }
        return in_order(merged, patch, &known, facts.merge_key);
    }
    let Some(key) = facts.merge_key else {
        return Err(PatchError::failed(format!("cannot merge lists without merge key for {}", kind(node))));
    };
    let (mut merged, replace) = without_deleted(original, patch, key)?;
    let mut plain: Vec<&mut Value> = patch.iter_mut().filter(|item| item.get(DIRECTIVE).is_none()).collect();
    if replace {
        let items = plain.iter().map(|item| (**item).clone()).collect();
        return in_order(items, &[], &[], Some(key));
    }
    for item in &mut plain {
        told_apart(item, Some(key))?;
        match (position(&merged, item, Some(key)), &mut **item) {
            (Some(at), Value::Object(item)) => {
                let old = match merged[at].take() {
                    Value::Object(old) => old,
                    _ => Object::new(),
                };
                merged[at] = Value::Object(merge_map(old, item, node)?);
            }
            (_, item) => merged.push(item.clone()),
        }
    }
    let order: Vec<Value> = plain.into_iter().map(|item| item.clone()).collect();
    in_order(merged, &order, &known, Some(key))
}

/// What items of a patch leave that say what is to be done with the list, and whether they say that it is to be replaced.
fn without_deleted(mut original: Vec<Value>, patch: &[Value], key: &str) -> Result<(Vec<Value>, bool), PatchError> {
    let mut replace = false;
    for item in patch.iter().filter_map(Value::as_object) {
        let Some(directive) = item.get(DIRECTIVE) else { continue };
        match directive.as_str().unwrap_or_default() {
            "delete" => {
                require_key(item, key)?;
                original.retain(|other| identity(other, Some(key)) != &item[key]);
            }
            "replace" => replace = true,
            "merge" => return Err(PatchError::failed("merging lists cannot yet be specified in the patch")),
            _ => return Err(unknown(directive, item)),
        }
    }
    Ok((original, replace))
}

/// [`arrange`]d, where all have what they are told apart by.
fn in_order(merged: Vec<Value>, order: &[Value], known: &[Value], key: Option<&str>) -> Result<Vec<Value>, PatchError> {
    if key.is_some() {
        for item in &merged {
            told_apart(item, key)?;
        }
        for (at, item) in order.iter().enumerate() {
            if !item.is_object() && !merged.is_empty() {
                return Err(PatchError::failed(format!("value for key {at} is not a map")));
            }
            told_apart(item, key)?;
        }
    }
    Ok(arrange(merged, order, known, key))
}

fn require_key(item: &Object, key: &str) -> Result<(), PatchError> {
    if item.contains_key(key) {
        return Ok(());
    }
    let shown = go::plain(&Value::Object(item.clone()));
    Err(PatchError::failed(format!("map: {shown} does not contain declared merge key: {key}")))
}

/// What is said of a value of another type than `wanted`.
fn not_a(wanted: &str, found: &Value) -> PatchError {
    let found = match go::type_name(found) {
        "<nil>" => "%!s(<nil>)",
        known => known,
    };
    PatchError::failed(format!("expected a {wanted}, but received a {found}"))
}

const MAP: &str = "map[string]interface {}";

fn list(value: &Value) -> Result<&Vec<Value>, PatchError> {
    value.as_array().ok_or_else(|| not_a("[]interface {}", value))
}

fn unknown(directive: &Value, map: &Object) -> PatchError {
    let (directive, map) = (go::as_text(directive), go::plain(&Value::Object(map.clone())));
    PatchError::failed(format!("unknown patch type: {directive} in map: {map}"))
}

/// A list the patch gives an order for; it is done with then.
fn merge_ordered(
    original: &mut Object,
    patch: &mut Object,
    (name, order): (&str, &Vec<Value>),
    node: &Node,
) -> Result<(), PatchError> {
    let live = original.get(name).map(list).transpose()?.cloned();
    let mut changes = patch.get(name).map(list).transpose()?.cloned();
    let (items, facts) = items(node, name)?;
    check_order(changes.as_deref().unwrap_or_default(), order, facts.merge_key)?;
    let known = identities(live.as_deref().unwrap_or_default(), facts.merge_key);
    let merged = match (live.clone(), &mut changes) {
        (None, None) => return Ok(()),
        (Some(live), None) => live,
        (None, Some(changes)) => changes.iter_mut().filter_map(settled).collect(),
        (Some(live), Some(changes)) if facts.merge => merge_list(live, changes, items, facts, false)?,
        (Some(_), Some(changes)) => changes.clone(),
    };
    one_type(live.as_deref().unwrap_or_default(), changes.as_deref().unwrap_or_default())?;
    original.insert(name.to_owned(), in_order(merged, order, &known, facts.merge_key)?.into());
    patch.remove(name);
    Ok(())
}

/// The patch's items must stand in the order list, in the same order.
fn check_order(changes: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if changes.is_empty() || order.is_empty() {
        return Ok(());
    }
    if key.is_some()
        && let Some(other) = changes.iter().find(|item| !item.is_object())
    {
        return Err(not_a(MAP, other));
    }
    let deleted = |item: &&Value| key.is_some() && item.get(DIRECTIVE).is_some_and(|directive| directive == "delete");
    let mut wanted = changes.iter().filter(|item| !deleted(item)).peekable();
    let mut order_left = order.iter();
    while let Some(item) = wanted.peek() {
        if item.get(DIRECTIVE).is_some() && order_left.len() > 0 {
            wanted.next();
            continue;
        }
        let Some(next) = order_left.next() else {
            let (changes, order) = (go::plain(&Value::from(changes)), go::plain(&Value::from(order)));
            return Err(PatchError::failed(format!(
                "The order in patch list:\n{changes}\n doesn't match $setElementOrder list:\n{order}\n"
            )));
        };
        if told_apart(item, key)? == told_apart(next, key)? {
            wanted.next();
        }
    }
    Ok(())
}

/// What an item is known by, which it has to have.
fn told_apart<'a>(item: &'a Value, key: Option<&str>) -> Result<&'a Value, PatchError> {
    let Some(key) = key else { return Ok(item) };
    let object = item.as_object().ok_or_else(|| not_a(MAP, item))?;
    require_key(object, key)?;
    Ok(&object[key])
}

/// Keeps only the keys listed; the patch may not set any other.
fn retain_keys(original: &mut Object, patch: &Object, retained: &Value) -> Result<(), PatchError> {
    let Value::Array(retained) = retained else {
        return Err(PatchError::bad(RETAIN_KEYS_FORMAT));
    };
    let listed = |key: &str| retained.iter().any(|name| name == key);
    let about_lists = |key: &str| key.starts_with(DELETE_PRIMITIVES) || key.starts_with(ELEMENT_ORDER);
    if patch.iter().any(|(key, value)| !value.is_null() && !about_lists(key) && !listed(key)) {
        return Err(PatchError::bad(RETAIN_KEYS_FORMAT));
    }
    original.retain(|key, _| listed(key));
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::builtin;

    fn merge(kind: (&str, &str), original: Value, mut patch: Value) -> Result<Value, PatchError> {
        strategic_merge(&builtin(kind.0, kind.1).unwrap(), &original, &mut patch)
    }

    const POD: (&str, &str) = ("v1", "Pod");
    const SERVICE: (&str, &str) = ("v1", "Service");
    const DEPLOYMENT: (&str, &str) = ("apps/v1", "Deployment");

    #[test]
    fn tables() {
        let two = json!({"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"}]}});
        for (kind, original, patch, result) in [
            // containers merge by name
            (
                POD,
                two.clone(),
                json!({"spec":{"containers":[{"name":"b","image":"2"}]}}),
                json!({"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}}),
            ),
            // a new item comes before those only the server has
            (
                POD,
                two.clone(),
                json!({"spec":{"containers":[{"name":"c"}]}}),
                json!({"spec":{"containers":[{"name":"c"},{"name":"a","image":"1"},{"name":"b","image":"1"}]}}),
            ),
            // unless the patch says where
            (
                POD,
                two.clone(),
                json!({"spec":{"$setElementOrder/containers":[{"name":"a"},{"name":"b"},{"name":"c"}],"containers":[{"name":"c"}]}}),
                json!({"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"1"},{"name":"c"}]}}),
            ),
            (
                POD,
                two.clone(),
                json!({"spec":{"containers":[{"name":"a","$patch":"delete"}]}}),
                json!({"spec":{"containers":[{"name":"b","image":"1"}]}}),
            ),
            (
                POD,
                two.clone(),
                json!({"spec":{"containers":[{"name":"z"},{"$patch":"replace"}]}}),
                json!({"spec":{"containers":[{"name":"z"}]}}),
            ),
            (POD, two.clone(), json!({"spec":{"$patch":"replace","nodeName":"n"}}), json!({"spec":{"nodeName":"n"}})),
            // Service ports merge by port alone
            (
                SERVICE,
                json!({"spec":{"ports":[{"port":53,"protocol":"UDP"}]}}),
                json!({"spec":{"ports":[{"port":53,"nodePort":30053}]}}),
                json!({"spec":{"ports":[{"port":53,"protocol":"UDP","nodePort":30053}]}}),
            ),
            // finalizers are a set
            (
                POD,
                json!({"metadata":{"finalizers":["a","b"]}}),
                json!({"metadata":{"finalizers":["b","c"]}}),
                json!({"metadata":{"finalizers":["a","b","c"]}}),
            ),
            (
                POD,
                json!({"metadata":{"finalizers":["a","b"]}}),
                json!({"metadata":{"$deleteFromPrimitiveList/finalizers":["a"]}}),
                json!({"metadata":{"finalizers":["b"]}}),
            ),
            // tolerations and args are atomic
            (
                POD,
                json!({"spec":{"tolerations":[{"key":"a"}]}}),
                json!({"spec":{"tolerations":[{"key":"b"}]}}),
                json!({"spec":{"tolerations":[{"key":"b"}]}}),
            ),
            (
                POD,
                json!({"metadata":{"ownerReferences":[{"uid":"1","name":"x"}]}}),
                json!({"metadata":{"ownerReferences":[{"uid":"1","controller":true}]}}),
                json!({"metadata":{"ownerReferences":[{"uid":"1","name":"x","controller":true}]}}),
            ),
            // retainKeys changes a union's member
            (
                DEPLOYMENT,
                json!({"spec":{"strategy":{"type":"RollingUpdate","rollingUpdate":{"maxSurge":1}}}}),
                json!({"spec":{"strategy":{"$retainKeys":["type"],"type":"Recreate"}}}),
                json!({"spec":{"strategy":{"type":"Recreate"}}}),
            ),
            // what meets nothing is taken as it is, but for what it deletes
            (
                POD,
                json!({"spec":{}}),
                json!({"metadata":{"labels":{"$patch":"replace","a":"1"}}}),
                json!({"spec":{},"metadata":{}}),
            ),
            (
                POD,
                json!({"metadata":{}}),
                json!({"metadata":{"ownerReferences":[{"name":"x"},{"uid":"1","$patch":"delete"}]}}),
                json!({"metadata":{"ownerReferences":[{"name":"x"}]}}),
            ),
            // an order without items, and what deletes from no list
            (
                POD,
                two.clone(),
                json!({"spec":{"$setElementOrder/containers":[],"containers":[{"name":"b","image":"2"}]}}),
                json!({"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}}),
            ),
            (POD, two.clone(), json!({"spec":{"$deleteFromPrimitiveList/containers":"x"}}), two.clone()),
            // where an order is given for a list that was not there, nulls stay
            (
                POD,
                json!({"spec":{}}),
                json!({"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a","env":null}]}}),
                json!({"spec":{"containers":[{"name":"a","env":null}]}}),
            ),
            // what deletes from a list of objects is merged with it, and what deletes from a text is one
            (
                POD,
                two.clone(),
                json!({"spec":{"$deleteFromPrimitiveList/containers":[{"name":"b","image":"2"}]}}),
                json!({"spec":{"containers":[{"name":"a","image":"1"},{"name":"b","image":"2"}]}}),
            ),
            (
                POD,
                json!({"metadata":{"finalizers":["a","b","a"]},"spec":{"nodeName":"x"}}),
                json!({"metadata":{"finalizers":["c"]},"spec":{"$deleteFromPrimitiveList/nodeName":"y"}}),
                json!({"metadata":{"finalizers":["c","a","b"]},"spec":{"nodeName":"y"}}),
            ),
            // a field that is replaced as a whole
            (
                ("policy/v1", "PodDisruptionBudget"),
                json!({"spec":{"selector":{"matchLabels":{"a":"1"}}}}),
                json!({"spec":{"selector":{"$retainKeys":["x"],"matchLabels":{"b":null}}}}),
                json!({"spec":{"selector":{"$retainKeys":["x"],"matchLabels":{"b":null}}}}),
            ),
            // nulls delete, and leave no trace where nothing was
            (
                DEPLOYMENT,
                json!({"metadata":{"labels":{"a":"1"}}}),
                json!({"metadata":{"labels":{"a":null,"b":"2"}},"spec":{"strategy":{"rollingUpdate":null}}}),
                json!({"metadata":{"labels":{"b":"2"}},"spec":{"strategy":{}}}),
            ),
        ] {
            assert_eq!(merge(kind, original, patch.clone()).unwrap(), result, "{patch}");
        }
    }

    #[test]
    fn what_is_followed_is_gone_from_the_patch() {
        let pod =
            json!({"metadata":{"labels":{"a":"1"}},"spec":{"containers":[{"name":"a"}],"nodeSelector":{"x":"y"}}});
        for (sent, left) in [
            (json!({"metadata":{"$retainKeys":["name"],"name":"x"}}), json!({"metadata":{"name":"x"}})),
            (json!({"metadata":{"labels":{"$patch":"replace","b":"2"}}}), json!({"metadata":{"labels":{"b":"2"}}})),
            (json!({"metadata":{"labels":{"$patch":"delete"}}}), json!({"metadata":{"labels":{"$patch":"delete"}}})),
            (
                json!({"spec":{"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"a"}],"x":1}}),
                json!({"spec":{"x":1}}),
            ),
            // An order of what neither has, and lists that are merged without one.
            (json!({"spec":{"$setElementOrder/volumes":[]}}), json!({"spec":{}})),
            (
                json!({"spec":{"containers":[{"name":"a","$retainKeys":["name"]},{"name":"b","$patch":"delete"}]}}),
                json!({"spec":{"containers":[{"name":"a"},{"name":"b","$patch":"delete"}]}}),
            ),
            // What meets nothing loses its nulls, and maps in it what they say of themselves.
            (
                json!({"spec":{"affinity":{"x":null,"y":{"$patch":"delete"},"z":[{"$patch":"delete"},1]}}}),
                json!({"spec":{"affinity":{"z":[1]}}}),
            ),
            (
                json!({"spec":{"volumes":[{"name":"v","x":null},{"$patch":"delete"}]}}),
                json!({"spec":{"volumes":[{"name":"v"},{"$patch":"delete"}]}}),
            ),
            (json!({"metadata":{"labels":{"a":null}}}), json!({"metadata":{"labels":{"a":null}}})),
        ] {
            let mut patch = sent.clone();
            strategic_merge(&builtin("v1", "Pod").unwrap(), &pod, &mut patch).unwrap();
            assert_eq!(patch, left, "{sent}");
        }
    }

    #[test]
    fn failures() {
        let spec = |spec: Value| json!({ "spec": spec });
        for (patch, code, text) in [
            (
                spec(json!({"containers":[{"image":"x"}]})),
                500,
                "map: map[image:x] does not contain declared merge key: name",
            ),
            (json!({"$patch":"dance"}), 500, "unknown patch type: dance in map: map[$patch:dance]"),
            (json!({"$patch":"merge"}), 500, "unknown patch type: merge in map: map[$patch:merge]"),
            (
                spec(json!({"containers":[{"name":"a","$patch":"no"}]})),
                500,
                "unknown patch type: no in map: map[$patch:no name:a]",
            ),
            (json!([]), 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"),
            (
                spec(json!({"$setElementOrder/containers":[{"name":"a"}],"containers":[{"name":"b"}]})),
                500,
                "The order in patch list:\n[map[name:b]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
            ),
            (spec(json!({"$setElementOrder/containers":"x"})), 500, "expected a []interface {}, but received a string"),
            (
                spec(json!({"$setElementOrder/containers":null})),
                500,
                "expected a []interface {}, but received a %!s(<nil>)",
            ),
            (
                spec(json!({"$setElementOrder/containers":["a"],"containers":[{"name":"a"}]})),
                500,
                "expected a map[string]interface {}, but received a string",
            ),
            (
                spec(json!({"$setElementOrder/containers":[{"x":"a"}],"containers":[{"name":"a"}]})),
                500,
                "map: map[x:a] does not contain declared merge key: name",
            ),
            (
                spec(json!({"$setElementOrder/nope":[]})),
                500,
                "unable to find api field in struct PodSpec for the json field \"nope\"",
            ),
            (spec(json!({"containers":["x"]})), 500, "list element types are not identical: [[map[name:a]] [x]]"),
            (
                spec(json!({"containers":[{"name":"a","$patch":1}]})),
                500,
                "unknown patch type: %!s(int64=1) in map: map[$patch:1 name:a]",
            ),
            (spec(json!({"$setElementOrderx":[]})), 400, "invalid patch format of setElementOrder list"),
            (spec(json!({"$deleteFromPrimitiveListx":[]})), 400, "invalid patch format of primitive list"),
            (spec(json!({"$setElementOrder/volumes":[],"volumes":[]})), 500, "no elements in any of the given slices"),
            (spec(json!({"$setElementOrder/volumes":[],"volumes":[[]]})), 422, "lists of lists are not supported"),
            (spec(json!({"$setElementOrder/containers":["x"]})), 500, "value for key 0 is not a map"),
            (
                spec(json!({"$setElementOrder/containers":[{"x":1}],"containers":[{"$patch":"replace"}]})),
                500,
                "map: map[x:1] does not contain declared merge key: name",
            ),
            (spec(json!({"$setElementOrder/hostNetwork":[]})), 500, "expected slice or array type, but got: struct"),
            (
                spec(json!({"containers":[{"x":"y"},{"$patch":"replace"}]})),
                500,
                "map: map[x:y] does not contain declared merge key: name",
            ),
            (
                spec(json!({"$deleteFromPrimitiveList/tolerations":[{"key":"a"}]})),
                500,
                "cannot merge lists without merge key for struct",
            ),
            (spec(json!({"$retainKeys":["a"],"$b":1})), 400, "invalid patch format of retainKeys"),
            (spec(json!({"$retainKeys":"x"})), 400, "invalid patch format of retainKeys"),
            (spec(json!({"$retainKeys":["a"],"b":1})), 400, "invalid patch format of retainKeys"),
        ] {
            let error =
                merge(POD, json!({"spec":{"containers":[{"name":"a"}],"tolerations":[{"key":"a"}]}}), patch.clone())
                    .expect_err(&patch.to_string());
            assert_eq!((error.code, error.message.as_str()), (code, text));
        }
        assert_eq!(merge(POD, json!({"spec":{}}), Value::Null).unwrap(), json!({"spec":{}}));
    }
}
