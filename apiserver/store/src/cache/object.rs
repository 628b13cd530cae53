//! What the cache holds: an object's state as bytes ready to be sent, and the few values selectors look at.

use crate::{KeyValue, Revision, splice};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, OnceLock};

/// Turns a stored value into what the cache keeps. It is called once for each state of an object.
///
/// The caller decides what [`Indexed::bytes`] is; usually [`splice::stamp`] of the value with the mod revision.
pub type Extract = dyn Fn(&KeyValue) -> anyhow::Result<Indexed> + Send + Sync;

/// What an [`Extract`] function finds in a stored value.
#[derive(Clone, Debug, Default)]
pub struct Indexed {
    /// Empty for objects of the whole cluster.
    pub namespace: Box<str>,
    pub name: Box<str>,
    pub labels: Vec<(Box<str>, Box<str>)>,
    /// Selectable fields other than `metadata.name` and `metadata.namespace`, e.g. `spec.nodeName`.
    pub fields: Vec<(Arc<str>, Box<str>)>,
    /// The object's JSON with `metadata.resourceVersion` set.
    pub bytes: Bytes,
}

/// One state of one object, shared by the cache, its events and all answers under way.
#[derive(Debug)]
pub struct Object {
    /// The key in the store.
    pub key: Arc<str>,
    pub create_revision: Revision,
    /// The object's resource version, the same that [`Object::bytes`] carry.
    pub mod_revision: Revision,
    indexed: Indexed,
    encoded: OnceLock<Bytes>,
}

impl Object {
    pub(super) fn new(kv: &KeyValue, indexed: Indexed) -> Self {
        Self {
            key: kv.key.as_str().into(),
            create_revision: kv.create_revision,
            mod_revision: kv.mod_revision,
            indexed,
            encoded: OnceLock::new(),
        }
    }

    /// The same state under another resource version; what a watcher gets when the object leaves its sight.
    pub(super) fn restamped(&self, revision: Revision) -> Self {
        let mut indexed = self.indexed.clone();
        if let Some(bytes) = splice::stamp(&indexed.bytes, revision) {
            indexed.bytes = bytes;
        }
        Self {
            key: self.key.clone(),
            create_revision: self.create_revision,
            mod_revision: revision,
            indexed,
            encoded: OnceLock::new(),
        }
    }

    /// The same state in the one other representation that the callers agree on, made when it is first asked for and kept
    /// as long as the object.
    ///
    /// # Errors
    /// Those of `encode`; then nothing is kept.
    pub fn encoded<E>(&self, encode: impl FnOnce() -> Result<Bytes, E>) -> Result<&Bytes, E> {
        match self.encoded.get() {
            Some(bytes) => Ok(bytes),
            None => {
                let bytes = encode()?;
                Ok(self.encoded.get_or_init(|| bytes))
            }
        }
    }

    /// The JSON, with `metadata.resourceVersion` set. Cloning it shares the memory.
    pub fn bytes(&self) -> &Bytes {
        &self.indexed.bytes
    }

    /// Empty for objects of the whole cluster.
    pub fn namespace(&self) -> &str {
        &self.indexed.namespace
    }

    pub fn name(&self) -> &str {
        &self.indexed.name
    }

    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.indexed.labels.iter().map(|(name, value)| (&**name, &**value))
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels().find_map(|(label, value)| (label == name).then_some(value))
    }

    /// A selectable field; `metadata.name` and `metadata.namespace` always are.
    pub fn field(&self, name: &str) -> Option<&str> {
        match name {
            "metadata.name" => Some(self.name()),
            "metadata.namespace" => Some(self.namespace()),
            _ => self.indexed.fields.iter().find_map(|(field, value)| (**field == *name).then_some(&**value)),
        }
    }
}

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Modified,
    Deleted,
}

/// One change, shared by all watchers.
#[derive(Debug)]
pub struct CacheEvent {
    pub change: Change,
    /// The revision of the change.
    pub revision: Revision,
    /// The state after the change; for [`Change::Deleted`] the last state, carrying the deletion's revision.
    pub object: Arc<Object>,
    /// The state before, none for [`Change::Added`].
    pub old: Option<Arc<Object>>,
    encodings: Mutex<Vec<(u32, Bytes)>>,
}

impl CacheEvent {
    /// An object was written over `old`, or is new.
    pub(super) fn put(object: Arc<Object>, old: Option<Arc<Object>>) -> Self {
        let change = if old.is_some() { Change::Modified } else { Change::Added };
        Self { change, revision: object.mod_revision, object, old, encodings: Mutex::default() }
    }

    /// `old` was deleted.
    pub(super) fn deletion(old: Arc<Object>, revision: Revision) -> Self {
        let object = Arc::new(old.restamped(revision));
        Self { change: Change::Deleted, revision, object, old: Some(old), encodings: Mutex::default() }
    }

    /// The encoding of this event for `slot`, made by the first watcher that asks and shared with the others.
    ///
    /// What a slot means is the caller's affair; all callers of a cache must agree. Plain JSON needs no slot: send
    /// `{"type":…,"object":`, the object's shared bytes, `}` one after the other.
    pub fn encoded(&self, slot: u32, encode: impl FnOnce() -> Bytes) -> Bytes {
        let mut encodings = self.encodings.lock();
        if let Some((_, bytes)) = encodings.iter().find(|(have, _)| *have == slot) {
            return bytes.clone();
        }
        let bytes = encode();
        encodings.push((slot, bytes.clone()));
        bytes
    }

    /// The old state carrying the change's revision: what a watcher is told as DELETED when a modification takes the
    /// object out of its selection.
    pub fn old_as_deleted(&self) -> Option<Arc<Object>> {
        self.old.as_ref().map(|old| Arc::new(old.restamped(self.revision)))
    }

    /// Frees the shared encodings; late watchers make their own.
    pub(super) fn forget_encodings(&self) {
        *self.encodings.lock() = Vec::new();
    }
}
