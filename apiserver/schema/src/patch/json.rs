//! RFC 6902, with the bounds and the words of upstream.

use std::collections::BTreeMap;
use std::fmt;
use std::num::IntErrorKind;
use std::str::FromStr;

use serde_json::Value;

use super::PatchError;
use super::lazy::{Lazy, Slot, members, parts, read, text_of};
use crate::FieldValidation;
use crate::decode::{self, MAX_DEPTH, go_kind, unfit};

/// Upstream's limit on operations (`maxJSONPatchOperations`).
const MAX_OPERATIONS: usize = 10_000;
/// A patch of copies can double a document with every operation (`JSONPatchMaxCopyBytes`).
const MAX_COPIED: usize = 3 * 1024 * 1024;

/// Upstream's word for what is not there.
const MISSING: &str = "missing value";

/// What an operation says; upstream warns of anything else.
pub const OPERATION: [&str; 4] = ["op", "path", "from", "value"];

/// What came of a patch.
#[derive(Debug)]
pub struct Patched {
    pub value: Value,
    /// As upstream writes it, where it shows what could not be read.
    pub text: String,
}

/// `patch` is the parsed body, and `checked` whether fields and their types are looked at before any operation is carried out
/// (upstream does so unless `fieldValidation` is `Ignore`). A result deeper than [`MAX_DEPTH`] is refused on the way there: copying a document into its own
/// leaf doubles its depth, and everything that walks values recurses.
pub fn json_patch(original: &Value, patch: &Value, checked: bool) -> Result<Value, PatchError> {
    apply(original, operations(patch, checked)?)
}

/// The same with the body as it was sent: values are compared, and shown, by their texts.
pub fn json_patch_sent(original: &Value, patch: &Value, sent: &[u8], checked: bool) -> Result<Patched, PatchError> {
    let operations = operations(patch, checked)?;
    let texts = well_written(sent).into_iter().flat_map(parts).map(|operation| {
        let values = members(operation).filter(|(name, _)| name == "value");
        values.last().map(|(_, text)| text)
    });
    let texts = texts.chain(std::iter::repeat(None));
    let operations: Vec<_> = operations.iter().zip(texts).map(|(fields, text)| Operation { fields, text }).collect();
    run(original, &operations)
}

/// A body whose text can be told apart; Go reads some others, too, which it mends.
pub(super) fn well_written(sent: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(sent).ok()?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok().then_some(text)
}

/// Operations that need not be well formed: one that is not fails when its turn comes.
pub fn apply(original: &Value, operations: &[Value]) -> Result<Value, PatchError> {
    let operations: Vec<_> = operations.iter().map(|fields| Operation { fields, text: None }).collect();
    run(original, &operations).map(|patched| patched.value)
}

fn operations(patch: &Value, checked: bool) -> Result<&[Value], PatchError> {
    let operations = match patch {
        Value::Array(operations) => operations,
        // Go reads null as no operations.
        Value::Null => return Ok(&[]),
        _ if checked => return Err(PatchError::shape(patch, "[]handlers.jsonPatchOp")),
        _ => return Err(PatchError::bad(unfit(patch, "jsonpatch.Patch"))),
    };
    if checked {
        operations.iter().try_for_each(well_formed)?;
    } else if let Some(wrong) = operations.iter().find(|operation| !operation.is_object() && !operation.is_null()) {
        return Err(PatchError::bad(unfit(wrong, "jsonpatch.Operation")));
    }
    Ok(operations)
}

fn run(original: &Value, operations: &[Operation<'_>]) -> Result<Patched, PatchError> {
    if operations.len() > MAX_OPERATIONS {
        let count = operations.len();
        let message = format!("The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}, got {count}");
        return Err(PatchError { code: 413, message });
    }
    let mut document = Lazy::of(original);
    if let Some(document) = &mut document {
        document.open();
    }
    let mut copied = 0;
    for operation in operations {
        step(&mut document, *operation, &mut copied)?;
    }
    let text = text_of(&document);
    let read = decode::json(text.as_bytes(), None, FieldValidation::Ignore);
    let value = read.map_err(|error| PatchError::unprocessable(error.to_string()))?.value;
    Ok(Patched { value, text })
}

/// An operation, and the text of its value where that is known.
#[derive(Clone, Copy)]
struct Operation<'a> {
    fields: &'a Value,
    text: Option<&'a str>,
}

impl Operation<'_> {
    /// A null that an operation brings is not the one that stands in a document.
    fn value(&self) -> Slot {
        let value = self.fields.get("value")?;
        // What has no text is written as the document is.
        Some(self.text.map_or_else(|| Lazy::of(value), read).unwrap_or_else(Lazy::null))
    }
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

