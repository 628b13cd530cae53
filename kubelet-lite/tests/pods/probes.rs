//! What is asked of containers.

use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use knetsim_kubelet_lite::probes::{self, Kind, Target, Verdict};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::world::World;

/// A probe's program does not live on in the container when its time is over.
pub async fn a_probe_that_takes_too_long_leaves_nothing(world: &World) {
    let events = world.run(
        "slow-probe",
        json!({
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "app", "image": "busybox", "command": ["sh", "-c", "exec sleep 100"],
                "readinessProbe": { "exec": { "command": ["sh", "-c", "exec sleep 4321"] },
                    "periodSeconds": 1, "timeoutSeconds": 1, "failureThreshold": 1 },
            }],
        }),
    );
    let words = "Readiness probe failed: command timed out: \"sh -c exec sleep 4321\" timed out after 1s";
    let thrice = |event: &Value| event["message"] == words && event["count"].as_u64().is_some_and(|count| count >= 3);
    world.fake.until("/none", words, |_| world.fake.events().iter().any(thrice)).await;
    let is_it = |path: std::path::PathBuf| std::fs::read(path).is_ok_and(|line| line == b"sleep\x004321\x00");
    let alive = || {
        let all = std::fs::read_dir("/proc").expect("it is there").flatten();
        all.filter(|process| is_it(process.path().join("cmdline"))).count()
    };
    // The next one may have begun; those before are gone as soon as the kernel has ended them.
    let gone = async {
        while alive() > 1 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.expect("nothing is left of earlier probes");
    world.delete("slow-probe", 0, &events);
    world.until_gone("slow-probe").await;
}

/// A container that is ready a moment after its start does not wait for its probe's next period, which is never here.
pub async fn who_is_not_ready_is_asked_again_soon(world: &World) {
    let events = world.run(
        "slow-start",
        json!({
            "terminationGracePeriodSeconds": 0,
            "containers": [{
                // It is ready only after the first probe.
                "name": "app", "image": "busybox",
                "command": ["sh", "-c", "until test -e /tmp/asked; do sleep 0.1; done; touch /tmp/up; exec sleep 100"],
                "readinessProbe": {
                    "exec": { "command": ["sh", "-c", "test -e /tmp/up || { touch /tmp/asked; exit 1; }"] },
                    "periodSeconds": 3600, "timeoutSeconds": 10,
                },
            }, {
                // Every end of this one is a reason to look again, however slow the machine is.
                "name": "crash", "image": "busybox", "command": ["sh", "-c", "exit 1"],
            }],
        }),
    );
    let failed = |event: &Value| event["reason"] == "Unhealthy" && event["involvedObject"]["name"] == "slow-start";
    world.fake.until("/none", "a probe too early", |_| world.fake.events().iter().any(failed)).await;
    world.until("slow-start", "ready", |pod| pod["status"]["containerStatuses"][0]["ready"] == true).await;
    world.delete("slow-start", 0, &events);
    world.until_gone("slow-start").await;
}

/// A gRPC server that begins to listen after the first probe does not wait for the probe's next period, which is never here.
pub async fn who_does_not_listen_yet_is_asked_again_within_the_turn(world: &World) {
    let free =
        || std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let (port, http) = (free(), free());
    let probe = serde_json::from_value(json!({ "grpc": { "port": port }, "periodSeconds": 3600 })).expect("a probe");
    let target = Target { container: Container::default(), id: "none".to_owned(), pod_ip: "127.0.0.1".to_owned() };
    let (verdicts, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let bell = Notify::new();
    let say = move |verdict| verdicts.send(verdict).expect("heard");
    let mut asking = std::pin::pin!(probes::work(&world.node, &probe, Kind::Readiness, &target, &bell, say));
    // However long the first attempt takes: there is no answer to it, good or bad.
    let early = tokio::time::timeout(Duration::from_millis(500), &mut asking).await;
    assert!(early.is_err() && heard.is_empty());
    let mut server = tokio::process::Command::new(std::env::current_exe().expect("a test"))
        .args(["agnhost", "grpc-health-checking", "--port", &port.to_string(), "--http-port", &http.to_string()])
        .kill_on_drop(true)
        .spawn()
        .expect("a server");
    let said = async {
        tokio::select! {
            () = asking => None,
            verdict = heard.recv() => verdict,
        }
    };
    let said = tokio::time::timeout(Duration::from_secs(20), said).await.expect("an answer");
    assert_eq!(said, Some(Verdict::Good));
    server.kill().await.expect("ended");
}
