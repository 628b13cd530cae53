//! One pod, one decision: filter all nodes, score those left.

use std::sync::Arc;

use crate::core::cluster::Cluster;
use crate::core::diagnosis::Diagnosis;
use crate::core::filter::Prepared;
use crate::core::pod::PodInfo;
use crate::core::preempt::{Preemption, preempt};
use crate::core::score;
use crate::core::volumes::plan::Bindings;

pub enum Decision {
    /// On this node, after this has been done for its claims.
    Place(String, Bindings),
    /// There will be room once these are gone.
    Evict(Box<Diagnosis>, Preemption),
    Impossible(Box<Diagnosis>),
}

/// Where `pod` goes, or why it cannot. A pod that waited for its victims gets the node they left, if it fits there now.
#[must_use]
pub fn decide(pod: &Arc<PodInfo>, cluster: &Cluster) -> Decision {
    let mut diagnosis = Diagnosis { nodes: cluster.nodes.len(), ..Diagnosis::default() };
    match Prepared::new(pod, cluster) {
        Err(refusal) => diagnosis.general = Some(refusal),
        Ok(prepared) => {
            let promised = pod.nominated.as_ref().and_then(|name| cluster.nodes.get(name));
            if let Some(node) = promised.filter(|node| prepared.refuse(node).is_none()) {
                return Decision::Place(node.name.clone(), prepared.bindings(node));
            }
            let mut feasible = Vec::new();
            for (name, node) in &cluster.nodes {
                match prepared.refuse(node) {
                    None => feasible.push(node),
                    Some(refusal) => drop(diagnosis.refusals.insert(name.clone(), refusal)),
                }
            }
            if let Some(node) = score::best(pod, &feasible, cluster) {
                return Decision::Place(node.name.clone(), prepared.bindings(node));
            }
        }
    }
    match preempt(pod, cluster, &diagnosis) {
        Ok(preemption) => Decision::Evict(Box::new(diagnosis), preemption),
        Err(message) => {
            diagnosis.preemption = message;
            Decision::Impossible(Box::new(diagnosis))
        }
    }
}
