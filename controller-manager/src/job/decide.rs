//! Whether a Job is over, and which pods it lacks or has too many.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::backoff::{Record, finished_at, remaining};
use super::indexes::{IndexSet, index_of};
use super::policy;
use super::template::index_failures;
use super::view::{View, count, has_condition, is_suspended};
use crate::framework::meta::is_deleting;
use crate::framework::pods;

/// The most pods created or deleted in one round.
const BURST: usize = 500;

/// Why a Job ends, decided before its pods are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    pub success: bool,
    pub reason: String,
    pub message: String,
}

impl Ending {
    fn failure(reason: &str, message: impl Into<String>) -> Self {
        Self { success: false, reason: reason.into(), message: message.into() }
    }

    pub fn complete() -> Self {
        Self {
            success: true,
            reason: "CompletionsReached".into(),
            message: "Reached expected number of succeeded pods".into(),
        }
    }
}

/// Judges what may end a Job before all its completions are reached. What was decided once stays decided.
pub fn ending(view: &View, now: Timestamp) -> Option<Ending> {
    for (kind, success) in [("SuccessCriteriaMet", true), ("FailureTarget", false)] {
        if let Some(known) = has_condition(&view.status, kind) {
            let text = |text: &Option<String>| text.clone().unwrap_or_default();
            return Some(Ending { success, reason: text(&known.reason), message: text(&known.message) });
        }
    }
    let spec = view.spec;
    if let Some(message) = policy::job_failure(spec, view.pods) {
        return Some(Ending::failure("PodFailurePolicy", message));
    }
    if view.failed > spec.backoff_limit.unwrap_or(6) || restarted_too_often(view) {
        return Some(Ending::failure("BackoffLimitExceeded", "Job has reached the specified backoff limit"));
    }
    if deadline_in(view, now).is_some_and(|left| left.is_zero()) {
        return Some(Ending::failure("DeadlineExceeded", "Job was active longer than specified deadline"));
    }
    let indexed = view.indexed.as_ref()?;
    if let Some(failed) = indexed.failed.as_ref().map(|failed| count(failed.len())) {
        if spec.max_failed_indexes.is_some_and(|most| failed > most) {
            let message = "Job has exceeded the specified maximal number of failed indexes";
            return Some(Ending::failure("MaxFailedIndexesExceeded", message));
        }
        if failed > 0 && failed + view.succeeded >= spec.completions.unwrap_or(0) {
            return Some(Ending::failure("FailedIndexes", "Job has failed indexes"));
        }
    }
    let message = policy::success(spec, &indexed.succeeded)?;
    Some(Ending { success: true, reason: "SuccessPolicy".into(), message })
}

/// Containers that restart in place (`restartPolicy: OnFailure`) count, too.
fn restarted_too_often(view: &View) -> bool {
    let policy = view.spec.template.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
    if policy != Some("OnFailure") {
        return false;
    }
    let restarts: i32 = view
        .pods
        .iter()
        .filter(|pod| matches!(pods::phase(pod), "Running" | "Pending"))
        .filter_map(|pod| pod.status.as_ref())
        .flat_map(|s| s.container_statuses.iter().flatten().chain(s.init_container_statuses.iter().flatten()))
        .map(|container| container.restart_count)
        .sum();
    match view.spec.backoff_limit.unwrap_or(6) {
        0 => restarts > 0,
        limit => restarts >= limit,
    }
}

/// What is left of `activeDeadlineSeconds`; nothing when there is none, or while it does not run.
pub fn deadline_in(view: &View, now: Timestamp) -> Option<Duration> {
    let limit = view.spec.active_deadline_seconds.filter(|_| !is_suspended(view.spec))?;
    let start = view.status.start_time.as_ref()?.0;
    let left = SignedDuration::from_secs(limit) - now.duration_since(start);
    Some(if left.is_positive() { left.unsigned_abs() } else { Duration::ZERO })
}

