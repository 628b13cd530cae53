//! Job.

use serde_json::{Value, json};

use crate::client::{Objects, Patch};
use crate::pods::container;
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-apps] Job should adopt matching orphans and release non-matching pods [Conformance]" => adopt_and_release,
    "[sig-apps] Job should allow to use a pod failure policy to ignore failure matching on DisruptionTarget condition [Conformance]" => disruptions_ignored,
    "[sig-apps] Job should allow to use the pod failure policy on exit code to fail the job early [Conformance]" => failure_policy,
    "[sig-apps] Job should apply changes to a job status [Conformance]" => status,
    "[sig-apps] Job should create pods for an Indexed job with completion indexes and specified hostname [Conformance]" => indexed,
    "[sig-apps] Job should delete a job [Conformance]" => delete,
    "[sig-apps] Job should execute all indexes despite some failing when using backoffLimitPerIndex [Conformance]" => backoff_per_index,
    "[sig-apps] Job should manage the lifecycle of a job [Conformance]" => lifecycle,
    "[sig-apps] Job should mark indexes as failed when the FailIndex action is matched in podFailurePolicy [Conformance]" => fail_index,
    "[sig-apps] Job should run a job to completion when tasks sometimes fail and are locally restarted [Conformance]" => locally_restarted,
    "[sig-apps] Job should terminate job execution when the number of failed indexes exceeds maxFailedIndexes [Conformance]" => max_failed_indexes,
    "[sig-apps] Job with successPolicy should succeeded when all indexes succeeded [Conformance]" => |t| success(t, json!({ "succeededIndexes": "0,1" }), "exit 0"),
    "[sig-apps] Job with successPolicy succeededCount rule should succeeded even when some indexes remain pending [Conformance]" => |t| success(t, json!({ "succeededCount": 1 }), "[ $JOB_COMPLETION_INDEX = 0 ] && exit 0; sleep 1000"),
    "[sig-apps] Job with successPolicy succeededIndexes rule should succeeded even when some indexes remain pending [Conformance]" => |t| success(t, json!({ "succeededIndexes": "0" }), "[ $JOB_COMPLETION_INDEX = 0 ] && exit 0; sleep 1000"),
}

fn job(script: &str, spec: &Value) -> Value {
    let mut job = json!({ "metadata": { "name": "job" }, "spec": { "parallelism": 2, "completions": 2, "template": {
        "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container("c", script)] },
    } } });
    if let (Some(all), Some(spec)) = (job["spec"].as_object_mut(), spec.as_object()) {
        all.extend(spec.clone());
    }
    job
}

/// What a waiting container does.
const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

fn jobs(t: &Test) -> Objects {
    t.objects("batch/v1", "jobs")
}

async fn condition(t: &Test, kind: &str, reason: &str) -> anyhow::Result<Value> {
    let has = |job: &Value| {
        let conditions = job["status"]["conditions"].as_array();
        conditions
            .into_iter()
            .flatten()
            .any(|c| c["type"] == kind && c["status"] == "True" && (reason.is_empty() || c["reason"] == reason))
    };
    jobs(t).wait("job", &format!("condition {kind} {reason}"), has).await
}

async fn locally_restarted(t: Test) -> anyhow::Result<()> {
    // The first run of each pod fails: its volume remembers.
    let mut object = job("[ -f /data/ran ] || { touch /data/ran; exit 1; }", &json!({}));
    object["spec"]["template"]["spec"]["restartPolicy"] = "OnFailure".into();
    object["spec"]["template"]["spec"]["volumes"] = json!([{ "name": "data", "emptyDir": {} }]);
    object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{ "name": "data", "mountPath": "/data" }]);
    jobs(&t).create(&object).await?;
    let done = condition(&t, "Complete", "").await?;
    expect::at(&done, "/status/succeeded", 2)
}

async fn delete(t: Test) -> anyhow::Result<()> {
    jobs(&t).create(&job(STAY, &json!({}))).await?;
    jobs(&t).wait("job", "two active pods", |job| job["status"]["active"] == 2).await?;
    jobs(&t).delete("job").await?;
    jobs(&t).gone("job").await?;
    t.objects("v1", "pods")
        .wait_list("labelSelector=batch.kubernetes.io/job-name=job", "no pods", <[Value]>::is_empty)
        .await?;
    Ok(())
}

async fn indexed(t: Test) -> anyhow::Result<()> {
    jobs(&t)
        .create(&job(
            "[ $(hostname) = job-$JOB_COMPLETION_INDEX ]",
            &json!({ "completionMode": "Indexed", "completions": 4 }),
        ))
        .await?;
    let done = condition(&t, "Complete", "").await?;
    expect::at(&done, "/status/completedIndexes", "0-3")?;
    let pods = t.objects("v1", "pods").items("labelSelector=batch.kubernetes.io/job-name=job").await?;
    let mut indexes: Vec<&str> = pods
        .iter()
        .map(|pod| expect::text(pod, "/metadata/annotations/batch.kubernetes.io~1job-completion-index"))
        .collect();
    indexes.sort_unstable();
    expect::same("the indexes", &indexes, &vec!["0", "1", "2", "3"])
}