fn step(document: &mut Slot, operation: Operation<'_>, copied: &mut usize) -> Result<(), PatchError> {
    let name = operation.fields.get("op").and_then(Value::as_str).unwrap_or_default();
    let place = |field: &str| place(operation.fields, field, name);
    let fails = |why: String| Err(PatchError::unprocessable(why));
    let does_not_apply = |why: String| fails(format!("{name} operation does not apply: {why}"));
    match name {
        "add" => {
            let path = place("path")?;
            let value = shallow(&path, operation.value())?;
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing path: \"{path}\": {MISSING}"));
            };
            add(holder, key, value).or_else(|why| fails(format!("error in add for path: '{path}': {why}")))
        }
        "remove" => {
            let path = place("path")?;
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing path: \"{path}\": {MISSING}"));
            };
            remove(holder, key).map(drop).or_else(|why| fails(format!("error in remove for path: '{path}': {why}")))
        }
        "replace" => {
            let path = place("path")?;
            let mut value = shallow(&path, operation.value())?;
            if path.text.is_empty() {
                if !matches!(value.as_mut().map(Lazy::open), Some(Lazy::Object(_) | Lazy::List(_))) {
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
                Holder::List(list) => match index(key, list.len()) {
                    Ok(at) => list[at] = value,
                    Err(_) => return does_not_apply(format!("doc is missing key: {path}: {MISSING}")),
                },
                // To upstream's library every key of a map is there, be it as nothing.
                Holder::Object(map) => drop(map.insert(key.to_owned(), value)),
            }
            Ok(())
        }
        "move" => {
            let from = place("from")?;
            let Some((holder, key)) = from.holder(document) else {
                return does_not_apply(format!("doc is missing from path: {from}: {MISSING}"));
            };
            let taken = match remove(holder, key) {
                Ok(value) => value,
                Err(why) => return fails(format!("error in move for path: '{key}': {why}")),
            };
            let path = place("path")?;
            let value = shallow(&path, taken)?;
            let Some((holder, key)) = path.holder(document) else {
                return does_not_apply(format!("doc is missing destination path: {path}: {MISSING}"));
            };
            add(holder, key, value).or_else(|why| fails(format!("error in move for path: '{path}': {why}")))
        }
        "copy" => {
            let from = place("from")?;
            let Some((holder, key)) = from.holder(document) else {
                return does_not_apply(format!("doc is missing from path: {from}: {MISSING}"));
            };
            if let Err(why) = get(holder, key) {
                return fails(format!("error in copy for from: '{from}': {why}"));
            }
            let path = place("path")?;
            if path.holder(document).is_none() {
                return does_not_apply(format!("doc is missing destination path: {path}: {MISSING}"));
            }
            // The way to the destination may lead through what is copied.
            let source = from.holder(document).and_then(|(holder, key)| get(holder, key).ok().flatten());
            let text = source.filter(|value| value.is_some()).map(|value| text_of(value));
            *copied += text.as_ref().map_or(0, String::len);
            if *copied > MAX_COPIED {
                return fails(format!(
                    "Unable to complete the copy, the accumulated size increase of copy is {copied}, exceeding the limit {MAX_COPIED}"
                ));
            }
            let value = shallow(&path, text.and_then(|text| read(&text)))?;
            let added = path.holder(document).map_or(Ok(()), |(holder, key)| add(holder, key, value));
            added.or_else(|why| fails(format!("error while adding value during copy: {why}")))
        }
        "test" => {
            let path = place("path")?;
            let found = if path.text.is_empty() {
                Ok(Some(document))
            } else {
                let Some((holder, key)) = path.holder(document) else {
                    return does_not_apply(format!("is missing path: {path}: {MISSING}"));
                };
                get(holder, key)
            };
            match found.map(|found| holds(found, operation.value())) {
                Ok(true) => Ok(()),
                Ok(false) => fails(format!("testing value {path} failed: test failed")),
                Err(why) => fails(format!("error in test for path: '{path}': {why}")),
            }
        }
        _ => {
            let name = operation.fields.get("op").and_then(Value::as_str).unwrap_or("unknown");
            fails(format!("Unexpected kind: {name}"))
        }
    }
}

