//! Where a ReplicaSet and a ReplicationController differ.

use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetCondition};
use k8s_openapi::api::core::v1::{PodTemplateSpec, ReplicationController, ReplicationControllerCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::Timestamp;

use crate::framework::Object;
use crate::framework::meta::to_seconds;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub replicas: i32,
    pub fully_labeled: i32,
    pub ready: i32,
    pub available: i32,
    pub terminating: i32,
}

/// Why pods could not be created or deleted: the condition ReplicaFailure.
#[derive(Clone, Debug)]
pub struct Failure {
    pub reason: &'static str,
    pub message: String,
}

/// A kind that wants a number of equal pods.
pub trait Replicated: Object {
    const COMPONENT: &'static str;
    fn replicas(&self) -> i32;
    fn min_ready_seconds(&self) -> i32;
    fn selector(&self) -> LabelSelector;
    fn template(&self) -> PodTemplateSpec;
    /// A copy with this status; times of conditions that hold already are kept.
    fn with_status(&self, counts: Counts, failure: Option<Failure>, now: Timestamp) -> Self;
}

/// Both kinds' statuses have the same fields and names.
macro_rules! with_status {
    ($condition:ident) => {
        fn with_status(&self, counts: Counts, failure: Option<Failure>, now: Timestamp) -> Self {
            let mut set = self.clone();
            let status = set.status.get_or_insert_default();
            status.replicas = counts.replicas;
            status.fully_labeled_replicas = some_unless_zero(counts.fully_labeled);
            status.ready_replicas = some_unless_zero(counts.ready);
            status.available_replicas = some_unless_zero(counts.available);
            status.observed_generation = self.metadata.generation;
            let known = status.conditions.take().unwrap_or_default();
            let (failures, mut conditions): (Vec<_>, Vec<_>) =
                known.into_iter().partition(|condition| condition.type_ == "ReplicaFailure");
            conditions.extend(failure.map(|failure| match failures.into_iter().next() {
                Some(known) if known.reason.as_deref() == Some(failure.reason) => known,
                _ => $condition {
                    type_: "ReplicaFailure".into(),
                    status: "True".into(),
                    reason: Some(failure.reason.into()),
                    message: Some(failure.message),
                    last_transition_time: Some(to_seconds(now)),
                },
            }));
            status.conditions = (!conditions.is_empty()).then_some(conditions);
            Self::finish(&mut set, counts);
            set
        }
    };
}

/// Go omits zero counts; so must we, or a status would differ from its own echo.
fn some_unless_zero(count: i32) -> Option<i32> {
    (count != 0).then_some(count)
}

impl Replicated for ReplicaSet {
    const COMPONENT: &'static str = "replicaset-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> LabelSelector {
        self.spec.as_ref().map(|spec| spec.selector.clone()).unwrap_or_default()
    }

    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }

    with_status!(ReplicaSetCondition);
}

impl Replicated for ReplicationController {
    const COMPONENT: &'static str = "replication-controller";

    fn replicas(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
    }

    fn min_ready_seconds(&self) -> i32 {
        self.spec.as_ref().and_then(|spec| spec.min_ready_seconds).unwrap_or(0)
    }

    fn selector(&self) -> LabelSelector {
        let labels = self.spec.as_ref().and_then(|spec| spec.selector.clone());
        LabelSelector { match_labels: labels, ..LabelSelector::default() }
    }

    fn template(&self) -> PodTemplateSpec {
        self.spec.as_ref().and_then(|spec| spec.template.clone()).unwrap_or_default()
    }

    with_status!(ReplicationControllerCondition);
}

/// What only one of the two kinds has.
trait Finish {
    fn finish(set: &mut Self, counts: Counts);
}

impl Finish for ReplicaSet {
    fn finish(set: &mut Self, counts: Counts) {
        // Beta and on by default in v1.35 (KEP-3973), and written even when it is 0.
        set.status.get_or_insert_default().terminating_replicas = Some(counts.terminating);
    }
}

impl Finish for ReplicationController {
    fn finish(_: &mut Self, _: Counts) {}
}
