//! PodDisruptionBudgets, as far as preemption asks: which evictions would break one (upstream's
//! `filterPodsWithPDBViolation` of the plugin DefaultPreemption).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt;
use kube::core::{Selector, SelectorExt};

use super::pod::PodInfo;

/// What counts of a budget.
#[derive(Clone, Debug)]
pub struct Budget {
    namespace: String,
    /// None matches nothing, as an empty one.
    selector: Option<Selector>,
    /// So many pods may be disrupted now (`status.disruptionsAllowed`).
    allowed: i32,
    /// Names of pods whose disruption has been counted already.
    disrupted: BTreeSet<String>,
}

impl Budget {
    #[must_use]
    pub fn new(budget: &PodDisruptionBudget) -> Self {
        let selector = budget.spec.as_ref().and_then(|spec| spec.selector.clone());
        let selector = selector.and_then(|selector| Selector::try_from(selector).ok());
        let status = budget.status.as_ref();
        Self {
            namespace: budget.namespace().unwrap_or_default(),
            selector: selector.filter(|selector| !selector.selects_all()),
            allowed: status.map_or(0, |status| status.disruptions_allowed),
            disrupted: status
                .and_then(|status| status.disrupted_pods.clone())
                .unwrap_or_default()
                .into_keys()
                .collect(),
        }
    }

    fn counts(&self, pod: &PodInfo) -> bool {
        self.namespace == pod.namespace
            && !self.disrupted.contains(&pod.name)
            && self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
    }
}

/// The pods whose eviction would break a budget if those before them went, too; and the others.
pub fn split(pods: Vec<Arc<PodInfo>>, budgets: &BTreeMap<String, Budget>) -> (Vec<Arc<PodInfo>>, Vec<Arc<PodInfo>>) {
    let mut left: Vec<_> = budgets.values().map(|budget| (budget, budget.allowed)).collect();
    pods.into_iter().partition(|pod| {
        let mut broken = false;
        for (_, allowed) in left.iter_mut().filter(|(budget, _)| budget.counts(pod)) {
            *allowed -= 1;
            broken |= *allowed < 0;
        }
        broken
    })
}
