//! Kubectl client: what needs running pods.

use serde_json::{Value, json};

use crate::client::PATIENCE;
use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-cli] Kubectl client Kubectl describe should check if kubectl describe prints relevant information for rc and pods [Conformance]" => describe,
    "[sig-cli] Kubectl client Kubectl expose should create services for rc [Conformance]" => expose,
    "[sig-cli] Kubectl client Kubectl label should update the label on a resource [Conformance]" => label,
    "[sig-cli] Kubectl client Kubectl patch should add annotations for pods in rc [Conformance]" => patch,
    "[sig-cli] Kubectl client Kubectl replace should update a single-container pod's image [Conformance]" => replace,
    "[sig-cli] Kubectl client Kubectl run pod should create a pod from an image when restart is Never [Conformance]" => run,
    "[sig-cli] Kubectl client Kubectl server-side dry-run should check if kubectl can dry-run update Pods [Conformance]" => dry_run,
    "[sig-cli] Kubectl client Update Demo should create and stop a replication controller [Conformance]" => |t| update_demo(t, false),
    "[sig-cli] Kubectl client Update Demo should scale a replication controller [Conformance]" => |t| update_demo(t, true),
    "[sig-cli] Kubectl logs logs should be able to retrieve and filter logs [Conformance]" => logs,
}

const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

async fn kubectl(t: &Test, args: &[&str], input: &str) -> anyhow::Result<String> {
    let mut all = vec!["-n", t.namespace.as_str()];
    all.extend(args);
    t.cluster.kubectl(&all, input).await?.success()
}

fn controller(name: &str, replicas: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ReplicationController", "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": replicas, "selector": { "app": name },
            "template": {
                "metadata": { "labels": { "app": name, "role": "primary" } },
                "spec": { "terminationGracePeriodSeconds": 1, "containers": [{
                    "name": name, "image": pods::BUSYBOX, "command": ["sh", "-c", STAY], "ports": [{ "name": "redis-server", "containerPort": 6379 }],
                }] },
            },
        },
    })
}

async fn start(t: &Test, name: &str, replicas: usize) -> anyhow::Result<Vec<Value>> {
    kubectl(t, &["create", "-f", "-"], &controller(name, replicas).to_string()).await?;
    running(t, name, replicas).await
}

async fn running(t: &Test, name: &str, replicas: usize) -> anyhow::Result<Vec<Value>> {
    let all = |list: &[Value]| list.len() == replicas && list.iter().all(pods::is_ready);
    t.objects("v1", "pods")
        .wait_list(&format!("labelSelector=app={name}"), &format!("{replicas} ready pods"), all)
        .await
}

async fn describe(t: Test) -> anyhow::Result<()> {
    let list = start(&t, "agnhost-primary", 1).await?;
    let name = expect::name(&list[0]);
    let node = expect::text(&list[0], "/spec/nodeName");
    for (what, words) in [
        (
            vec!["describe", "pod", name],
            vec![
                "Name:",
                "Namespace:",
                "Node:",
                "Labels:",
                "app=agnhost-primary",
                "role=primary",
                "Annotations:",
                "Status:",
                "Running",
                "IP:",
                "Controlled By:",
                "ReplicationController/agnhost-primary",
                "Image:",
                "State:",
                "QoS Class:",
                "BestEffort",
            ],
        ),
        (
            vec!["describe", "rc", "agnhost-primary"],
            vec![
                "Name:",
                "agnhost-primary",
                "Namespace:",
                "Selector:",
                "app=agnhost-primary",
                "Labels:",
                "Replicas:",
                "1 current",
                "1 desired",
                "Pods Status:",
                "1 Running",
                "0 Waiting",
                "0 Succeeded",
                "0 Failed",
                "Pod Template:",
                "Image:",
                "Events:",
            ],
        ),
        (
            vec!["describe", "node", node],
            vec![
                "Name:",
                node,
                "Labels:",
                "Annotations:",
                "CreationTimestamp:",
                "Conditions:",
                "Type",
                "Status",
                "LastHeartbeatTime",
                "LastTransitionTime",
                "Reason",
                "Message",
                "Addresses:",
                "Capacity:",
                "Version:",
                "Kubelet Version:",
                "Pods:",
            ],
        ),
        (
            vec!["describe", "namespace", &t.namespace],
            vec!["Name:", &t.namespace, "Labels:", "Annotations:", "Status:", "Active"],
        ),
    ] {
        let text = kubectl(&t, &what, "").await?;
        for word in words {
            expect::has_text(&text, word)?;
        }
    }
    Ok(())
}

async fn expose(t: Test) -> anyhow::Result<()> {
    start(&t, "agnhost-primary", 1).await?;
    kubectl(&t, &["expose", "rc", "agnhost-primary", "--name=rm2", "--port=1234", "--target-port=6379"], "").await?;
    kubectl(&t, &["expose", "service", "rm2", "--name=rm3", "--port=2345", "--target-port=6379"], "").await?;
    for (name, port) in [("rm2", 1234), ("rm3", 2345)] {
        let service = t.objects("v1", "services").get(name).await?;
        expect::at(&service, "/spec/ports/0/port", port)?;
        expect::at(&service, "/spec/ports/0/targetPort", 6379)?;
        let has = |e: &Value| e["subsets"][0]["ports"][0]["port"] == 6379 && !e["subsets"][0]["addresses"].is_null();
        t.objects("v1", "endpoints").wait(name, "an address", has).await?;
    }
    Ok(())
}

