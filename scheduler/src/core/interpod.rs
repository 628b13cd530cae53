//! Pods that want to be together, or apart (upstream's plugin InterPodAffinity).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::cluster::Cluster;
use super::filter::{Plugin, Refusal};
use super::node::NodeInfo;
use super::pod::PodInfo;

/// A place at the granularity of one topology key: (key, value).
type Domain = (String, String);

/// Computed once a pod, from the pods its terms mean and from those that object to it.
#[derive(Default)]
pub struct InterPod {
    pod: Option<Arc<PodInfo>>,
    /// For each required affinity term, the domains with a pod it means.
    together: Vec<HashSet<Domain>>,
    /// The pod itself satisfies all its terms and nobody else does anywhere: the first of its group may go anywhere.
    first: bool,
    apart: Vec<HashSet<Domain>>,
    /// Domains where a pod lives that wants to be apart from this one.
    objected: HashSet<Domain>,
}

fn domain(node: &NodeInfo, key: &str) -> Option<Domain> {
    node.label(key).map(|value| (key.to_owned(), value.to_owned()))
}

impl InterPod {
    #[must_use]
    pub fn new(pod: &Arc<PodInfo>, cluster: &Cluster) -> Self {
        let mut state = Self { pod: Some(pod.clone()), ..Self::default() };
        for (node, objector) in cluster.objectors.values() {
            let Some(node) = cluster.nodes.get(node) else { continue };
            for term in objector.anti_affinity.iter().filter(|term| term.means(pod, &cluster.namespaces)) {
                state.objected.extend(domain(node, &term.topology_key));
            }
        }
        if pod.affinity.is_empty() && pod.anti_affinity.is_empty() {
            return state;
        }
        state.together = vec![HashSet::new(); pod.affinity.len()];
        state.apart = vec![HashSet::new(); pod.anti_affinity.len()];
        for (node, other) in cluster.pods() {
            // Affinity is to pods that all terms mean (upstream's rule).
            if !pod.affinity.is_empty() && pod.affinity.iter().all(|term| term.means(other, &cluster.namespaces)) {
                for (term, domains) in pod.affinity.iter().zip(&mut state.together) {
                    domains.extend(domain(node, &term.topology_key));
                }
            }
            for (term, domains) in pod.anti_affinity.iter().zip(&mut state.apart) {
                if term.means(other, &cluster.namespaces) {
                    domains.extend(domain(node, &term.topology_key));
                }
            }
        }
        state.first = state.together.iter().all(HashSet::is_empty)
            && pod.affinity.iter().all(|term| term.means(pod, &cluster.namespaces));
        state
    }

    #[must_use]
    pub fn refuse(&self, node: &NodeInfo) -> Option<Refusal> {
        let pod = self.pod.as_ref()?;
        let refuse = |reason: &str, resolvable| Some(Refusal::new(Plugin::InterPodAffinity, reason, resolvable));
        for (term, domains) in pod.affinity.iter().zip(&self.together) {
            let here = domain(node, &term.topology_key);
            if !here.is_some_and(|here| self.first || domains.contains(&here)) {
                return refuse("node(s) didn't match pod affinity rules", false);
            }
        }
        for (term, domains) in pod.anti_affinity.iter().zip(&self.apart) {
            if domain(node, &term.topology_key).is_some_and(|here| domains.contains(&here)) {
                return refuse("node(s) didn't match pod anti-affinity rules", true);
            }
        }
        let objected = self.objected.iter().any(|(key, value)| node.label(key) == Some(value));
        if objected {
            return refuse("node(s) didn't satisfy existing pods anti-affinity rules", true);
        }
        None
    }
}

/// The sum of the pod's preferred terms for each domain.
#[must_use]
pub fn preferences(pod: &PodInfo, cluster: &Cluster) -> HashMap<Domain, i64> {
    let mut sums = HashMap::new();
    if pod.preferred.is_empty() {
        return sums;
    }
    for (node, other) in cluster.pods() {
        for term in pod.preferred.iter().filter(|term| term.means(other, &cluster.namespaces)) {
            if let Some(here) = domain(node, &term.topology_key) {
                *sums.entry(here).or_insert(0) += i64::from(term.weight);
            }
        }
    }
    sums
}
