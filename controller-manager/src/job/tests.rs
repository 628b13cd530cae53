//! Rounds of a Job, without an API server: what is decided, and what the status comes to say.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::batch::v1::{Job, JobStatus};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::accounting::{finish, settle, tally};
use super::backoff::Record;
use super::decide::{self, Action, Ending};
use super::indexes::COMPLETION_INDEX;
use super::template::TRACKING;
use super::view::View;

fn job(spec: Value, status: Value) -> Job {
    let mut all =
        json!({ "completions": 3, "parallelism": 2, "backoffLimit": 2, "template": { "spec": { "containers": [] } } });
    all.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({ "metadata": { "name": "j", "uid": "job" }, "spec": all, "status": status })).unwrap()
}

/// A pod is written as uid, phase and perhaps index: `a Running 0`. `Ending` is a running pod being deleted.
fn pod(text: &str) -> Arc<Pod> {
    let parts: Vec<_> = text.split(' ').collect();
    let phase = if parts[1] == "Ending" { "Running" } else { parts[1] };
    let mut pod = json!({
        "metadata": { "name": parts[0], "uid": parts[0], "finalizers": [TRACKING], "annotations": {} },
        "status": { "phase": phase },
    });
    if parts[1] == "Ending" {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    if let Some(index) = parts.get(2) {
        pod["metadata"]["annotations"][COMPLETION_INDEX] = json!(index);
    }
    if let Some(failures) = parts.get(3) {
        pod["metadata"]["annotations"]["batch.kubernetes.io/job-index-failure-count"] = json!(failures);
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn pods(texts: &[&str]) -> Vec<Arc<Pod>> {
    texts.iter().map(|text| pod(text)).collect()
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

fn steps(action: &Action) -> String {
    let create = action.create.iter().map(|index| index.map_or("+".to_owned(), |index| format!("+{index}")));
    let delete = action.delete.iter().map(|pod| format!("-{}", pod.metadata.name.as_deref().unwrap()));
    create.chain(delete).collect::<Vec<_>>().join(" ")
}

#[test]
fn pods_are_made_up_to_the_completions_that_lack() {
    let cases: &[(Value, &[&str], &str)] = &[
        (json!({}), &[], "+ +"),
        (json!({}), &["a Running"], "+"),
        (json!({}), &["a Running", "b Pending"], ""),
        (json!({}), &["a Succeeded", "b Succeeded"], "+"),
        (json!({}), &["a Running", "b Failed"], "+"),
        (json!({ "parallelism": 1 }), &["a Running", "b Pending"], "-b"),
        (json!({ "suspend": true }), &["a Running"], "-a"),
        (json!({ "suspend": true }), &[], ""),
        (json!({ "completions": null }), &[], "+ +"),
        (json!({ "completions": null }), &["a Succeeded", "b Running"], ""),
        (json!({}), &["a Ending"], "+ +"),
        (json!({ "podReplacementPolicy": "Failed" }), &["a Ending"], "+"),
        (json!({ "completionMode": "Indexed" }), &[], "+0 +1"),
        (json!({ "completionMode": "Indexed" }), &["a Succeeded 0", "b Running 2"], "+1"),
        (json!({ "completionMode": "Indexed" }), &["a Running 1", "b Pending 1"], "-b"),
        (json!({ "completionMode": "Indexed", "backoffLimitPerIndex": 0 }), &["a Failed 0"], "+1 +2"),
    ];
    for (spec, texts, expected) in cases {
        let (job, pods) = (job(spec.clone(), json!({})), pods(texts));
        let view = View::new(&job, job.spec.as_ref().unwrap(), &pods);
        assert_eq!(steps(&decide::action(&view, &Record::default(), now())), *expected, "{spec} {texts:?}");
    }
}

#[test]
fn failed_pods_are_replaced_after_a_back_off() {
    let (job, pods) = (job(json!({}), json!({})), pods(&["a Failed"]));
    let view = View::new(&job, job.spec.as_ref().unwrap(), &pods);
    let action = decide::action(&view, &Record { failures: 1, last: Some(now()), ..Record::default() }, now());
    assert!(action.create.is_empty());
    assert_eq!(action.wait.map(|wait| wait.as_secs()), Some(10));
}

#[test]
fn what_ends_a_job() {
    let indexed = |more: Value| {
        let mut spec = json!({ "completionMode": "Indexed" });
        spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        spec
    };
    let cases: &[(Value, Value, &[&str], Option<&str>)] = &[
        (json!({}), json!({}), &["a Failed", "b Failed"], None),
        (json!({}), json!({}), &["a Failed", "b Failed", "c Failed"], Some("BackoffLimitExceeded")),
        (json!({}), json!({ "failed": 2 }), &["a Failed"], Some("BackoffLimitExceeded")),
        (
            json!({}),
            json!({ "failed": 2, "uncountedTerminatedPods": { "failed": ["a"] } }),
            &["a Failed"],
            Some("BackoffLimitExceeded"),
        ),
        (json!({ "activeDeadlineSeconds": 3601 }), json!({ "startTime": "2026-01-01T00:00:00Z" }), &[], None),
        (
            json!({ "activeDeadlineSeconds": 3600 }),
            json!({ "startTime": "2026-01-01T00:00:00Z" }),
            &[],
            Some("DeadlineExceeded"),
        ),
        (
            json!({ "activeDeadlineSeconds": 1, "suspend": true }),
            json!({ "startTime": "2026-01-01T00:00:00Z" }),
            &[],
            None,
        ),
        (indexed(json!({ "backoffLimitPerIndex": 1 })), json!({}), &["a Failed 0 1", "b Succeeded 1"], None),
        (
            indexed(json!({ "backoffLimitPerIndex": 1 })),
            json!({}),
            &["a Failed 0 1", "b Succeeded 1", "c Succeeded 2"],
            Some("FailedIndexes"),
        ),
        (
            indexed(json!({ "backoffLimitPerIndex": 0, "maxFailedIndexes": 0 })),
            json!({}),
            &["a Failed 0"],
            Some("MaxFailedIndexesExceeded"),
        ),
        (
            indexed(json!({ "successPolicy": { "rules": [{ "succeededIndexes": "0" }] } })),
            json!({}),
            &["a Succeeded 0"],
            Some("SuccessPolicy"),
        ),
    ];
    for (spec, status, texts, expected) in cases {
        let (job, pods) = (job(spec.clone(), status.clone()), pods(texts));
        let view = View::new(&job, job.spec.as_ref().unwrap(), &pods);
        let reason = decide::ending(&view, now()).map(|ending| ending.reason);
        assert_eq!(reason.as_deref(), *expected, "{spec} {status} {texts:?}");
    }
}

/// Both writes of one round; `tracked` are the pods whose finalizer could not be removed.
fn account(job: &Job, pods: &[Arc<Pod>], ending: Option<&Ending>, tracked: &[&str]) -> (JobStatus, JobStatus, bool) {
    let view = View::new(job, job.spec.as_ref().unwrap(), pods);
    let mut status = view.status.clone();
    status.terminating = Some(view.terminating);
    let tally = tally(&view, status, ending, now());
    let mut settled = tally.status.clone();
    let tracked: HashSet<String> = tracked.iter().map(|uid| (*uid).to_owned()).collect();
    settle(&mut settled, &tracked);
    let over = ending.is_some_and(|ending| finish(&mut settled, ending, now()));
    (tally.status, settled, over)
}

#[test]
fn a_pod_is_counted_once_its_finalizer_is_gone() {
    let (first, pods) = (job(json!({}), json!({})), pods(&["a Succeeded", "b Failed", "c Running"]));
    let (before, after, _) = account(&first, &pods, None, &["b", "c"]);
    let uncounted = before.uncounted_terminated_pods.unwrap();
    assert_eq!((uncounted.succeeded, uncounted.failed), (Some(vec!["a".into()]), Some(vec!["b".into()])));
    assert_eq!((before.succeeded, before.failed), (None, None));
    assert_eq!((after.succeeded, after.failed), (Some(1), None));
    assert_eq!(after.uncounted_terminated_pods.as_ref().unwrap().failed, Some(vec!["b".to_owned()]));
    // The next round (after a crash, say) finds b still there: it is counted, but not twice.
    let second = Job { status: Some(after), ..first };
    let (_, after, _) = account(&second, &pods[1..], None, &["c"]);
    assert_eq!((after.succeeded, after.failed), (Some(1), Some(1)));
}

#[test]
fn a_job_completes_when_all_is_counted() {
    let job = job(json!({ "completions": 1 }), json!({ "startTime": "2026-01-01T00:00:00Z" }));
    let (_, waiting, over) = account(&job, &pods(&["a Succeeded"]), Some(&Ending::complete()), &["a"]);
    assert!(!over && waiting.completion_time.is_none());
    let (_, done, over) = account(&job, &pods(&["a Succeeded"]), Some(&Ending::complete()), &[]);
    assert!(over && done.completion_time.is_some());
    let conditions: Vec<_> = done.conditions.unwrap().into_iter().map(|c| (c.type_, c.reason.unwrap())).collect();
    assert_eq!(
        conditions,
        [
            ("SuccessCriteriaMet".to_owned(), "CompletionsReached".to_owned()),
            ("Complete".to_owned(), "CompletionsReached".to_owned()),
        ]
    );
    assert_eq!(serde_json::to_value(&done.uncounted_terminated_pods).unwrap(), json!({}));
}

#[test]
fn a_failed_job_waits_for_its_pods_to_end() {
    let job = job(json!({}), json!({}));
    let failure = Ending { success: false, reason: "DeadlineExceeded".into(), message: "m".into() };
    let (_, status, over) = account(&job, &pods(&["a Ending"]), Some(&failure), &[]);
    assert!(!over);
    assert_eq!(status.failed, Some(1), "what still runs when a Job fails has failed");
    assert_eq!(status.conditions.as_ref().unwrap()[0].type_, "FailureTarget");
    let next = Job { status: Some(status), ..job };
    let (_, status, over) = account(&next, &[], Some(&failure), &[]);
    assert!(over);
    assert_eq!(status.conditions.unwrap()[1].type_, "Failed");
}

#[test]
fn completed_indexes_are_written_down() {
    let job = job(json!({ "completionMode": "Indexed", "completions": 5 }), json!({ "completedIndexes": "0" }));
    let (_, status, _) =
        account(&job, &pods(&["a Succeeded 1", "b Succeeded 2", "c Succeeded 2", "d Succeeded 9"]), None, &[]);
    assert_eq!((status.completed_indexes.as_deref(), status.succeeded), (Some("0-2"), Some(3)));
}
