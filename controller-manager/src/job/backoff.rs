//! How long a Job waits before it replaces failed pods: 10 s, doubled at each failure, counted from the last failure on
//! and forgotten after a success (upstream `pkg/controller/job/backoff_utils.go`).

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::framework::meta::created;
use crate::framework::pods;

const FIRST: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(600);

/// Failures since the last success. Kept in memory only: a restart forgives, as upstream's does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub failures: u32,
    pub last: Option<Timestamp>,
    /// The pods of the last round, by UID: one that could not be released comes again in the next, and counts once.
    pub counted: HashSet<String>,
}

impl Record {
    /// The record after pods that ended since it was made.
    pub fn after(&self, succeeded: &[Arc<Pod>], failed: &[Arc<Pod>]) -> Self {
        let uid = |pod: &Pod| pod.metadata.uid.clone().unwrap_or_default();
        let fresh = |pod: &&Arc<Pod>| !self.counted.contains(&uid(pod));
        let success = succeeded.iter().filter(fresh).map(|pod| finished_at(pod)).max();
        let mut record = if success.is_some() { Self::default() } else { self.clone() };
        record.counted = succeeded.iter().chain(failed).map(|pod| uid(pod)).collect();
        let ends = failed.iter().filter(fresh).map(|pod| finished_at(pod));
        for at in ends.filter(|at| success.is_none_or(|success| *at > success)) {
            record.failures += 1;
            record.last = record.last.max(Some(at));
        }
        record
    }

    pub fn remaining(&self, now: Timestamp) -> Option<Duration> {
        remaining(self.failures, self.last?, now)
    }
}

/// What is left of the wait after `failures`, the last of which happened at `last`.
pub fn remaining(failures: u32, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let wait = FIRST.saturating_mul(1 << failures.checked_sub(1)?.min(10)).min(LONGEST);
    let wait = SignedDuration::try_from(wait).expect("ten minutes are a signed duration");
    let left = wait - now.duration_since(last);
    left.is_positive().then(|| left.unsigned_abs())
}

/// When a pod ended: by its containers, else by when it stopped to be ready, else by its deletion.
pub fn finished_at(pod: &Pod) -> Timestamp {
    let containers = pod.status.as_ref().and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let ends = containers
        .iter()
        .filter_map(|container| container.state.as_ref()?.terminated.as_ref()?.finished_at.as_ref())
        .map(|time| time.0);
    let unready = || {
        let ready = pods::condition(pod, "Ready").filter(|ready| ready.status == "False")?;
        ready.last_transition_time.as_ref().map(|time| time.0)
    };
    let deleted = || {
        let grace = SignedDuration::from_secs(pod.metadata.deletion_grace_period_seconds.unwrap_or(0));
        pod.metadata.deletion_timestamp.as_ref().map(|time| time.0 - grace)
    };
    ends.max().or_else(unready).or_else(deleted).unwrap_or_else(|| created(&pod.metadata))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ended(at: i64) -> Arc<Pod> {
        let end = Timestamp::from_second(at).unwrap().to_string();
        let state = json!({ "terminated": { "exitCode": 1, "finishedAt": end } });
        let container = json!({
            "name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": state,
        });
        Arc::new(
            serde_json::from_value(
                json!({ "metadata": { "uid": format!("uid-{at}") }, "status": { "containerStatuses": [container] } }),
            )
            .unwrap(),
        )
    }

    #[test]
    fn waits_double_up_to_ten_minutes() {
        let second = |at| Timestamp::from_second(at).unwrap();
        for (failures, wait) in [(1, 10), (2, 20), (3, 40), (7, 600), (60, 600)] {
            assert_eq!(remaining(failures, second(0), second(0)), Some(Duration::from_secs(wait)), "{failures}");
        }
        assert_eq!(remaining(0, second(0), second(0)), None);
        assert_eq!(remaining(2, second(0), second(15)), Some(Duration::from_secs(5)));
        assert_eq!(remaining(2, second(0), second(20)), None);
    }

    #[test]
    fn a_success_forgets_the_failures_before_it() {
        let record = Record::default().after(&[], &[ended(5), ended(3)]);
        assert_eq!((record.failures, record.last), (2, Timestamp::from_second(5).ok()));
        assert_eq!(record.after(&[], &[ended(9)]).failures, 3);
        assert_eq!(record.after(&[ended(8)], &[ended(7), ended(9)]).failures, 1);
        assert_eq!(record.after(&[ended(8)], &[]).failures, 0);
    }

    #[test]
    fn a_pod_that_comes_again_counts_once() {
        let record = Record::default().after(&[], &[ended(5), ended(3)]);
        let again = record.after(&[], &[ended(5), ended(7)]);
        assert_eq!((again.failures, again.last), (3, Timestamp::from_second(7).ok()));
        assert_eq!(again.after(&[], &[]).failures, 3);
        // Nor does a success that was forgotten for forget what failed since.
        let success = again.after(&[ended(8)], &[]);
        assert_eq!(success.after(&[ended(8)], &[ended(9)]).after(&[ended(8)], &[ended(9)]).failures, 1);
    }
}
