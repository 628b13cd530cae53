//! Services: names, backends that come and go, node ports.

use std::collections::BTreeSet;
use std::io::BufReader;
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, bail, ensure};
use serde_json::de::IoRead;
use serde_json::{StreamDeserializer, Value};

use super::load::Load;
use super::pods::places;
use super::{Scene, Seen, seen};
use crate::emulator::Emulator;
use crate::shell::PATIENCE;

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

/// The addresses that the slices of `web` call ready, followed by a kubectl that watches.
struct ReadyEndpoints {
    kubectl: Child,
    slices: StreamDeserializer<'static, IoRead<BufReader<ChildStdout>>, Value>,
}

impl ReadyEndpoints {
    fn follow(emulator: &Emulator) -> anyhow::Result<Self> {
        let slice = ["-n", "demo", "get", "endpointslices", "-l", "kubernetes.io/service-name=web", "-o", "json", "-w"];
        let patience = format!("--request-timeout={}s", PATIENCE.as_secs());
        let mut kubectl = emulator.kubectl_command("c0", &[&slice[..], &[&patience]].concat());
        let mut kubectl = kubectl.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = BufReader::new(kubectl.stdout.take().context("stdout is piped")?);
        Ok(Self { kubectl, slices: serde_json::Deserializer::from_reader(stdout).into_iter() })
    }

    /// Waits until there are so many.
    fn until(&mut self, count: usize) -> anyhow::Result<BTreeSet<String>> {
        for slice in &mut self.slices {
            let slice = slice?;
            let endpoints = slice["endpoints"].as_array().into_iter().flatten();
            let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] == true);
            let ready: BTreeSet<_> =
                ready.filter_map(|endpoint| Some(endpoint["addresses"][0].as_str()?.to_owned())).collect();
            if ready.len() == count {
                return Ok(ready);
            }
        }
        bail!("the Service has not got {count} ready endpoints within {} s", PATIENCE.as_secs())
    }
}

impl Drop for ReadyEndpoints {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// Up to 5 and down to 1 while a client asks on and on: no request is lost, and EndpointSlice and kernel follow. Back to 3
/// at the end.
pub fn scale(scene: &Scene) -> anyhow::Result<Seen> {
    let mut endpoints = ReadyEndpoints::follow(scene)?;
    let mut load = Load::from_client(scene, URL)?;
    let scale = |replicas: usize| {
        scene.kubectl("c0", &["-n", "demo", "scale", "deployment/web", &format!("--replicas={replicas}")])
    };
    for replicas in [5, 1] {
        scale(replicas)?;
        let ready = endpoints.until(replicas)?;
        // The kernel follows within milliseconds, on a busy machine later; meanwhile the client goes on.
        for attempt in 1.. {
            load.until(|_, count| count >= 10)?;
            let kernel = kernel_branches(scene, &ready)?;
            if kernel == ready {
                break;
            }
            ensure!(attempt < 100, "ready are {ready:?}, and of those in the kernel {kernel:?}");
        }
    }
    // Who deletes one of them next waits until they are there.
    scale(3)?;
    let asked = load.finish()?;
    seen("kubectl -n demo scale deployment/web --replicas=5, 1, 3", format!("{asked} requests meanwhile, none lost"))
}

/// A backend is deleted gracefully while a client asks on and on.
pub fn delete(scene: &Scene) -> anyhow::Result<Seen> {
    let complete = || scene.kubectl("c0", &["-n", "demo", "rollout", "status", "deployment/web", "--timeout=60s"]);
    let (places, load) = std::thread::scope(|scope| {
        let load = scope.spawn(|| Load::from_client(scene, URL));
        (complete().and_then(|_| places(scene)), load.join().expect("it does not panic"))
    });
    let (victim, mut load) = (places?.web.pop().context("there is no pod of web")?.name, load?);
    load.until(|answer, _| answer.starts_with(&victim))?;
    let gone = scene.kubectl("c0", &["-n", "demo", "delete", "pod", &victim])?;
    complete()?;
    load.until(|_, count| count >= 10)?;
    let asked = load.finish()?;
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