async fn label(t: Test) -> anyhow::Result<()> {
    pods::start(&t, &pod("pause", &[container("pause", STAY)])).await?;
    kubectl(&t, &["label", "pods", "pause", "testing-label=testing-label-value"], "").await?;
    expect::has_text(&kubectl(&t, &["get", "pod", "pause", "-L", "testing-label"], "").await?, "testing-label-value")?;
    kubectl(&t, &["label", "pods", "pause", "testing-label-"], "").await?;
    let text = kubectl(&t, &["get", "pod", "pause", "-L", "testing-label"], "").await?;
    expect::that(!text.contains("testing-label-value"), || format!("the label is still there: {text}"))
}

async fn patch(t: Test) -> anyhow::Result<()> {
    let list = start(&t, "agnhost-primary", 1).await?;
    for pod in &list {
        kubectl(&t, &["patch", "pod", expect::name(pod), "-p", r#"{"metadata":{"annotations":{"x":"y"}}}"#], "")
            .await?;
        expect::at(&t.objects("v1", "pods").get(expect::name(pod)).await?, "/metadata/annotations/x", "y")?;
    }
    Ok(())
}

async fn replace(t: Test) -> anyhow::Result<()> {
    kubectl(&t, &["run", "e2e-test-httpd-pod", "--image=httpd:2.4", "--labels=run=e2e-test-httpd-pod"], "").await?;
    t.objects("v1", "pods").wait("e2e-test-httpd-pod", "a node", |pod| !pod["spec"]["nodeName"].is_null()).await?;
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        // The kubelet writes as well: what was read may be old by now.
        let text = kubectl(&t, &["get", "pod", "e2e-test-httpd-pod", "-o", "json"], "").await?;
        match kubectl(&t, &["replace", "-f", "-"], &text.replace("httpd:2.4", "busybox:1.37")).await {
            Err(error) if tokio::time::Instant::now() < deadline && error.to_string().contains("Conflict") => {}
            other => break other.map(|_| ())?,
        };
    }
    expect::at(&t.objects("v1", "pods").get("e2e-test-httpd-pod").await?, "/spec/containers/0/image", "busybox:1.37")
}

async fn run(t: Test) -> anyhow::Result<()> {
    kubectl(&t, &["run", "e2e-test-httpd-pod", "--restart=Never", "--image=httpd:2.4"], "").await?;
    let pod = t.objects("v1", "pods").get("e2e-test-httpd-pod").await?;
    expect::at(&pod, "/spec/containers/0/image", "httpd:2.4")?;
    expect::at(&pod, "/spec/restartPolicy", "Never")
}

async fn dry_run(t: Test) -> anyhow::Result<()> {
    kubectl(&t, &["run", "e2e-test-httpd-pod", "--image=httpd:2.4", "--labels=run=e2e-test-httpd-pod"], "").await?;
    let patch = r#"{"spec":{"containers":[{"name":"e2e-test-httpd-pod","image":"busybox:1.37"}]}}"#;
    let said = kubectl(&t, &["patch", "pod", "e2e-test-httpd-pod", "-p", patch, "--dry-run=server"], "").await?;
    expect::has_text(&said, "patched")?;
    expect::at(&t.objects("v1", "pods").get("e2e-test-httpd-pod").await?, "/spec/containers/0/image", "httpd:2.4")
}

async fn update_demo(t: Test, scaled: bool) -> anyhow::Result<()> {
    start(&t, "update-demo", 2).await?;
    if scaled {
        for size in [1, 2] {
            kubectl(&t, &["scale", "rc", "update-demo", &format!("--replicas={size}"), "--timeout=5m"], "").await?;
            running(&t, "update-demo", size).await?;
        }
    }
    kubectl(&t, &["delete", "--grace-period=0", "--force", "-f", "-"], &controller("update-demo", 2).to_string())
        .await?;
    let text = kubectl(&t, &["get", "rc,svc", "-l", "app=update-demo", "--no-headers"], "").await?;
    expect::same("what is left", &text.trim(), &"")?;
    running(&t, "update-demo", 0).await?;
    Ok(())
}

async fn logs(t: Test) -> anyhow::Result<()> {
    let script = format!("for i in 1 2 3 4 5 6 7 8 9 10; do echo line number $i; done; {STAY}");
    pods::start(&t, &pod("logs", &[container("main", &script)])).await?;
    let all = kubectl(&t, &["logs", "logs", "main"], "").await?;
    expect::same("the number of lines", &all.lines().count(), &10)?;
    expect::same(
        "the last line",
        &kubectl(&t, &["logs", "logs", "--tail=1"], "").await?.as_str(),
        &"line number 10\n",
    )?;
    expect::same("the first byte", &kubectl(&t, &["logs", "logs", "--limit-bytes=1"], "").await?.as_str(), &"l")?;
    let stamped = kubectl(&t, &["logs", "logs", "--tail=1", "--timestamps"], "").await?;
    let stamp = stamped.split(' ').next().unwrap_or_default();
    expect::that(stamp.parse::<jiff::Timestamp>().is_ok(), || format!("{stamp} should be a time"))?;
    let recent = kubectl(&t, &["logs", "logs", "--since=24h"], "").await?;
    expect::same("the lines of a day", &recent.lines().count(), &10)?;
    let none = kubectl(&t, &["logs", "logs", "--since-time=2999-01-01T00:00:00Z"], "").await?;
    expect::same("the lines of the future", &none.as_str(), &"")
}
