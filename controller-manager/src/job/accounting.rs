//! Counting ended pods exactly once, whatever crashes in between (KEP-2307).
//!
//! ```text
//!  pod ended ──► its uid in status.uncountedTerminatedPods ──► its finalizer removed ──► counted, its uid removed
//! ```
//! Each arrow is a write. An ended pod cannot disappear before the second, and is not counted before it.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{JobCondition, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::decide::Ending;
use super::indexes::{self, IndexSet, index_of};
use super::policy::{self, Judgement};
use super::template::is_tracked;
use super::view::{View, count, has_condition};
use crate::framework::meta::{is_deleting, to_seconds};
use crate::framework::pods;

/// The most pods in `uncountedTerminatedPods`: the status must stay small.
const MOST_UNCOUNTED: usize = 500;

/// The first write: what has ended, and which pods may go once that is written.
pub struct Tally {
    pub status: JobStatus,
    pub release: Vec<Arc<Pod>>,
    /// More pods have ended than one status may hold; another round is due before the Job can end.
    pub partial: bool,
}

pub fn tally(view: &View, mut status: JobStatus, ending: Option<&Ending>, now: Timestamp) -> Tally {
    let tracked: HashSet<String> =
        view.pods.iter().filter(|pod| is_tracked(pod)).filter_map(|pod| pod.metadata.uid.clone()).collect();
    settle(&mut status, &tracked);
    let uncounted = status.uncounted_terminated_pods.get_or_insert_default();
    let mut succeeded = uncounted.succeeded.take().unwrap_or_default();
    let mut failed = uncounted.failed.take().unwrap_or_default();
    let mut new_indexes = IndexSet::new();
    let mut release = Vec::new();
    let mut partial = false;
    let completions = view.spec.completions.unwrap_or(0);
    for pod in view.pods.iter().filter(|pod| is_tracked(pod)) {
        let is_failed = policy::is_failed(view.spec, pod);
        if !may_go(view, pod, is_failed, ending) {
            continue;
        }
        release.push(pod.clone());
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let index = index_of(pod).filter(|index| *index < completions);
        let has_place = view.indexed.is_none() || index.is_some();
        if pods::phase(pod) == "Succeeded" && !failed.contains(&uid) {
            match &view.indexed {
                Some(indexed) => new_indexes.extend(index.filter(|index| !indexed.before.contains(index))),
                None if !succeeded.contains(&uid) => succeeded.push(uid),
                None => {}
            }
        } else if (is_failed || ending.is_some_and(|ending| !ending.success))
            && has_place
            && !failed.contains(&uid)
            && policy::judge(view.spec, pod) != Judgement::Ignore
        {
            failed.push(uid);
        }
        if new_indexes.len() + succeeded.len() + failed.len() >= MOST_UNCOUNTED {
            partial = true;
            break;
        }
    }
    let some = |uids: Vec<String>| (!uids.is_empty()).then_some(uids);
    (uncounted.succeeded, uncounted.failed) = (some(succeeded), some(failed));
    if let Some(indexed) = &view.indexed {
        let done = &indexed.before | &new_indexes;
        status.succeeded = some_unless_zero(count(done.len()));
        status.completed_indexes = Some(indexes::format(&done)).filter(|text| !text.is_empty());
        status.failed_indexes = indexed.failed.as_ref().map(indexes::format);
    }
    if let Some(ending) = ending {
        let kind = if ending.success { "SuccessCriteriaMet" } else { "FailureTarget" };
        if has_condition(&status, kind).is_none() {
            set_condition(&mut status, kind, true, &ending.reason, &ending.message, now);
        }
    }
    Tally { status, release, partial }
}

/// Whether nothing more can be learned from a pod.
fn may_go(view: &View, pod: &Arc<Pod>, is_failed: bool, ending: Option<&Ending>) -> bool {
    if is_deleting(&view.job.metadata) || ending.is_some() || pods::phase(pod) == "Succeeded" {
        return true;
    }
    let kept = || {
        let kept = index_of(pod).and_then(|index| view.indexed.as_ref()?.kept.get(&index));
        kept.is_some_and(|kept| kept.metadata.uid == pod.metadata.uid)
    };
    is_failed && !kept()
}

/// Counts the uncounted pods that are no longer tracked. Says whether there were any.
pub fn settle(status: &mut JobStatus, tracked: &HashSet<String>) -> bool {
    let Some(uncounted) = &mut status.uncounted_terminated_pods else { return false };
    let take = |uids: &mut Option<Vec<String>>| {
        let all = uids.take().unwrap_or_default();
        let (waiting, done): (Vec<_>, Vec<_>) = all.into_iter().partition(|uid| tracked.contains(uid));
        *uids = (!waiting.is_empty()).then_some(waiting);
        count(done.len())
    };
    let (succeeded, failed) = (take(&mut uncounted.succeeded), take(&mut uncounted.failed));
    status.succeeded = some_unless_zero(status.succeeded.unwrap_or(0) + succeeded);
    status.failed = some_unless_zero(status.failed.unwrap_or(0) + failed);
    succeeded + failed > 0
}

/// Writes the final condition once every pod is counted and none is on its way out.
pub fn finish(status: &mut JobStatus, ending: &Ending, now: Timestamp) -> bool {
    let waiting =
        status.uncounted_terminated_pods.as_ref().is_some_and(|u| u.succeeded.is_some() || u.failed.is_some());
    if waiting || status.terminating.unwrap_or(0) > 0 {
        return false;
    }
    let kind = if ending.success { "Complete" } else { "Failed" };
    set_condition(status, kind, true, &ending.reason, &ending.message, now);
    if ending.success {
        status.completion_time = Some(to_seconds(now));
    }
    true
}

/// Sets a condition. One that would be new and false is not written. Says whether something changed.
pub fn set_condition(
    status: &mut JobStatus,
    kind: &str,
    value: bool,
    reason: &str,
    message: &str,
    now: Timestamp,
) -> bool {
    let text = if value { "True" } else { "False" };
    let condition = JobCondition {
        type_: kind.into(),
        status: text.into(),
        reason: Some(reason.into()),
        message: Some(message.into()),
        last_probe_time: Some(to_seconds(now)),
        last_transition_time: Some(to_seconds(now)),
    };
    let conditions = status.conditions.get_or_insert_default();
    let changed = match conditions.iter_mut().find(|known| known.type_ == kind) {
        Some(known) if known.status == text => false,
        Some(known) => {
            *known = condition;
            true
        }
        None if value => {
            conditions.push(condition);
            true
        }
        None => false,
    };
    if conditions.is_empty() {
        status.conditions = None;
    }
    changed
}

/// Go omits zero counts; so must we, or a status would differ from its own echo.
pub fn some_unless_zero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}
