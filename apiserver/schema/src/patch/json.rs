//! RFC 6902, with the bounds and the words of upstream.

use serde_json::Value;

use super::PatchError;
use crate::decode::{MAX_DEPTH, fits, go_kind, unfit};

/// Upstream's limit on operations (`maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;
/// A patch of copies can double a document with every operation; stop before it hurts. Upstream: 100 × request limit.
const MAX_COPIED_NODES: usize = 1_000_000;

/// What an operation says; upstream warns of anything else.
pub const OPERATION: [&str; 4] = ["op", "path", "from", "value"];

/// `patch` is the parsed body, and `checked` whether fields and their types are looked at before any operation is carried out
/// (upstream does so unless `fieldValidation` is `Ignore`). A result deeper than [`MAX_DEPTH`] is refused on the way there: copying a document into its own
/// leaf doubles its depth, and everything that walks values recurses.
pub fn json_patch(original: &Value, patch: &Value, checked: bool) -> Result<Value, PatchError> {
    let operations = match patch {
        Value::Array(operations) => operations,
        // Go reads null as no operations.
        Value::Null => return Ok(original.clone()),
        _ if checked => return Err(PatchError::shape(patch, "[]handlers.jsonPatchOp")),
        _ => return Err(PatchError::bad(unfit(patch, "jsonpatch.Patch"))),
    };
    if checked {
        operations.iter().try_for_each(well_formed)?;
    } else if let Some(wrong) = operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        return Err(PatchError::bad(unfit(wrong, "jsonpatch.Operation")));
    }
    apply(original, operations)
}

/// Operations that need not be well formed: one that is not fails when its turn comes.
pub fn apply(original: &Value, operations: &[Value]) -> Result<Value, PatchError> {
    if operations.len() > MAX_OPERATIONS {
        let message =
            format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {}", operations.len());
        return Err(PatchError { code: 413, message });
    }
    let mut document = original.clone();
    let mut copied = 0;
    for operation in operations {
        step(&mut document, operation, &mut copied)?;
    }
    Ok(document)
}

/// Upstream reads operations into a struct before it looks at any.
fn well_formed(operation: &Value) -> Result<(), PatchError> {
    let fields = match operation {
        Value::Object(fields) => fields,
        Value::Null => return Ok(()),
        _ => return Err(PatchError::shape(operation, "handlers.jsonPatchOp")),
    };
    match ["op", "path", "from"].iter().find_map(|name| Some((name, fields.get(*name)?)).filter(|(_, v)| is_no_text(v)))
    {
        None => Ok(()),
        Some((name, value)) => {
            let found = go_kind(value);
            let field = format!("jsonPatchOp.{name} of type string");
            Err(PatchError::bad(format!(
                "error decoding patch: json: cannot unmarshal {found} into Go struct field {field}"
            )))
        }
    }
}

fn is_no_text(value: &Value) -> bool {
    !value.is_string() && !value.is_null()
}