async fn failure_policy(t: Test) -> anyhow::Result<()> {
    let rules = json!([{ "action": "FailJob", "onExitCodes": { "operator": "In", "values": [42] } }]);
    jobs(&t)
        .create(&job(
            "exit 42",
            &json!({ "backoffLimit": 100, "parallelism": 1, "podFailurePolicy": { "rules": rules } }),
        ))
        .await?;
    condition(&t, "Failed", "PodFailurePolicy").await?;
    Ok(())
}

/// Pods that are evicted do not count as failures, though they end with an error. One is enough here: of three, the controller
/// waits 40 seconds before it makes others, as upstream's.
async fn disruptions_ignored(t: Test) -> anyhow::Result<()> {
    const COUNT: u64 = 1;
    let rules = json!([{ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] }]);
    let spec = json!({ "completionMode": "Indexed", "parallelism": COUNT, "completions": COUNT, "backoffLimit": 0,
        "podFailurePolicy": { "rules": rules } });
    jobs(&t).create(&job("trap 'exit 1' TERM; until [ -e /done ]; do sleep 0.1; done", &spec)).await?;
    jobs(&t).wait("job", "a ready pod", |job| job["status"]["ready"] == COUNT).await?;
    let pods = t.objects("v1", "pods");
    let ours = "labelSelector=batch.kubernetes.io%2Fjob-name%3Djob";
    let names = |list: &[Value]| -> Vec<String> { list.iter().map(|pod| expect::name(pod).to_owned()).collect() };
    let first = names(&pods.wait_list(ours, "a pod", |list| list.len() == 1).await?);
    for name in &first {
        let eviction = json!({ "apiVersion": "policy/v1", "kind": "Eviction",
            "metadata": { "name": name, "namespace": t.namespace } });
        let path = pods.path_of(name, "eviction");
        t.cluster.kubectl(&["create", "--raw", &path, "-f", "-"], &eviction.to_string()).await?.success()?;
    }
    let running = |pod: &Value| pod["status"]["phase"] == "Running" && pod["metadata"]["deletionTimestamp"].is_null();
    let others = |list: &[Value]| {
        list.len() == 1 && list.iter().all(|pod| running(pod) && !first.iter().any(|name| name == expect::name(pod)))
    };
    for name in names(&pods.wait_list(ours, "another", others).await?) {
        crate::pods::exec(&t, &name, "c", "touch /done").await?;
    }
    let done = condition(&t, "Complete", "CompletionsReached").await?;
    expect::at(&done, "/status/succeeded", COUNT)?;
    expect::same("the failures", &done["status"]["failed"].as_u64().unwrap_or(0), &0)
}

async fn backoff_per_index(t: Test) -> anyhow::Result<()> {
    let spec = json!({ "completionMode": "Indexed", "completions": 4, "backoffLimitPerIndex": 0 });
    jobs(&t).create(&job("[ $((JOB_COMPLETION_INDEX % 2)) = 1 ]", &spec)).await?;
    let job = condition(&t, "Failed", "FailedIndexes").await?;
    expect::at(&job, "/status/failedIndexes", "0,2")?;
    expect::at(&job, "/status/completedIndexes", "1,3")?;
    expect::at(&job, "/status/failed", 2)?;
    expect::at(&job, "/status/succeeded", 2)
}

async fn fail_index(t: Test) -> anyhow::Result<()> {
    let rules = json!([{ "action": "FailIndex", "onExitCodes": { "operator": "In", "values": [42] } }]);
    let spec = json!({ "completionMode": "Indexed", "completions": 2, "backoffLimitPerIndex": 1, "podFailurePolicy": { "rules": rules } });
    jobs(&t).create(&job("[ $JOB_COMPLETION_INDEX = 1 ] || exit 42", &spec)).await?;
    let job = condition(&t, "Failed", "FailedIndexes").await?;
    expect::at(&job, "/status/failedIndexes", "0")?;
    expect::at(&job, "/status/completedIndexes", "1")?;
    expect::at(&job, "/status/failed", 1)
}

async fn max_failed_indexes(t: Test) -> anyhow::Result<()> {
    let spec = json!({ "completionMode": "Indexed", "completions": 10, "parallelism": 2, "backoffLimitPerIndex": 0, "maxFailedIndexes": 4 });
    jobs(&t).create(&job("exit 1", &spec)).await?;
    let job = condition(&t, "Failed", "MaxFailedIndexesExceeded").await?;
    expect::that(job["status"]["failed"].as_u64() >= Some(5), || format!("too few failed: {}", job["status"]))?;
    expect::that(job["status"]["succeeded"].as_u64().unwrap_or(0) == 0, || format!("some succeeded: {}", job["status"]))
}

