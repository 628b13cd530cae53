//! Pods that run: a container that does something and ends, or stays to be asked.

use anyhow::{Context, bail};
use serde_json::{Value, json};

use crate::client::Patch;
use crate::expect;
use crate::spec::Test;

/// The image of containers that run a script.
pub const BUSYBOX: &str = "busybox:1.36";

/// A container that runs a shell script.
#[must_use]
pub fn container(name: &str, script: &str) -> Value {
    json!({ "name": name, "image": BUSYBOX, "command": ["sh", "-c", script] })
}

/// A pod of these containers that is not restarted and goes at once when it is deleted.
#[must_use]
pub fn pod(name: &str, containers: &[Value]) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "name": name } },
        "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": containers },
    })
}

/// The same pod with volumes, each mounted at a path in its first container: (volume, path).
#[must_use]
pub fn with_volumes(mut pod: Value, volumes: &[(Value, &str)]) -> Value {
    let mounts: Vec<Value> =
        volumes.iter().map(|(volume, path)| json!({ "name": volume["name"], "mountPath": path })).collect();
    pod["spec"]["containers"][0]["volumeMounts"] = mounts.into();
    pod["spec"]["volumes"] = volumes.iter().map(|(volume, _)| volume.clone()).collect();
    pod
}

/// The text a container has printed.
///
/// # Errors
/// The log cannot be had.
pub async fn log(t: &Test, pod: &str, container: &str) -> anyhow::Result<String> {
    let path = t.objects("v1", "pods").path_of(pod, "log");
    let reply = t.api().raw(http::Method::GET, &format!("{path}?container={container}"), &[], Vec::new()).await?;
    Ok(reply.ok()?.text())
}

/// Creates the pod, waits until it has ended well, and returns what its first container printed.
///
/// # Errors
/// It fails or does not end; the message has its log.
pub async fn output(t: &Test, pod: &Value) -> anyhow::Result<String> {
    let pods = t.objects("v1", "pods");
    pods.create(pod).await?;
    let name = expect::name(pod);
    let ended =
        pods.wait(name, "an end", |pod| matches!(expect::text(pod, "/status/phase"), "Succeeded" | "Failed")).await?;
    let first = expect::text(&ended, "/spec/containers/0/name").to_owned();
    let text = log(t, name, &first).await?;
    if ended["status"]["phase"] != "Succeeded" {
        bail!("pod {name} failed: {}; it printed: {text}", ended["status"]);
    }
    Ok(text)
}

/// Creates the pod and waits until it is ready.
///
/// # Errors
/// It does not become so.
pub async fn start(t: &Test, pod: &Value) -> anyhow::Result<Value> {
    t.objects("v1", "pods").create(pod).await?;
    ready(t, expect::name(pod)).await
}

/// Waits until the pod is ready.
///
/// # Errors
/// It does not become so.
pub async fn ready(t: &Test, name: &str) -> anyhow::Result<Value> {
    t.objects("v1", "pods").wait(name, "condition Ready", is_ready).await
}

/// The condition Ready.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// Runs a script in a container; what it printed.
///
/// # Errors
/// It cannot be run, or fails.
pub async fn exec(t: &Test, pod: &str, container: &str, script: &str) -> anyhow::Result<String> {
    let args = ["-n", &t.namespace, "exec", pod, "-c", container, "--", "sh", "-c", script];
    t.cluster.kubectl(&args, "").await?.success().with_context(|| format!("in pod {pod}: {script}"))
}

/// Waits until a script in a container prints something wanted.
///
/// # Errors
/// It does not; the message has what it printed at last.
pub async fn until(t: &Test, pod: &str, container: &str, script: &str, wanted: &str) -> anyhow::Result<()> {
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    loop {
        let text = exec(t, pod, container, script).await?;
        if text.contains(wanted) {
            return Ok(());
        }
        if tokio::time::Instant::now() > deadline {
            bail!("in pod {pod}, {script} should print {wanted:?} and prints {text:?}");
        }
    }
}

/// Lets the pod go without grace.
///
/// # Errors
/// It cannot be deleted.
pub async fn remove(t: &Test, name: &str) -> anyhow::Result<()> {
    t.objects("v1", "pods").delete_with(name, &json!({ "gracePeriodSeconds": 0 })).await.map(|_| ())
}

/// Merges something into a pod's metadata.
///
/// # Errors
/// It is refused.
pub async fn annotate(t: &Test, name: &str, metadata: &Value) -> anyhow::Result<Value> {
    t.objects("v1", "pods").patch(name, Patch::Merge, &json!({ "metadata": metadata })).await
}
