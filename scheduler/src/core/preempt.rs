//! Room for an important pod: whom to evict, and where that costs least (upstream's plugin DefaultPreemption).

use std::sync::Arc;

use super::cluster::Cluster;
use super::diagnosis::{Diagnosis, preemption_message};
use super::filter::Prepared;
use super::node::NodeInfo;
use super::pod::PodInfo;

#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: String,
    pub victims: Vec<Arc<PodInfo>>,
}

const NOT_HELPFUL: &str = "Preemption is not helpful for scheduling";
const NO_VICTIMS: &str = "No preemption victims found for incoming pod";

/// The cheapest eviction that makes room.
///
/// # Errors
/// What the Event says when there is none.
pub fn preempt(pod: &Arc<PodInfo>, cluster: &Cluster, diagnosis: &Diagnosis) -> Result<Preemption, String> {
    if !pod.preempts {
        return Err("preemption: not eligible due to preemptionPolicy=Never.".to_owned());
    }
    // Those it has already evicted for are still leaving: wait for them.
    let leaving = pod
        .nominated
        .as_ref()
        .and_then(|node| cluster.nodes.get(node))
        .is_some_and(|node| node.pods.values().any(|other| other.deleting && other.priority < pod.priority));
    if leaving {
        return Err("preemption: not eligible due to a terminating pod on the nominated node.".to_owned());
    }
    let mut reasons = Vec::new();
    let mut found = Vec::new();
    for (name, node) in &cluster.nodes {
        if diagnosis.general.is_some() || diagnosis.refusals.get(name).is_none_or(|refusal| !refusal.resolvable) {
            reasons.push(NOT_HELPFUL);
            continue;
        }
        match victims(pod, node, cluster) {
            Some(victims) if !victims.is_empty() => found.push(Preemption { node: name.clone(), victims }),
            _ => reasons.push(NO_VICTIMS),
        }
    }
    found
        .into_iter()
        .min_by_key(|candidate| {
            let priorities = || candidate.victims.iter().map(|victim| i64::from(victim.priority));
            let earliest = candidate.victims.iter().map(|victim| victim.started).min().unwrap_or(0);
            // Least important at worst, least important in sum, fewest, youngest.
            (priorities().max(), priorities().sum::<i64>(), candidate.victims.len(), -earliest)
        })
        .ok_or_else(|| preemption_message(cluster.nodes.len(), &reasons))
}

/// The fewest pods to evict from `node`: all less important ones go in thought, then come back in order of importance as
/// long as there is room.
fn victims(pod: &Arc<PodInfo>, node: &NodeInfo, cluster: &Cluster) -> Option<Vec<Arc<PodInfo>>> {
    let mut lower: Vec<_> = node.pods.values().filter(|other| other.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return None;
    }
    let mut trial = Trial::new(pod, node, cluster);
    lower.iter().for_each(|other| trial.remove(other));
    if !trial.fits() {
        return None;
    }
    lower.sort_by_key(|other| (std::cmp::Reverse(other.priority), other.started, other.uid.clone()));
    let mut victims = Vec::new();
    for other in lower {
        trial.add(&other);
        if !trial.fits() {
            trial.remove(&other);
            victims.push(other);
        }
    }
    Some(victims)
}

/// One node in thought, the rest of the cluster as it is.
struct Trial {
    pod: Arc<PodInfo>,
    cluster: Cluster,
    node: String,
}

impl Trial {
    /// Copies pods only if they matter beyond their node (affinity, spreading); preemption is rare, scheduling is not.
    fn new(pod: &Arc<PodInfo>, node: &NodeInfo, cluster: &Cluster) -> Self {
        let wide = !pod.affinity.is_empty()
            || !pod.anti_affinity.is_empty()
            || pod.spread.iter().any(|constraint| constraint.required)
            || !cluster.objectors.is_empty();
        let mut copy = Cluster::default();
        copy.namespaces.clone_from(&cluster.namespaces);
        copy.storage.clone_from(&cluster.storage);
        for other in cluster.nodes.values().filter(|other| wide || other.name == node.name) {
            copy.set_node(other.node.clone());
            for (uid, waiting) in &other.nominated {
                if let Some(info) = copy.nodes.get_mut(&other.name) {
                    info.nominated.insert(uid.clone(), waiting.clone());
                }
            }
            other.pods.values().for_each(|placed| copy.set_pod(placed.clone()));
        }
        Self { pod: pod.clone(), cluster: copy, node: node.name.clone() }
    }

    fn remove(&mut self, other: &Arc<PodInfo>) {
        self.cluster.remove_pod(&other.uid);
    }

    fn add(&mut self, other: &Arc<PodInfo>) {
        self.cluster.set_pod(other.clone());
    }

    fn fits(&self) -> bool {
        let Some(node) = self.cluster.nodes.get(&self.node) else { return false };
        Prepared::new(&self.pod, &self.cluster).is_ok_and(|prepared| prepared.refuse(node).is_none())
    }
}
