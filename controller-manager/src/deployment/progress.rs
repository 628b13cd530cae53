//! The status of a Deployment: counts, and the conditions `kubectl rollout status` and `kubectl wait` read
//! (upstream `progress.go`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentCondition, DeploymentStatus, ReplicaSet};
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::rolling::{Limits, Size};
use crate::framework::meta::to_seconds;

const AVAILABLE: &str = "Available";
const PROGRESSING: &str = "Progressing";
const FAILURE: &str = "ReplicaFailure";

/// The deadline value that means "none".
const NO_DEADLINE: i32 = i32::MAX;

/// What the plan tells the status: it knows of a ReplicaSet just made, of a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// The ReplicaSet of this name is about to be created.
    Created(&'a str),
    /// A ReplicaSet made earlier was found for a template that has no history here.
    Found(&'a str),
    /// Counts only: paused, or scaling.
    Counting,
    Rolling,
}

/// The status, and how long the rollout may still take.
pub fn status(
    deployment: &Deployment,
    new: Option<&ReplicaSet>,
    all: &[Arc<ReplicaSet>],
    step: Step<'_>,
    now: Timestamp,
) -> (DeploymentStatus, Option<Duration>) {
    let before = deployment.status.clone().unwrap_or_default();
    let mut status = counts(deployment, new, all);
    let mut conditions = Conditions { list: before.conditions.clone().unwrap_or_default(), now };
    let limits = Limits::of(deployment);
    if status.available_replicas.unwrap_or(0) >= limits.minimum_available() {
        conditions.set(AVAILABLE, "True", "MinimumReplicasAvailable", "Deployment has minimum availability.");
    } else {
        let message = "Deployment does not have minimum availability.";
        conditions.set(AVAILABLE, "False", "MinimumReplicasUnavailable", message);
    }
    failure(&mut conditions, new, all);
    pause(deployment, &mut conditions);
    if let Step::Created(name) = step {
        let message = format!("Created new replica set \"{name}\"");
        conditions.put(PROGRESSING, "True", "NewReplicaSetCreated", &message);
    }
    if let Step::Found(name) = step
        && conditions.get(PROGRESSING).is_none()
    {
        conditions.set(PROGRESSING, "True", "FoundNewReplicaSet", &format!("Found new replica set \"{name}\""));
    }
    let deadline = deployment.spec.as_ref().and_then(|spec| spec.progress_deadline_seconds).unwrap_or(600);
    let mut left = None;
    if deadline != NO_DEADLINE && !matches!(step, Step::Counting) {
        if matches!(step, Step::Rolling | Step::Found(_)) {
            progress(deployment, &before, &status, new, deadline, &mut conditions);
        }
        left = remaining(deployment, &status, deadline, &conditions);
    }
    status.conditions = Some(conditions.list);
    (status, left)
}

fn counts(deployment: &Deployment, new: Option<&ReplicaSet>, all: &[Arc<ReplicaSet>]) -> DeploymentStatus {
    let sum = |count: fn(&ReplicaSet) -> i32| all.iter().map(|set| count(set)).sum::<i32>();
    let some = |count: i32| (count != 0).then_some(count);
    let replicas = |set: &ReplicaSet| set.status.as_ref().map_or(0, |status| status.replicas);
    let available = sum(|set| Size::of(set).available);
    DeploymentStatus {
        observed_generation: deployment.metadata.generation,
        replicas: some(sum(|set| set.status.as_ref().map_or(0, |status| status.replicas))),
        updated_replicas: some(new.map_or(0, replicas)),
        ready_replicas: some(sum(|set| set.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0))),
        available_replicas: some(available),
        unavailable_replicas: some((sum(|set| Size::of(set).wanted) - available).max(0)),
        terminating_replicas: Some(sum(|set| {
            set.status.as_ref().and_then(|status| status.terminating_replicas).unwrap_or(0)
        })),
        collision_count: deployment.status.as_ref().and_then(|status| status.collision_count),
        conditions: None,
    }
}

/// Carries the first ReplicaFailure up, the new ReplicaSet's before all others'.
fn failure(conditions: &mut Conditions, new: Option<&ReplicaSet>, all: &[Arc<ReplicaSet>]) {
    let failure = new
        .into_iter()
        .chain(all.iter().map(|set| &**set))
        .find_map(|set| set.status.as_ref()?.conditions.as_ref()?.iter().find(|condition| condition.type_ == FAILURE));
    match failure {
        Some(found) => conditions.set(
            FAILURE,
            &found.status,
            found.reason.as_deref().unwrap_or_default(),
            found.message.as_deref().unwrap_or_default(),
        ),
        None => conditions.list.retain(|condition| condition.type_ != FAILURE),
    }
}

