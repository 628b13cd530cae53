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
        } else if patch.contains_key(&format!("{ELEMENT_ORDER}{key}")) && value.is_array() {
            // Merged above, with its order.
        } else if value.is_null() {
            original.remove(key);
        } else {
            let (field, facts) = below(node, key);
            let merged = merge_value(original.remove(key), value, field, facts, key)?;
            original.insert(key.clone(), merged);
        }
    }
    Ok(original)
}

fn merge_value(
    original: Option<Value>,
    patch: &Value,
    node: Option<&Node>,
    facts: PatchFacts,
    name: &str,
) -> Result<Value, PatchError> {
    match patch {
        Value::Object(patch) => {
            let original = match original {
                Some(Value::Object(original)) => original,
                // Nothing to merge with: what the patch holds, without its nulls and directives.
                _ => Object::new(),
            };
            merge_map(original, patch, node).map(Value::Object)
        }
        Value::Array(patch) => {
            let original = match original {
                Some(Value::Array(original)) => original,
                _ => Vec::new(),
            };
            if facts.merge {
                merge_list(original, patch, items(node), facts, name).map(Value::Array)
            } else {
                Ok(patch.clone().into())
            }
        }
        scalar => Ok(scalar.clone()),
    }
}

fn merge_list(
    original: Vec<Value>,
    patch: &[Value],
    node: Option<&Node>,
    facts: PatchFacts,
    name: &str,
) -> Result<Vec<Value>, PatchError> {
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
        let Value::Object(object) = item else {
            return Err(PatchError::failed(format!("invalid object type in list {name:?}: expected a map")));
        };
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
            None => merged.push(Value::Object(merge_map(Object::new(), object, node)?)),
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

/// What is said of a list's directive that is no list.
fn not_a_list(value: &Value) -> String {
    let found = match value {
        Value::Object(_) => "map[string]interface {}",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Null | Value::Array(_) => "<nil>",
    };
    format!("expected a []interface {{}}, but received a {found}")
}

fn unknown(directive: &Value, map: &Object) -> PatchError {
    let (directive, map) = (go::plain(directive), go::plain(&Value::Object(map.clone())));
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
    let (field, facts) = below(node, name);
    let Value::Array(order) = order else {
        return Err(PatchError::failed(not_a_list(order)));
    };
    let changes = match patch.get(name) {
        None => None,
        Some(Value::Array(changes)) => Some(changes),
        // The main loop deals with a patch that is no list.
        Some(_) => return Ok(()),
    };
    let live = match original.get_mut(name) {
        Some(Value::Array(list)) => std::mem::take(list),
        _ if changes.is_none() => return Ok(()),
        _ => Vec::new(),
    };
    let known = identities(&live, facts.merge_key);
    let merged = match changes {
        None => live,
        Some(changes) => {
            check_order(changes, order, facts.merge_key)?;
            merge_list(live, changes, items(field), facts, name)?
        }
    };
    let merged = arrange(merged, order, &known, facts.merge_key);
    original.insert(name.to_owned(), merged.into());
    Ok(())
}

/// The patch's items must stand in the order list, in the same order.
fn check_order(changes: &[Value], order: &[Value], key: Option<&str>) -> Result<(), PatchError> {
    let mut rest = order;
    for item in changes.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        let Some(at) = position(rest, item, key) else {
            let (changes, order) = (go::plain(&Value::from(changes)), go::plain(&Value::from(order)));
            return Err(PatchError::failed(format!(
                "The order in patch list:\n{changes}\n doesn't match $setElementOrder list:\n{order}\n"
            )));
        };
        rest = &rest[at + 1..];
    }
    Ok(())
}

fn delete_primitives(original: &mut Object, name: &str, values: &Value) -> Result<(), PatchError> {
    let Value::Array(values) = values else {
        return Err(PatchError::bad("invalid patch format of primitive list"));
    };
    if let Some(Value::Array(list)) = original.get_mut(name) {
        list.retain(|item| !values.contains(item));
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
            (spec(json!({"$retainKeys":"x"})), 400, "invalid patch format of retainKeys"),
            (spec(json!({"$retainKeys":["a"],"b":1})), 400, "invalid patch format of retainKeys"),
        ] {
            let error = merge(POD, json!({"spec":{}}), patch).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (code, text));
        }
        assert_eq!(merge(POD, json!({"spec":{}}), Value::Null).unwrap(), json!({"spec":{}}));
    }
}
