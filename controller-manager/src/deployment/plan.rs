//! From a Deployment and its ReplicaSets to the next step of its rollout.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;

use super::progress::{self, Step};
use super::revision::{self, DESIRED, MAXIMUM, REVISION};
use super::rolling::{Limits, Size, new_size, old_sizes};
use super::scale::{Part, proportional};
use crate::framework::meta::{annotation, created, is_deleting};

#[derive(Debug)]
pub enum Action {
    Create(Box<ReplicaSet>),
    Update {
        old: Arc<ReplicaSet>,
        new: Box<ReplicaSet>,
    },
    Delete(Arc<ReplicaSet>),
    /// The Deployment itself, with its revision.
    Annotate(Box<Deployment>),
}

#[derive(Debug)]
pub struct Plan {
    pub actions: Vec<Action>,
    pub status: DeploymentStatus,
    /// When the rollout, if it does not move until then, has failed.
    pub deadline_in: Option<Duration>,
}

pub fn selector(deployment: &Deployment) -> Option<&LabelSelector> {
    deployment.spec.as_ref().map(|spec| &spec.selector)
}

pub fn is_recreate(deployment: &Deployment) -> bool {
    let strategy = deployment.spec.as_ref().and_then(|spec| spec.strategy.as_ref());
    strategy.is_some_and(|strategy| strategy.type_.as_deref() == Some("Recreate"))
}

/// ReplicaSets being planned: what each is, and what it shall be.
struct Draft {
    /// The current ReplicaSet, if there is one.
    new: Option<(Arc<ReplicaSet>, ReplicaSet)>,
    /// All others, oldest first.
    old: Vec<(Arc<ReplicaSet>, ReplicaSet)>,
    limits: Limits,
}

impl Draft {
    fn resize(limits: Limits, set: &mut ReplicaSet, size: i32) {
        revision::annotate_size(set, limits.desired, limits.maximum());
        set.spec.get_or_insert_default().replicas = Some(size);
    }

    fn resize_new(&mut self, size: i32) {
        if let Some((_, set)) = &mut self.new {
            Self::resize(self.limits, set, size);
        }
    }

    fn resize_old(&mut self, sizes: &[i32]) {
        for ((_, set), size) in self.old.iter_mut().zip(sizes) {
            if Size::of(set).wanted != *size {
                Self::resize(self.limits, set, *size);
            }
        }
    }

    fn new_total(&self) -> i32 {
        self.new.as_ref().map_or(0, |(_, set)| Size::of(set).wanted)
    }

    fn old_total(&self) -> i32 {
        self.old.iter().map(|(_, set)| Size::of(set).wanted).sum()
    }

    fn is_changed(&self) -> bool {
        let wanted = |(old, new): &(Arc<ReplicaSet>, ReplicaSet)| Size::of(old).wanted != Size::of(new).wanted;
        self.new.iter().chain(&self.old).any(wanted)
    }
}

