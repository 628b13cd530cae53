//! CronJobs: a Job at each of the times a schedule names (upstream `pkg/controller/cronjob`, `cronjob_controllerv2.go`).
//!
//! [`schedule`] knows the times, [`zone`] the clocks, [`due`] which of the times has come; this file compares with the Jobs
//! there are and makes one.

mod due;
mod schedule;
mod zone;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::{CronJob, CronJobStatus, Job};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::tz::TimeZone;
use kube::ResourceExt;
use kube::api::PropagationPolicy;
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::meta::{controller_reference, created, is_deleting, key_of};
use crate::framework::{ApiError, Controller, Outcome, Queue, drive, owner_key};
use crate::job::finished;
use due::{due, job_name};
use schedule::Schedule;

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// Added to the wait for the next start, so that it has come for certain when we look.
const MARGIN: Duration = Duration::from_millis(100);

struct CronJobs {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let on_cron = queue.clone();
    kinds.cron_jobs.on_change(move |change| on_cron.add(key_of(&change.object().metadata)));
    let on_job = queue.clone();
    kinds.jobs.on_change(move |change| {
        let sides = [change.old, change.new].into_iter().flatten();
        sides.filter_map(|job| owner_key(&job.metadata, "CronJob")).for_each(|key| on_job.add(key));
    });
    let recorder = context.recorder(CronJobs::NAME);
    drive(&context.gate(), &Arc::new(CronJobs { context: context.clone(), recorder }), &queue, 5);
}

impl Controller for CronJobs {
    const NAME: &'static str = "cronjob-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let kinds = &self.context.kinds;
        let Some(cron) = kinds.cron_jobs.get(key) else { return Ok(None) };
        let jobs = kinds.jobs.controlled_by(cron.metadata.uid.as_deref().unwrap_or_default());
        let mut status = cron.status.clone().unwrap_or_default();
        self.clean_up(&cron, &jobs, &mut status).await;
        self.follow(&cron, &jobs, &mut status);
        let outcome = if is_deleting(&cron.metadata) { Ok(None) } else { self.schedule(&cron, &mut status).await };
        let mut wanted = (*cron).clone();
        status.active = status.active.filter(|active| !active.is_empty());
        wanted.status = Some(status);
        kinds.cron_jobs.update_status(&cron, &wanted).await?;
        outcome
    }
}

impl CronJobs {
    fn tell(&self, cron: &CronJob, kind: EventType, reason: &'static str, message: String) {
        tell(&self.recorder, reference(cron), kind, reason, message);
    }

    /// Deletes the oldest finished Jobs beyond the history limits.
    async fn clean_up(&self, cron: &CronJob, jobs: &[Arc<Job>], status: &mut CronJobStatus) {
        let Some(spec) = &cron.spec else { return };
        for (end, limit) in
            [("Complete", spec.successful_jobs_history_limit), ("Failed", spec.failed_jobs_history_limit)]
        {
            let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else { continue };
            for job in oldest_beyond(limit, end, jobs) {
                self.delete(cron, &job, status).await;
            }
        }
    }

    async fn delete(&self, cron: &CronJob, job: &Job, status: &mut CronJobStatus) -> bool {
        match self.context.kinds.jobs.delete(&job.metadata, Some(PropagationPolicy::Background)).await {
            Ok(()) => {
                forget(status, job.metadata.uid.as_deref());
                self.tell(cron, EventType::Normal, "SuccessfulDelete", format!("Deleted job {}", job.name_any()));
                true
            }
            Err(error) => {
                self.tell(cron, EventType::Warning, "FailedDelete", format!("Deleted job: {error}"));
                false
            }
        }
    }

