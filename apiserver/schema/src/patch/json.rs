//! RFC 6902, with the bounds and the words of upstream.

use std::fmt;
use std::num::IntErrorKind;
use std::str::FromStr;

use serde_json::Value;

use super::PatchError;
use crate::decode::{MAX_DEPTH, fits, go_kind, unfit};

/// Upstream's limit on operations (`maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;
/// A patch of copies can double a document with every operation; stop before it hurts. Upstream: 100 × request limit.
const MAX_COPIED_NODES: usize = 1_000_000;

/// Upstream's word for what is not there.
const MISSING: &str = "missing value";

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
    let fails = |why: String| Err(PatchError::unprocessable(why));
    let does_not_apply = |why: String| fails(format!("{name} operation does not apply: {why}"));
    let value = || operation.get("value").cloned().unwrap_or(Value::Null);
    match name {
        "add" => {
            let path = place(operation, "path", name)?;
            let value = shallow(&path, value())?;
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing path: \"{path}\": {MISSING}"));
            };
            add(holder, key, value).or_else(|why| fails(format!("error in add for path: '{path}': {why}")))
        }
        "remove" => {
            let path = place(operation, "path", name)?;
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing path: \"{path}\": {MISSING}"));
            };
            remove(holder, key).or_else(|why| fails(format!("error in remove for path: '{path}': {why}")))
        }
        "replace" => {
            let path = place(operation, "path", name)?;
            let value = shallow(&path, value())?;
            if path.text.is_empty() {
                if !value.is_object() && !value.is_array() {
                    // Go shows the error that there is none of.
                    return fails("replace operation value must be object or array: %!w(<nil>)".to_owned());
                }
                *document = value;
                return Ok(());
            }
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing path: {path}: {MISSING}"));
            };
            match holder {
                Value::Array(list) => match index(key, list.len()) {
                    Ok(at) => list[at] = value,
                    Err(_) => return does_not_apply(format!("doc is missing key: {path}: {MISSING}")),
                },
                // To upstream's library every key of a map is there, be it as nothing.
                other => drop(other.as_object_mut().map(|map| map.insert(key.to_owned(), value))),
            }
            Ok(())
        }
        "move" => {
            let from = place(operation, "from", name)?;
            let Some((holder, key)) = from.holder(document) else {
                return does_not_apply(format!("doc is missing from path: {from}: {MISSING}"));
            };
            let taken = get(holder, key).cloned().and_then(|value| remove(holder, key).map(|()| value));
            let taken = match taken {
                Ok(value) => value,
                Err(why) => return fails(format!("error in move for path: '{key}': {why}")),
            };
            let path = place(operation, "path", name)?;
            let value = shallow(&path, taken)?;
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing destination path: {path}: {MISSING}"));
            };
            add(holder, key, value).or_else(|why| fails(format!("error in move for path: '{path}': {why}")))
        }
        "copy" => {
            let from = place(operation, "from", name)?;
            let Some((holder, key)) = from.holder(document) else {
                return does_not_apply(format!("doc is missing from path: {from}: {MISSING}"));
            };
            let value = match get(holder, key) {
                Ok(value) => value.clone(),
                Err(why) => return fails(format!("error in copy for from: '{from}': {why}")),
            };
            *copied += nodes(&value);
            if *copied > MAX_COPIED_NODES {
                return fails(
                    "Unable to copy, the accumulated size increase of copy operations exceeds the limit".to_owned(),
                );
            }
            let path = place(operation, "path", name)?;
            let value = shallow(&path, value)?;
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing destination path: {path}: {MISSING}"));
            };
            add(holder, key, value).or_else(|why| fails(format!("error while adding value during copy: {why}")))
        }
        "test" => {
            let path = place(operation, "path", name)?;
            let found = if path.text.is_empty() {
                Ok(&*document)
            } else {
                let Some((holder, key)) = path.holder(document) else {
                    return does_not_apply(format!("is missing path: {path}: {MISSING}"));
                };
                get(holder, key)
            };
            match found {
                Ok(found) if *found == value() => Ok(()),
                Ok(_) => fails(format!("testing value {path} failed: test failed")),
                Err(why) => fails(format!("error in test for path: '{path}': {why}")),
            }
        }
        _ => {
            let name = operation.get("op").and_then(Value::as_str).unwrap_or("unknown");
            fails(format!("Unexpected kind: {name}"))
        }
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(nodes).sum(),
        Value::Object(map) => map.values().map(nodes).sum(),
        _ => 0,
    }
}

