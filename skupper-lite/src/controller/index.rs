//! Watch → memory: everything a namespace's Site is made of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, Service};
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt};

use crate::api::{AccessGrant, AccessToken, Connector, Link, Listener, RouterAccess, Site};

/// One watched kind, by namespace and name.
#[derive(Debug)]
pub struct Table<K> {
    objects: BTreeMap<String, BTreeMap<String, Arc<K>>>,
    relist: Option<Vec<K>>,
    synced: bool,
}

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self { objects: BTreeMap::new(), relist: None, synced: false }
    }
}

impl<K: ResourceExt> Table<K> {
    /// Takes an event in; returns the namespaces it touched.
    fn on(&mut self, event: Event<K>) -> Vec<String> {
        match event {
            Event::Init => {
                self.relist = Some(Vec::new());
                Vec::new()
            }
            Event::InitApply(object) => {
                self.relist.get_or_insert_default().push(object);
                Vec::new()
            }
            Event::InitDone => {
                let mut touched: BTreeSet<String> = std::mem::take(&mut self.objects).into_keys().collect();
                for object in self.relist.take().unwrap_or_default() {
                    touched.extend(self.put(object));
                }
                self.synced = true;
                touched.into_iter().collect()
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => {
                let namespace = object.namespace().unwrap_or_default();
                if let Some(objects) = self.objects.get_mut(&namespace) {
                    objects.remove(&object.name_any());
                }
                vec![namespace]
            }
        }
    }

    fn put(&mut self, object: K) -> Vec<String> {
        let namespace = object.namespace().unwrap_or_default();
        self.objects.entry(namespace.clone()).or_default().insert(object.name_any(), Arc::new(object));
        vec![namespace]
    }

    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        self.objects.get(namespace)?.get(name)
    }

    /// All of a namespace, by name.
    pub fn of(&self, namespace: &str) -> impl Iterator<Item = &Arc<K>> {
        self.objects.get(namespace).into_iter().flat_map(BTreeMap::values)
    }

    pub fn all(&self) -> impl Iterator<Item = &Arc<K>> {
        self.objects.values().flat_map(BTreeMap::values)
    }
}

macro_rules! index {
    ($($field:ident: $kind:ident),* $(,)?) => {
        /// An event of any watched kind.
        #[expect(clippy::large_enum_variant, reason = "it is moved once, from the watch into the table")]
        pub enum Watched { $($kind(Event<$kind>)),* }

        /// All watched objects.
        #[derive(Debug, Default)]
        pub struct Index { $(pub $field: Table<$kind>),* }

        impl Index {
            /// Takes an event in; returns the namespaces it touched (an empty name for a cluster-scoped kind).
            pub fn on(&mut self, event: Watched) -> Vec<String> {
                match event { $(Watched::$kind(event) => self.$field.on(event)),* }
            }

            /// Whether every kind has been listed once.
            pub fn synced(&self) -> bool {
                true $(&& self.$field.synced)*
            }
        }
    };
}

index! {
    sites: Site,
    links: Link,
    listeners: Listener,
    connectors: Connector,
    grants: AccessGrant,
    tokens: AccessToken,
    accesses: RouterAccess,
    services: Service,
    pods: Pod,
    secrets: Secret,
    maps: ConfigMap,
    nodes: Node,
}

impl Index {
    /// The namespace's one active site: the oldest.
    pub fn site(&self, namespace: &str) -> Option<&Arc<Site>> {
        let age = |site: &&Arc<Site>| (site.meta().creation_timestamp.clone(), site.name_any());
        self.sites.of(namespace).filter(|site| site.meta().deletion_timestamp.is_none()).min_by_key(age)
    }
}
