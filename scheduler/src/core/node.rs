//! A node, and what the pods on it leave free.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Taint};

use super::pod::PodInfo;
use super::resources::{Resources, units};

#[derive(Clone, Debug)]
pub struct NodeInfo {
    pub name: String,
    pub node: Arc<Node>,
    pub allocatable: Resources,
    pub most_pods: i64,
    pub requested: Resources,
    /// CPU and memory requested, with guesses for those who request none.
    pub guessed: (i64, i64),
    /// The pods here, by uid.
    pub pods: BTreeMap<String, Arc<PodInfo>>,
    /// How many pods of each owner are here to stay: one that is being deleted keeps no sibling away.
    pub owners: HashMap<String, i64>,
    /// Pods that will be here as soon as those they preempt are gone.
    pub nominated: BTreeMap<String, Arc<PodInfo>>,
}

impl NodeInfo {
    #[must_use]
    pub fn new(node: Arc<Node>) -> Self {
        let mut info = Self {
            name: node.metadata.name.clone().unwrap_or_default(),
            node: node.clone(),
            allocatable: Resources::default(),
            most_pods: 0,
            requested: Resources::default(),
            guessed: (0, 0),
            pods: BTreeMap::new(),
            owners: HashMap::new(),
            nominated: BTreeMap::new(),
        };
        info.update(node);
        info
    }

    pub fn update(&mut self, node: Arc<Node>) {
        let status = node.status.as_ref();
        let list = status.and_then(|status| status.allocatable.as_ref().or(status.capacity.as_ref()));
        self.allocatable = Resources::parse(list);
        self.most_pods = list.and_then(|list| list.get("pods")).and_then(|pods| units(&pods.0)).unwrap_or(0);
        self.node = node;
    }

    #[must_use]
    pub fn taints(&self) -> &[Taint] {
        self.node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.node.metadata.labels.as_ref()?.get(key).map(String::as_str)
    }

    pub fn add(&mut self, pod: Arc<PodInfo>) {
        self.remove(&pod.uid);
        self.requested.add(&pod.requests);
        self.guessed = (self.guessed.0 + pod.guess.0, self.guessed.1 + pod.guess.1);
        if let Some(owner) = pod.owner.as_ref().filter(|_| !pod.deleting) {
            *self.owners.entry(owner.clone()).or_insert(0) += 1;
        }
        self.nominated.remove(&pod.uid);
        self.pods.insert(pod.uid.clone(), pod);
    }

    pub fn remove(&mut self, uid: &str) -> Option<Arc<PodInfo>> {
        let pod = self.pods.remove(uid)?;
        self.requested.subtract(&pod.requests);
        self.guessed = (self.guessed.0 - pod.guess.0, self.guessed.1 - pod.guess.1);
        if let Some(owner) = pod.owner.as_ref().filter(|_| !pod.deleting)
            && let Some(count) = self.owners.get_mut(owner)
        {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(owner);
            }
        }
        Some(pod)
    }
}