    /// Brings `status.active` and the time of the last success in line with the Jobs there are.
    fn follow(&self, cron: &CronJob, jobs: &[Arc<Job>], status: &mut CronJobStatus) {
        for job in jobs {
            let (uid, name) = (job.metadata.uid.as_deref(), job.name_any());
            let listed = status.active.iter().flatten().any(|known| known.uid.as_deref() == uid);
            match finished(job) {
                None if !listed && !is_deleting(&job.metadata) => {
                    let message = format!("Saw a job that the controller did not create or forgot: {name}");
                    self.tell(cron, EventType::Warning, "UnexpectedJob", message);
                }
                Some(condition) if listed => {
                    forget(status, uid);
                    let message = format!("Saw completed job: {name}, condition: {}", condition.type_);
                    self.tell(cron, EventType::Normal, "SawCompletedJob", message);
                }
                _ => {}
            }
            let success = finished(job).filter(|condition| condition.type_ == "Complete");
            if let Some(end) = success.and_then(|_| job.status.as_ref()?.completion_time.clone()) {
                let known = status.last_successful_time.as_ref().map(|time| time.0);
                if known.is_none_or(|known| end.0 > known) {
                    status.last_successful_time = Some(end);
                }
            }
        }
        let there: HashSet<_> = jobs.iter().map(|job| job.metadata.uid.as_deref()).collect();
        let lost: Vec<ObjectReference> =
            status.active.iter().flatten().filter(|known| !there.contains(&known.uid.as_deref())).cloned().collect();
        for job in lost {
            let message = format!("Active job went missing: {}", job.name.as_deref().unwrap_or_default());
            self.tell(cron, EventType::Normal, "MissingJob", message);
            forget(status, job.uid.as_deref());
        }
    }

    /// Makes the Job that is due, if the policies allow it. Returns the time to the next start.
    async fn schedule(&self, cron: &CronJob, status: &mut CronJobStatus) -> Outcome {
        let Some(spec) = cron.spec.as_ref().filter(|spec| spec.suspend != Some(true)) else { return Ok(None) };
        let zone = match zone::load(spec.time_zone.as_deref().unwrap_or_default()) {
            Ok(zone) => zone,
            Err(error) => {
                let name = spec.time_zone.as_deref().unwrap_or_default();
                let message = format!("invalid timeZone: {name:?}: {error}");
                self.tell(cron, EventType::Warning, "UnknownTimeZone", message);
                return Ok(None);
            }
        };
        let schedule = match Schedule::parse(&spec.schedule) {
            Ok(schedule) => schedule,
            Err(error) => {
                let message = format!("unparseable schedule: {:?} : {error}", spec.schedule);
                self.tell(cron, EventType::Warning, "UnparseableSchedule", message);
                return Ok(None);
            }
        };
        let now = self.context.now();
        let due = due(cron, &schedule, &zone, now);
        let again = self.next_start(cron, &schedule, &zone, now);
        if due.too_many_missed {
            let message =
                "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
            self.tell(cron, EventType::Warning, "TooManyMissedTimes", message.into());
        }
        let Some(at) = due.at else { return Ok(again) };
        let name = job_name(cron, at);
        if status.active.iter().flatten().any(|job| job.name.as_deref() == Some(&name))
            || status.last_schedule_time.as_ref().is_some_and(|last| last.0 == at)
        {
            return Ok(again);
        }
        match spec.concurrency_policy.as_deref() {
            Some("Forbid") if status.active.as_ref().is_some_and(|active| !active.is_empty()) => {
                let message = "Not starting job because prior execution is running and concurrency policy is Forbid";
                self.tell(cron, EventType::Normal, "JobAlreadyActive", message.into());
                return Ok(again);
            }
            Some("Replace") => {
                let namespace = cron.metadata.namespace.as_deref().unwrap_or_default();
                for known in status.active.clone().unwrap_or_default() {
                    let key = format!("{namespace}/{}", known.name.as_deref().unwrap_or_default());
                    let Some(job) = self.context.kinds.jobs.get(&key) else { continue };
                    if !self.delete(cron, &job, status).await {
                        return Ok(Some(MARGIN));
                    }
                }
            }
            _ => {}
        }
        if let Some(job) = self.create(cron, &job_for(cron, &name, at, &zone)).await? {
            status
                .active
                .get_or_insert_default()
                .push(ObjectReference { resource_version: job.metadata.resource_version.clone(), ..reference(&*job) });
            status.last_schedule_time = Some(Time(at));
        }
        Ok(again)
    }

    /// The Job; nothing when one of its name is there that is not ours or is over already.
    async fn create(&self, cron: &CronJob, job: &Job) -> Result<Option<Arc<Job>>, kube::Error> {
        let jobs = &self.context.kinds.jobs;
        match jobs.create(job).await {
            Ok(job) => {
                self.tell(cron, EventType::Normal, "SuccessfulCreate", format!("Created job {}", job.name_any()));
                Ok(Some(job))
            }
            Err(error) if error.already_exists() => {
                let known = jobs.get(&key_of(&job.metadata));
                let ours = |job: &Arc<Job>| {
                    job.owner_references().iter().any(|owner| Some(&owner.uid) == cron.metadata.uid.as_ref())
                };
                Ok(known.filter(|job| ours(job) && finished(job).is_none()))
            }
            Err(error) if error.namespace_terminating() => Ok(None),
            Err(error) => {
                self.tell(cron, EventType::Warning, "FailedCreate", format!("Error creating job: {error}"));
                Err(error)
            }
        }
    }

