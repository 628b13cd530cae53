//! Watches → memory: the world as it is, and which units a change touches.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::core::SelectorExt;
use kube::runtime::watcher::Event;
use runtime::listing::{Change, Key, Listing};

use crate::compile::{Program, World};
use crate::model::{Labels, PodInfo, Policy};
use crate::table::Unit;

/// A change of one of the watched kinds.
pub enum Update {
    Pod(Box<Event<Pod>>),
    Policy(Box<Event<NetworkPolicy>>),
    Namespace(Box<Event<Namespace>>),
}

/// All that is known, and what of it is not compiled yet.
#[derive(Default)]
pub struct Index {
    node: String,
    world: World,
    pods: Listing,
    policies: Listing,
    namespaces: Listing,
    dirty: BTreeSet<Unit>,
}

impl Index {
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self { node: node.to_owned(), ..Self::default() }
    }

    /// Whether all kinds have been listed.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.pods.complete() && self.policies.complete() && self.namespaces.complete()
    }

    /// Takes one update in.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Pod(event) => {
                for change in self.pods.changes(*event) {
                    match change {
                        Change::Set(key, pod) => self.set_pod(key, PodInfo::of(&pod, &self.node)),
                        Change::Gone(key) => self.set_pod(key, None),
                    }
                }
            }
            Update::Policy(event) => {
                for change in self.policies.changes(*event) {
                    match change {
                        Change::Set(key, policy) => self.set_policy(key, Policy::of(&policy)),
                        Change::Gone(key) => self.set_policy(key, None),
                    }
                }
            }
            Update::Namespace(event) => {
                for change in self.namespaces.changes(*event) {
                    match change {
                        Change::Set((_, name), object) => {
                            self.set_namespace(name, Some(object.metadata.labels.unwrap_or_default()));
                        }
                        Change::Gone((_, name)) => self.set_namespace(name, None),
                    }
                }
            }
        }
    }

    fn set_pod(&mut self, key: Key, pod: Option<PodInfo>) {
        let before = match &pod {
            Some(pod) => self.world.pods.insert(key.clone(), pod.clone()),
            None => self.world.pods.remove(&key),
        };
        if before == pod {
            return;
        }
        for state in before.iter().chain(&pod) {
            self.touch_policies_with_peer(&key.0, &state.labels);
            if state.local {
                self.dirty.insert(Unit::Pod(key.clone()));
            }
        }
    }

    fn set_policy(&mut self, key: Key, policy: Option<Policy>) {
        let before = match &policy {
            Some(policy) => self.world.policies.insert(key.clone(), policy.clone()),
            None => self.world.policies.remove(&key),
        };
        if before == policy {
            return;
        }
        let local = self.world.pods.iter().filter(|(pod, info)| info.local && pod.0 == key.0);
        let selected = |info: &PodInfo| before.iter().chain(&policy).any(|policy| policy.pods.matches(&info.labels));
        self.dirty.extend(local.filter(|(_, info)| selected(info)).map(|(pod, _)| Unit::Pod(pod.clone())));
        self.dirty.insert(Unit::Policy(key));
    }

    fn set_namespace(&mut self, name: String, labels: Option<Labels>) {
        let before = match &labels {
            Some(labels) => self.world.namespaces.insert(name, labels.clone()),
            None => self.world.namespaces.remove(&name),
        };
        // Labels decide which policies see the namespace's pods; sets that stay equal cost nothing in the kernel.
        if before != labels {
            self.dirty.extend(self.world.policies.keys().cloned().map(Unit::Policy));
        }
    }

    fn touch_policies_with_peer(&mut self, namespace: &str, labels: &Labels) {
        let none = Labels::new();
        let namespace_labels = self.world.namespaces.get(namespace).unwrap_or(&none);
        let touched = self
            .world
            .policies
            .iter()
            .filter(|((own, _), policy)| policy.peers_with(own, namespace, namespace_labels, labels));
        self.dirty.extend(touched.map(|(key, _)| Unit::Policy(key.clone())));
    }

    /// Compiles what changed since the last call; none for what is gone.
    pub fn changes(&mut self) -> Vec<(Unit, Option<Program>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|unit| (unit.clone(), self.compile(&unit))).collect()
    }

    /// Compiles everything.
    pub fn all(&mut self) -> Vec<(Unit, Program)> {
        self.dirty.clear();
        let policies = self.world.policies.keys().cloned().map(Unit::Policy);
        let pods = self.world.pods.keys().cloned().map(Unit::Pod);
        policies.chain(pods).filter_map(|unit| self.compile(&unit).map(|program| (unit, program))).collect()
    }

    fn compile(&self, unit: &Unit) -> Option<Program> {
        match unit {
            Unit::Policy(key) => self.world.policy(key),
            Unit::Pod(key) => self.world.pod(key),
        }
    }
}
