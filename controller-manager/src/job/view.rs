//! A Job and its pods, counted: what every decision of one round rests on.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobCondition, JobSpec, JobStatus};
use k8s_openapi::api::core::v1::Pod;

use super::backoff::finished_at;
use super::indexes::{self, IndexSet, index_of};
use super::policy::{self, Judgement};
use super::template::{index_failures, is_tracked};
use crate::framework::meta::is_deleting;
use crate::framework::pods;

pub struct View<'a> {
    pub job: &'a Job,
    pub spec: &'a JobSpec,
    pub status: JobStatus,
    pub pods: &'a [Arc<Pod>],
    pub active: Vec<Arc<Pod>>,
    /// Ended pods that no status counts yet.
    pub new_succeeded: Vec<Arc<Pod>>,
    pub new_failed: Vec<Arc<Pod>>,
    pub succeeded: i32,
    pub failed: i32,
    pub terminating: i32,
    pub indexed: Option<Indexed>,
}

/// What only an Indexed Job has.
pub struct Indexed {
    /// As the status has it.
    pub before: IndexSet,
    pub succeeded: IndexSet,
    /// With a back-off limit for each index only.
    pub failed: Option<IndexSet>,
    /// The last failed pod of each index that waits for its next one: it keeps the count of failures, so it stays.
    pub kept: BTreeMap<i32, Arc<Pod>>,
}

pub fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub fn has_condition<'a>(status: &'a JobStatus, kind: &str) -> Option<&'a JobCondition> {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind && condition.status == "True")
}

/// The condition that says a Job is over, if it is.
pub fn finished(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    has_condition(status, "Complete").or_else(|| has_condition(status, "Failed"))
}

pub fn is_suspended(spec: &JobSpec) -> bool {
    spec.suspend == Some(true)
}

impl<'a> View<'a> {
    pub fn new(job: &'a Job, spec: &'a JobSpec, pods: &'a [Arc<Pod>]) -> Self {
        let status = job.status.clone().unwrap_or_default();
        let uncounted = status.uncounted_terminated_pods.clone().unwrap_or_default();
        let known: HashSet<String> = uncounted.succeeded.iter().chain(&uncounted.failed).flatten().cloned().collect();
        let indexed = spec.completion_mode.as_deref() == Some("Indexed");
        let completions = spec.completions.unwrap_or(0);
        let valid = |pod: &Pod| !indexed || index_of(pod).is_some_and(|index| index < completions);
        let fresh = |pod: &Pod| {
            is_tracked(pod) && valid(pod) && !pod.metadata.uid.as_ref().is_some_and(|uid| known.contains(uid))
        };
        let collect =
            |keep: &dyn Fn(&Pod) -> bool| -> Vec<Arc<Pod>> { pods.iter().filter(|pod| keep(pod)).cloned().collect() };
        let new_succeeded = collect(&|pod| pods::phase(pod) == "Succeeded" && fresh(pod));
        let new_failed = collect(&|pod| policy::is_failed(spec, pod) && fresh(pod));
        let counted_failures = new_failed.iter().filter(|pod| policy::judge(spec, pod) != Judgement::Ignore).count();
        let mut view = Self {
            job,
            spec,
            pods,
            active: collect(&pods::is_active),
            succeeded: status.succeeded.unwrap_or(0)
                + count(new_succeeded.len() + uncounted.succeeded.as_ref().map_or(0, Vec::len)),
            failed: status.failed.unwrap_or(0)
                + count(counted_failures + uncounted.failed.as_ref().map_or(0, Vec::len)),
            terminating: count(pods.iter().filter(|pod| is_deleting(&pod.metadata) && !pods::is_finished(pod)).count()),
            new_succeeded,
            new_failed,
            status,
            indexed: None,
        };
        if indexed {
            let indexed = view.count_indexes(completions);
            view.succeeded = count(indexed.succeeded.len());
            view.indexed = Some(indexed);
        }
        view
    }

    fn count_indexes(&self, completions: i32) -> Indexed {
        let before = indexes::parse(self.status.completed_indexes.as_deref().unwrap_or_default(), completions);
        let mut succeeded = before.clone();
        let ended = self.pods.iter().filter(|pod| is_tracked(pod) && pods::phase(pod) == "Succeeded");
        succeeded.extend(ended.filter_map(|pod| index_of(pod)).filter(|index| *index < completions));
        let mut indexed = Indexed { before, succeeded, failed: None, kept: BTreeMap::new() };
        let Some(limit) = self.spec.backoff_limit_per_index else { return indexed };
        let ended = || {
            let failed = self.pods.iter().filter(|pod| is_tracked(pod) && policy::is_failed(self.spec, pod));
            failed.filter_map(|pod| Some((index_of(pod).filter(|index| *index < completions)?, pod)))
        };
        let mut failed = indexes::parse(self.status.failed_indexes.as_deref().unwrap_or_default(), completions);
        failed.extend(ended().filter(|(_, pod)| self.fails_index(pod, limit)).map(|(index, _)| index));
        let active: IndexSet = self.active.iter().filter_map(|pod| index_of(pod)).collect();
        for (index, pod) in ended() {
            if indexed.succeeded.contains(&index) || failed.contains(&index) || active.contains(&index) {
                continue;
            }
            let order = |pod: &Pod| (index_failures(pod).0 + index_failures(pod).1, finished_at(pod));
            let kept = indexed.kept.entry(index).or_insert_with(|| pod.clone());
            if order(pod) >= order(kept) {
                *kept = pod.clone();
            }
        }
        indexed.failed = Some(failed);
        indexed
    }

    fn fails_index(&self, pod: &Pod, limit: i32) -> bool {
        match policy::judge(self.spec, pod) {
            Judgement::FailIndex => true,
            Judgement::Ignore => false,
            _ => i64::from(index_failures(pod).0) >= i64::from(limit),
        }
    }
}
