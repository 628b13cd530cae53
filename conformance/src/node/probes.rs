//! Probes and lifecycle hooks.

use std::time::Duration;

use serde_json::{Value, json};

use crate::pods::{self, container, pod};
use crate::spec::Test;
use crate::{expect, specs};

specs! { Pods;
    "[sig-node] Probing container should *not* be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]" => |t| stays(t, json!({ "httpGet": { "path": "/healthz", "port": 8080 } })),
    "[sig-node] Probing container should *not* be restarted with a exec \"cat /tmp/health\" liveness probe [NodeConformance] [Conformance]" => |t| stays(t, json!({ "exec": { "command": ["cat", "/proc/self/status"] } })),
    "[sig-node] Probing container should *not* be restarted with a tcp:8080 liveness probe [NodeConformance] [Conformance]" => |t| stays(t, json!({ "tcpSocket": { "port": 8080 } })),
    "[sig-node] Probing container should be restarted with a /healthz http liveness probe [NodeConformance] [Conformance]" => |t| restarted(t, json!({ "httpGet": { "path": "/no-such-page", "port": 80 } }), 1),
    "[sig-node] Probing container should be restarted with a exec \"cat /tmp/health\" liveness probe [NodeConformance] [Conformance]" => |t| restarted(t, json!({ "exec": { "command": ["cat", "/tmp/health"] } }), 1),
    "[sig-node] Probing container should *not* be restarted with a GRPC liveness probe [NodeConformance] [Conformance]" => |t| grpc(t, 5000, false),
    "[sig-node] Probing container should be restarted with a GRPC liveness probe [NodeConformance] [Conformance]" => |t| grpc(t, 2333, true),
    "[sig-node] Probing container should have monotonically increasing restart count [NodeConformance] [Conformance]" => |t| restarted(t, json!({ "exec": { "command": ["cat", "/tmp/health"] } }), 2),
    "[sig-node] Probing container with readiness probe should not be ready before initial delay and never restart [NodeConformance] [Conformance]" => ready_later,
    "[sig-node] Probing container with readiness probe that fails should never be ready and never restart [NodeConformance] [Conformance]" => never_ready,
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart exec hook properly [NodeConformance] [Conformance]" => |t| hook(t, "postStart", false),
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute poststart http hook properly [NodeConformance] [Conformance]" => |t| hook(t, "postStart", true),
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop exec hook properly [NodeConformance] [Conformance]" => |t| hook(t, "preStop", false),
    "[sig-node] Container Lifecycle Hook when create a pod with lifecycle hook should execute prestop http hook properly [NodeConformance] [Conformance]" => |t| hook(t, "preStop", true),
    "[sig-node] PreStop should call prestop when killing a pod [Conformance]" => |t| hook(t, "preStop", false),
}

/// So long a pod is watched that must not change: several periods of its probe.
const WHILE: Duration = Duration::from_secs(4);
const STAY: &str = "trap 'exit 0' TERM; while true; do sleep 1; done";

fn probe(how: &Value, delay: u32) -> Value {
    let mut probe =
        json!({ "initialDelaySeconds": delay, "periodSeconds": 1, "failureThreshold": 1, "timeoutSeconds": 5 });
    if let (Some(probe), Some(how)) = (probe.as_object_mut(), how.as_object()) {
        probe.extend(how.clone());
    }
    probe
}

fn restarts(pod: &Value) -> i64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_i64().unwrap_or(0)
}

async fn stays(t: Test, how: Value) -> anyhow::Result<()> {
    let mut test = json!({ "name": "test", "image": "registry.k8s.io/e2e-test-images/agnhost:2.53", "args": ["netexec", "--http-port=8080"] });
    test["livenessProbe"] = probe(&how, 1);
    let mut pod = pod("liveness", &[test]);
    pod["spec"]["restartPolicy"] = "Always".into();
    pods::start(&t, &pod).await?;
    tokio::time::sleep(WHILE).await;
    let pod = t.objects("v1", "pods").get("liveness").await?;
    expect::same("the number of restarts", &restarts(&pod), &0)
}

async fn restarted(t: Test, how: Value, times: i64) -> anyhow::Result<()> {
    let mut test = if how.get("httpGet").is_some() {
        json!({ "name": "test", "image": "nginx" })
    } else {
        container("test", STAY)
    };
    test["livenessProbe"] = probe(&how, 0);
    let mut pod = pod("liveness", &[test]);
    pod["spec"]["restartPolicy"] = "Always".into();
    let pods = t.objects("v1", "pods");
    pods.create(&pod).await?;
    let mut last = 0;
    let mut watch = pods.watch("fieldSelector=metadata.name=liveness").await?;
    while last < times {
        let event = watch.until("a restart", |event| restarts(&event.object) != last).await?;
        expect::that(restarts(&event.object) > last, || {
            format!("restarts went from {last} to {}", restarts(&event.object))
        })?;
        last = restarts(&event.object);
    }
    Ok(())
}

