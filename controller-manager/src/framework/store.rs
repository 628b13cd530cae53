//! The memory behind a kind: objects by key and by controlling owner, fed by the watch and by our own writes.
//!
//! Both feeds may bring the same state, in any order. Three rules keep the newest: a lower resourceVersion never replaces
//! a higher one of the same object, a removed uid never comes back, and a removal applies to the uid it names only.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::meta::{controller_of, key_of};

/// How many removed uids are remembered. A removal and its late echo are at most a few requests apart.
const TOMBSTONES: usize = 512;

/// What happened to one object. Created: no `old`. Removed: no `new`. Replaced by another of its name: two changes.
pub struct Change<'a, K> {
    pub old: Option<&'a Arc<K>>,
    pub new: Option<&'a Arc<K>>,
}

impl<'a, K> Change<'a, K> {
    /// The object as it is, or as it last was.
    pub fn object(&self) -> &'a Arc<K> {
        self.new.or(self.old).expect("a change has at least one side")
    }
}

/// A change that owns its sides, as [`Store`] returns it.
pub type Changed<K> = (Option<Arc<K>>, Option<Arc<K>>);

pub struct Store<K> {
    objects: BTreeMap<String, Arc<K>>,
    by_owner: HashMap<String, BTreeSet<String>>,
    tombstones: VecDeque<String>,
    meta: fn(&K) -> &ObjectMeta,
}

impl<K> Store<K> {
    pub fn new(meta: fn(&K) -> &ObjectMeta) -> Self {
        Self { objects: BTreeMap::new(), by_owner: HashMap::new(), tombstones: VecDeque::new(), meta }
    }

    pub fn get(&self, key: &str) -> Option<Arc<K>> {
        self.objects.get(key).cloned()
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// The objects of one namespace: keys from `ns/` up to `ns0`, the character after the slash.
    pub fn in_namespace<'s>(&'s self, namespace: &str) -> impl Iterator<Item = &'s Arc<K>> + use<'s, K> {
        let (from, to) = (format!("{namespace}/"), format!("{namespace}0"));
        self.objects.range((Bound::Included(from), Bound::Excluded(to))).map(|(_, object)| object)
    }

    /// The objects whose controller is `uid`; those without a controller are found under the empty uid.
    pub fn controlled_by(&self, uid: &str) -> impl Iterator<Item = &Arc<K>> {
        self.by_owner.get(uid).into_iter().flatten().filter_map(|key| self.objects.get(key))
    }