/// A path as it is written, and the keys on it.
struct Place<'p> {
    text: &'p str,
    /// None: it leads to nothing that is in something.
    keys: Vec<String>,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

impl Place<'_> {
    /// What is to hold the place, and the place's key in it.
    fn holder<'d>(&self, document: &'d mut Value) -> Option<(&'d mut Value, &str)> {
        let (last, parents) = self.keys.split_last()?;
        let holder = parents.iter().try_fold(document, |at, key| match at {
            Value::Object(map) => map.get_mut(key),
            Value::Array(list) => {
                let at = index(key, list.len()).ok()?;
                list.get_mut(at)
            }
            _ => None,
        })?;
        (holder.is_object() || holder.is_array()).then_some((holder, last))
    }
}

/// The place a field of an operation names.
fn place<'p>(operation: &'p Value, field: &str, name: &str) -> Result<Place<'p>, PatchError> {
    let why = match operation.get(field) {
        Some(Value::String(text)) => {
            // What stands before the first slash does not count.
            let keys = text.split('/').skip(1).map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
            return Ok(Place { text, keys });
        }
        // These say the same of everything.
        _ if matches!((name, field), ("add" | "remove" | "copy", "path")) => MISSING.to_owned(),
        None | Some(Value::Null) if field == "from" => format!("operation, missing from field: {MISSING}"),
        None | Some(Value::Null) => format!("operation missing path field: {MISSING}"),
        Some(other) => unfit(other, "string"),
    };
    Err(PatchError::unprocessable(format!("{name} operation failed to decode {field}: {why}")))
}

/// A place in a list of so many items, counted from its end where it is negative; the error is Go's.
fn index(key: &str, length: usize) -> Result<usize, String> {
    let number = i64::from_str(key).map_err(|error| {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Atoi: parsing {key:?}: {why}")
    })?;
    let at = usize::try_from(number).ok().or_else(|| {
        let back = usize::try_from(number.unsigned_abs()).ok()?;
        length.checked_sub(back)
    });
    let at = at.filter(|at| *at < length);
    at.ok_or_else(|| format!("Unable to access invalid index: {number}: invalid index referenced"))
}

/// What `holder` has there: nothing, where a map has no such key.
fn get<'v>(holder: &'v Value, key: &str) -> Result<&'v Value, String> {
    match holder {
        Value::Array(list) => index(key, list.len()).map(|at| &list[at]),
        other => Ok(&other[key]),
    }
}

fn add(holder: &mut Value, key: &str, value: Value) -> Result<(), String> {
    match holder {
        Value::Array(list) if key == "-" => list.push(value),
        Value::Array(list) => {
            let at = index(key, list.len() + 1).map_err(|why| match why.strip_prefix("strconv.") {
                Some(_) => format!("value was not a proper array index: '{key}': {why}"),
                None => why,
            })?;
            list.insert(at, value);
        }
        other => drop(other.as_object_mut().map(|map| map.insert(key.to_owned(), value))),
    }
    Ok(())
}

fn remove(holder: &mut Value, key: &str) -> Result<(), String> {
    match holder {
        Value::Array(list) => {
            let at = index(key, list.len())?;
            list.remove(at);
            Ok(())
        }
        other => match other.as_object_mut().and_then(|map| map.remove(key)) {
            Some(_) => Ok(()),
            None => Err(format!("Unable to remove nonexistent key: {key}: {MISSING}")),
        },
    }
}

