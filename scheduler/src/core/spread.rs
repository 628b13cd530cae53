//! Even spreading over zones, nodes or whatever a label names (upstream's plugin PodTopologySpread).

use std::collections::HashMap;
use std::sync::Arc;

use kube::core::SelectorExt;

use super::cluster::Cluster;
use super::filter::{Plugin, Refusal};
use super::matching::{untolerated, wants_node};
use super::node::NodeInfo;
use super::pod::{PodInfo, Spread};

/// How many matching pods each domain of one constraint has.
struct Counts {
    constraint: Spread,
    by_value: HashMap<String, i64>,
    /// The pod itself counts where it goes, if it matches its own selector (it nearly always does).
    own: i64,
}

#[derive(Default)]
pub struct SpreadState {
    counts: Vec<Counts>,
}

fn count(pod: &Arc<PodInfo>, constraint: &Spread, all: &[Spread], cluster: &Cluster) -> Counts {
    let mut by_value = HashMap::new();
    let matches = |other: &PodInfo| {
        other.namespace == pod.namespace
            && !other.deleting
            && constraint.selector.as_ref().is_some_and(|selector| selector.matches(&other.labels))
    };
    for node in cluster.nodes.values() {
        let counted = all.iter().all(|constraint| node.label(&constraint.topology_key).is_some())
            && (!constraint.honor_affinity || pod.spec.as_ref().is_none_or(|spec| wants_node(spec, &node.node)))
            && (!constraint.honor_taints
                || untolerated(&pod.tolerations, node.taints(), &["NoSchedule", "NoExecute"]).is_none());
        let Some(value) = node.label(&constraint.topology_key).filter(|_| counted) else { continue };
        let here = node.pods.values().filter(|other| matches(other)).count();
        *by_value.entry(value.to_owned()).or_insert(0) += i64::try_from(here).unwrap_or(i64::MAX);
    }
    Counts { constraint: constraint.clone(), by_value, own: i64::from(matches(pod)) }
}

impl SpreadState {
    #[must_use]
    pub fn new(pod: &Arc<PodInfo>, cluster: &Cluster) -> Self {
        let required: Vec<Spread> = pod.spread.iter().filter(|constraint| constraint.required).cloned().collect();
        Self { counts: required.iter().map(|constraint| count(pod, constraint, &required, cluster)).collect() }
    }

    #[must_use]
    pub fn refuse(&self, node: &NodeInfo) -> Option<Refusal> {
        for Counts { constraint, by_value, own } in &self.counts {
            let refuse = |reason: &str, resolvable| Some(Refusal::new(Plugin::PodTopologySpread, reason, resolvable));
            let Some(value) = node.label(&constraint.topology_key) else {
                return refuse("node(s) didn't match pod topology spread constraints (missing required label)", false);
            };
            let too_few = i64::try_from(by_value.len()).unwrap_or(i64::MAX) < i64::from(constraint.min_domains);
            let least = if too_few { 0 } else { by_value.values().min().copied().unwrap_or(0) };
            let here = by_value.get(value).copied().unwrap_or(0);
            if here + own - least > i64::from(constraint.max_skew) {
                return refuse("node(s) didn't match pod topology spread constraints", true);
            }
        }
        None
    }
}

/// For each `ScheduleAnyway` constraint: key, and matching pods by value.
#[must_use]
pub fn preferences(pod: &Arc<PodInfo>, cluster: &Cluster) -> Vec<(String, HashMap<String, i64>)> {
    let wished: Vec<Spread> = pod.spread.iter().filter(|constraint| !constraint.required).cloned().collect();
    wished
        .iter()
        .map(|constraint| (constraint.topology_key.clone(), count(pod, constraint, &wished, cluster).by_value))
        .collect()
}
