//! Pods: the STATUS text gathers phase, reason, conditions and what every container is doing.

use serde_json::Value;

use super::super::Column;
use super::super::json::{Json, NULL};
use super::{AGE, human_duration, images, labels, names, or, seconds, text, wide};

pub const PODS: &[Column] = &[
    text("Ready", |pod, _| summary(pod).ready.into()),
    text("Status", |pod, _| summary(pod).status.into()),
    text("Restarts", |pod, now| summary(pod).restarts(now).into()),
    AGE,
    wide("IP", |pod, _| {
        let first = pod.list("status.podIPs").first().map_or("", |ip| ip.text("ip"));
        or(or(first, pod.text("status.podIP")), "<none>").into()
    }),
    wide("Node", |pod, _| or(pod.text("spec.nodeName"), "<none>").into()),
    wide("Nominated Node", |pod, _| or(pod.text("status.nominatedNodeName"), "<none>").into()),
    wide("Readiness Gates", |pod, _| readiness_gates(pod).into()),
];

/// What they look at; pods are many, and mostly of other things.
pub const READ: &[&str] = &[
    "metadata.creationTimestamp",
    "metadata.deletionTimestamp",
    "metadata.name",
    "spec.containers.name",
    "spec.initContainers.name",
    "spec.initContainers.restartPolicy",
    "spec.nodeName",
    "spec.readinessGates",
    "status.conditions.reason",
    "status.conditions.status",
    "status.conditions.type",
    "status.containerStatuses.lastState.terminated.finishedAt",
    "status.containerStatuses.ready",
    "status.containerStatuses.restartCount",
    "status.containerStatuses.state",
    "status.initContainerStatuses.lastState.terminated.finishedAt",
    "status.initContainerStatuses.name",
    "status.initContainerStatuses.ready",
    "status.initContainerStatuses.restartCount",
    "status.initContainerStatuses.started",
    "status.initContainerStatuses.state",
    "status.nominatedNodeName",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.reason",
];

pub const POD_TEMPLATES: &[Column] = &[
    text("Containers", |object, _| names(object.list("template.spec.containers")).into()),
    text("Images", |object, _| images(object.list("template.spec.containers")).into()),
    text("Pod Labels", |object, _| labels(object.entries("template.metadata.labels")).into()),
];

struct Summary {
    ready: String,
    status: String,
    restarts: i64,
    last_restart: Option<i64>,
}

impl Summary {
    fn restarts(&self, now: i64) -> String {
        match self.last_restart {
            Some(at) if self.restarts != 0 => format!("{} ({} ago)", self.restarts, human_duration(now - at)),
            _ => self.restarts.to_string(),
        }
    }
}

/// Restarts of some containers, and when the last of them ended.
#[derive(Default)]
struct Restarts {
    count: i64,
    last: Option<i64>,
}

impl Restarts {
    fn add(&mut self, status: &Value) {
        self.count += status.int("restartCount");
        self.last = self.last.max(seconds(status.at("lastState.terminated.finishedAt")));
    }
}

/// `Error`, `Signal:9` or `ExitCode:1`.
fn end_of(terminated: &Value) -> String {
    match (terminated.text("reason"), terminated.int("signal")) {
        ("", 0) => format!("ExitCode:{}", terminated.int("exitCode")),
        ("", signal) => format!("Signal:{signal}"),
        (reason, _) => reason.to_owned(),
    }
}

fn summary(pod: &Value) -> Summary {
    let mut total = pod.list("spec.containers").len();
    let mut ready = 0;
    let phase = pod.text("status.phase");
    let mut status = or(pod.text("status.reason"), phase).to_owned();
    if super::condition(pod, "PodScheduled").text("reason") == "SchedulingGated" {
        "SchedulingGated".clone_into(&mut status);
    }

    let init = pod.list("spec.initContainers");
    let is_sidecar = |name: &str| init.iter().any(|c| c.text("name") == name && c.text("restartPolicy") == "Always");
    total += init.iter().filter(|c| c.text("restartPolicy") == "Always").count();

    let (mut restarts, mut sidecars) = (Restarts::default(), Restarts::default());
    let mut initializing = false;
    for (i, container) in pod.list("status.initContainerStatuses").iter().enumerate() {
        let sidecar = is_sidecar(container.text("name"));
        restarts.add(container);
        if sidecar {
            sidecars.add(container);
        }
        let terminated = container.at("state.terminated");
        let waiting = container.text("state.waiting.reason");
        if !terminated.is_null() && terminated.int("exitCode") == 0 {
            continue;
        }
        if sidecar && container.yes("started") {
            ready += usize::from(container.yes("ready"));
            continue;
        }
        status = if !terminated.is_null() {
            format!("Init:{}", end_of(terminated))
        } else if !waiting.is_empty() && waiting != "PodInitializing" {
            format!("Init:{waiting}")
        } else {
            format!("Init:{i}/{}", init.len())
        };
        initializing = true;
        break;
    }

    if !initializing || super::condition(pod, "Initialized").text("status") == "True" {
        restarts = sidecars;
        let mut running = false;
        // Backwards, so that the first container has the last word.
        for container in pod.list("status.containerStatuses").iter().rev() {
            restarts.add(container);
            let waiting = container.text("state.waiting.reason");
            let terminated = container.at("state.terminated");
            if !waiting.is_empty() {
                waiting.clone_into(&mut status);
            } else if !terminated.is_null() {
                status = end_of(terminated);
            } else if container.yes("ready") && container.has("state.running") {
                running = true;
                ready += 1;
            }
        }
        if status == "Completed" && running {
            let is_ready = super::condition(pod, "Ready").text("status") == "True";
            if is_ready { "Running" } else { "NotReady" }.clone_into(&mut status);
        }
    }

    if pod.has("metadata.deletionTimestamp") {
        if pod.text("status.reason") == "NodeLost" {
            "Unknown".clone_into(&mut status);
        } else if !matches!(phase, "Succeeded" | "Failed") {
            "Terminating".clone_into(&mut status);
        }
    }
    Summary { ready: format!("{ready}/{total}"), status, restarts: restarts.count, last_restart: restarts.last }
}