/// The next step. `old_pods_run` matters to Recreate only: pods of old ReplicaSets have not all ended.
pub fn plan(deployment: &Deployment, sets: &[Arc<ReplicaSet>], old_pods_run: bool, now: Timestamp) -> Plan {
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    let new = revision::find_new(deployment, sets);
    let mut old: Vec<_> =
        sets.iter().filter(|set| Some(&set.metadata.uid) != new.as_ref().map(|n| &n.metadata.uid)).cloned().collect();
    old.sort_by_key(|set| (created(&set.metadata), set.metadata.name.clone()));
    if is_deleting(&deployment.metadata) {
        let (status, _) = progress::status(deployment, new.as_deref(), sets, Step::Counting, now);
        return Plan { actions: Vec::new(), status, deadline_in: None };
    }
    let revision = revision::next_revision(&old);
    let mut draft = Draft {
        new: new.as_ref().map(|set| (set.clone(), (**set).clone())),
        old: old.iter().map(|set| (set.clone(), (**set).clone())).collect(),
        limits: Limits::of(deployment),
    };
    if let Some((_, set)) = &mut draft.new {
        revision::annotate(deployment, set, revision);
        set.spec.get_or_insert_default().min_ready_seconds =
            deployment.spec.as_ref().and_then(|spec| spec.min_ready_seconds);
    }
    let mut step = new.as_ref().and_then(|set| set.metadata.name.as_deref()).map_or(Step::Rolling, Step::Found);
    let mut creation = None;
    if paused || is_scaling(deployment, sets) {
        scale(deployment, &mut draft);
        step = Step::Counting;
    } else if is_recreate(deployment) {
        creation = recreate(deployment, &mut draft, old_pods_run, revision);
    } else {
        creation = roll(deployment, &mut draft, revision);
    }
    if let Some(set) = &creation {
        step = Step::Created(set.metadata.name.as_deref().unwrap_or_default());
    }
    let (status, deadline_in) = progress::status(deployment, new.as_deref(), sets, step, now);

    let mut actions = Vec::new();
    let has_new = creation.is_some() || draft.new.is_some();
    let done = !draft.is_changed() && creation.is_none() && progress::is_complete(deployment, &status);
    actions.extend(creation.map(|set| Action::Create(Box::new(set))));
    let drafts = draft.new.into_iter().chain(draft.old);
    actions
        .extend(drafts.filter(|(old, new)| **old != *new).map(|(old, new)| Action::Update { old, new: Box::new(new) }));
    if done || paused {
        actions.extend(obsolete(deployment, &old).map(Action::Delete));
    }
    if has_new && annotation(&deployment.metadata, REVISION) != Some(&revision_text(new.as_deref(), revision)) {
        let mut copy = deployment.clone();
        let annotations = copy.metadata.annotations.get_or_insert_default();
        annotations.insert(REVISION.into(), revision_text(new.as_deref(), revision));
        actions.push(Action::Annotate(Box::new(copy)));
    }
    Plan { actions, status, deadline_in }
}

/// The revision of the current ReplicaSet: its own when that is already the highest, else the next.
fn revision_text(new: Option<&ReplicaSet>, next: i64) -> String {
    new.map_or(next, |set| revision::revision_of(&set.metadata).max(next)).to_string()
}