fn step(document: &mut Value, operation: &Value, copied: &mut usize) -> Result<(), PatchError> {
    let name = operation.get("op").and_then(Value::as_str).unwrap_or_default();
    let path = pointer(operation, "path", name)?;
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match name {
        "add" => add(document, &path, value(), "add"),
        "remove" => remove(document, &path, "remove").map(drop),
        "replace" => {
            let value = value();
            shallow(&path, &value)?;
            let Some((last, parents)) = path.split_last() else {
                if !value.is_object() && !value.is_array() {
                    return Err(PatchError::unprocessable("replace operation value must be object or array"));
                }
                *document = value;
                return Ok(());
            };
            match find_mut(document, parents) {
                // To upstream's library every key of a map is there, be it as nothing.
                Some(Value::Object(map)) => {
                    map.insert(last.clone(), value);
                    Ok(())
                }
                Some(parent) => {
                    let target = find_mut(parent, std::slice::from_ref(last));
                    *target.ok_or_else(|| missing("replace", &path))? = value;
                    Ok(())
                }
                None => Err(PatchError::unprocessable(format!(
                    "replace operation does not apply: doc is missing path: {}: missing value",
                    text(&path)
                ))),
            }
        }
        "move" => {
            let from = pointer(operation, "from", name)?;
            if path.len() > from.len() && path.starts_with(&from) {
                return Err(PatchError::unprocessable(format!("Unable to move {} into its own child", text(&from))));
            }
            let value = remove(document, &from, "move")?;
            add(document, &path, value, "move")
        }
        "copy" => {
            let from = pointer(operation, "from", name)?;
            let inside_a_map = |path: &[String]| matches!(find(document, path), Some(Value::Object(_)));
            let value = match (find(document, &from), from.split_last()) {
                (Some(value), _) => value.clone(),
                (None, Some((_, parents))) if inside_a_map(parents) => Value::Null,
                (None, _) => return Err(missing("copy", &from)),
            };
            *copied += nodes(&value);
            if *copied > MAX_COPIED_NODES {
                return Err(PatchError::unprocessable(
                    "Unable to copy, the accumulated size increase of copy operations exceeds the limit",
                ));
            }
            add(document, &path, value, "copy")
        }
        "test" => {
            // What holds the value has to be there, even where none is expected.
            let holder = path.split_last().map_or(Some(&*document), |(_, parents)| find(document, parents));
            if !holder.is_some_and(|holder| holder.is_object() || holder.is_array()) {
                let why = format!("test operation does not apply: is missing path: {}: missing value", text(&path));
                return Err(PatchError::unprocessable(why));
            }
            let found = find(document, &path);
            if found.unwrap_or(&Value::Null) == &value() {
                return Ok(());
            }
            Err(PatchError::unprocessable(format!("testing value {} failed: test failed", text(&path))))
        }
        _ => Err(PatchError::unprocessable(format!(
            "Unexpected kind: {}",
            operation.get("op").and_then(Value::as_str).unwrap_or("unknown")
        ))),
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

fn pointer(operation: &Value, key: &str, name: &str) -> Result<Vec<String>, PatchError> {
    let Some(text) = operation.get(key).and_then(Value::as_str) else {
        return Err(PatchError::unprocessable(format!("{name} operation failed to decode {key}: missing value")));
    };
    if text.is_empty() {
        return Ok(Vec::new());
    }
    // As in upstream's library what stands before the first slash does not count.
    let Some((_, rest)) = text.split_once('/') else {
        return Err(PatchError::unprocessable(format!(
            "{name} operation does not apply: doc is missing path: {text:?}: missing value"
        )));
    };
    Ok(rest.split('/').map(|part| part.replace("~1", "/").replace("~0", "~")).collect())
}

fn text(path: &[String]) -> String {
    path.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect()
}

fn missing(operation: &str, path: &[String]) -> PatchError {
    let place = text(path);
    let what = match operation {
        "remove" => format!("path: {place:?}"),
        "move" | "copy" => format!("from path: {place}"),
        _ => format!("key: {place}"),
    };
    PatchError::unprocessable(format!("{operation} operation does not apply: doc is missing {what}: missing value"))
}

/// A place in a list of so many items, counted from its end where it is negative (Go's `strconv.Atoi` reads it).
fn index(part: &str, length: usize) -> Option<usize> {
    let index: i64 = part.parse().ok()?;
    let length = i64::try_from(length).ok()?;
    let index = if index < 0 { index + length } else { index };
    (0..length).contains(&index).then(|| usize::try_from(index).ok())?
}

fn find<'a>(document: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(document, |at, part| match at {
        Value::Object(map) => map.get(part),
        Value::Array(list) => list.get(index(part, list.len())?),
        _ => None,
    })
}