fn readiness_gates(pod: &Value) -> String {
    let gates = pod.list("spec.readinessGates");
    if gates.is_empty() {
        return "<none>".to_owned();
    }
    let conditions = pod.list("status.conditions");
    let met = gates
        .iter()
        .filter(|gate| {
            let kind = gate.text("conditionType");
            conditions.iter().find(|c| c.text("type") == kind).unwrap_or(&NULL).text("status") == "True"
        })
        .count();
    format!("{met}/{}", gates.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn running(restarts: i64) -> Value {
        json!({"name": "a", "ready": true, "restartCount": restarts, "state": {"running": {}}})
    }

    fn state(state: Value) -> Value {
        json!({"name": "a", "ready": false, "restartCount": 0, "state": state})
    }

    fn pod(phase: &str, init: Value, main: Value) -> Value {
        json!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "a"}],
                "initContainers": init.as_array().unwrap().iter().map(|c| json!({"name": c["name"]})).collect::<Vec<_>>(),
            },
            "status": {"phase": phase, "initContainerStatuses": init, "containerStatuses": main},
        })
    }

    fn check(pod: &Value, ready: &str, status: &str, restarts: &str) {
        let s = summary(pod);
        assert_eq!((s.ready.as_str(), s.status.as_str(), s.restarts(1000).as_str()), (ready, status, restarts));
    }

    #[test]
    fn what_the_containers_do_is_the_status() {
        check(&pod("Pending", json!([]), json!([])), "0/1", "Pending", "0");
        check(&pod("Running", json!([]), json!([running(0)])), "1/1", "Running", "0");
        let waiting = |r: &str| json!([state(json!({"waiting": {"reason": r}}))]);
        check(&pod("Pending", json!([]), waiting("ContainerCreating")), "0/1", "ContainerCreating", "0");
        check(&pod("Running", json!([]), waiting("CrashLoopBackOff")), "0/1", "CrashLoopBackOff", "0");
        let ended = |t: Value| json!([state(json!({"terminated": t}))]);
        check(&pod("Succeeded", json!([]), ended(json!({"reason": "Completed"}))), "0/1", "Completed", "0");
        check(&pod("Failed", json!([]), ended(json!({"exitCode": 3}))), "0/1", "ExitCode:3", "0");
        check(&pod("Failed", json!([]), ended(json!({"signal": 9, "exitCode": 137}))), "0/1", "Signal:9", "0");
    }

    #[test]
    fn init_containers_come_first() {
        let pending = state(json!({"waiting": {"reason": "PodInitializing"}}));
        check(&pod("Pending", json!([pending]), json!([pending])), "0/1", "Init:0/1", "0");
        let done = state(json!({"terminated": {"exitCode": 0}}));
        check(&pod("Pending", json!([done]), json!([pending])), "0/1", "PodInitializing", "0");
        let failed = state(json!({"terminated": {"exitCode": 1, "reason": "Error"}}));
        check(&pod("Pending", json!([failed]), json!([pending])), "0/1", "Init:Error", "0");
        let pulling = state(json!({"waiting": {"reason": "ImagePullBackOff"}}));
        check(&pod("Pending", json!([pulling]), json!([pending])), "0/1", "Init:ImagePullBackOff", "0");
    }

    #[test]
    fn restarts_say_how_long_ago() {
        let mut c = running(2);
        c["lastState"] = json!({"terminated": {"finishedAt": "1970-01-01T00:11:40Z"}});
        check(&pod("Running", json!([]), json!([c])), "1/1", "Running", "2 (5m ago)");
    }

    #[test]
    fn deletion_and_sidecars() {
        let mut p = pod("Running", json!([]), json!([running(0)]));
        p["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:00:00Z");
        check(&p, "1/1", "Terminating", "0");
        p["status"]["phase"] = json!("Succeeded");
        check(&p, "1/1", "Succeeded", "0");

        let mut p = pod(
            "Running",
            json!([{"name": "side", "started": true, "ready": true, "restartCount": 1,
            "state": {"running": {}}}]),
            json!([running(0)]),
        );
        p["spec"]["initContainers"][0]["restartPolicy"] = json!("Always");
        check(&p, "2/2", "Running", "1");
    }

    #[test]
    fn gates() {
        let p = json!({"spec": {"readinessGates": [{"conditionType": "x"}, {"conditionType": "y"}]},
            "status": {"conditions": [{"type": "x", "status": "True"}]}});
        assert_eq!(readiness_gates(&p), "1/2");
    }
}
