//! Jobs: pods that run to their end (upstream `pkg/controller/job`).
//!
//! ```text
//!  view (count) ──► decide (over? which pods?) ──► create, delete ──► accounting (write, release, count) ──► finish
//! ```
//! All but the arrows is pure. [`orphans`] frees pods whose Job is gone, [`ttl`] deletes Jobs some time after their end.

mod accounting;
mod backoff;
mod decide;
mod indexes;
mod orphans;
mod policy;
mod template;
#[cfg(test)]
mod tests;
pub mod ttl;
mod view;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use parking_lot::Mutex;
use runtime::events::{EventType, Recorder};

use crate::context::{Context, reference, tell};
use crate::framework::meta::{is_deleting, key_of, selects, to_seconds};
use crate::framework::{ApiError, Controller, Outcome, Queue, claim, drive, pods, queue_owners};
use accounting::{finish, set_condition, settle, some_unless_zero, tally};
use backoff::Record;
use decide::{Action, Ending};
pub use view::finished;
use view::{View, count, is_suspended};

struct Jobs {
    context: Arc<Context>,
    recorder: Arc<Recorder>,
    /// Failures since the last success, by key; a Job that is over or gone has none.
    records: Mutex<HashMap<String, Record>>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let kinds = &context.kinds;
    let on_job = queue.clone();
    kinds.jobs.on_change(move |change| on_job.add(key_of(&change.object().metadata)));
    queue_owners(&kinds.pods, &kinds.jobs, &queue, |job, labels| {
        selects(job.spec.as_ref().and_then(|spec| spec.selector.as_ref()), labels)
    });
    orphans::start(context);
    let recorder = context.recorder(Jobs::NAME);
    let controller = Arc::new(Jobs { context: context.clone(), recorder, records: Mutex::default() });
    drive(&context.gate(), &controller, &queue, 5);
}

/// What became of an [`Action`].
#[derive(Default)]
struct Done {
    created: i32,
    deleted: i32,
    deleted_ready: i32,
    error: Option<kube::Error>,
}

impl Controller for Jobs {
    const NAME: &'static str = "job-controller";

    async fn sync(&self, key: &str) -> Outcome {
        let known = self.context.kinds.jobs.get(key);
        let Some(job) = known.filter(|job| finished(job).is_none()) else {
            self.records.lock().remove(key);
            return Ok(None);
        };
        let Some(spec) = &job.spec else { return Ok(None) };
        if spec.managed_by.as_deref().is_some_and(|manager| manager != "kubernetes.io/job-controller") {
            return Ok(None);
        }
        let selector = spec.selector.clone().unwrap_or_default();
        let owned = claim(&self.context.kinds.pods, &*job, &selector).await?;
        let now = self.context.now();
        let mut view = View::new(&job, spec, &owned);
        if view.status.start_time.is_none() && !is_suspended(spec) {
            view.status.start_time = Some(to_seconds(now));
        }
        let record = self.records.lock().get(key).cloned().unwrap_or_default();
        let record = record.after(&view.new_succeeded, &view.new_failed);
        let mut ending = decide::ending(&view, now);
        let action = match &ending {
            Some(_) => Action { delete: view.active.clone(), ..Action::default() },
            None if is_deleting(&job.metadata) => Action::default(),
            None => decide::action(&view, &record, now),
        };
        let done = self.carry_out(&job, &view, &action).await;
        let active = count(view.active.len()) + done.created - done.deleted;
        let mut status = view.status.clone();
        if ending.is_none() {
            let enough = spec.completions.map_or(view.succeeded > 0, |wanted| view.succeeded >= wanted);
            if enough && active == 0 {
                ending = Some(Ending::complete());
            } else if !is_deleting(&job.metadata) {
                self.suspend_or_resume(&job, &mut status, is_suspended(spec), now);
            }
        }
        let ready = view.active.iter().filter(|pod| pods::is_ready(pod)).count();
        status.active = some_unless_zero(active);
        status.ready = Some(count(ready) - done.deleted_ready);
        status.terminating = Some(view.terminating + done.deleted);
        let wait = [action.wait, decide::deadline_in(&view, now)].into_iter().flatten().min();
        self.account(key, &job, &view, status, ending.as_ref(), record).await?;
        match done.error {
            Some(error) => Err(error),
            None => Ok(wait.filter(|_| ending.is_none())),
        }
    }
}

