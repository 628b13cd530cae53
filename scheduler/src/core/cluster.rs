//! All nodes with all their pods: the watched state plus what has been decided and not yet been heard of.
//!
//! A pod is *assumed* on its node from the decision until the watch confirms it, so that the next pod sees it there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::Node;

use super::budget::Budget;
use super::node::NodeInfo;
use super::pod::PodInfo;
use super::volumes::Storage;

#[derive(Default)]
pub struct Cluster {
    pub nodes: BTreeMap<String, NodeInfo>,
    /// Where each placed pod is, by uid. Pods of nodes not seen yet wait in `homeless`.
    places: HashMap<String, String>,
    homeless: HashMap<String, Arc<PodInfo>>,
    /// Uids of assumed pods.
    assumed: HashMap<String, ()>,
    /// Placed pods with required anti-affinity: they may object to newcomers.
    pub objectors: BTreeMap<String, (String, Arc<PodInfo>)>,
    /// Labels of namespaces, for affinity terms that select by them.
    pub namespaces: BTreeMap<String, BTreeMap<String, String>>,
    pub storage: Storage,
    /// By namespace and name; preemption spares them where it can.
    pub budgets: BTreeMap<String, Budget>,
}

impl Cluster {
    pub fn set_node(&mut self, node: Arc<Node>) {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(known) = self.nodes.get_mut(&name) {
            known.update(node);
            return;
        }
        let mut info = NodeInfo::new(node);
        let here: Vec<_> = self
            .homeless
            .values()
            .filter(|pod| pod.node.as_deref() == Some(&name))
            .map(|pod| pod.uid.clone())
            .collect();
        for uid in here {
            if let Some(pod) = self.homeless.remove(&uid) {
                info.add(pod);
            }
        }
        self.nodes.insert(name, info);
    }

    /// Forgets a node; pods still said to be there are kept aside in case it returns.
    pub fn remove_node(&mut self, name: &str) {
        if let Some(info) = self.nodes.remove(name) {
            self.homeless.extend(info.pods);
        }
    }

    /// Takes the watched state of a pod that has a node.
    pub fn set_pod(&mut self, pod: Arc<PodInfo>) {
        let Some(node) = pod.node.clone() else { return };
        self.assumed.remove(&pod.uid);
        self.place(pod, node);
    }

    fn place(&mut self, pod: Arc<PodInfo>, node: String) {
        if self.places.get(&pod.uid).is_some_and(|known| *known != node) {
            self.displace(&pod.uid);
        }
        self.places.insert(pod.uid.clone(), node.clone());
        if !pod.anti_affinity.is_empty() {
            self.objectors.insert(pod.uid.clone(), (node.clone(), pod.clone()));
        }
        match self.nodes.get_mut(&node) {
            Some(info) => info.add(pod),
            None => drop(self.homeless.insert(pod.uid.clone(), pod)),
        }
    }

    /// Puts `pod` on `node` before the API server knows. Undone by [`forget`](Self::forget).
    pub fn assume(&mut self, pod: &Arc<PodInfo>, node: &str) {
        let mut placed = (**pod).clone();
        placed.node = Some(node.to_owned());
        placed.spec = None;
        self.assumed.insert(pod.uid.clone(), ());
        self.place(Arc::new(placed), node.to_owned());
    }

    /// Takes an assumed pod back, unless the watch has confirmed it meanwhile.
    pub fn forget(&mut self, uid: &str) {
        if self.assumed.remove(uid).is_some() {
            self.displace(uid);
        }
    }

    #[must_use]
    pub fn is_assumed(&self, uid: &str) -> bool {
        self.assumed.contains_key(uid)
    }

    /// Removes a pod that is gone or has ended. Says whether it had a place.
    pub fn remove_pod(&mut self, uid: &str) -> bool {
        self.assumed.remove(uid);
        self.displace(uid)
    }

    fn displace(&mut self, uid: &str) -> bool {
        self.homeless.remove(uid);
        self.objectors.remove(uid);
        let Some(node) = self.places.remove(uid) else { return false };
        if let Some(info) = self.nodes.get_mut(&node) {
            info.remove(uid);
        }
        true
    }

    /// Notes that `pod` waits for room on `node`; forgets where it waited before.
    pub fn nominate(&mut self, pod: &Arc<PodInfo>, node: Option<&str>) {
        for info in self.nodes.values_mut() {
            info.nominated.remove(&pod.uid);
        }
        if let Some(info) = node.and_then(|name| self.nodes.get_mut(name)) {
            info.nominated.insert(pod.uid.clone(), pod.clone());
        }
    }

    /// A pod that has a node.
    #[must_use]
    pub fn pod(&self, uid: &str) -> Option<&Arc<PodInfo>> {
        self.nodes.get(self.places.get(uid)?)?.pods.get(uid)
    }

    pub fn pods(&self) -> impl Iterator<Item = (&NodeInfo, &Arc<PodInfo>)> {
        self.nodes.values().flat_map(|node| node.pods.values().map(move |pod| (node, pod)))
    }
}
