//! `metadata.managedFields` as sets, and back, in upstream's order and bounds.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use crate::go::quote;

use super::{Manager, Operation, fields::Fields, set::Set};

/// Upstream's cap on entries of plain updates; the oldest are merged into one of this name.
const MAX_UPDATE_MANAGERS: usize = 10;
const ANCIENT: &str = "ancient-changes";

/// Fields that belong to the system (`stripMeta`).
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
    Set::from_fields_v1(json!({ "f:apiVersion": {}, "f:kind": {}, "f:metadata": {
        ".": {}, "f:name": {}, "f:namespace": {}, "f:creationTimestamp": {}, "f:selfLink": {}, "f:uid": {}, "f:clusterName": {},
        "f:generation": {}, "f:managedFields": {}, "f:resourceVersion": {},
    } }))
});

pub(super) fn strip(set: &mut Set) {
    set.subtract(&STRIPPED);
}

#[derive(Debug)]
pub(super) struct Managed {
    pub manager: Manager,
    pub fields: Fields,
}

impl Managed {
    /// An applier is the same under every version; an updater is one per version.
    pub fn is(&self, manager: &Manager) -> bool {
        let mine = &self.manager;
        mine.name == manager.name
            && mine.operation == manager.operation
            && mine.subresource == manager.subresource
            && (manager.operation == Operation::Apply || mine.api_version == manager.api_version)
    }
}

/// What an object's metadata says; of several entries of one manager the last counts, and where one is none, none does.
pub(super) fn read(entries: Option<Value>) -> Vec<Managed> {
    let Some(Value::Array(entries)) = entries else { return Vec::new() };
    let mut managed: Vec<Managed> = Vec::with_capacity(entries.len());
    for entry in entries {
        let Some(entry) = self::entry(entry) else { return Vec::new() };
        managed.retain(|earlier| !earlier.is(&entry.manager));
        managed.push(entry);
    }
    managed
}

/// Takes the managers' entries out of an object: they are no part of what is compared, and [`write()`] puts in new ones.
pub(super) fn take(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.remove("managedFields")
}

/// Undoes [`take()`].
pub(super) fn put_back(object: &mut Value, entries: Option<Value>) {
    if let (Some(metadata), Some(entries)) = (object.get_mut("metadata").and_then(Value::as_object_mut), entries) {
        metadata.insert("managedFields".to_owned(), entries);
    }
}

/// Whether everything is to be forgotten: an empty list, or a single empty entry, says so.
pub(super) fn is_reset(entries: Option<&Value>) -> bool {
    let entries = entries.and_then(Value::as_array);
    entries.is_some_and(|entries| match entries.as_slice() {
        [] => true,
        [Value::Object(only)] => only.is_empty(),
        _ => false,
    })
}

/// Whether entries are such that their managers can be told (upstream's `DecodeManagedFields`).
///
/// # Errors
/// What is wrong with the first that is not.
pub fn readable(entries: &Value) -> Result<(), String> {
    for (index, entry) in entries.as_array().into_iter().flatten().enumerate() {
        let text = |field: &str| entry[field].as_str().unwrap_or_default();
        if !matches!(text("operation"), "Apply" | "Update") {
            return Err("operation must be `Apply` or `Update`".to_owned());
        }
        if text("apiVersion").is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {index}")),
            other => return Err(format!("invalid fieldsType {} in managed fields entry {index}", quote(other))),
        }
    }
    Ok(())
}

fn entry(mut value: Value) -> Option<Managed> {
    let operation = match value.get("operation")?.as_str()? {
        "Apply" => Operation::Apply,
        "Update" => Operation::Update,
        _ => return None,
    };
    let mut text = |name: &str| match value.get_mut(name).map(Value::take) {
        Some(Value::String(text)) => text,
        _ => String::new(),
    };
    let (api_version, fields_type) = (text("apiVersion"), text("fieldsType"));
    if api_version.is_empty() || fields_type != "FieldsV1" {
        return None;
    }
    let manager =
        Manager { name: text("manager"), operation, api_version, subresource: text("subresource"), time: text("time") };
    let fields = value.get_mut("fieldsV1").map_or_else(|| Map::new().into(), Value::take);
    Some(Managed { manager, fields: Fields::read(fields) })
}

/// Puts the managers into the metadata.
pub(super) fn write(object: &mut Value, mut managed: Vec<Managed>) {
    managed.retain(|managed| !managed.fields.is_empty());
    cap(&mut managed);
    managed.sort_by(|a, b| order(&a.manager).cmp(&order(&b.manager)));
    let Value::Object(object) = object else { return };
    let metadata = object.entry("metadata").or_insert_with(|| Value::Object(Map::new()));
    let Value::Object(metadata) = metadata else { return };
    if managed.is_empty() {
        metadata.remove("managedFields");
        return;
    }
    let entries: Vec<Value> = managed.into_iter().map(shown).collect();
    metadata.insert("managedFields".to_owned(), entries.into());
}

fn order(manager: &Manager) -> (&'static str, &str, &str, &str, &str) {
    (manager.operation.word(), &manager.time, &manager.name, &manager.api_version, &manager.subresource)
}

/// An entry of the metadata.
pub(super) fn shown(managed: Managed) -> Value {
    let Managed { manager, fields } = managed;
    let texts = [
        ("manager", manager.name),
        ("operation", manager.operation.word().to_owned()),
        ("apiVersion", manager.api_version),
        ("fieldsType", "FieldsV1".to_owned()),
    ];
    let optional = [("time", manager.time), ("subresource", manager.subresource)];
    let texts = texts.into_iter().chain(optional.into_iter().filter(|(_, text)| !text.is_empty()));
    let mut entry: Map<String, Value> = texts.map(|(name, text)| (name.to_owned(), text.into())).collect();
    entry.insert("fieldsV1".to_owned(), fields.into_fields_v1());
    entry.into()
}

/// Merges the oldest updates of one version until there are few enough entries.
fn cap(managed: &mut Vec<Managed>) {
    let updates = |managed: &[Managed]| {
        let plain =
            |entry: &&Managed| entry.manager.operation == Operation::Update && entry.manager.subresource.is_empty();
        managed.iter().filter(plain).count()
    };
    if updates(managed) <= MAX_UPDATE_MANAGERS {
        return;
    }
    managed.sort_by(|a, b| a.manager.time.cmp(&b.manager.time));
    while updates(managed) > MAX_UPDATE_MANAGERS {
        // The oldest two updates of one version become one.
        let Some((first, second)) = oldest_pair(managed) else { return };
        let mut newer = managed.remove(second);
        let older = &mut managed[first];
        older.fields.unite(newer.fields.set());
        older.manager.name = ANCIENT.to_owned();
        older.manager.time = newer.manager.time;
    }
}

fn oldest_pair(managed: &[Managed]) -> Option<(usize, usize)> {
    let plain: Vec<usize> = (0..managed.len())
        .filter(|at| managed[*at].manager.operation == Operation::Update && managed[*at].manager.subresource.is_empty())
        .collect();
    plain.iter().enumerate().find_map(|(at, first)| {
        let same = |second: &&usize| managed[**second].manager.api_version == managed[*first].manager.api_version;
        plain[at + 1..].iter().find(same).map(|second| (*first, *second))
    })
}