fn pause(deployment: &Deployment, conditions: &mut Conditions) {
    let paused = deployment.spec.as_ref().and_then(|spec| spec.paused).unwrap_or(false);
    let reason = conditions.get(PROGRESSING).and_then(|condition| condition.reason.clone()).unwrap_or_default();
    match (paused, reason.as_str()) {
        (_, "ProgressDeadlineExceeded") | (true, "DeploymentPaused") => {}
        (true, _) => conditions.put(PROGRESSING, "Unknown", "DeploymentPaused", "Deployment is paused"),
        (false, "DeploymentPaused") => {
            conditions.put(PROGRESSING, "Unknown", "DeploymentResumed", "Deployment is resumed");
        }
        (false, _) => {}
    }
}

/// Whether every wanted pod is of the new template and available.
pub fn is_complete(deployment: &Deployment, status: &DeploymentStatus) -> bool {
    let wanted = deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
    [status.updated_replicas, status.replicas, status.available_replicas]
        .into_iter()
        .all(|count| count.unwrap_or(0) == wanted)
}

fn progress(
    deployment: &Deployment,
    before: &DeploymentStatus,
    status: &DeploymentStatus,
    new: Option<&ReplicaSet>,
    deadline: i32,
    conditions: &mut Conditions,
) {
    let reason = conditions.get(PROGRESSING).and_then(|condition| condition.reason.clone()).unwrap_or_default();
    if status.replicas == status.updated_replicas && reason == "NewReplicaSetAvailable" {
        return;
    }
    let name = match new.and_then(|set| set.metadata.name.as_deref()) {
        Some(name) => format!("ReplicaSet \"{name}\""),
        None => format!("Deployment \"{}\"", deployment.metadata.name.as_deref().unwrap_or_default()),
    };
    if is_complete(deployment, status) {
        let message = format!("{name} has successfully progressed.");
        conditions.put(PROGRESSING, "True", "NewReplicaSetAvailable", &message);
    } else if has_progressed(before, status) {
        conditions.put(PROGRESSING, "True", "ReplicaSetUpdated", &format!("{name} is progressing."));
    } else if conditions.has_timed_out(deadline) {
        let message = format!("{name} has timed out progressing.");
        conditions.set(PROGRESSING, "False", "ProgressDeadlineExceeded", &message);
    }
}

fn has_progressed(before: &DeploymentStatus, status: &DeploymentStatus) -> bool {
    let of = |count: Option<i32>| count.unwrap_or(0);
    let old_ones = |status: &DeploymentStatus| of(status.replicas) - of(status.updated_replicas);
    of(status.updated_replicas) > of(before.updated_replicas)
        || old_ones(status) < old_ones(before)
        || of(status.ready_replicas) > of(before.ready_replicas)
        || of(status.available_replicas) > of(before.available_replicas)
}

fn remaining(
    deployment: &Deployment,
    status: &DeploymentStatus,
    deadline: i32,
    conditions: &Conditions,
) -> Option<Duration> {
    let condition = conditions.get(PROGRESSING)?;
    if is_complete(deployment, status) || condition.reason.as_deref() == Some("ProgressDeadlineExceeded") {
        return None;
    }
    let since = condition.last_update_time.as_ref().map_or(conditions.now, |time| time.0);
    let left = SignedDuration::from_secs(i64::from(deadline)) - conditions.now.duration_since(since);
    Some(if left.is_negative() { Duration::ZERO } else { left.unsigned_abs() })
}

struct Conditions {
    list: Vec<DeploymentCondition>,
    now: Timestamp,
}

impl Conditions {
    fn get(&self, kind: &str) -> Option<&DeploymentCondition> {
        self.list.iter().find(|condition| condition.type_ == kind)
    }

    /// Sets a condition; one that says the same already keeps its times.
    fn set(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let same = |known: &DeploymentCondition| known.status == status && known.reason.as_deref() == Some(reason);
        if !self.get(kind).is_some_and(same) {
            self.put(kind, status, reason, message);
        }
    }

    /// Sets a condition and its update time, from which the deadline counts, even if it says the same already.
    fn put(&mut self, kind: &str, status: &str, reason: &str, message: &str) {
        let now = to_seconds(self.now);
        let since = self
            .get(kind)
            .filter(|known| known.status == status)
            .and_then(|known| known.last_transition_time.clone())
            .unwrap_or_else(|| now.clone());
        self.list.retain(|known| known.type_ != kind);
        self.list.push(DeploymentCondition {
            type_: kind.into(),
            status: status.into(),
            reason: Some(reason.into()),
            message: Some(message.into()),
            last_update_time: Some(now),
            last_transition_time: Some(since),
        });
    }

    fn has_timed_out(&self, deadline: i32) -> bool {
        let Some(condition) = self.get(PROGRESSING) else { return false };
        match condition.reason.as_deref() {
            Some("NewReplicaSetAvailable") => false,
            Some("ProgressDeadlineExceeded") => true,
            _ => condition
                .last_update_time
                .as_ref()
                .is_some_and(|since| self.now.duration_since(since.0) > SignedDuration::from_secs(i64::from(deadline))),
        }
    }
}