    fn uid<'a>(&self, object: &'a K) -> &'a str {
        (self.meta)(object).uid.as_deref().unwrap_or_default()
    }

    fn owner<'a>(&self, object: &'a K) -> &'a str {
        controller_of((self.meta)(object)).map_or("", |owner| owner.uid.as_str())
    }

    fn version(&self, object: &K) -> u64 {
        (self.meta)(object).resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(u64::MAX)
    }

    /// Takes a newer state of an object. Nothing is returned when it is not news.
    pub fn apply(&mut self, object: Arc<K>) -> Vec<Changed<K>> {
        let uid = self.uid(&object);
        if self.tombstones.iter().any(|dead| dead == uid) {
            return Vec::new();
        }
        let key = key_of((self.meta)(&object));
        let mut changes = Vec::new();
        let mut old = self.objects.get(&key).cloned();
        if let Some(known) = &old {
            if self.uid(known) != uid {
                // The same name, another object: the old one is gone, whatever the order of the news.
                if self.version(known) > self.version(&object) {
                    return Vec::new();
                }
                let gone = self.uid(known).to_owned();
                changes.extend(self.remove(&key, &gone));
                old = None;
            } else if self.version(known) >= self.version(&object) {
                return Vec::new();
            }
        }
        self.unlink(&key, old.as_deref());
        let owner = self.owner(&object).to_owned();
        self.by_owner.entry(owner).or_default().insert(key.clone());
        self.objects.insert(key, object.clone());
        changes.push((old, Some(object)));
        changes
    }

    /// Forgets the object `uid` at `key`, and remembers that this uid is dead.
    pub fn remove(&mut self, key: &str, uid: &str) -> Option<Changed<K>> {
        if !self.tombstones.iter().any(|dead| dead == uid) {
            self.tombstones.push_back(uid.to_owned());
            if self.tombstones.len() > TOMBSTONES {
                self.tombstones.pop_front();
            }
        }
        let known = self.objects.get(key).filter(|known| self.uid(known) == uid)?.clone();
        self.objects.remove(key);
        self.unlink(key, Some(&known));
        Some((Some(known), None))
    }

    fn unlink(&mut self, key: &str, object: Option<&K>) {
        let Some(owner) = object.map(|object| self.owner(object).to_owned()) else { return };
        if let Some(keys) = self.by_owner.get_mut(&owner) {
            keys.remove(key);
            if keys.is_empty() {
                self.by_owner.remove(&owner);
            }
        }
    }

    /// The whole truth after a (re)list: what is not in it is gone.
    pub fn replace(&mut self, objects: Vec<Arc<K>>) -> Vec<Changed<K>> {
        let kept: HashSet<String> = objects.iter().map(|object| self.uid(object).to_owned()).collect();
        let gone: Vec<(String, String)> = self
            .objects
            .iter()
            .map(|(key, object)| (key.clone(), self.uid(object).to_owned()))
            .filter(|(_, uid)| !kept.contains(uid))
            .collect();
        let mut changes: Vec<_> = gone.iter().filter_map(|(key, uid)| self.remove(key, uid)).collect();
        changes.extend(objects.into_iter().flat_map(|object| self.apply(object)));
        changes
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Pod;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    use super::*;

    fn pod(name: &str, uid: &str, version: &str, owner: Option<&str>) -> Arc<Pod> {
        let owner =
            owner.map(|uid| vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]);
        Arc::new(Pod {
            metadata: ObjectMeta {
                name: Some(name.into()),
                namespace: Some("ns".into()),
                uid: Some(uid.into()),
                resource_version: Some(version.into()),
                owner_references: owner,
                ..Default::default()
            },
            ..Default::default()
        })
    }

    fn store() -> Store<Pod> {
        Store::new(|pod| &pod.metadata)
    }

    #[test]
    fn older_news_and_dead_objects_are_ignored() {
        let mut store = store();
        assert_eq!(store.apply(pod("a", "1", "5", None)).len(), 1);
        assert!(store.apply(pod("a", "1", "5", None)).is_empty(), "the watch's echo of our own write");
        assert!(store.apply(pod("a", "1", "4", None)).is_empty());
        assert!(store.remove("ns/a", "1").is_some());
        assert!(store.apply(pod("a", "1", "6", None)).is_empty(), "a late echo must not bring it back");
        assert_eq!(store.apply(pod("a", "2", "7", None)).len(), 1);
        assert!(store.remove("ns/a", "1").is_none(), "the removal of the first must not hit the second");
        assert_eq!(store.len(), 1);
    }

    #[test]
    fn a_new_object_under_an_old_name_removes_the_old_one() {
        let mut store = store();
        store.apply(pod("a", "1", "5", Some("o")));
        let changes = store.apply(pod("a", "2", "8", None));
        assert_eq!(changes.len(), 2);
        assert!(changes[0].1.is_none() && changes[1].0.is_none());
        assert_eq!(store.controlled_by("o").count(), 0);
    }

    #[test]
    fn owners_and_namespaces_are_indexed() {
        let mut store = store();
        store.apply(pod("a", "1", "1", Some("o")));
        store.apply(pod("b", "2", "2", Some("o")));
        assert_eq!(store.controlled_by("o").count(), 2);
        store.apply(pod("a", "1", "3", None));
        assert_eq!(store.controlled_by("o").count(), 1);
        assert_eq!(store.in_namespace("ns").count(), 2);
        assert_eq!(store.in_namespace("n").count(), 0);
        assert_eq!(store.replace(vec![pod("b", "2", "2", Some("o"))]).len(), 1);
        assert_eq!(store.len(), 1);
    }
}
