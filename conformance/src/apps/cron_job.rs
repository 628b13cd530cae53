//! CronJob.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::Patch;
use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-apps] CronJob should support CronJob API operations [Conformance]" => api_operations,
    "[sig-apps] CronJob should not schedule jobs when suspended [Slow] [Conformance]" => suspended,
    "[sig-apps] CronJob should replace jobs when ReplaceConcurrent [Conformance]" => replace_concurrent,
    "[sig-apps] CronJob should schedule multiple jobs concurrently [Conformance]" => concurrent,
    "[sig-apps] CronJob should not schedule new jobs when ForbidConcurrent [Slow] [Conformance]" => forbid_concurrent,
}

fn cron_job(policy: &str, schedule: &str) -> Value {
    let pod = json!({ "restartPolicy": "OnFailure", "containers": [{ "name": "c", "image": "busybox", "command": ["sleep", "300"] }] });
    json!({ "spec": {
        "schedule": schedule, "concurrencyPolicy": policy,
        "jobTemplate": { "spec": { "parallelism": 1, "completions": 1, "template": { "spec": pod } } },
    } })
}

async fn api_operations(t: Test) -> anyhow::Result<()> {
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let operations = Operations {
        api_version: "batch/v1",
        kind: "CronJob",
        plural: "cronjobs",
        namespaced: true,
        object: cron_job("Allow", "* */1 * * ?"),
        change: json!({ "spec": { "successfulJobsHistoryLimit": 2 } }),
        status: Some(json!({ "lastScheduleTime": now })),
    };
    operations::run(&t, &operations).await
}

/// How long a controller is watched that must do nothing.
const WHILE: Duration = Duration::from_secs(3);

/// Nobody waits for the next minute: a Job is under way already, and the last start is moved into the past, so that the
/// next is due as soon as the CronJob is no longer suspended. The Job.
async fn due(t: &Test, name: &str, policy: &str) -> anyhow::Result<Value> {
    let (cron_jobs, jobs) = (t.objects("batch/v1", "cronjobs"), t.objects("batch/v1", "jobs"));
    let mut object = cron_job(policy, "*/1 * * * ?");
    object["metadata"]["name"] = name.into();
    object["spec"]["suspend"] = true.into();
    let owner = cron_jobs.create(&object).await?;
    let reference = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": name, "uid": owner["metadata"]["uid"], "controller": true,
    });
    let job = jobs
        .create(&json!({
            "metadata": { "name": format!("{name}-active"), "ownerReferences": [reference] },
            "spec": owner["spec"]["jobTemplate"]["spec"],
        }))
        .await?;
    let active = json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": job["metadata"]["name"], "namespace": t.namespace, "uid": job["metadata"]["uid"],
    });
    let past = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(75))?;
    let status = json!({ "active": [active], "lastScheduleTime": past.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() });
    cron_jobs.patch_sub(name, "status", Patch::Merge, &json!({ "status": status })).await?;
    Ok(job)
}

async fn resume(t: &Test, name: &str) -> anyhow::Result<()> {
    let change = json!({ "spec": { "suspend": false } });
    t.objects("batch/v1", "cronjobs").patch(name, Patch::Merge, &change).await.map(drop)
}

async fn suspended(t: Test) -> anyhow::Result<()> {
    due(&t, "suspended", "Allow").await?;
    let jobs = t.objects("batch/v1", "jobs");
    tokio::time::sleep(WHILE).await;
    expect::same("the number of jobs while it is suspended", &jobs.items("").await?.len(), &1)?;
    // It was for the suspension alone.
    resume(&t, "suspended").await?;
    jobs.wait_list("", "a second job", |list| list.len() == 2).await?;
    t.objects("batch/v1", "cronjobs").delete("suspended").await.map(drop)
}

async fn replace_concurrent(t: Test) -> anyhow::Result<()> {
    let old = due(&t, "replace", "Replace").await?;
    resume(&t, "replace").await?;
    let jobs = t.objects("batch/v1", "jobs");
    let is_new = |job: &Value| job["metadata"]["uid"] != old["metadata"]["uid"];
    let replaced = |list: &[Value]| list.len() == 1 && list.iter().all(is_new);
    jobs.wait_list("", "another job alone", replaced).await?;
    t.objects("batch/v1", "cronjobs").delete("replace").await.map(drop)
}

async fn concurrent(t: Test) -> anyhow::Result<()> {
    due(&t, "concurrent", "Allow").await?;
    resume(&t, "concurrent").await?;
    let both = |owner: &Value| owner["status"]["active"].as_array().map(Vec::len) == Some(2);
    let cron_jobs = t.objects("batch/v1", "cronjobs");
    cron_jobs.wait("concurrent", "two active jobs", both).await?;
    expect::same("the number of jobs", &t.objects("batch/v1", "jobs").items("").await?.len(), &2)?;
    cron_jobs.delete("concurrent").await.map(drop)
}

async fn forbid_concurrent(t: Test) -> anyhow::Result<()> {
    let (cron_jobs, jobs) = (t.objects("batch/v1", "cronjobs"), t.objects("batch/v1", "jobs"));
    due(&t, "forbid", "Forbid").await?;
    resume(&t, "forbid").await?;
    let events = t.objects("v1", "events");
    events.wait_list("fieldSelector=reason=JobAlreadyActive", "an event", |list| !list.is_empty()).await?;
    expect::same("the number of jobs", &jobs.items("").await?.len(), &1)?;
    let got = cron_jobs.get("forbid").await?;
    expect::same("the number of active jobs", &got["status"]["active"].as_array().map(Vec::len), &Some(1))?;
    cron_jobs.delete("forbid").await?;
    Ok(())
}
