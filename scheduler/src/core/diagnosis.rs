//! Why a pod cannot be placed, in the words of upstream's Events.

use std::collections::{BTreeMap, BTreeSet};

use super::filter::{Plugin, Refusal};

/// The verdicts on all nodes.
#[derive(Clone, Debug, Default)]
pub struct Diagnosis {
    pub nodes: usize,
    /// By node.
    pub refusals: BTreeMap<String, Refusal>,
    /// A reason that holds for every node, found before any was looked at.
    pub general: Option<Refusal>,
    /// What preemption tried.
    pub preemption: String,
}

impl Diagnosis {
    #[must_use]
    pub fn plugins(&self) -> BTreeSet<Plugin> {
        self.general.iter().chain(self.refusals.values()).map(|refusal| refusal.plugin).collect()
    }

    #[must_use]
    pub fn message(&self) -> String {
        if self.nodes == 0 {
            return "no nodes available to schedule pods".to_owned();
        }
        let head = format!("0/{} nodes are available:", self.nodes);
        let reasons = match &self.general {
            Some(refusal) => refusal.reasons.join(", "),
            None => tally(self.refusals.values().flat_map(|refusal| refusal.reasons.iter().map(String::as_str))),
        };
        let preemption = if self.preemption.is_empty() { String::new() } else { format!(" {}", self.preemption) };
        format!("{head} {reasons}.{preemption}")
    }
}

/// What the message says of preemption: how many nodes it could not help on, and why.
#[must_use]
pub fn preemption_message(nodes: usize, reasons: &[&str]) -> String {
    format!("preemption: 0/{nodes} nodes are available: {}.", tally(reasons.iter().copied()))
}

fn tally<'a>(reasons: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    reasons.for_each(|reason| *counts.entry(reason).or_default() += 1);
    let mut parts: Vec<String> = counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    parts.join(", ")
}
