//! Watch → memory: the objects the configuration is made of, each kind in one table.
//!
//! A relist is collected aside and swapped in when it is complete, so a reader never sees half a cluster.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

/// Namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub namespace: String,
    pub name: String,
}

impl Key {
    pub fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    pub fn of(object: &impl ResourceExt) -> Self {
        Self { namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One watched kind.
#[derive(Debug)]
pub struct Table<K> {
    objects: BTreeMap<Key, Arc<K>>,
    relist: Option<BTreeMap<Key, Arc<K>>>,
    synced: bool,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), relist: None, synced: false }
    }
}

/// What an event changed.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    Nothing,
    One(Key),
    /// A relist: anything may have changed.
    All,
}

impl<K: Resource<DynamicType = ()>> Table<K> {
    pub fn on(&mut self, event: Event<K>) -> Change {
        match event {
            Event::Init => {
                self.relist = Some(BTreeMap::new());
                Change::Nothing
            }
            Event::InitApply(object) => {
                self.relist.get_or_insert_default().insert(Key::of(&object), Arc::new(object));
                Change::Nothing
            }
            Event::InitDone => {
                self.objects = self.relist.take().unwrap_or_default();
                self.synced = true;
                Change::All
            }
            Event::Apply(object) => {
                let key = Key::of(&object);
                self.objects.insert(key.clone(), Arc::new(object));
                Change::One(key)
            }
            Event::Delete(object) => {
                let key = Key::of(&object);
                self.objects.remove(&key);
                Change::One(key)
            }
        }
    }
}

/// An event of any of the watched kinds.
#[expect(clippy::large_enum_variant, reason = "it is moved once, from the watch into the table")]
pub enum Watched {
    Ingress(Event<Ingress>),
    Class(Event<IngressClass>),
    Service(Event<Service>),
    Slice(Event<EndpointSlice>),
    Secret(Event<Secret>),
}

/// A [`Change`] with its kind; slices are told as their Service.
#[derive(Debug, PartialEq, Eq)]
pub enum Touched {
    Ingress(Change),
    Class(Change),
    Service(Change),
    Secret(Change),
}

/// All watched objects.
#[derive(Debug, Default)]
pub struct Index {
    ingresses: Table<Ingress>,
    classes: Table<IngressClass>,
    services: Table<Service>,
    slices: Table<EndpointSlice>,
    secrets: Table<Secret>,
    slices_by_service: HashMap<Key, BTreeSet<Key>>,
}

impl Index {
    /// Takes one event in and says what it touched.
    pub fn on(&mut self, event: Watched) -> Touched {
        match event {
            Watched::Ingress(event) => Touched::Ingress(self.ingresses.on(event)),
            Watched::Class(event) => Touched::Class(self.classes.on(event)),
            Watched::Service(event) => Touched::Service(self.services.on(event)),
            Watched::Secret(event) => Touched::Secret(self.secrets.on(event)),
            Watched::Slice(event) => Touched::Service(self.on_slice(event)),
        }
    }

    fn on_slice(&mut self, event: Event<EndpointSlice>) -> Change {
        let owner = match &event {
            Event::Apply(slice) | Event::Delete(slice) => service_of(slice),
            _ => None,
        };
        let deleted = matches!(event, Event::Delete(_));
        match self.slices.on(event) {
            Change::One(slice) => {
                let Some(owner) = owner else { return Change::Nothing };
                let known = self.slices_by_service.entry(owner.clone()).or_default();
                let _ = if deleted { known.remove(&slice) } else { known.insert(slice) };
                if known.is_empty() {
                    self.slices_by_service.remove(&owner);
                }
                Change::One(owner)
            }
            Change::All => {
                self.slices_by_service.clear();
                for (key, slice) in &self.slices.objects {
                    if let Some(owner) = service_of(slice) {
                        self.slices_by_service.entry(owner).or_default().insert(key.clone());
                    }
                }
                Change::All
            }
            Change::Nothing => Change::Nothing,
        }
    }

    /// Whether every kind has been listed once: before that, absence means nothing.
    pub fn synced(&self) -> bool {
        self.ingresses.synced
            && self.classes.synced
            && self.services.synced
            && self.slices.synced
            && self.secrets.synced
    }

    pub fn ingresses(&self) -> impl Iterator<Item = &Arc<Ingress>> {
        self.ingresses.objects.values()
    }

    pub fn ingress(&self, key: &Key) -> Option<&Arc<Ingress>> {
        self.ingresses.objects.get(key)
    }

    pub fn classes(&self) -> impl Iterator<Item = &IngressClass> {
        self.classes.objects.values().map(|class| &**class)
    }

    pub fn class(&self, name: &str) -> Option<&IngressClass> {
        self.classes.objects.get(&Key::new("", name)).map(|class| &**class)
    }

    pub fn service(&self, key: &Key) -> Option<&Service> {
        self.services.objects.get(key).map(|service| &**service)
    }

    pub fn secret(&self, key: &Key) -> Option<&Secret> {
        self.secrets.objects.get(key).map(|secret| &**secret)
    }

    pub fn slices(&self, service: &Key) -> impl Iterator<Item = &EndpointSlice> {
        let keys = self.slices_by_service.get(service).into_iter().flatten();
        keys.filter_map(|key| self.slices.objects.get(key)).map(|slice| &**slice)
    }
}

fn service_of(slice: &EndpointSlice) -> Option<Key> {
    let name = slice.labels().get("kubernetes.io/service-name")?;
    Some(Key::new(&slice.namespace().unwrap_or_default(), name))
}
