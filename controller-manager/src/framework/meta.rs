//! Object metadata: keys, owners, selectors.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference, Time};
use k8s_openapi::jiff::Timestamp;
use kube::Resource;
use kube::core::{Selector, SelectorExt};

/// `namespace/name`, or the bare name of a cluster-scoped object.
#[must_use]
pub fn key_of(meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    match meta.namespace.as_deref() {
        Some(namespace) if !namespace.is_empty() => format!("{namespace}/{name}"),
        _ => name.to_owned(),
    }
}

/// The parts of a key; the namespace is empty for cluster-scoped objects.
#[must_use]
pub fn split_key(key: &str) -> (&str, &str) {
    key.split_once('/').unwrap_or(("", key))
}

#[must_use]
pub fn controller_of(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.as_deref()?.iter().find(|owner| owner.controller == Some(true))
}

/// The reference a controlled object carries to its controller.
#[must_use]
pub fn controller_reference<K: Resource<DynamicType = ()>>(owner: &K) -> OwnerReference {
    OwnerReference {
        api_version: K::api_version(&()).into_owned(),
        kind: K::kind(&()).into_owned(),
        name: owner.meta().name.clone().unwrap_or_default(),
        uid: owner.meta().uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

/// Whether `selector` selects `labels`. An absent or malformed selector selects nothing, an empty one everything.
#[must_use]
pub fn selects(selector: Option<&LabelSelector>, labels: Option<&BTreeMap<String, String>>) -> bool {
    let Some(Ok(selector)) = selector.cloned().map(Selector::try_from) else { return false };
    let none = BTreeMap::new();
    selector.matches(labels.unwrap_or(&none))
}

/// Whether `labels` carries every pair of the plain map `wanted`; an empty map selects nothing (Services do so).
#[must_use]
pub fn contains_all(wanted: &BTreeMap<String, String>, labels: Option<&BTreeMap<String, String>>) -> bool {
    !wanted.is_empty() && labels.is_some_and(|labels| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

#[must_use]
pub fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

#[must_use]
pub fn label<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.labels.as_ref()?.get(name).map(String::as_str)
}

#[must_use]
pub fn created(meta: &ObjectMeta) -> Timestamp {
    meta.creation_timestamp.as_ref().map_or(Timestamp::MIN, |time| time.0)
}

#[must_use]
pub fn is_deleting(meta: &ObjectMeta) -> bool {
    meta.deletion_timestamp.is_some()
}

/// Whole seconds, the precision the API keeps; without this a status would differ from its own echo.
#[must_use]
pub fn to_seconds(now: Timestamp) -> Time {
    Time(Timestamp::from_second(now.as_second()).expect("a timestamp's whole seconds are a timestamp"))
}

/// A short hash in the alphabet of upstream's generated names (no vowels, nothing that looks alike).
///
/// Upstream hashes Go's own dump of a value, which nothing but Go can make; ours is FNV-1a, too, but of its JSON.
#[must_use]
pub fn short_hash(value: &impl serde::Serialize, collisions: Option<i32>) -> String {
    const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut bytes = serde_json::to_vec(value).expect("API types always serialise");
    bytes.extend(collisions.iter().flat_map(|count| count.to_le_bytes()));
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    hash.to_string().bytes().map(|digit| ALPHABET[digit as usize % ALPHABET.len()] as char).collect()
}