impl Jobs {
    /// The writes of [`accounting`], in their order.
    async fn account(
        &self,
        key: &str,
        job: &Arc<Job>,
        view: &View<'_>,
        status: JobStatus,
        ending: Option<&Ending>,
        record: Record,
    ) -> Result<(), kube::Error> {
        let jobs = &self.context.kinds.jobs;
        let tally = tally(view, status, ending, self.context.now());
        let mut wanted = (**job).clone();
        wanted.status = Some(tally.status);
        let written = jobs.update_status(job, &wanted).await?;
        self.records.lock().insert(key.to_owned(), record);

        let releases = join_all(tally.release.iter().map(|pod| orphans::release(&self.context, pod))).await;
        let mut tracked: HashSet<String> = view
            .pods
            .iter()
            .filter(|pod| template::is_tracked(pod))
            .filter_map(|pod| pod.metadata.uid.clone())
            .collect();
        let mut failure = None;
        for (pod, result) in tally.release.iter().zip(releases) {
            match result {
                Ok(()) => drop(tracked.remove(pod.metadata.uid.as_deref().unwrap_or_default())),
                Err(error) => failure = Some(error),
            }
        }

        let mut wanted = (*written).clone();
        let status = wanted.status.get_or_insert_default();
        settle(status, &tracked);
        let over = ending.filter(|ending| !tally.partial && finish(status, ending, self.context.now()));
        jobs.update_status(&written, &wanted).await?;
        if let Some(ending) = over {
            self.announce(job, ending, wanted.status.as_ref());
        }
        failure.map_or(Ok(()), Err)
    }

    fn announce(&self, job: &Job, ending: &Ending, status: Option<&JobStatus>) {
        if !ending.success {
            let recorder = self.recorder.clone();
            let (object, reason, message) = (reference(job), ending.reason.clone(), ending.message.clone());
            tokio::spawn(async move { recorder.record(&object, EventType::Warning, &reason, &message).await });
            return;
        }
        let wanted = job.spec.as_ref().and_then(|spec| spec.completions);
        let succeeded = status.and_then(|status| status.succeeded).unwrap_or(0);
        if wanted.is_some_and(|wanted| succeeded > wanted) {
            let message = "Too many succeeded pods recorded".to_owned();
            tell(&self.recorder, reference(job), EventType::Warning, "TooManySucceededPods", message);
        }
        tell(&self.recorder, reference(job), EventType::Normal, "Completed", "Job completed".into());
    }

    fn suspend_or_resume(&self, job: &Job, status: &mut JobStatus, suspended: bool, now: Timestamp) {
        let (event, reason, message) = if suspended {
            ("Suspended", "JobSuspended", "Job suspended")
        } else {
            ("Resumed", "JobResumed", "Job resumed")
        };
        if set_condition(status, "Suspended", suspended, reason, message, now) {
            tell(&self.recorder, reference(job), EventType::Normal, event, message.into());
            if !suspended {
                status.start_time = Some(to_seconds(now));
            }
        }
    }

    /// Goes on after refusals; the first is what is reported.
    async fn carry_out(&self, job: &Job, view: &View<'_>, action: &Action) -> Done {
        let mut done = Done::default();
        let deletions = join_all(action.delete.iter().map(|pod| self.delete(job, pod))).await;
        for (pod, result) in action.delete.iter().zip(deletions) {
            match result {
                Ok(()) => {
                    done.deleted += 1;
                    done.deleted_ready += i32::from(pods::is_ready(pod));
                }
                Err(error) => done.error = done.error.or(Some(error)),
            }
        }
        // In batches of 1, 2, 4 …: when the first one is refused, hundreds more need not be.
        let (mut left, mut batch) = (action.create.as_slice(), 1);
        while !left.is_empty() && done.error.is_none() {
            let (now, later) = left.split_at(batch.min(left.len()));
            for result in join_all(now.iter().map(|index| self.create(job, view, *index))).await {
                match result {
                    Ok(()) => done.created += 1,
                    Err(error) => done.error = done.error.or(Some(error)),
                }
            }
            (left, batch) = (later, batch * 2);
        }
        done
    }

    async fn create(&self, job: &Job, view: &View<'_>, index: Option<i32>) -> Result<(), kube::Error> {
        let failed = index.and_then(|index| view.indexed.as_ref()?.kept.get(&index));
        let pod = template::pod_for(job, index, failed.map(|pod| &**pod));
        let result = self.context.kinds.pods.create(&pod).await;
        self.report(job, "create", result.as_deref().map(|pod| pod.name_any()));
        result.map(drop)
    }

    async fn delete(&self, job: &Job, pod: &Pod) -> Result<(), kube::Error> {
        let result = self.context.kinds.pods.delete(&pod.metadata, None).await;
        self.report(job, "delete", result.as_ref().map(|()| pod.name_any()));
        result
    }

    fn report(&self, job: &Job, verb: &str, result: Result<String, &kube::Error>) {
        let deleting = verb == "delete";
        let (kind, reason, message) = match result {
            Ok(name) if deleting => (EventType::Normal, "SuccessfulDelete", format!("Deleted pod: {name}")),
            Ok(name) => (EventType::Normal, "SuccessfulCreate", format!("Created pod: {name}")),
            // Nothing can be created in a dying namespace, and nobody needs to be told.
            Err(error) if error.namespace_terminating() => return,
            Err(error) => {
                let why = error.words();
                let reason = if deleting { "FailedDelete" } else { "FailedCreate" };
                let doing = if deleting { "deleting" } else { "creating" };
                (EventType::Warning, reason, format!("Error {doing}: {why}"))
            }
        };
        tell(&self.recorder, reference(job), kind, reason, message);
    }
}