async fn success(t: Test, rule: Value, script: &str) -> anyhow::Result<()> {
    let script = format!("trap 'exit 1' TERM; {}", script.replace("sleep 1000", "while true; do sleep 1; done"));
    let spec = json!({ "completionMode": "Indexed", "completions": 2, "successPolicy": { "rules": [rule] } });
    jobs(&t).create(&job(&script, &spec)).await?;
    condition(&t, "SuccessCriteriaMet", "SuccessPolicy").await?;
    let done = condition(&t, "Complete", "SuccessPolicy").await?;
    let indexes = expect::text(&done, "/status/completedIndexes");
    expect::that(indexes.starts_with('0'), || format!("index 0 should be complete: {}", done["status"]))
}

async fn adopt_and_release(t: Test) -> anyhow::Result<()> {
    jobs(&t).create(&job(STAY, &json!({}))).await?;
    jobs(&t).wait("job", "two active pods", |job| job["status"]["active"] == 2).await?;
    let pods = t.objects("v1", "pods");
    let list = pods.items("labelSelector=batch.kubernetes.io/job-name=job").await?;
    let name = expect::name(&list[0]);
    pods.modify(name, |pod| pod["metadata"]["ownerReferences"] = Value::Null).await?;
    pods.wait(name, "the job as owner again", |pod| pod["metadata"]["ownerReferences"][0]["name"] == "job").await?;
    pods.modify(name, |pod| pod["metadata"]["labels"] = Value::Null).await?;
    pods.wait(name, "no owner", |pod| pod["metadata"]["ownerReferences"].as_array().is_none_or(Vec::is_empty)).await?;
    Ok(())
}

async fn status(t: Test) -> anyhow::Result<()> {
    jobs(&t).create(&job(STAY, &json!({}))).await?;
    jobs(&t).wait("job", "two active pods", |job| job["status"]["active"] == 2).await?;
    let condition = |kind: &str| json!({ "type": kind, "status": "True", "reason": "E2E", "message": "Set by an e2e test", "lastTransitionTime": "2024-01-02T03:04:05Z" });
    let has = |job: &Value, kind: &str| {
        job["status"]["conditions"].as_array().into_iter().flatten().any(|c| c["type"] == kind)
    };
    let body = json!({ "metadata": { "annotations": { "patchedstatus": "true" } }, "status": { "conditions": [condition("StatusPatch")] } });
    let patched = jobs(&t).patch_sub("job", "status", Patch::Merge, &body).await?;
    expect::that(has(&patched, "StatusPatch"), || format!("the patch set no condition: {}", patched["status"]))?;
    expect::at(&patched, "/metadata/annotations/patchedstatus", "true")?;
    let jobs = jobs(&t);
    let updated = jobs.modify_sub("job", "status", |job| {
        if let Some(list) = job["status"]["conditions"].as_array_mut() {
            list.push(condition("StatusUpdate"));
        }
    });
    let updated = updated.await?;
    expect::that(has(&updated, "StatusUpdate"), || format!("the update added no condition: {}", updated["status"]))?;
    let got = jobs.get_sub("job", "status").await?;
    expect::at(&got, "/metadata/uid", updated["metadata"]["uid"].clone())
}

async fn lifecycle(t: Test) -> anyhow::Result<()> {
    let label = t.name("label");
    let selector = format!("labelSelector=e2e-job-label={label}");
    let mut object = job(STAY, &json!({ "suspend": true }));
    object["metadata"]["labels"] = json!({ "e2e-job-label": label });
    let mut watch = jobs(&t).watch(&selector).await?;
    jobs(&t).create(&object).await?;
    watch.until("the creation", |e| e.kind == "ADDED").await?;
    jobs(&t).patch("job", Patch::Strategic, &json!({ "metadata": { "labels": { "job": "patched" } } })).await?;
    watch.until("the patch", |e| e.object["metadata"]["labels"]["job"] == "patched").await?;
    jobs(&t)
        .modify("job", |job| {
            job["metadata"]["annotations"] = json!({ "updated": "true" });
            job["spec"]["suspend"] = false.into();
        })
        .await?;
    watch.until("active pods", |e| e.object["status"]["active"] == 2).await?;
    expect::same("the number of jobs", &t.everywhere("batch/v1", "jobs").items(&selector).await?.len(), &1)?;
    jobs(&t).delete_collection(&selector).await?;
    watch
        .until("the deletion", |e| e.kind == "DELETED" || !e.object["metadata"]["deletionTimestamp"].is_null())
        .await?;
    Ok(())
}
