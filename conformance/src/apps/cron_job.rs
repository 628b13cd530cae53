//! CronJob.

use serde_json::{Value, json};

use crate::client::Patch;
use crate::operations::{self, Operations};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Api;
    "[sig-apps] CronJob should support CronJob API operations [Conformance]" => api_operations,
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

/// Nobody waits for the next minute: a Job is under way already, and the last start is moved into the past, so that the
/// next is due at once.
async fn forbid_concurrent(t: Test) -> anyhow::Result<()> {
    let (cron_jobs, jobs) = (t.objects("batch/v1", "cronjobs"), t.objects("batch/v1", "jobs"));
    let mut object = cron_job("Forbid", "*/1 * * * ?");
    object["metadata"]["name"] = "forbid".into();
    object["spec"]["suspend"] = true.into();
    let owner = cron_jobs.create(&object).await?;
    let reference = json!({
        "apiVersion": "batch/v1", "kind": "CronJob", "name": "forbid", "uid": owner["metadata"]["uid"], "controller": true,
    });
    let job = jobs
        .create(&json!({
            "metadata": { "name": "forbid-active", "ownerReferences": [reference] },
            "spec": owner["spec"]["jobTemplate"]["spec"],
        }))
        .await?;
    let active = json!({
        "apiVersion": "batch/v1", "kind": "Job", "name": "forbid-active", "namespace": t.namespace, "uid": job["metadata"]["uid"],
    });
    let past = jiff::Timestamp::now().checked_sub(jiff::SignedDuration::from_secs(75))?;
    let status = json!({ "active": [active], "lastScheduleTime": past.strftime("%Y-%m-%dT%H:%M:%SZ").to_string() });
    cron_jobs.patch_sub("forbid", "status", Patch::Merge, &json!({ "status": status })).await?;
    cron_jobs.patch("forbid", Patch::Merge, &json!({ "spec": { "suspend": false } })).await?;
    let events = t.objects("v1", "events");
    events.wait_list("fieldSelector=reason=JobAlreadyActive", "an event", |list| !list.is_empty()).await?;
    expect::same("the number of jobs", &jobs.items("").await?.len(), &1)?;
    let got = cron_jobs.get("forbid").await?;
    expect::same("the number of active jobs", &got["status"]["active"].as_array().map(Vec::len), &Some(1))?;
    cron_jobs.delete("forbid").await?;
    Ok(())
}
