//! Watch events → plain changes: what a reader that keeps its own memory of a kind needs, and no more.
//!
//! A watch that starts anew lists everything again; what the new list leaves out was deleted meanwhile. [`Listing`]
//! remembers only names, and turns all this into [`Change::Set`] and [`Change::Gone`].

use std::collections::HashSet;

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// Namespace (empty for cluster-scoped kinds) and name.
pub type Key = (String, String);

/// What happened to one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change<K> {
    /// It is new, or has changed, or is merely listed again.
    Set(Key, Box<K>),
    Gone(Key),
}

/// The names of one kind's objects.
#[derive(Debug, Default)]
pub struct Listing {
    known: HashSet<Key>,
    unlisted: HashSet<Key>,
    complete: bool,
}

impl Listing {
    /// Whether the kind has been listed to its end at least once.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// The changes that `event` means.
    pub fn changes<K: ResourceExt>(&mut self, event: Event<K>) -> Vec<Change<K>> {
        match event {
            Event::Init => {
                self.unlisted = self.known.clone();
                Vec::new()
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let key = key_of(&object);
                self.unlisted.remove(&key);
                self.known.insert(key.clone());
                vec![Change::Set(key, Box::new(object))]
            }
            Event::InitDone => {
                self.complete = true;
                let gone = std::mem::take(&mut self.unlisted);
                self.known.retain(|key| !gone.contains(key));
                gone.into_iter().map(Change::Gone).collect()
            }
            Event::Delete(object) => {
                let key = key_of(&object);
                self.known.remove(&key);
                self.unlisted.remove(&key);
                vec![Change::Gone(key)]
            }
        }
    }
}

fn key_of<K: ResourceExt>(object: &K) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Namespace;

    fn object(name: &str) -> Namespace {
        serde_json::from_value(serde_json::json!({ "metadata": { "name": name } })).unwrap()
    }

    fn gone(changes: Vec<Change<Namespace>>) -> Vec<String> {
        let names = changes.into_iter().filter_map(|change| match change {
            Change::Gone((_, name)) => Some(name),
            Change::Set(..) => None,
        });
        names.collect()
    }

    #[test]
    fn what_a_new_list_leaves_out_is_gone() {
        let mut listing = Listing::default();
        for event in [Event::Init, Event::InitApply(object("a")), Event::InitApply(object("b")), Event::InitDone] {
            assert_eq!(gone(listing.changes(event)), [""; 0]);
        }
        assert!(listing.complete());
        listing.changes(Event::Apply(object("c")));
        for event in [Event::Init, Event::InitApply(object("b"))] {
            assert_eq!(gone(listing.changes(event)), [""; 0]);
        }
        let mut left = gone(listing.changes(Event::<Namespace>::InitDone));
        left.sort();
        assert_eq!(left, ["a", "c"]);
        assert_eq!(gone(listing.changes(Event::Delete(object("b")))), ["b"]);
    }
}
