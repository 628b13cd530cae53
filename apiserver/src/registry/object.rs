//! Metadata: what the server sets, what it keeps, and what it refuses (`apimachinery/pkg/api/validation/objectmeta.go`).

use jiff::{Timestamp, Unit};
use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::{Map, Value};

use super::resource::Resource;
use crate::app::text;
use crate::kinds::NameRule;

/// All annotations of an object together (256 KiB).
const ANNOTATIONS_LIMIT: usize = 256 * 1024;

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
pub fn keep_system_fields(new: &mut Value, old: &Value) {
    for field in [
        "uid",
        "creationTimestamp",
        "generation",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "selfLink",
        "namespace",
        "name",
    ] {
        set(new, field, old["metadata"][field].clone());
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

/// The rules of metadata for every kind.
#[must_use]
pub fn validate(resource: &Resource, object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("metadata");
    let name = text(object, "/metadata/name");
    if name.is_empty() {
        errors.push(Error::required(&at.child("name"), "name or generateName is required"));
    } else {
        let wrong = match resource.strategy.name {
            NameRule::Subdomain => names::dns1123_subdomain(name),
            NameRule::Label => names::dns1123_label(name),
            NameRule::Label1035 => names::dns1035_label(name),
            NameRule::PathSegment => names::path_segment(name),
        };
        errors.extend(wrong.into_iter().map(|text| Error::invalid(&at.child("name"), name, text)));
    }
    let metadata = &object["metadata"];
    let labels = at.child("labels");
    for (key, value) in metadata["labels"].as_object().into_iter().flatten() {
        errors.extend(names::qualified_name(key).into_iter().map(|text| Error::invalid(&labels, key.as_str(), text)));
        let value = value.as_str().unwrap_or_default();
        errors.extend(names::label_value(value).into_iter().map(|text| Error::invalid(&labels, value, text)));
    }
    let annotations = at.child("annotations");
    let mut size = 0;
    for (key, value) in metadata["annotations"].as_object().into_iter().flatten() {
        let wrong = names::qualified_name(&key.to_lowercase());
        errors.extend(wrong.into_iter().map(|text| Error::invalid(&annotations, key.as_str(), text)));
        size += key.len() + value.as_str().map_or(0, str::len);
    }
    if size > ANNOTATIONS_LIMIT {
        errors.push(Error::too_long(&annotations, ANNOTATIONS_LIMIT));
    }
    for name in finalizers(object) {
        let wrong = names::qualified_name(&name);
        errors.extend(wrong.into_iter().map(|text| Error::invalid(&at.child("finalizers"), name.as_str(), text)));
    }
    let mut controllers = Vec::new();
    for (index, owner) in metadata["ownerReferences"].as_array().into_iter().flatten().enumerate() {
        let path = at.child("ownerReferences").index(index);
        for (field, detail) in [
            ("apiVersion", "version must not be empty"),
            ("kind", "must not be empty"),
            ("name", "must not be empty"),
            ("uid", "must not be empty"),
        ] {
            if owner[field].as_str().unwrap_or_default().is_empty() {
                errors.push(Error::invalid(&path.child(field), owner[field].as_str().unwrap_or_default(), detail));
            }
        }
        if owner["controller"] == true {
            controllers.push(format!("{}/{}", text(owner, "/kind"), text(owner, "/name")));
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let detail = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {second}"
        );
        errors.push(Error::invalid(&at.child("ownerReferences"), metadata["ownerReferences"].clone(), detail));
    }
    errors
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
