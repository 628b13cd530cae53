//! Strategic merge patch (`apimachinery/pkg/util/strategicpatch`): a merge patch that knows which lists are sets or
//! maps, and directives: `$patch`, `$retainKeys`, `$deleteFromPrimitiveList/`, `$setElementOrder/`.

use serde_json::{Map, Value};

use super::{
    PatchError,
    order::{arrange, identities, identity, position},
};
use crate::{
    Schema,
    decode::unfit,
    go,
    model::{Node, PatchFacts, Shape},
};

/// What upstream says whatever is wrong with a `$retainKeys`.
const RETAIN_KEYS_FORMAT: &str = "invalid patch format of retainKeys";
const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_PRIMITIVES: &str = "$deleteFromPrimitiveList/";
const ELEMENT_ORDER: &str = "$setElementOrder/";

type Object = Map<String, Value>;

pub fn strategic_merge(schema: &Schema, original: &Value, patch: &Value) -> Result<Value, PatchError> {
    let (Value::Object(original), Value::Object(patch)) = (original, patch) else {
        // Go reads null into a map as nothing at all.
        let nothing = patch.is_null().then(|| original.clone());
        return nothing.ok_or_else(|| PatchError::bad(unfit(patch, "map[string]interface {}")));
    };
    merge_map(original.clone(), patch, Some(&schema.root)).map(Value::Object)
}

/// What the model says of the field `name` of something shaped like `node`.
fn below<'a>(node: Option<&'a Node>, name: &str) -> (Option<&'a Node>, PatchFacts) {
    match node.map(|node| &node.shape) {
        Some(Shape::Struct { of, .. }) => match of.field(name) {
            Some(field) => (Some(&field.node), field.patch),
            None => (None, PatchFacts::default()),
        },
        Some(Shape::Map { values, .. }) => (Some(values), PatchFacts::default()),
        _ => (None, PatchFacts::default()),
    }
}

fn items(node: Option<&Node>) -> Option<&Node> {
    match node.map(|node| &node.shape) {
        Some(Shape::List { items, .. }) => Some(items),
        _ => None,
    }
}

fn merge_map(mut original: Object, patch: &Object, node: Option<&Node>) -> Result<Object, PatchError> {
    match patch.get(DIRECTIVE) {
        None => {}
        Some(Value::String(directive)) if directive == "replace" => {
            let mut replaced = patch.clone();
            replaced.remove(DIRECTIVE);
            return Ok(replaced);
        }
        Some(Value::String(directive)) if directive == "delete" => return Ok(Object::new()),
        Some(other) => return Err(unknown(other, patch)),
    }
    if let Some(retained) = patch.get(RETAIN_KEYS) {
        retain_keys(&mut original, patch, retained)?;
    }
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix(ELEMENT_ORDER) {
            merge_ordered(&mut original, patch, name, value, node)?;
        }
    }
    for (key, value) in patch {
        if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ELEMENT_ORDER) {
            continue;
        }
        if let Some(name) = key.strip_prefix(DELETE_PRIMITIVES) {
            delete_primitives(&mut original, name, value)?;
        } else if patch.contains_key(&format!("{ELEMENT_ORDER}{key}")) {
            // Merged above, with its order.
        } else if value.is_null() {
            original.remove(key);
        } else {
            let (field, facts) = below(node, key);
            if let Some(merged) = merge_value(original.remove(key), value, field, facts)? {
                original.insert(key.clone(), merged);
            }
        }
    }
    Ok(original)
}

/// `None`: nothing is left of it.
fn merge_value(
    original: Option<Value>,
    patch: &Value,
    node: Option<&Node>,
    facts: PatchFacts,
) -> Result<Option<Value>, PatchError> {
    match (original, patch) {
        (Some(Value::Object(original)), Value::Object(patch)) => {
            merge_map(original, patch, node).map(|merged| Some(merged.into()))
        }
        (Some(Value::Array(original)), Value::Array(patch)) if facts.merge => {
            merge_list(original, patch, items(node), facts).map(|merged| Some(merged.into()))
        }
        (Some(Value::Array(_)), Value::Array(_)) => Ok(Some(patch.clone())),
        _ => Ok(alone(patch)),
    }
}

/// A part of a patch that meets nothing to be merged with: without what it says of deletion, be it nulls or directives.
/// `None` where that is all it says.
fn alone(patch: &Value) -> Option<Value> {
    match patch {
        Value::Object(map) if map.contains_key(DIRECTIVE) => None,
        Value::Object(map) => {
            let kept = map.iter().filter(|(_, value)| !value.is_null());
            Some(Value::Object(kept.filter_map(|(name, value)| Some((name.clone(), alone(value)?))).collect()))
        }
        Value::Array(list) => Some(list.iter().filter_map(alone).collect()),
        scalar => Some(scalar.clone()),
    }
}

/// What is merged item by item is of one type, and no lists.
///
/// # Errors
/// In upstream's words, which show both lists.
fn one_type(original: &[Value], patch: &[Value]) -> Result<(), PatchError> {
    let mut items = original.iter().chain(patch);
    let Some(first) = items.next() else { return Ok(()) };
    if first.is_array() {
        return Err(PatchError::failed("lists of lists are not supported"));
    }
    if items.all(|item| go::type_name(item) == go::type_name(first)) {
        return Ok(());
    }
    let shown = go::plain(&Value::from(vec![Value::from(original), Value::from(patch)]));
    Err(PatchError::failed(format!("list element types are not identical: {shown}")))
}