/// Whether what was found is what was expected; nothing is null.
fn holds(found: Option<&mut Slot>, expected: Slot) -> bool {
    match (found.and_then(Option::as_mut), expected) {
        (Some(found), Some(mut expected)) => found.same(&mut expected),
        (None, expected) => expected.is_none_or(|expected| expected.is_null()),
        (Some(_), None) => false,
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

/// What holds other values.
enum Holder<'d> {
    Object(&'d mut BTreeMap<String, Slot>),
    List(&'d mut Vec<Slot>),
}

impl<'d> Holder<'d> {
    fn new(value: &'d mut Slot) -> Option<Self> {
        match value.as_mut()?.open() {
            Lazy::Object(map) => Some(Self::Object(map)),
            Lazy::List(list) => Some(Self::List(list)),
            Lazy::Text(_) => None,
        }
    }
}

impl Place<'_> {
    /// What is to hold the place, and the place's key in it.
    fn holder<'d>(&self, document: &'d mut Slot) -> Option<(Holder<'d>, &str)> {
        let (last, parents) = self.keys.split_last()?;
        let holder = parents.iter().try_fold(Holder::new(document)?, |at, key| Holder::new(get(at, key).ok()??))?;
        Some((holder, last))
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
fn get<'d>(holder: Holder<'d>, key: &str) -> Result<Option<&'d mut Slot>, String> {
    match holder {
        Holder::List(list) => index(key, list.len()).map(|at| Some(&mut list[at])),
        Holder::Object(map) => Ok(map.get_mut(key)),
    }
}

fn add(holder: Holder<'_>, key: &str, value: Slot) -> Result<(), String> {
    match holder {
        Holder::List(list) if key == "-" => list.push(value),
        Holder::List(list) => {
            let at = index(key, list.len() + 1).map_err(|why| match why.strip_prefix("strconv.") {
                Some(_) => format!("value was not a proper array index: '{key}': {why}"),
                None => why,
            })?;
            list.insert(at, value);
        }
        Holder::Object(map) => drop(map.insert(key.to_owned(), value)),
    }
    Ok(())
}

/// What was there.
fn remove(holder: Holder<'_>, key: &str) -> Result<Slot, String> {
    match holder {
        Holder::List(list) => index(key, list.len()).map(|at| list.remove(at)),
        Holder::Object(map) => {
            map.remove(key).ok_or_else(|| format!("Unable to remove nonexistent key: {key}: {MISSING}"))
        }
    }
}

/// The value, if it is no deeper than what may stand at its place.
fn shallow(path: &Place<'_>, value: Slot) -> Result<Slot, PatchError> {
    let most = MAX_DEPTH.saturating_sub(path.keys.len());
    match &value {
        Some(value) if value.depth() > most => {
            Err(PatchError::unprocessable("the patched object exceeds the maximum depth"))
        }
        _ => Ok(value),
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
    fn what_a_patch_looked_into_is_written_by_name() {
        let role = json!({ "kind": "Role", "apiVersion": "rbac.authorization.k8s.io/v1",
            "metadata": { "name": "r", "labels": { "a": "<" } }, "rules": [{ "verbs": ["get"], "apiGroups": [""] }] });
        let metadata = r#""metadata":{"name":"r","labels":{"a":"\u003c"}}"#;
        let by_name = r#""metadata":{"labels":{"a":"\u003c"},"name":"r"}"#;
        for (patch, found) in [
            (r#"[]"#, metadata),
            (r#"[{"op":"copy","from":"/metadata/name","path":"/x"}]"#, by_name),
            (r#"[{"op":"test","path":"/metadata","value":{"name":"r","labels":{"a":"\u003c"}}}]"#, by_name),
            (r#"[{"op":"remove","path":"/metadata/name"},{"op":"add","path":"/metadata/name","value":"r"}]"#, by_name),
            (r#"[{"op":"copy","from":"/metadata","path":"/x"}]"#, r#""x":{"name":"r","labels":{"a":"\u003c"}}"#),
            (
                r#"[{"op":"copy","from":"/metadata","path":"/metadata/x"}]"#,
                r#""x":{"labels":{"a":"\u003c"},"name":"r"}"#,
            ),
            (r#"[{"op":"add","path":"/x","value":{"b": 1.0, "a": "\u00e9&"}}]"#, r#""x":{"b":1.0,"a":"\u00e9\u0026"}"#),
            (
                r#"[{"op":"move","from":"/rules/0","path":"/x"}]"#,
                r#""rules":[],"x":{"verbs":["get"],"apiGroups":[""]}"#,
            ),
        ] {
            let parsed = serde_json::from_str(patch).unwrap();
            let text = json_patch_sent(&role, &parsed, patch.as_bytes(), true).unwrap().text;
            assert!(text.contains(found), "{patch}: {text}");
        }
    }

    #[test]
    fn texts_are_what_is_tested() {
        let document = json!({ "a": "<", "b": 1 });
        for (patch, passes) in [
            (r#"[{"op":"test","path":"/a","value":"<"}]"#, false),
            (r#"[{"op":"test","path":"/a","value":"\u003c"}]"#, true),
            (r#"[{"op":"test","path":"/b","value":1.0}]"#, false),
            (r#"[{"op":"test","path":"","value":{ "b": 1, "a": "\u003c" }}]"#, true),
            (r#"[{"op":"test","path":"/x"}]"#, true),
            (r#"[{"op":"add","path":"/x","value":null},{"op":"test","path":"/x"}]"#, false),
            (r#"[{"op":"add","path":"/x","value":null},{"op":"test","path":"/x","value":null}]"#, true),
        ] {
            let parsed = serde_json::from_str(patch).unwrap();
            assert_eq!(json_patch_sent(&document, &parsed, patch.as_bytes(), true).is_ok(), passes, "{patch}");
        }
        // Operations of the server's own making are written as its objects are.
        assert!(apply(&document, &[json!({"op":"test","path":"/a","value":"<"})]).is_ok());
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