    fn next_start(&self, cron: &CronJob, schedule: &Schedule, zone: &TimeZone, now: Timestamp) -> Option<Duration> {
        // `@every` counts from the last start, the calendar from now.
        let last = cron.status.as_ref().and_then(|status| status.last_schedule_time.as_ref()).map(|time| time.0);
        let from = last.unwrap_or_else(|| created(&cron.metadata));
        let next = schedule.next(from, zone).filter(|next| *next > now).or_else(|| schedule.next(now, zone))?;
        Some(next.duration_since(now).unsigned_abs() + MARGIN)
    }
}

fn forget(status: &mut CronJobStatus, uid: Option<&str>) {
    if let Some(active) = &mut status.active {
        active.retain(|job| job.uid.as_deref() != uid);
    }
}

/// The Jobs that ended so and are more than `limit`, those first that started first.
fn oldest_beyond(limit: usize, end: &str, jobs: &[Arc<Job>]) -> Vec<Arc<Job>> {
    let mut ended: Vec<_> =
        jobs.iter().filter(|job| finished(job).is_some_and(|condition| condition.type_ == end)).cloned().collect();
    let start = |job: &Job| job.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0);
    ended.sort_by_key(|job| (start(job).unwrap_or(Timestamp::MAX), job.metadata.name.clone()));
    ended.truncate(ended.len().saturating_sub(limit));
    ended
}

fn job_for(cron: &CronJob, name: &str, at: Timestamp, zone: &TimeZone) -> Job {
    let template = cron.spec.as_ref().map(|spec| spec.job_template.clone()).unwrap_or_default();
    let meta = template.metadata.unwrap_or_default();
    let mut annotations = meta.annotations.unwrap_or_default();
    annotations.insert(SCHEDULED_AT.into(), rfc3339(at, zone));
    Job {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: cron.metadata.namespace.clone(),
            labels: meta.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(cron)]),
            creation_timestamp: Some(Time(at)),
            ..ObjectMeta::default()
        },
        spec: template.spec,
        status: None,
    }
}

/// With the zone's offset, or `Z` in UTC.
fn rfc3339(at: Timestamp, zone: &TimeZone) -> String {
    let offset = zone.to_offset(at);
    if offset.seconds() == 0 { at.to_string() } else { at.display_with_offset(offset).to_string() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn jobs_carry_their_start() {
        let cron: CronJob = serde_json::from_value(json!({
            "metadata": { "name": "c", "namespace": "ns", "uid": "u" },
            "spec": { "schedule": "* * * * *", "jobTemplate": { "metadata": { "labels": { "a": "b" } },
                      "spec": { "template": {} } } },
        }))
        .unwrap();
        let at: Timestamp = "2026-01-01T10:00:00Z".parse().unwrap();
        let name = job_name(&cron, at);
        let job = serde_json::to_value(job_for(&cron, &name, at, &TimeZone::UTC)).unwrap();
        assert_eq!(job["metadata"]["name"], "c-29454360");
        assert_eq!(job["metadata"]["annotations"][SCHEDULED_AT], "2026-01-01T10:00:00Z");
        assert_eq!(job["metadata"]["ownerReferences"][0]["kind"], "CronJob");
        let zone = TimeZone::posix("CET-1").unwrap();
        assert_eq!(rfc3339(at, &zone), "2026-01-01T11:00:00+01:00");
    }

    #[test]
    fn the_history_keeps_the_newest() {
        let job = |name: &str, end: &str, hour: u8| -> Arc<Job> {
            Arc::new(
                serde_json::from_value(json!({
                    "metadata": { "name": name },
                    "status": { "startTime": format!("2026-01-01T{hour:02}:00:00Z"),
                                "conditions": [{ "type": end, "status": "True" }] },
                }))
                .unwrap(),
            )
        };
        let jobs = [job("b", "Complete", 2), job("a", "Complete", 1), job("c", "Complete", 3), job("f", "Failed", 0)];
        let names =
            |limit, end| -> Vec<String> { oldest_beyond(limit, end, &jobs).iter().map(|job| job.name_any()).collect() };
        assert_eq!(names(1, "Complete"), ["a", "b"]);
        assert_eq!(names(3, "Complete"), Vec::<String>::new());
        assert_eq!(names(0, "Failed"), ["f"]);
    }
}