/// What to do about the pods of a Job that goes on.
#[derive(Debug, Default)]
pub struct Action {
    pub delete: Vec<Arc<Pod>>,
    /// One new pod each; the index is that of an Indexed Job.
    pub create: Vec<Option<i32>>,
    /// The next pod may be made after this back-off.
    pub wait: Option<Duration>,
}

/// Either deletes or creates, never both in one round.
pub fn action(view: &View, record: &Record, now: Timestamp) -> Action {
    let spec = view.spec;
    let active = count(view.active.len());
    let delete = |least: i32| Action { delete: removable(view, least, now), ..Action::default() };
    if is_suspended(spec) {
        return delete(active);
    }
    let parallelism = spec.parallelism.unwrap_or(1);
    let wanted = match spec.completions {
        None if view.succeeded > 0 => active,
        None => parallelism,
        Some(completions) => (completions - view.succeeded).clamp(0, parallelism.max(0)),
    };
    let surplus = delete((active - wanted).max(0));
    if !surplus.delete.is_empty() {
        return surplus;
    }
    let terminating = if policy::replaces_failed_only(spec) { view.terminating } else { 0 };
    let missing = usize::try_from(wanted - active - terminating).unwrap_or(0).min(BURST);
    if missing == 0 {
        return Action::default();
    }
    if spec.backoff_limit_per_index.is_none()
        && let Some(left) = record.remaining(now)
    {
        return Action { wait: Some(left), ..Action::default() };
    }
    match &view.indexed {
        None => Action { create: vec![None; missing], ..Action::default() },
        Some(_) => pending_indexes(view, missing, now),
    }
}

/// The lowest indexes nobody works on, without those whose own back-off runs.
fn pending_indexes(view: &View, missing: usize, now: Timestamp) -> Action {
    let Some(indexed) = &view.indexed else { return Action::default() };
    let waits_for_end = policy::replaces_failed_only(view.spec);
    let busy = |pod: &&Arc<Pod>| {
        pods::is_active(pod) || (waits_for_end && is_deleting(&pod.metadata) && !pods::is_finished(pod))
    };
    let busy: IndexSet = view.pods.iter().filter(busy).filter_map(|pod| index_of(pod)).collect();
    let failed = |index: &i32| indexed.failed.as_ref().is_some_and(|failed| failed.contains(index));
    let pending = (0..view.spec.completions.unwrap_or(0))
        .filter(|index| !busy.contains(index) && !indexed.succeeded.contains(index) && !failed(index))
        .take(missing);
    let mut action = Action::default();
    for index in pending {
        let wait = indexed.kept.get(&index).and_then(|pod| {
            let (counted, ignored) = index_failures(pod);
            remaining(counted + ignored + 1, finished_at(pod), now)
        });
        match wait {
            None => action.create.push(Some(index)),
            Some(left) => action.wait = Some(action.wait.map_or(left, |other| other.min(left))),
        }
    }
    action
}

/// At least `least` active pods to delete; of an Indexed Job also those without a place: an index twice, or none.
fn removable(view: &View, least: i32, now: Timestamp) -> Vec<Arc<Pod>> {
    let least = usize::try_from(least).unwrap_or(0);
    let mut ranked = view.active.clone();
    pods::sort_for_deletion(&mut ranked, &view.active, now);
    let mut doomed = Vec::new();
    if view.indexed.is_some() {
        let completions = view.spec.completions.unwrap_or(0);
        let mut taken = HashSet::new();
        // The most useful pod of an index comes last in the ranking, so it is met first here, and keeps the index.
        let misplaced: HashSet<_> = ranked
            .iter()
            .rev()
            .filter(|pod| !index_of(pod).is_some_and(|index| index < completions && taken.insert(index)))
            .map(|pod| pod.metadata.uid.clone())
            .collect();
        let (out, rest) = ranked.into_iter().partition(|pod| misplaced.contains(&pod.metadata.uid));
        (doomed, ranked) = (out, rest);
    }
    let more = least.saturating_sub(doomed.len()).min(ranked.len());
    doomed.extend(ranked.drain(..more));
    doomed.truncate(BURST);
    doomed
}
