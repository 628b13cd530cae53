//! Services: names, backends that come and go, node ports.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};

use super::load::Load;
use super::pods::places;
use super::{Scene, Seen, seen};
use crate::emulator::Emulator;

const URL: &str = "http://web/hostname";

/// The Service's name leads to all three backends.
pub fn by_name(scene: &Scene) -> anyhow::Result<Seen> {
    let backends: BTreeSet<_> = scene.rolled_out()?.web.iter().map(|p| p.name.clone()).collect();
    // The short name thirty times and the full name once, each request on a connection of its own.
    let script = format!(
        "curl -sS -m3 -H 'Connection: close' -w '\\n' '{URL}?[1-30]' http://web.demo.svc.cluster.local/hostname"
    );
    let answers = scene.in_client("c0", &script)?;
    let seen_names: BTreeSet<_> = answers.lines().filter(|l| !l.is_empty()).map(str::to_owned).collect();
    ensure!(seen_names == backends, "{seen_names:?} answered instead of {backends:?}");
    seen(
        format!("kubectl exec client -- curl {URL} (30 times)"),
        format!("answers from all of {}", backends.into_iter().collect::<Vec<_>>().join(" ")),
    )
}

/// Which of `ips` the Service has a branch for in the kernel of a node.
fn kernel_branches(emulator: &Emulator, ips: &BTreeSet<String>) -> anyhow::Result<BTreeSet<String>> {
    let rules = emulator.knetsim(&["exec", "c0w1", "--", "nft", "list", "ruleset"])?.stdout;
    Ok(ips.iter().filter(|ip| rules.contains(&format!("dnat to {ip}:8080"))).cloned().collect())
}

/// The addresses that the slices of `web` call ready.
fn ready_endpoints(emulator: &Emulator) -> anyhow::Result<BTreeSet<String>> {
    let args = ["-n", "demo", "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "json"];
    let slices = emulator.kubectl("c0", &args)?.json()?;
    let endpoints = slices["items"].as_array().into_iter().flatten();
    let endpoints = endpoints.flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
    Ok(ready.filter_map(|endpoint| endpoint["addresses"][0].as_str().map(str::to_owned)).collect())
}

/// Up to 5 and down to 1 while a client asks on and on: no request is lost, and EndpointSlice and kernel follow.
pub fn scale(scene: &Scene) -> anyhow::Result<Seen> {
    let mut load = Load::from_client(scene, URL)?;
    for replicas in [5_usize, 1, 3] {
        scene.kubectl("c0", &["-n", "demo", "scale", "deployment/web", &format!("--replicas={replicas}")])?;
        let wait = format!("--for=jsonpath={{.status.readyReplicas}}={replicas}");
        scene.kubectl("c0", &["-n", "demo", "wait", &wait, "deployment/web", "--timeout=60s"])?;
        load.until(|_, count| count >= 20)?;
        // Slice and kernel follow within milliseconds, on a busy machine later; meanwhile the client goes on.
        for attempt in 1.. {
            let ready = ready_endpoints(scene)?;
            let kernel = kernel_branches(scene, &ready)?;
            if ready.len() == replicas && kernel == ready {
                break;
            }
            ensure!(
                attempt < 100,
                "{replicas} replicas, but ready are {ready:?}, and of those in the kernel {kernel:?}"
            );
            load.until(|_, count| count >= 5)?;
        }
    }
    let asked = load.finish()?;
    seen("kubectl -n demo scale deployment/web --replicas=5, 1, 3", format!("{asked} requests meanwhile, none lost"))
}

/// A backend is deleted gracefully while a client asks on and on.
pub fn delete(scene: &Scene) -> anyhow::Result<Seen> {
    let victim = places(scene)?.web.pop().context("there is no pod of web")?.name;
    let mut load = Load::from_client(scene, URL)?;
    load.until(|answer, _| answer.starts_with(&victim))?;
    let gone = scene.kubectl("c0", &["-n", "demo", "delete", "pod", &victim])?;
    load.until(|_, count| count >= 20)?;
    let asked = load.finish()?;
    scene.kubectl("c0", &["-n", "demo", "rollout", "status", "deployment/web", "--timeout=60s"])?;
    seen(gone.command, format!("{asked} requests meanwhile, none lost"))
}

/// The port of a node answers a host that is in no cluster; a port nobody asked for does not.
pub fn node_port(scene: &Scene) -> anyhow::Result<Seen> {
    for node in ["10.0.0.11", "10.0.0.12", "10.0.0.13", "10.0.0.10"] {
        let url = format!("http://{node}:30001/hostname");
        let answer = scene.knetsim(&["exec", "outside", "--", "curl", "-sS", "-m5", &url])?;
        ensure!(answer.stdout.starts_with("web-"), "{url} answered {:?}", answer.stdout);
    }
    let wrong = r#"{"spec":{"ports":[{"name":"http","port":80,"nodePort":29999}]}}"#;
    let refused = scene.try_kubectl("c0", &["-n", "demo", "patch", "service", "web-nodeport", "-p", wrong])?;
    ensure!(
        refused.code != 0
            && refused
                .stderr
                .contains("provided port is not in the valid range. The range of valid ports is 30000-32767"),
        "29999 was not refused as upstream does: {}",
        refused.stderr
    );
    seen(
        "knetsim exec outside -- curl http://10.0.0.{10..13}:30001/hostname",
        "every node answers; 29999 is refused by the API",
    )
}