fn find_mut<'a>(document: &'a mut Value, path: &[String]) -> Option<&'a mut Value> {
    path.iter().try_fold(document, |at, part| match at {
        Value::Object(map) => map.get_mut(part),
        Value::Array(list) => {
            let index = index(part, list.len())?;
            list.get_mut(index)
        }
        _ => None,
    })
}

fn shallow(path: &[String], value: &Value) -> Result<(), PatchError> {
    let left = MAX_DEPTH.saturating_sub(path.len());
    if fits(value, left) {
        Ok(())
    } else {
        Err(PatchError::unprocessable("the patched object exceeds the maximum depth"))
    }
}

fn add(document: &mut Value, path: &[String], value: Value, operation: &str) -> Result<(), PatchError> {
    shallow(path, &value)?;
    // To upstream's library the document itself is in nothing that it could be added to.
    let Some((last, parents)) = path.split_last() else {
        return Err(PatchError::unprocessable(format!(
            "{operation} operation does not apply: doc is missing path: \"\": missing value"
        )));
    };
    let parent = find_mut(document, parents);
    match parent {
        Some(Value::Object(map)) => {
            map.insert(last.clone(), value);
            Ok(())
        }
        Some(Value::Array(list)) => {
            let at = if last == "-" { Some(list.len()) } else { index(last, list.len() + 1) };
            let Some(at) = at else {
                return Err(PatchError::unprocessable(format!(
                    "{operation} operation does not apply: doc is missing path: {:?}: Unable to access invalid index: {last}: invalid index referenced",
                    text(path)
                )));
            };
            list.insert(at, value);
            Ok(())
        }
        _ => Err(PatchError::unprocessable(format!(
            "{operation} operation does not apply: doc is missing path: {:?}: missing value",
            text(path)
        ))),
    }
}

