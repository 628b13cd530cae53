//! Metadata: what the server sets and what it keeps. What it refuses is in `kinds::validate::meta`.

use jiff::{Timestamp, Unit};
use serde_json::{Map, Value};

/// The time in RFC 3339, whole seconds.
#[must_use]
pub fn now() -> String {
    stamp(Timestamp::now())
}

#[must_use]
pub fn stamp(time: Timestamp) -> String {
    time.round(Unit::Second).unwrap_or(time).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The object's metadata, made where it is missing.
pub fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let metadata = &mut object["metadata"];
    if !metadata.is_object() {
        *metadata = Value::Object(Map::new());
    }
    metadata.as_object_mut().expect("it has just been made an object")
}

/// Sets a metadata field, or removes it when `value` is null.
pub fn set(object: &mut Value, field: &str, value: Value) {
    let metadata = metadata(object);
    if value.is_null() {
        metadata.remove(field);
    } else {
        metadata.insert(field.to_owned(), value);
    }
}

#[must_use]
pub fn is_deleting(object: &Value) -> bool {
    !object["metadata"]["deletionTimestamp"].is_null()
}

#[must_use]
pub fn finalizers(object: &Value) -> Vec<String> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

/// Nothing holds the object back any more.
#[must_use]
pub fn may_vanish(object: &Value) -> bool {
    let held = object["spec"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    let namespace = object["kind"] == "Namespace" && object["apiVersion"] == "v1";
    finalizers(object).is_empty() && !(namespace && held)
}

/// What only the server may change, taken from the old object.
///
/// What the client says of the first three is left for validation to refuse, but for a deletion under way, of which it has no say.
pub fn keep_system_fields(new: &mut Value, old: &Value) {
    metadata(new);
    let deleting = is_deleting(old);
    for (field, refused) in [
        ("uid", true),
        ("deletionTimestamp", !deleting),
        ("deletionGracePeriodSeconds", !deleting),
        ("creationTimestamp", false),
        ("generation", false),
        ("namespace", false),
        ("name", false),
        ("resourceVersion", false),
    ] {
        let unset = matches!(&new["metadata"][field], Value::Null) || new["metadata"][field] == "";
        if !refused || unset {
            keep(&mut new["metadata"], &old["metadata"], field);
        }
    }
}

/// Drops owners given twice, to the letter; the uids of those.
pub fn dedup_owners(object: &mut Value) -> Vec<String> {
    let Some(Value::Array(owners)) = object.pointer_mut("/metadata/ownerReferences") else { return Vec::new() };
    let (mut kept, mut twice) = (Vec::with_capacity(owners.len()), Vec::new());
    for owner in owners.drain(..) {
        if kept.contains(&owner) {
            let uid = owner["uid"].as_str().unwrap_or_default().to_owned();
            if !twice.contains(&uid) {
                twice.push(uid);
            }
        } else {
            kept.push(owner);
        }
    }
    *owners = kept;
    twice
}

/// Makes a field of an object what it is in `old`, absence included. What is so already stays where it is: most is, and to
/// compare costs less than to copy.
pub fn keep(new: &mut Value, old: &Value, field: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(field) {
        Some(old) if new.get(field) == Some(old) => {}
        Some(old) => {
            new.insert(field.to_owned(), old.clone());
        }
        None => {
            new.remove(field);
        }
    }
}

/// Makes all fields what they are in `old`, but for those named.
pub fn keep_but(new: &mut Value, old: &Value, but: &[&str]) {
    let (Some(fields), Some(old_fields)) = (new.as_object_mut(), old.as_object()) else { return };
    let kept = |name: &str| !but.contains(&name);
    fields.retain(|name, _| !kept(name) || old_fields.contains_key(name));
    for name in old_fields.keys().filter(|name| kept(name)) {
        keep(new, old, name);
    }
}

/// The spec, in the sense of generation: all but metadata and status.
#[must_use]
pub fn spec_differs(new: &Value, old: &Value) -> bool {
    fn rest(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
        let counts = |name: &str| !matches!(name, "metadata" | "status" | "apiVersion" | "kind");
        let fields = value.as_object().into_iter().flatten();
        fields.filter(move |(name, value)| counts(name) && !value.is_null())
    }
    rest(new).ne(rest(old))
}

/// The same object, but for the times in managedFields and the resource version?
#[must_use]
pub fn same(a: &Value, b: &Value) -> bool {
    fn fields<'a>(value: &'a Value, but: &'a [&str]) -> impl Iterator<Item = (&'a String, &'a Value)> {
        value.as_object().into_iter().flatten().filter(move |(name, _)| !but.contains(&name.as_str()))
    }
    let differ = |but: &[&str], a: &Value, b: &Value| fields(a, but).ne(fields(b, but));
    if differ(&["metadata"], a, b) || differ(&["resourceVersion", "managedFields"], &a["metadata"], &b["metadata"]) {
        return false;
    }
    let managers = |value: &Value| {
        let mut entries = value["metadata"]["managedFields"].as_array().cloned().unwrap_or_default();
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.remove("time");
        }
        entries.sort_by_key(|entry| entry.to_string());
        entries
    };
    managers(a) == managers(b)
}

/// A random suffix for generateName, in upstream's alphabet without vowels and look-alikes.
#[must_use]
pub fn suffix(length: usize) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let random = uuid::Uuid::new_v4();
    random
        .as_bytes()
        .iter()
        .take(length)
        .map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()]))
        .collect()
}

/// A full name for a prefix: cut so that both fit in a label.
#[must_use]
pub fn generate(prefix: &str) -> String {
    let mut end = prefix.len().min(58);
    while !prefix.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{}", &prefix[..end], suffix(5))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_update_begins_a_deletion() {
        let mut new = json!({"metadata": {"uid": "x", "deletionTimestamp": "t"}});
        keep_system_fields(&mut new, &json!({"metadata": {"uid": "y"}}));
        assert_eq!(new, json!({"metadata": {"uid": "x", "deletionTimestamp": "t"}}), "validation refuses both");
        keep_system_fields(&mut new, &json!({"metadata": {"uid": "x", "deletionTimestamp": "u"}}));
        assert_eq!(new, json!({"metadata": {"uid": "x", "deletionTimestamp": "u"}}), "nor does one take it back");
    }

    #[test]
    fn what_is_kept_is_the_old_objects() {
        let parts = [json!(null), json!({}), json!({ "x": 1 }), json!([1])];
        let objects: Vec<Value> = parts
            .iter()
            .flat_map(|a| {
                let b = parts.iter().map(move |b| json!({ "a": a, "b": b, "c": 1 }));
                b.chain([json!({ "a": a }), json!({ "c": a, "d": a })])
            })
            .collect();
        for (old, new) in objects.iter().flat_map(|old| objects.iter().map(move |new| (old, new))) {
            for but in [&[][..], &["a"], &["b", "d"]] {
                let mut kept = new.clone();
                keep_but(&mut kept, old, but);
                let mut long = old.clone();
                for name in but {
                    keep(&mut long, new, name);
                }
                assert_eq!(kept, long, "{new} for {old} but for {but:?}");
            }
        }
    }
}
