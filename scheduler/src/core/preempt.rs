//! Room for an important pod: whom to evict, and where that costs least (upstream's plugin DefaultPreemption).

use std::sync::Arc;

use super::budget;
use super::cluster::Cluster;
use super::diagnosis::{Diagnosis, preemption_message};
use super::filter::Prepared;
use super::node::NodeInfo;
use super::pod::PodInfo;
use super::volumes::restrictions;

#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: String,
    /// The most important one first.
    pub victims: Vec<Arc<PodInfo>>,
    /// So many of them go against a PodDisruptionBudget.
    pub violations: usize,
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
            Some((victims, violations)) if !victims.is_empty() => {
                found.push(Preemption { node: name.clone(), victims, violations });
            }
            _ => reasons.push(NO_VICTIMS),
        }
    }
    found
        .into_iter()
        .min_by_key(|candidate| {
            let victims = &candidate.victims;
            let worst = victims.iter().map(|victim| victim.priority).max();
            // None is below zero, so that a further victim never makes it less.
            let sum: i64 = victims.iter().map(|victim| i64::from(victim.priority) - i64::from(i32::MIN)).sum();
            let worst_ones = victims.iter().filter(|victim| Some(victim.priority) == worst);
            let earliest = worst_ones.map(|victim| victim.started).min().unwrap_or(0);
            // Fewest budgets broken, least important at worst, least important in sum, fewest, youngest.
            (candidate.violations, worst, sum, victims.len(), std::cmp::Reverse(earliest))
        })
        .ok_or_else(|| preemption_message(cluster.nodes.len(), &reasons))
}

/// The fewest pods to evict from `node`, and how many of them go against a budget: all less important ones go in thought, then
/// come back as long as there is room, those that break a budget first, else in order of importance.
fn victims(pod: &Arc<PodInfo>, node: &NodeInfo, cluster: &Cluster) -> Option<(Vec<Arc<PodInfo>>, usize)> {
    let mut lower: Vec<_> = node.pods.values().filter(|other| other.priority < pod.priority).cloned().collect();
    if lower.is_empty() {
        return None;
    }
    let mut trial = Trial::new(pod, node, cluster);
    lower.iter().for_each(|other| trial.remove(other));
    if !trial.fits() {
        return None;
    }
    let importance = |other: &Arc<PodInfo>| (std::cmp::Reverse(other.priority), other.started, other.uid.clone());
    lower.sort_by_key(importance);
    let mut stays = |other: &Arc<PodInfo>| {
        trial.add(other);
        let fits = trial.fits();
        if !fits {
            trial.remove(other);
        }
        fits
    };
    let (mut victims, others) = budget::split(lower, &cluster.budgets);
    victims.retain(|other| !stays(other));
    let violations = victims.len();
    victims.extend(others.into_iter().filter(|other| !stays(other)));
    victims.sort_by_key(importance);
    Some((victims, violations))
}

/// One node in thought, the rest of the cluster as it is.
struct Trial {
    pod: Arc<PodInfo>,
    cluster: Cluster,
    node: String,
}

impl Trial {
    /// Copies pods only if they matter beyond their node (affinity, spreading, claims); preemption is rare, scheduling is not.
    fn new(pod: &Arc<PodInfo>, node: &NodeInfo, cluster: &Cluster) -> Self {
        let wide = !pod.affinity.is_empty()
            || !pod.anti_affinity.is_empty()
            || pod.spread.iter().any(|constraint| constraint.required)
            || !cluster.objectors.is_empty()
            || restrictions::applies(pod, cluster);
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
