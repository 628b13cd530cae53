//! Bad input and bad days: what is refused, in whose words, and what heals by itself.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use knetsim_tests::emulator::Emulator;
use knetsim_tests::session::{Session, check};

/// Manifests that upstream refuses, and the words it refuses them with.
const REFUSED: &[(&str, &str)] = &[
    (
        "{apiVersion: v1, kind: Pod, metadata: {name: Big}, spec: {containers: [{name: c, image: i}]}}",
        "metadata.name: Invalid value: \"Big\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters",
    ),
    ("{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: []}}", "spec.containers: Required value"),
    (
        "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, ports: [{containerPort: 70000}]}]}}",
        "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        "{apiVersion: v1, kind: Pod, metadata: {name: p}, spec: {containers: [{name: c, image: i, volumeMounts: [{name: v, mountPath: /v}]}]}}",
        "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
    ),
    (
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: d}, spec: {selector: {matchLabels: {a: b}}, template: {metadata: {labels: {a: c}}, spec: {containers: [{name: c, image: i}]}}}}",
        "`selector` does not match template `labels`",
    ),
    (
        "{apiVersion: v1, kind: Service, metadata: {name: s}, spec: {type: NodePort, ports: [{port: 80, nodePort: 29999}]}}",
        "spec.ports[0].nodePort: Invalid value: 29999: provided port is not in the valid range. The range of valid ports is 30000-32767",
    ),
    ("{apiVersion: v1, kind: ConfigMap, metadata: {name: c}, dta: {a: b}}", "unknown field \"dta\""),
    (
        "{apiVersion: v1, kind: Nonsense, metadata: {name: nonsense}}",
        "no matches for kind \"Nonsense\" in version \"v1\"",
    ),
    ("{apiVersion: v1, kind: ConfigMap, metadata: {name: c, namespace: nowhere}}", "namespaces \"nowhere\" not found"),
];

#[test]
fn what_upstream_refuses_and_what_heals() {
    check(|| {
        let session = Session::new(None)?;
        session.up(&[])?;
        refusals(&session)?;
        killed_processes_come_back(&session)
    });
}

fn refusals(session: &Session) -> anyhow::Result<()> {
    let emulator = &session.emulator;
    let file = session.dir.path().join("bad.yaml");
    for (manifest, words) in REFUSED {
        // kubectl takes what begins with a brace for JSON.
        fs::write(&file, format!("---\n{manifest}"))?;
        let answer = emulator.try_kubectl("c0", &["apply", "-f", &file.to_string_lossy()])?;
        ensure!(
            answer.code != 0 && answer.stderr.contains(words),
            "{manifest}\n  wanted {words}\n  got {}",
            answer.stderr
        );
    }
    let left = emulator.kubectl("c0", &["get", "pods,deployments,configmaps,services", "-o", "name"])?;
    let names: Vec<_> = left.lines().collect();
    ensure!(names == ["configmap/kube-root-ca.crt", "service/kubernetes"], "something was made: {names:?}");
    Ok(())
}

/// The pid, as the host sees it, of the process whose command line holds all of `words`.
fn find(emulator: &Emulator, words: &[&str]) -> anyhow::Result<nix::unistd::Pid> {
    let mark = emulator.data_dir.to_string_lossy().into_owned();
    let mut words = words.to_vec();
    words.push(&mark);
    for entry in fs::read_dir("/proc")?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
        let line = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if words.iter().all(|word| line.contains(word)) {
            return Ok(nix::unistd::Pid::from_raw(pid));
        }
    }
    anyhow::bail!("there is no process with {words:?}")
}

/// `kill -9` of each kind of process: it comes back, and the cluster works as before.
fn killed_processes_come_back(session: &Session) -> anyhow::Result<()> {
    let emulator = &session.emulator;
    emulator.kubectl("c0", &["apply", "-f", &emulator.demo("10-web.yaml")])?;
    emulator.kubectl("c0", &["-n", "demo", "rollout", "status", "deployment/web", "--timeout=80s"])?;
    emulator.kubectl("c0", &["-n", "demo", "wait", "--for=condition=Ready", "pod/client", "--timeout=60s"])?;
    let restarts = || -> anyhow::Result<String> {
        let path = "jsonpath={.items[*].status.containerStatuses[*].restartCount}";
        Ok(emulator.kubectl("c0", &["-n", "demo", "get", "pods", "-o", path])?.stdout)
    };
    let before = restarts()?;
    for words in [
        ["knetsim apiserver", "/c0/"].as_slice(),
        &["knetsim controller-manager", "/c0/"],
        &["knetsim scheduler", "/c0/"],
        &["knetsim kubelet", "c0w1"],
    ] {
        let pid = find(emulator, words)?;
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)?;
        // Each of them is needed for a new pod to run: that it does is the proof that all are back.
        let name = format!("after-{}", words[0].rsplit(' ').next().context("every entry has a word")?);
        let make = ["-n", "demo", "create", "deployment", &name, "--image=registry.k8s.io/pause:3.10", "--replicas=3"];
        while emulator.try_kubectl("c0", &["get", "--raw", "/readyz"])?.code != 0 {}
        emulator.kubectl("c0", &make)?;
        emulator.kubectl("c0", &["-n", "demo", "rollout", "status", &format!("deployment/{name}"), "--timeout=80s"])?;
    }
    ensure!(restarts()?.starts_with(&before), "pods were restarted: {before} became {}", restarts()?);
    // A system pod's process comes back through its kubelet.
    let proxy = emulator.knetsim(&["exec", "c0w1", "--", "pgrep", "-f", "knetsim kube-proxy"])?.stdout;
    let pids: Vec<_> = proxy.split_whitespace().collect();
    ensure!(!pids.is_empty(), "no kube-proxy runs");
    emulator.knetsim(&["exec", "c0w1", "--", "pkill", "-9", "-f", "knetsim kube-proxy"])?;
    emulator.kubectl(
        "c0",
        &["-n", "demo", "expose", "deployment", "web", "--name=later", "--port=80", "--target-port=8080"],
    )?;
    let answer = emulator.in_client("c0", "until curl -sS -m2 http://later/hostname; do :; done")?;
    ensure!(answer.stdout.contains("web-"), "after the kill the new Service answers {:?}", answer.stdout);
    Ok(())
}
