//! Server-side apply and the tracking of who set which field (KEP-555; structured-merge-diff and apimachinery's
//! `managedfields`).
//!
//! ```text
//! apply:  live ── merge(config) ── drop what this applier gave up and nobody else claims ── compare(live) ─ conflicts?
//! update: live ── compare(new) ── changed fields become the updater's and nobody else's
//! ```
//! The caller removes from an applied configuration what the endpoint ignores (`status` on the main resource, all but
//! `status` on the status subresource) and everything it must not hold (`metadata.managedFields` is an error upstream).

mod configuration;
mod fields;
mod managers;
pub mod scale;
mod set;
mod typed;
mod versions;

pub use self::configuration::{Foreign, Step, overlay};
pub use self::managers::readable;
pub use self::versions::{Alike, Converter, Missing, Versioned, Wanted};

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use self::{
    fields::Fields,
    managers::{Managed, put_back, read, strip, take, write},
    typed::Comparison,
    versions::Change,
};
use crate::{Schema, normalize, written};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// Owner of fields that were there before managers were tracked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// Who writes. `time` is RFC 3339 in whole seconds; `subresource` is empty for the main resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manager {
    pub name: String,
    pub operation: Operation,
    pub api_version: String,
    pub subresource: String,
    pub time: String,
}

impl Manager {
    /// As conflicts print it.
    fn shown(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if self.operation == Operation::Update {
            text.push_str(&format!(" using {}", self.api_version));
        }
        text
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// As in a Status cause of reason FieldManagerConflict: `conflict with "kubectl" using apps/v1`.
    pub message: String,
    /// `.spec.replicas`
    pub field: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// 409 Conflict; causes are the conflicts.
    #[error("{}", conflict_message(.0))]
    Conflicts(Vec<Conflict>),
    /// 500 upstream for lists that hold a key twice or lack one; the text is upstream's.
    #[error("{0}")]
    Invalid(String),
    /// To be tried again when there is an object in another version.
    #[error("an object is not there yet as one of {}", .0.to)]
    Later(Box<Wanted>),
}

fn conflict_message(conflicts: &[Conflict]) -> String {
    if let [only] = conflicts {
        return format!("Apply failed with 1 conflict: {}: {}", only.message, only.field);
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    let mut last = "";
    for conflict in conflicts {
        if conflict.message != last {
            if !last.is_empty() {
                text.push('\n');
            }
            text.push_str(&format!("{}:", conflict.message.replacen("conflict with", "conflicts with", 1)));
            last = &conflict.message;
        }
        text.push_str(&format!("\n- {}", conflict.field));
    }
    text
}

/// What a configuration of a built-in kind says of fields that there are.
#[must_use]
pub fn said(schema: &Schema, config: &Value) -> Value {
    typed::said(config, &schema.root)
}

/// Server-side apply: the merged object with its new `metadata.managedFields`. `live` is None when the object is to be
/// created. Run [`crate::apply_defaults`] on the result.
pub fn apply(
    schema: &Schema,
    live: Option<&Value>,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, ApplyError> {
    let begun = live.and_then(|live| begun(schema, live, live, manager));
    apply_among(&Alike(schema), schema, begun.as_ref().or(live), config, manager, force)
}

/// An object that nobody manages anything of, as if all that `seen` has of it had been set at once before the first apply; `None`
/// where somebody does. `seen`: what whoever applies may write.
#[must_use]
pub fn begun(schema: &Schema, live: &Value, seen: &Value, manager: &Manager) -> Option<Value> {
    if !read(entries(Some(live)).cloned()).is_empty() {
        return None;
    }
    let Comparison { added: mut set, modified, .. } = typed::compare(&blank(schema, live), seen, &schema.root);
    set.unite(&modified);
    strip(&mut set);
    let before = Manager { name: BEFORE_FIRST_APPLY.to_owned(), operation: Operation::Update, ..manager.clone() };
    let mut live = live.clone();
    write(&mut live, vec![Managed { manager: before, fields: Fields::Set(set) }]);
    Some(live)
}

/// The same where others may manage fields in other versions, and somebody manages whatever there is of `live` (see [`begun`]).
pub fn apply_among(
    versions: &dyn Converter,
    schema: &Schema,
    live: Option<&Value>,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, ApplyError> {
    no_more(typed::check(config, &schema.root)).map_err(|error| ApplyError::Invalid(typed_error(config, &error)))?;
    let empty;
    let base = match live {
        Some(live) => live,
        None => {
            empty = blank(schema, config);
            &empty
        }
    };
    let result = merge_in(versions, schema, live, base, config, manager, force);
    // kubectl moves from client-side to server-side apply: what its own annotation set, it may take over.
    let result = match result {
        Err(ApplyError::Conflicts(conflicts)) if manager.name == "kubectl" => {
            let allowed = last_applied_fields(schema, base);
            let rest: Vec<Conflict> =
                conflicts.into_iter().filter(|conflict| !allowed.contains(&conflict.field)).collect();
            if rest.is_empty() {
                merge_in(versions, schema, live, base, config, manager, true)
            } else {
                Err(ApplyError::Conflicts(rest))
            }
        }
        other => other,
    };
    result.map(|mut merged| {
        if manager.name == "kubectl" {
            renew_last_applied(&mut merged, config);
        }
        merged
    })
}

fn merge_in(
    versions: &dyn Converter,
    schema: &Schema,
    live: Option<&Value>,
    base: &Value,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> Result<Value, ApplyError> {
    let node = &schema.root;
    let mut managed = read(entries(live).cloned());
    let own = manager.api_version.as_str();
    let views = versions::views(versions, own, &mut managed, base)?;
    let said = typed::to_set(config, node);
    let mut applied = said.clone();
    strip(&mut applied);
    let (mine, mut others): (Vec<Managed>, Vec<Managed>) = managed.into_iter().partition(|entry| entry.is(manager));
    let last = mine.into_iter().next().map(|entry| (entry.manager, entry.fields.into_set()));

    let mut merged = base.clone();
    typed::merge(&mut merged, config, node);
    if let Some((before, gone)) = last.as_ref().filter(|(before, set)| before.api_version != own || *set != applied) {
        // The name is nobody's, but it is said: the metadata stays for it.
        let mut claims = BTreeMap::from([(own.to_owned(), said)]);
        for entry in &mut others {
            claims.entry(entry.manager.api_version.clone()).or_default().unite(entry.fields.set());
        }
        match claims.first_key_value() {
            Some((_, kept)) if views.is_empty() => typed::remove(&mut merged, node, gone, kept),
            _ => {
                let whole = Versioned { object: merged, schema: schema.clone() };
                let left = versions::prune(versions, whole, &claims, (&before.api_version, gone));
                merged = left.map_err(|why| why.told("failed to prune fields"))?;
            }
        }
    }
    let here = Change::from(typed::compare(base, &merged, node));
    let there = versions::changes(versions, &views, &merged)?;
    let change = |entry: &Managed| there.get(&entry.manager.api_version).unwrap_or(&here);
    let conflicts = conflicts(&mut others, &change);
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    for entry in &mut others {
        let change = change(entry);
        entry.fields.subtract(&change.lost);
    }
    // Nothing changed: the time stays, if there ever was one, so that applying again is no write.
    let time =
        if here.lost.is_empty() { last.map(|(last, _)| last.time).unwrap_or_default() } else { manager.time.clone() };
    others.push(Managed { manager: Manager { time, ..manager.clone() }, fields: Fields::Set(applied) });
    write(&mut merged, others);
    Ok(merged)
}

fn conflicts<'a>(others: &mut [Managed], change: &dyn Fn(&Managed) -> &'a Change) -> Vec<Conflict> {
    let mut out: Vec<Conflict> = Vec::new();
    for entry in others {
        let message = format!("conflict with {}", entry.manager.shown());
        let change = change(entry);
        let fields = entry.fields.shared(&change.changed);
        out.extend(fields.into_iter().map(|field| Conflict { message: message.clone(), field }));
    }
    out.sort_by(|a, b| a.message.cmp(&b.message));
    out
}

/// Whether the model declares everything a configuration sets, and as it sets it; the text is upstream's, of an error without a
/// code.
///
/// # Errors
/// The fields that are not declared, or are of another type, or the lists whose items cannot be told apart.
pub fn declared(schema: &Schema, config: &Value) -> Result<(), String> {
    fits(schema, config).map_err(|error| typed_error(config, &error))
}

/// The same, without saying what it was that does not fit.
///
/// # Errors
/// See [`declared`].
pub fn fits(schema: &Schema, config: &Value) -> Result<(), String> {
    let mut complaints = typed::check(config, &schema.root);
    complaints.extend(typed::undeclared(config, &schema.root));
    no_more(complaints)
}

/// The same for an object that is there already: items that cannot be told apart it may have.
///
/// # Errors
/// The fields that are not declared, or are of another type.
pub fn typed(schema: &Schema, object: &Value) -> Result<(), String> {
    no_more(typed::undeclared(object, &schema.root))
}

/// Complaints as one, if there are any.
fn no_more(complaints: Vec<String>) -> Result<(), String> {
    match complaints.as_slice() {
        [] => Ok(()),
        [only] => Err(only.clone()),
        several => Err(format!("errors:\n  {}", several.join("\n  "))),
    }
}

/// Every other write (create, update, patch, status): sets `metadata.managedFields` of `new`. Call it on what is about to
/// be stored (defaulted, normalised, admitted). It never fails: what cannot be tracked is not.
pub fn track_update(schema: &Schema, live: Option<&Value>, new: &mut Value, manager: &Manager) {
    if track_update_among(&Alike(schema), schema, live, new, manager).is_err() {
        take(new);
    }
}

/// The same where others may manage fields in other versions.
///
/// # Errors
/// Objects that are not there in other versions; `new` is as it was then.
pub fn track_update_among(
    versions: &dyn Converter,
    schema: &Schema,
    live: Option<&Value>,
    new: &mut Value,
    manager: &Manager,
) -> Result<(), Missing> {
    // Below an object nobody says whose its fields are.
    let sent = take(new).filter(|_| manager.subresource.is_empty());
    let reset = managers::is_reset(sent.as_ref());
    let again = sent.as_ref().filter(|sent| versions::has_others(sent, &manager.api_version)).cloned();
    // A client may send managedFields it has edited; if it sends none, the live ones go on.
    let mut managed = read(sent);
    if managed.is_empty() && !reset {
        managed = read(entries(live).cloned());
    }
    // Of what nobody managed until now no update makes anybody the manager; the first who applies does.
    if managed.is_empty() && live.is_some() && !reset {
        return Ok(());
    }
    let empty;
    let base = match live {
        Some(live) => live,
        None => {
            empty = blank(schema, new);
            &empty
        }
    };
    // What is given empty is nobody's, but where it is shown.
    let seen = written(schema, new);
    let views = versions::views(versions, &manager.api_version, &mut managed, base);
    let there = views.and_then(|views| versions::changes(versions, &views, &seen));
    let compared = typed::compare(base, &seen, &schema.root);
    let there = match there {
        Ok(there) => there,
        Err(why) => {
            put_back(new, again);
            return Err(why);
        }
    };
    let Comparison { added, modified: mut changed, removed, unclear } = compared;
    // Nor can it be told whose fields are whose from then on.
    if unclear {
        write(new, Vec::new());
        return Ok(());
    }
    changed.unite(&added);
    strip(&mut changed);
    let mut lost = changed.clone();
    lost.unite(&removed);
    for entry in &mut managed {
        let gone = match there.get(&entry.manager.api_version) {
            Some(change) => &change.lost,
            None if entry.is(manager) => &removed,
            None => &lost,
        };
        entry.fields.subtract(gone);
    }
    if !changed.is_empty() && !reset {
        match managed.iter_mut().find(|entry| entry.is(manager)) {
            Some(entry) => {
                entry.fields.unite(&changed);
                entry.manager.time.clone_from(&manager.time);
            }
            None => managed.push(Managed { manager: manager.clone(), fields: Fields::Set(changed) }),
        }
    }
    write(new, managed);
    Ok(())
}

/// What an object of this kind looks like before anything is set: the structs Go always shows are nobody's change.
fn blank(schema: &Schema, like: &Value) -> Value {
    let mut blank = Map::new();
    for name in ["apiVersion", "kind"] {
        if let Some(value) = like.get(name) {
            blank.insert(name.to_owned(), value.clone());
        }
    }
    let mut blank = Value::Object(blank);
    normalize(schema, &mut blank);
    blank
}

/// The managers of an object's fields, as its metadata has them.
fn entries(object: Option<&Value>) -> Option<&Value> {
    object?.pointer("/metadata/managedFields")
}

/// Fields of the client-side-apply annotation that still have the value it gave them.
fn last_applied_fields(schema: &Schema, live: &Value) -> Vec<String> {
    let annotation = live.pointer("/metadata/annotations").and_then(|annotations| annotations.get(LAST_APPLIED));
    let Some(Ok(applied)) = annotation.and_then(Value::as_str).map(serde_json::from_str::<Value>) else {
        return Vec::new();
    };
    let mut applied = applied;
    crate::prune(schema, &mut applied);
    let changed = typed::compare(&applied, live, &schema.root).modified;
    let mut kept = typed::to_set(&applied, &schema.root);
    kept.subtract(&changed);
    kept.paths()
}

/// Keeps the client-side-apply annotation true, where there is one.
fn renew_last_applied(merged: &mut Value, config: &Value) {
    let Some(Value::Object(annotations)) = merged.pointer_mut("/metadata/annotations") else { return };
    if annotations.contains_key(LAST_APPLIED) {
        annotations.insert(LAST_APPLIED.to_owned(), format!("{config}\n").into());
    }
}

fn typed_error(config: &Value, error: &str) -> String {
    let text = |pointer: &str| config.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let kind = group_version_kind(text("/apiVersion"), text("/kind"));
    format!("failed to create typed patch object ({namespace}/{name}; {kind}): {error}")
}

/// `apps/v1, Kind=Deployment`, and `/v1, Kind=Pod` (upstream's `GroupVersionKind.String`).
#[must_use]
pub fn group_version_kind(api_version: &str, kind: &str) -> String {
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={kind}")
}

#[cfg(test)]
mod tests;