/// A gRPC server that is healthy until it is told not to be; nobody listens on another port of it.
async fn grpc(t: Test, port: u16, restarts_at_once: bool) -> anyhow::Result<()> {
    let mut test = json!({
        "name": "test", "image": "registry.k8s.io/e2e-test-images/agnhost:2.53",
        "args": ["grpc-health-checking", "--port=5000", "--http-port=8080"],
    });
    test["livenessProbe"] = probe(&json!({ "grpc": { "port": port } }), 1);
    let mut pod = pod("liveness", &[test]);
    pod["spec"]["restartPolicy"] = "Always".into();
    let pods = t.objects("v1", "pods");
    if !restarts_at_once {
        pods::start(&t, &pod).await?;
        tokio::time::sleep(WHILE).await;
        expect::same("the number of restarts", &restarts(&pods.get("liveness").await?), &0)?;
        let path = format!("{}/make-not-serving", pods.path_of("liveness:8080", "proxy"));
        t.api().raw(http::Method::GET, &path, &[], Vec::new()).await?.ok()?;
    } else {
        pods.create(&pod).await?;
    }
    pods.wait("liveness", "a restart", |pod| restarts(pod) > 0).await?;
    Ok(())
}

async fn ready_later(t: Test) -> anyhow::Result<()> {
    const DELAY: i64 = 3;
    let mut test = container("test", STAY);
    test["readinessProbe"] = probe(&json!({ "exec": { "command": ["true"] } }), 3);
    let pod = pods::start(&t, &pod("readiness", &[test])).await?;
    let time = |text: &str| text.parse::<jiff::Timestamp>();
    let started = time(expect::text(&pod, "/status/containerStatuses/0/state/running/startedAt"))?;
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let ready =
        conditions.iter().find(|c| c["type"] == "Ready").map(|c| expect::text(c, "/lastTransitionTime").to_owned());
    let took = time(&ready.unwrap_or_default())?.duration_since(started).as_secs();
    // Both times are whole seconds.
    expect::that(took >= DELAY - 1, || format!("ready {took} s after the start, before the delay of {DELAY} s"))?;
    expect::same("the number of restarts", &restarts(&pod), &0)
}

async fn never_ready(t: Test) -> anyhow::Result<()> {
    let mut test = container("test", STAY);
    test["readinessProbe"] = probe(&json!({ "exec": { "command": ["false"] } }), 0);
    let pods = t.objects("v1", "pods");
    pods.create(&pod("readiness", &[test])).await?;
    pods.wait("readiness", "a running container", |p| p["status"]["phase"] == "Running").await?;
    tokio::time::sleep(WHILE).await;
    let pod = pods.get("readiness").await?;
    expect::that(!pods::is_ready(&pod), || format!("the pod should not be ready: {}", pod["status"]))?;
    expect::same("the number of restarts", &restarts(&pod), &0)
}

/// A hook reaches a server in another pod, by a request or by a command; the server's log tells.
async fn hook(t: Test, moment: &str, http: bool) -> anyhow::Result<()> {
    let server = pod("handler", &[container("server", "cd /tmp && echo ok > echo && exec httpd -f -v -p 8080")]);
    let server = pods::start(&t, &server).await?;
    let ip = expect::text(&server, "/status/podIP");
    let action = if http {
        json!({ "httpGet": { "path": "/echo?msg=called", "host": ip, "port": 8080 } })
    } else {
        json!({ "exec": { "command": ["sh", "-c", format!("wget -q -O- 'http://{ip}:8080/echo?msg=called'")] } })
    };
    let mut test = container("test", STAY);
    test["lifecycle"] = json!({ moment: action });
    let mut pod = pod("hooked", &[test]);
    pod["spec"]["terminationGracePeriodSeconds"] = 10.into();
    pods::start(&t, &pod).await?;
    if moment == "preStop" {
        t.objects("v1", "pods").delete_with("hooked", &json!({})).await?;
    }
    let deadline = tokio::time::Instant::now() + crate::client::PATIENCE;
    loop {
        let text = pods::log(&t, "handler", "server").await?;
        if text.contains("response:200") {
            return Ok(());
        }
        expect::that(tokio::time::Instant::now() < deadline, || {
            format!("the hook was not called; the server saw {text:?}")
        })?;
    }
}
