//! How many pods to make or to delete, and what the status says.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;

use super::kinds::{Counts, Failure, Replicated};
use crate::framework::meta::{is_deleting, label};
use crate::framework::{ApiError, pods};

#[derive(Debug)]
pub enum Plan {
    Keep,
    Create(usize),
    Delete(Vec<Arc<Pod>>),
}

impl Plan {
    /// The condition ReplicaFailure for a plan that could not be carried out.
    pub fn failure(&self, error: &kube::Error) -> Failure {
        let message = error.words();
        Failure { reason: if matches!(self, Self::Delete(_)) { "FailedDelete" } else { "FailedCreate" }, message }
    }
}

pub fn plan<R: Replicated>(set: &R, owned: &[Arc<Pod>], now: Timestamp) -> Plan {
    let mut active: Vec<_> = owned.iter().filter(|pod| pods::is_active(pod)).cloned().collect();
    let wanted = usize::try_from(set.replicas()).unwrap_or(0);
    if active.len() < wanted {
        return Plan::Create(wanted - active.len());
    }
    if active.len() == wanted {
        return Plan::Keep;
    }
    pods::sort_for_deletion(&mut active, owned, now);
    active.truncate(active.len() - wanted);
    Plan::Delete(active)
}

pub fn counts<R: Replicated>(set: &R, owned: &[Arc<Pod>], now: Timestamp) -> Counts {
    let labels = set.template().metadata.and_then(|meta| meta.labels).unwrap_or_default();
    let mut counts = Counts::default();
    for pod in owned {
        if is_deleting(&pod.metadata) && !pods::is_finished(pod) {
            counts.terminating += 1;
        }
        if !pods::is_active(pod) {
            continue;
        }
        counts.replicas += 1;
        counts.fully_labeled +=
            i32::from(labels.iter().all(|(key, value)| label(&pod.metadata, key) == Some(value.as_str())));
        counts.ready += i32::from(pods::is_ready(pod));
        counts.available += i32::from(pods::is_available(pod, set.min_ready_seconds(), now));
    }
    counts
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::apps::v1::{ReplicaSet, ReplicaSetSpec};
    use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

    use super::*;

    fn set(replicas: i32) -> ReplicaSet {
        ReplicaSet {
            spec: Some(ReplicaSetSpec { replicas: Some(replicas), ..Default::default() }),
            ..Default::default()
        }
    }

    fn pod(phase: &str, ready: bool, deleting: bool) -> Arc<Pod> {
        let ready = PodCondition {
            type_: "Ready".into(),
            status: if ready { "True" } else { "False" }.into(),
            ..Default::default()
        };
        Arc::new(Pod {
            metadata: ObjectMeta {
                deletion_timestamp: deleting.then_some(Time(Timestamp::UNIX_EPOCH)),
                ..Default::default()
            },
            status: Some(PodStatus { phase: Some(phase.into()), conditions: Some(vec![ready]), ..Default::default() }),
            ..Default::default()
        })
    }

    #[test]
    fn only_active_pods_are_replicas() {
        let owned = [
            pod("Running", true, false),
            pod("Running", true, true),
            pod("Failed", false, false),
            pod("Pending", false, false),
        ];
        assert!(matches!(plan(&set(2), &owned, Timestamp::UNIX_EPOCH), Plan::Keep));
        assert!(matches!(plan(&set(5), &owned, Timestamp::UNIX_EPOCH), Plan::Create(3)));
        let Plan::Delete(doomed) = plan(&set(1), &owned, Timestamp::UNIX_EPOCH) else { panic!("must delete") };
        assert_eq!(pods::phase(&doomed[0]), "Pending");
        let counts = counts(&set(2), &owned, Timestamp::UNIX_EPOCH);
        assert_eq!(counts, Counts { replicas: 2, fully_labeled: 2, ready: 1, available: 1, terminating: 1 });
    }
}
