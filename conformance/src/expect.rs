//! Comparisons whose failures say what differed.

use std::fmt::Debug;

use anyhow::{Context, bail};
use serde_json::Value;

/// Both must be the same.
///
/// # Errors
/// They are not.
pub fn same<T: PartialEq + Debug>(what: &str, have: &T, want: &T) -> anyhow::Result<()> {
    if have == want { Ok(()) } else { bail!("{what} should be {want:?} and is {have:?}") }
}

/// What a pointer such as `/metadata/labels/a` leads to must be this; null stands for nothing being there.
///
/// # Errors
/// It is not.
pub fn at(object: &Value, pointer: &str, want: impl Into<Value>) -> anyhow::Result<()> {
    let (have, want) = (object.pointer(pointer).unwrap_or(&Value::Null), want.into());
    if *have == want {
        return Ok(());
    }
    let (kind, name) = (&object["kind"], &object["metadata"]["name"]);
    bail!("{pointer} of {kind} {name} should be {want} and is {have}, in {object}")
}

/// All of `want` must be in `have`; lists must be the same.
///
/// # Errors
/// Something is missing or differs; the message has its path.
pub fn contains(have: &Value, want: &Value) -> anyhow::Result<()> {
    fn walk(path: &mut String, have: &Value, want: &Value) -> anyhow::Result<()> {
        match want {
            Value::Object(fields) => {
                for (name, value) in fields {
                    let length = path.len();
                    path.push('/');
                    path.push_str(name);
                    walk(path, &have[name], value)?;
                    path.truncate(length);
                }
                Ok(())
            }
            _ if have == want => Ok(()),
            _ => bail!("{path} should be {want} and is {have}"),
        }
    }
    walk(&mut String::new(), have, want).with_context(|| format!("in {have}"))
}

/// The text must contain a part.
///
/// # Errors
/// It does not.
pub fn has_text(text: &str, part: &str) -> anyhow::Result<()> {
    if text.contains(part) { Ok(()) } else { bail!("there should be {part:?} in {text:?}") }
}

/// It must be true.
///
/// # Errors
/// It is not, with these words.
pub fn that(truth: bool, words: impl FnOnce() -> String) -> anyhow::Result<()> {
    if truth { Ok(()) } else { bail!(words()) }
}

/// Text at a pointer, "" where there is none.
#[must_use]
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The name of an object.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The resource version of an object or list.
#[must_use]
pub fn revision(object: &Value) -> &str {
    text(object, "/metadata/resourceVersion")
}