/// The value, if it is no deeper than what may stand at its place.
fn shallow(path: &Place<'_>, value: Value) -> Result<Value, PatchError> {
    if fits(&value, MAX_DEPTH.saturating_sub(path.keys.len())) {
        Ok(value)
    } else {
        Err(PatchError::unprocessable("the patched object exceeds the maximum depth"))
    }
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
            (
                json!([{"op":"add","path":"/a/b/9"}]),
                422,
                "error in add for path: '/a/b/9': Unable to access invalid index: 9: invalid index referenced",
            ),
            (
                json!([{"op":"add","path":"/a/b/x"}]),
                422,
                "error in add for path: '/a/b/x': value was not a proper array index: 'x': strconv.Atoi: parsing \"x\": invalid syntax",
            ),
            (
                json!([{"op":"add","path":"/~2/b~"}]),
                422,
                "add operation does not apply: doc is missing path: \"/~2/b~\": missing value",
            ),
            (json!([{"op":"add","path":1}]), 422, "add operation failed to decode path: missing value"),
            (
                json!([{"op":"remove","path":"/a/~2"}]),
                422,
                "error in remove for path: '/a/~2': Unable to remove nonexistent key: ~2: missing value",
            ),
            (
                json!([{"op":"remove","path":"/a/b/-2"}]),
                422,
                "error in remove for path: '/a/b/-2': Unable to access invalid index: -2: invalid index referenced",
            ),
            (
                json!([{"op":"replace","path":"","value":1}]),
                422,
                "replace operation value must be object or array: %!w(<nil>)",
            ),
            (
                json!([{"op":"replace","path":"/a/b/1"}]),
                422,
                "replace operation does not apply: doc is missing key: /a/b/1: missing value",
            ),
            (
                json!([{"op":"replace"}]),
                422,
                "replace operation failed to decode path: operation missing path field: missing value",
            ),
            (
                json!([{"op":"replace","path":1}]),
                422,
                "replace operation failed to decode path: json: cannot unmarshal number into Go value of type string",
            ),
            (
                json!([{"op":"move","from":"/a","path":"/a/c"}]),
                422,
                "move operation does not apply: doc is missing destination path: /a/c: missing value",
            ),
            (
                json!([{"op":"move","from":"/a/x","path":"/c"}]),
                422,
                "error in move for path: 'x': Unable to remove nonexistent key: x: missing value",
            ),
            (
                json!([{"op":"copy","path":"/a/c"}]),
                422,
                "copy operation failed to decode from: operation, missing from field: missing value",
            ),
            (
                json!([{"op":"copy","from":"/a/b/4","path":"/c"}]),
                422,
                "error in copy for from: '/a/b/4': Unable to access invalid index: 4: invalid index referenced",
            ),
            (
                json!([{"op":"copy","from":"/a","path":"/c/d"}]),
                422,
                "copy operation does not apply: doc is missing destination path: /c/d: missing value",
            ),
            (
                json!([{"op":"test","path":"/a/b/-"}]),
                422,
                "error in test for path: '/a/b/-': strconv.Atoi: parsing \"-\": invalid syntax",
            ),
            (
                json!([{"op":"test","path":"/c/d"}]),
                422,
                "test operation does not apply: is missing path: /c/d: missing value",
            ),
            (json!([{"op":"test","path":"/a/b/0","value":2}]), 422, "testing value /a/b/0 failed: test failed"),
        ] {
            let error = json_patch(&document, &patch, false).unwrap_err();
            assert_eq!((error.code, error.message.as_str()), (code, message), "nobody looks beforehand");
        }
        let into = |depth: usize| format!("/a{}", "/a".repeat(depth));
        let chain = json!({"a":{"a":{"a":{}}}});
        let deepening: Vec<Value> =
            (0..60).map(|step| json!({"op":"copy","from":"/a","path":into(2 + 3 * step)})).collect();
        assert_eq!(json_patch(&chain, &deepening.into(), true).unwrap_err().code, 422);
        let doubling: Vec<Value> = (0..40).map(|_| json!({"op":"copy","from":"/a","path":"/a/b/0"})).collect();
        assert_eq!(json_patch(&document, &doubling.into(), true).unwrap_err().code, 422);
    }
}