/// Whether the Deployment's size changed since its ReplicaSets were sized.
fn is_scaling(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> bool {
    let desired = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    sets.iter().filter(|set| Size::of(set).wanted > 0).any(|set| {
        annotation(&set.metadata, DESIRED).and_then(|text| text.parse::<i32>().ok()).is_some_and(|then| then != desired)
    })
}

/// A new ReplicaSet of the given size, when there is none yet.
fn make(deployment: &Deployment, limits: Limits, size: i32, revision: i64) -> ReplicaSet {
    let mut set = revision::new_set(deployment);
    revision::annotate(deployment, &mut set, revision);
    Draft::resize(limits, &mut set, size);
    set
}

fn roll(deployment: &Deployment, draft: &mut Draft, revision: i64) -> Option<ReplicaSet> {
    let total = draft.new_total() + draft.old_total();
    if draft.new.is_none() {
        return Some(make(deployment, draft.limits, new_size(draft.limits, 0, total), revision));
    }
    let size = new_size(draft.limits, draft.new_total(), total);
    if size != draft.new_total() {
        draft.resize_new(size);
        return None;
    }
    let new = draft.new.as_ref().map_or(Size { wanted: 0, available: 0 }, |(set, _)| Size::of(set));
    let old: Vec<Size> = draft.old.iter().map(|(set, _)| Size::of(set)).collect();
    let sizes = old_sizes(draft.limits, new, &old);
    draft.resize_old(&sizes);
    None
}

fn recreate(deployment: &Deployment, draft: &mut Draft, old_pods_run: bool, revision: i64) -> Option<ReplicaSet> {
    if draft.old_total() > 0 {
        let sizes = vec![0; draft.old.len()];
        draft.resize_old(&sizes);
        return None;
    }
    if old_pods_run {
        return None;
    }
    if draft.new.is_none() {
        return Some(make(deployment, draft.limits, draft.limits.desired, revision));
    }
    if draft.new_total() != draft.limits.desired {
        draft.resize_new(draft.limits.desired);
    }
    None
}

/// Brings the ReplicaSets that have pods to the Deployment's size, without rolling anything out.
fn scale(deployment: &Deployment, draft: &mut Draft) {
    let limits = draft.limits;
    let saturated = draft.new.as_ref().is_some_and(|(set, _)| {
        let said = annotation(&set.metadata, DESIRED).and_then(|text| text.parse::<i32>().ok());
        Size::of(set) == Size { wanted: limits.desired, available: limits.desired } && said == Some(limits.desired)
    });
    let mut sets: Vec<&mut (Arc<ReplicaSet>, ReplicaSet)> = draft.new.iter_mut().chain(&mut draft.old).collect();
    let active = sets.iter().filter(|(set, _)| Size::of(set).wanted > 0).count();
    if active <= 1 {
        let only = match active {
            1 => sets.iter_mut().find(|(set, _)| Size::of(set).wanted > 0),
            // Nothing runs: the current ReplicaSet, or else the youngest.
            _ => {
                let index = if draft_has_new(&sets, deployment) { 0 } else { sets.len().saturating_sub(1) };
                sets.get_mut(index)
            }
        };
        if let Some((_, set)) = only
            && (Size::of(set).wanted != limits.desired || size_is_stale(set, limits))
        {
            Draft::resize(limits, set, limits.desired);
        }
        return;
    }
    if saturated {
        let sizes = vec![0; draft.old.len()];
        draft.resize_old(&sizes);
        return;
    }
    if is_recreate(deployment) {
        return;
    }
    sets.retain(|(set, _)| Size::of(set).wanted > 0);
    let total: i32 = sets.iter().map(|(set, _)| Size::of(set).wanted).sum();
    let grows = limits.desired > 0 && limits.maximum() > total;
    sets.sort_by_key(|(set, _)| {
        let age = created(&set.metadata).as_nanosecond();
        (std::cmp::Reverse(Size::of(set).wanted), if grows { -age } else { age })
    });
    let parts: Vec<Part> = sets
        .iter()
        .map(|(set, _)| Part {
            size: Size::of(set).wanted,
            whole_then: annotation(&set.metadata, MAXIMUM).and_then(|text| text.parse().ok()),
        })
        .collect();
    let in_status = deployment.status.as_ref().and_then(|status| status.replicas).unwrap_or(0);
    for ((_, set), size) in sets.into_iter().zip(proportional(limits, in_status, &parts)) {
        Draft::resize(limits, set, size);
    }
}

fn draft_has_new(sets: &[&mut (Arc<ReplicaSet>, ReplicaSet)], deployment: &Deployment) -> bool {
    sets.first().is_some_and(|(set, _)| revision::find_new(deployment, std::slice::from_ref(set)).is_some())
}

fn size_is_stale(set: &ReplicaSet, limits: Limits) -> bool {
    annotation(&set.metadata, DESIRED) != Some(&limits.desired.to_string())
}

/// Old ReplicaSets beyond the history limit, lowest revisions first; only those that are empty and settled.
fn obsolete<'a>(
    deployment: &Deployment,
    old: &'a [Arc<ReplicaSet>],
) -> impl Iterator<Item = Arc<ReplicaSet>> + use<'a> {
    let limit = deployment.spec.as_ref().and_then(|spec| spec.revision_history_limit).unwrap_or(10);
    let mut kept: Vec<_> = old.iter().filter(|set| !is_deleting(&set.metadata)).cloned().collect();
    kept.sort_by_key(|set| revision::revision_of(&set.metadata));
    let excess = kept.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    kept.into_iter().take(excess).filter(|set| {
        let status = set.status.clone().unwrap_or_default();
        status.replicas == 0
            && Size::of(set).wanted == 0
            && set.metadata.generation.unwrap_or(0) <= status.observed_generation.unwrap_or(0)
    })
}