fn merge_list(
    original: Vec<Value>,
    patch: &[Value],
    node: Option<&Node>,
    facts: PatchFacts,
) -> Result<Vec<Value>, PatchError> {
    one_type(&original, patch)?;
    let known = identities(&original, facts.merge_key);
    let mut merged = original;
    let Some(key) = facts.merge_key else {
        for item in patch {
            if position(&merged, item, None).is_none() {
                merged.push(item.clone());
            }
        }
        return Ok(arrange(merged, patch, &known, None));
    };
    let mut plain_items = Vec::new();
    let mut replace = false;
    for item in patch {
        let Value::Object(object) = item else { continue };
        let directive = object.get(DIRECTIVE);
        match directive.map(|directive| directive.as_str().unwrap_or_default()) {
            None => plain_items.push(item.clone()),
            Some("delete") => {
                require_key(object, key)?;
                merged.retain(|other| identity(other, Some(key)) != identity(item, Some(key)));
            }
            Some("replace") => replace = true,
            Some("merge") => return Err(PatchError::failed("merging lists cannot yet be specified in the patch")),
            Some(_) => return Err(unknown(directive.unwrap_or(&Value::Null), object)),
        }
    }
    if replace {
        return Ok(plain_items);
    }
    for item in &plain_items {
        let Value::Object(object) = item else { continue };
        require_key(object, key)?;
        match position(&merged, item, Some(key)) {
            Some(at) => {
                let old = match merged[at].take() {
                    Value::Object(old) => old,
                    _ => Object::new(),
                };
                merged[at] = Value::Object(merge_map(old, object, node)?);
            }
            None => merged.push(item.clone()),
        }
    }
    Ok(arrange(merged, &plain_items, &known, Some(key)))
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

/// A list the patch gives an order for.
fn merge_ordered(
    original: &mut Object,
    patch: &Object,
    name: &str,
    order: &Value,
    node: Option<&Node>,
) -> Result<(), PatchError> {
    let order = list(order)?;
    let live = original.get(name).map(list).transpose()?;
    let changes = patch.get(name).map(list).transpose()?;
    if let Some(Shape::Struct { of, .. }) = node.map(|node| &node.shape)
        && of.field(name).is_none()
    {
        let of = of.name.rsplit('.').next().unwrap_or_default();
        return Err(PatchError::failed(format!("unable to find api field in struct {of} for the json field {name:?}")));
    }
    let (field, facts) = below(node, name);
    check_order(changes.map_or(&[], Vec::as_slice), order, facts.merge_key)?;
    let known = identities(live.map_or(&[], Vec::as_slice), facts.merge_key);
    let merged = match (live, changes) {
        (None, None) => return Ok(()),
        (Some(live), None) => live.clone(),
        (None, Some(changes)) => changes.iter().filter_map(alone).collect(),
        (Some(live), Some(changes)) if facts.merge => merge_list(live.clone(), changes, items(field), facts)?,
        (Some(_), Some(changes)) => changes.clone(),
    };
    let merged = arrange(merged, order, &known, facts.merge_key);
    original.insert(name.to_owned(), merged.into());
    Ok(())
}

/// The patch's items must stand in the order list, in the same order.
fn check_order(changes: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    if changes.is_empty() || order.is_empty() {
        return Ok(());
    }
    let mut rest = order.iter();
    for item in changes.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let wanted = told_apart(item, key)?;
        loop {
            let Some(next) = rest.next() else {
                let (changes, order) = (go::plain(&Value::from(changes)), go::plain(&Value::from(order)));
                return Err(PatchError::failed(format!(
                    "The order in patch list:\n{changes}\n doesn't match $setElementOrder list:\n{order}\n"
                )));
            };
            if told_apart(next, key)? == wanted {
                break;
            }
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

fn delete_primitives(original: &mut Object, name: &str, values: &Value) -> Result<(), PatchError> {
    match (original.get_mut(name), values) {
        (Some(_), Value::Null) => {
            original.remove(name);
        }
        (Some(Value::Array(list)), Value::Array(values)) => {
            one_type(list, values)?;
            list.retain(|item| !values.contains(item));
        }
        // What is no list, or is not there, loses nothing.
        _ => {}
    }
    Ok(())
}

/// Keeps only the keys listed; the patch may not set any other.
fn retain_keys(original: &mut Object, patch: &Object, retained: &Value) -> Result<(), PatchError> {
    let Value::Array(retained) = retained else {
        return Err(PatchError::bad(RETAIN_KEYS_FORMAT));
    };
    let listed = |key: &str| retained.iter().any(|name| name == key);
    let strays = |key: &&String| !key.starts_with('$') && !listed(key) && !patch[*key].is_null();
    if patch.keys().find(strays).is_some() {
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

    fn merge(kind: (&str, &str), original: Value, patch: Value) -> Result<Value, PatchError> {
        strategic_merge(&builtin(kind.0, kind.1).unwrap(), &original, &patch)
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
            (spec(json!({"$retainKeys":"x"})), 400, "invalid patch format of retainKeys"),
            (spec(json!({"$retainKeys":["a"],"b":1})), 400, "invalid patch format of retainKeys"),
        ] {
            let error =
                merge(POD, json!({"spec":{"containers":[{"name":"a"}]}}), patch.clone()).expect_err(&patch.to_string());
            assert_eq!((error.code, error.message.as_str()), (code, text));
        }
        assert_eq!(merge(POD, json!({"spec":{}}), Value::Null).unwrap(), json!({"spec":{}}));
    }
}
