//! Deletes Jobs `ttlSecondsAfterFinished` after their end (upstream `pkg/controller/ttlafterfinished`, KEP-592).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::PropagationPolicy;

use super::view::finished;
use crate::context::Context;
use crate::framework::meta::{is_deleting, key_of};
use crate::framework::{Controller, Outcome, Queue, drive};

struct TtlAfterFinished {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let on_job = queue.clone();
    context.kinds.jobs.on_change(move |change| {
        if let Some(job) = change.new.filter(|job| time_left(job, Timestamp::MIN).is_some()) {
            on_job.add(key_of(&job.metadata));
        }
    });
    drive(&context.gate(), &Arc::new(TtlAfterFinished { context: context.clone() }), &queue, 2);
}

impl Controller for TtlAfterFinished {
    const NAME: &'static str = "ttl-after-finished-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let jobs = &self.context.kinds.jobs;
        let Some(job) = jobs.get(key) else { return Ok(None) };
        let Some(left) = time_left(&job, self.context.now()) else { return Ok(None) };
        if !left.is_zero() {
            return Ok(Some(left));
        }
        jobs.delete(&job.metadata, Some(PropagationPolicy::Foreground)).await?;
        Ok(None)
    }
}

/// How long a finished Job has still to live; nothing for those that nobody deletes.
fn time_left(job: &Job, now: Timestamp) -> Option<Duration> {
    let ttl = job.spec.as_ref()?.ttl_seconds_after_finished.filter(|_| !is_deleting(&job.metadata))?;
    let end = finished(job)?.last_transition_time.as_ref()?.0;
    let left = SignedDuration::from_secs(i64::from(ttl)) - now.duration_since(end);
    Some(if left.is_positive() { left.unsigned_abs() } else { Duration::ZERO })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_finished_jobs_with_a_ttl_are_deleted() {
        let now: Timestamp = "2026-01-01T00:01:00Z".parse().unwrap();
        let cases = [
            (Some(100), Some("Complete"), Some(40)),
            (Some(60), Some("Failed"), Some(0)),
            (Some(0), Some("Complete"), Some(0)),
            (Some(60), None, None),
            (None, Some("Complete"), None),
        ];
        for (ttl, end, left) in cases {
            let conditions: Vec<_> = end
                .iter()
                .map(|kind| json!({ "type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" }))
                .collect();
            let job: Job = serde_json::from_value(json!({
                "metadata": {}, "spec": { "template": {}, "ttlSecondsAfterFinished": ttl },
                "status": { "conditions": conditions },
            }))
            .unwrap();
            assert_eq!(time_left(&job, now), left.map(Duration::from_secs), "{ttl:?} {end:?}");
        }
    }
}
