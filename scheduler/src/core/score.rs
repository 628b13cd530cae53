//! Where a pod goes best, among the nodes that can take it. Every plugin scores 0 to 100; weights are upstream's
//! defaults.

use std::sync::Arc;

use super::cluster::Cluster;
use super::matching::{term_selects, tolerates};
use super::node::NodeInfo;
use super::pod::PodInfo;
use super::{interpod, spread};

const MOST: i64 = 100;
const TAINTS: i64 = 3;
const NODE_AFFINITY: i64 = 2;
const SPREAD: i64 = 2;
const INTERPOD: i64 = 2;
const FIT: i64 = 1;
const BALANCE: i64 = 1;

/// The best of `candidates`. Of equals the one with fewer pods wins, then the first by name: the same input always gives
/// the same answer.
#[must_use]
pub fn best<'a>(pod: &Arc<PodInfo>, candidates: &[&'a NodeInfo], cluster: &Cluster) -> Option<&'a NodeInfo> {
    if candidates.len() < 2 {
        return candidates.first().copied();
    }
    let mut totals = vec![0; candidates.len()];
    let mut add = |weight: i64, scores: Vec<i64>| {
        totals.iter_mut().zip(scores).for_each(|(total, score)| *total += weight * score);
    };
    let each = |score: &dyn Fn(&NodeInfo) -> i64| candidates.iter().map(|node| score(node)).collect::<Vec<_>>();
    add(TAINTS, fewest(each(&|node| avoided_taints(pod, node))));
    add(NODE_AFFINITY, most(each(&|node| preferred_node(pod, node))));
    add(FIT, each(&|node| least_allocated(pod, node)));
    add(BALANCE, each(&|node| balanced(pod, node)));
    let wishes = interpod::preferences(pod, cluster);
    if !wishes.is_empty() {
        let sum = |node: &NodeInfo| {
            wishes.iter().filter(|((key, value), _)| node.label(key) == Some(value)).map(|(_, weight)| weight).sum()
        };
        add(INTERPOD, between(each(&sum)));
    }
    let constraints = spread::preferences(pod, cluster);
    if constraints.is_empty() {
        // Without constraints of its own, a pod keeps away from its siblings (upstream's default constraints).
        add(SPREAD, fewest(each(&|node| siblings(pod, node))));
    }
    for (key, counts) in &constraints {
        let most = counts.values().max().copied().unwrap_or(0);
        let count = |node: &NodeInfo| node.label(key).and_then(|value| counts.get(value)).copied().unwrap_or(most);
        add(SPREAD, fewest(each(&count)));
    }
    let best = candidates.iter().zip(&totals).min_by_key(|(node, total)| (-**total, node.pods.len(), &node.name));
    best.map(|(node, _)| *node)
}

/// Higher is better, the highest becomes 100.
fn most(raw: Vec<i64>) -> Vec<i64> {
    let highest = raw.iter().copied().max().unwrap_or(0);
    raw.into_iter().map(|score| if highest == 0 { 0 } else { score * MOST / highest }).collect()
}

/// Lower is better, 0 becomes 100.
fn fewest(raw: Vec<i64>) -> Vec<i64> {
    let highest = raw.iter().copied().max().unwrap_or(0);
    raw.into_iter().map(|score| if highest == 0 { MOST } else { (highest - score) * MOST / highest }).collect()
}

/// Stretched so that the lowest becomes 0 and the highest 100.
fn between(raw: Vec<i64>) -> Vec<i64> {
    let (low, high) = (raw.iter().copied().min().unwrap_or(0), raw.iter().copied().max().unwrap_or(0));
    raw.into_iter().map(|score| if high == low { 0 } else { (score - low) * MOST / (high - low) }).collect()
}

fn avoided_taints(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let taints = node.taints().iter().filter(|taint| taint.effect == "PreferNoSchedule");
    let avoided = taints.filter(|taint| !pod.tolerations.iter().any(|toleration| tolerates(toleration, taint)));
    i64::try_from(avoided.count()).unwrap_or(i64::MAX)
}

fn preferred_node(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let terms = pod.preferred_nodes.iter().filter(|(_, term)| term_selects(term, &node.node));
    terms.map(|(weight, _)| i64::from(*weight)).sum()
}

fn siblings(pod: &PodInfo, node: &NodeInfo) -> i64 {
    pod.owner.as_ref().and_then(|owner| node.owners.get(owner)).copied().unwrap_or(0)
}

/// (requested with this pod, allocatable) of CPU and memory.
fn usage(pod: &PodInfo, node: &NodeInfo) -> [(i64, i64); 2] {
    [(node.guessed.0 + pod.guess.0, node.allocatable.cpu), (node.guessed.1 + pod.guess.1, node.allocatable.memory)]
}

fn least_allocated(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let free = |(used, there): (i64, i64)| {
        if there <= 0 || used > there {
            0
        } else {
            i64::try_from(i128::from(there - used) * 100 / i128::from(there)).unwrap_or(0)
        }
    };
    usage(pod, node).map(free).iter().sum::<i64>() / 2
}

/// 100 when CPU and memory are used to the same share.
fn balanced(pod: &PodInfo, node: &NodeInfo) -> i64 {
    #[expect(clippy::cast_precision_loss, reason = "shares need no 52 bits")]
    let share = |(used, there): (i64, i64)| if there <= 0 { 1.0 } else { (used as f64 / there as f64).min(1.0) };
    let [cpu, memory] = usage(pod, node).map(share);
    #[expect(clippy::cast_possible_truncation, reason = "between 0 and 100")]
    let score = ((1.0 - (cpu - memory).abs() / 2.0) * 100.0) as i64;
    score
}