fn remove(document: &mut Value, path: &[String], operation: &str) -> Result<Value, PatchError> {
    let Some((last, parents)) = path.split_last() else {
        return Err(PatchError::unprocessable(format!(
            "{operation} operation does not apply: doc is missing path: \"\": missing value"
        )));
    };
    let why = match find_mut(document, parents) {
        Some(Value::Object(map)) => match map.remove(last) {
            Some(removed) => return Ok(removed),
            None => format!("Unable to remove nonexistent key: {last}: missing value"),
        },
        Some(Value::Array(list)) => match (index(last, list.len()), last.parse::<i64>()) {
            (Some(at), _) => return Ok(list.remove(at)),
            (None, Ok(number)) => format!("Unable to access invalid index: {number}: invalid index referenced"),
            (None, Err(_)) => format!("strconv.Atoi: parsing {last:?}: invalid syntax"),
        },
        _ => return Err(missing(operation, path)),
    };
    // What is moved is named by its last part alone.
    let place = if operation == "move" { last.clone() } else { text(path) };
    Err(PatchError::unprocessable(format!("error in {operation} for path: '{place}': {why}")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations() {
        let document = json!({"a":{"b":[1,2,3]},"c/d":1});
        for (patch, result) in [
            (json!([{"op":"add","path":"/a/x","value":1}]), json!({"a":{"b":[1,2,3],"x":1},"c/d":1})),
            (json!([{"op":"add","path":"/a/b/1","value":9}]), json!({"a":{"b":[1,9,2,3]},"c/d":1})),
            (json!([{"op":"add","path":"/a/b/-","value":9}]), json!({"a":{"b":[1,2,3,9]},"c/d":1})),
            (json!([{"op":"remove","path":"/c~1d"}]), json!({"a":{"b":[1,2,3]}})),
            (json!([{"op":"replace","path":"/a","value":null}]), json!({"a":null,"c/d":1})),
            (json!([{"op":"move","from":"/a/b","path":"/m"}]), json!({"a":{},"m":[1,2,3],"c/d":1})),
            (json!([{"op":"copy","from":"/a/b/0","path":"/m"}]), json!({"a":{"b":[1,2,3]},"m":1,"c/d":1})),
            (json!([{"op":"test","path":"/c~1d","value":1},{"op":"remove","path":"/a"}]), json!({"c/d":1})),
            (json!([{"op":"test","path":"/nope","value":null}]), document.clone()),
            (Value::Null, document.clone()),
            (json!([{"op":"replace","path":"/a/x","value":1}]), json!({"a":{"b":[1,2,3],"x":1},"c/d":1})),
            (json!([{"op":"copy","from":"/a/x","path":"/m"}]), json!({"a":{"b":[1,2,3]},"c/d":1,"m":null})),
            (json!([{"op":"add","path":"/a/b/-1","value":9}]), json!({"a":{"b":[1,2,3,9]},"c/d":1})),
            (json!([{"op":"remove","path":"/a/b/-1"}]), json!({"a":{"b":[1,2]},"c/d":1})),
            (json!([{"op":"remove","path":"/a/b/01"}]), json!({"a":{"b":[1,3]},"c/d":1})),
            (json!([{"op":"add","path":"a/m","value":1}]), json!({"a":{"b":[1,2,3]},"c/d":1,"m":1})),
        ] {
            assert_eq!(json_patch(&document, &patch, true).unwrap(), result, "{patch}");
        }
    }

    #[test]
    fn failures() {
        let document = json!({"a":{"b":[1]}});
        for (patch, code) in [
            (json!({}), 400),
            (json!([{"op":"remove","path":"/nope"}]), 422),
            (json!([1]), 400),
            (json!([{"op":1}]), 400),
            (json!([{"op":"add","path":1}]), 400),
            (json!([{"op":"replace","path":"/nope/x","value":1}]), 422),
            (json!([{"op":"replace","path":"/a/b/7","value":1}]), 422),
            (json!([{"op":"copy","from":"/a/b/7","path":"/x"}]), 422),
            (json!([{"op":"remove","path":"/a/b/-2"}]), 422),
            (json!([{"op":"add","path":"nope","value":1}]), 422),
            (json!([{"op":"add","path":"","value":{}}]), 422),
            (json!([{"op":"add","path":"/a/b/7","value":1}]), 422),
            (json!([{"op":"test","path":"/a","value":1}]), 422),
            (json!([{"op":"test","path":"/nope/x","value":null}]), 422),
            (json!([{"op":"replace","path":"","value":"x"}]), 422),
            (json!([{"op":"replace","path":"","value":null}]), 422),
            (json!([{"op":"dance","path":"/a"}]), 422),
            (json!([{"op":"move","from":"/a","path":"/a/c"}]), 422),
            (json!([{"op":"add","value":1}]), 422),
            (Value::from(vec![json!({"op":"test","path":"/a","value":1}); 10_001]), 413),
        ] {
            assert_eq!(json_patch(&document, &patch, true).unwrap_err().code, code);
        }
        for (patch, code, message) in [
            (json!({}), 400, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
            (json!([1]), 400, "json: cannot unmarshal number into Go value of type jsonpatch.Operation"),
            (json!([{"op":1,"path":"/a"}]), 422, "Unexpected kind: unknown"),
        ] {
            let error = json_patch(&document, &patch, false).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (code, message), "nobody looks beforehand");
        }
        let into = |depth: usize| format!("/a{}", "/a".repeat(depth));
        let chain = json!({"a":{"a":{"a":{}}}});
        let deepening: Vec<Value> =
            (0..60).map(|step| json!({"op":"copy","from":"","path":into(2 + 3 * step)})).collect();
        assert_eq!(json_patch(&chain, &deepening.into(), true).unwrap_err().code, 422);
        let doubling: Vec<Value> = (0..40).map(|_| json!({"op":"copy","from":"/a","path":"/a/b/0"})).collect();
        assert_eq!(json_patch(&document, &doubling.into(), true).unwrap_err().code, 422);
    }
}
