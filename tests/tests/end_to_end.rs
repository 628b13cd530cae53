//! The whole path: every hop of the demo, on both stores, as root and as an ordinary user; then that nothing is left.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

use anyhow::{Context, ensure};
use knetsim_tests::hops::{HOPS, LEAVE, walk};
use knetsim_tests::session::{Session, check};

fn every_hop(session: &Session) -> anyhow::Result<()> {
    let failed = walk(&session.emulator, HOPS);
    ensure!(failed == 0, "{failed} hops failed");
    Ok(())
}

#[test]
fn every_hop_then_restart_then_kill() {
    check(|| {
        let session = Session::new(None)?;
        session.up(&[])?;
        every_hop(&session)?;
        second_up_is_refused(&session)?;
        objects_outlive_a_restart(&session)?;
        ensure!(walk(&session.emulator, &[LEAVE]) == 0, "something is left of the demo");
        killed_without_a_trace(&session)
    });
}

#[test]
fn every_hop_as_an_ordinary_user() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("SKIPPED every_hop_as_an_ordinary_user: the other tests already run as one");
        return;
    }
    check(|| {
        // Nobody has no range of subordinate ids: the emulator has a single user id.
        let session = Session::new(Some(65534))?;
        session.up(&[])?;
        every_hop(&session)?;
        ensure!(walk(&session.emulator, &[LEAVE]) == 0, "something is left of the demo");
        session.emulator.knetsim(&["down"])?;
        session.nothing_left()
    });
}

#[test]
fn every_hop_on_etcd() {
    check(|| {
        let session = Session::new(None)?;
        session.up(&["--store", "etcd"])?;
        every_hop(&session)?;
        let keys = session.emulator.knetsim(&[
            "exec",
            "c0-control-plane",
            "--",
            "env",
            "ETCDCTL_API=3",
            "etcdctl",
            "get",
            "--prefix",
            "/registry/pods/demo/client",
        ])?;
        let mut lines = keys.lines();
        ensure!(lines.next() == Some("/registry/pods/demo/client"), "etcd has {:?}", keys.stdout);
        let object: serde_json::Value = serde_json::from_str(lines.next().context("no value")?)?;
        ensure!(object["kind"] == "Pod" && object["spec"]["containers"][0]["name"] == "client", "{object}");
        session.emulator.knetsim(&["down"])?;
        session.nothing_left()
    });
}

fn second_up_is_refused(session: &Session) -> anyhow::Result<()> {
    let again = session.emulator.try_knetsim(&["up", "-f", &session.topology])?;
    ensure!(again.code != 0 && again.stderr.contains("already running"), "a second up: {}", again.stderr);
    Ok(())
}

/// `down`, then `up` with the same data folder: every object is there, and its pods run again.
fn objects_outlive_a_restart(session: &Session) -> anyhow::Result<()> {
    let emulator = &session.emulator;
    let uids = |kind: &str| -> anyhow::Result<BTreeSet<String>> {
        let list = emulator.kubectl("c0", &["-n", "demo", "get", kind, "-o", "jsonpath={.items[*].metadata.uid}"])?;
        Ok(list.stdout.split_whitespace().map(str::to_owned).collect())
    };
    let before = (uids("deployments")?, uids("services")?, uids("secrets")?);
    emulator.knetsim(&["down"])?;
    session.nothing_left()?;
    session.up(&[])?;
    // What `up` waits for is true now; nobody has to wait for it any more.
    let nodes = emulator.kubectl("c0", &["get", "nodes", "--no-headers"])?;
    ensure!(nodes.lines().all(|line| line.contains(" Ready ")), "up said that all nodes were Ready:\n{}", nodes.stdout);
    let boots = emulator.kubectl("c0", &["get", "events", "--field-selector=reason=Rebooted", "-o", "name"])?;
    ensure!(boots.lines().count() == 4, "4 nodes have rebooted:\n{}", boots.stdout);
    let labels = "k8s-app=kube-dns";
    let dns = emulator.kubectl("c0", &["-n", "kube-system", "get", "pods", "-l", labels, "--no-headers"])?;
    let running = dns.lines().filter(|line| line.contains(" 1/1 ") && line.contains(" Running ")).count();
    ensure!(running == 2, "up said that cluster DNS was available:\n{}", dns.stdout);
    ensure!(before == (uids("deployments")?, uids("services")?, uids("secrets")?), "objects were lost");
    emulator.kubectl("c0", &["-n", "demo", "rollout", "status", "deployment/web", "--timeout=80s"])?;
    emulator.kubectl("c0", &["-n", "demo", "wait", "--for=condition=Ready", "pod/client", "--timeout=80s"])?;
    let answer = emulator.in_client("c0", "curl -sS -m5 --retry 3 --retry-connrefused http://web/hostname")?;
    ensure!(answer.stdout.starts_with("web-"), "after the restart web answers {:?}", answer.stdout);
    Ok(())
}

/// `kill -9` of PID 1: the kernel takes everything with it.
fn killed_without_a_trace(session: &Session) -> anyhow::Result<()> {
    let info = fs::read_to_string(session.emulator.data_dir.join("launcher.json"))?;
    let info: serde_json::Value = serde_json::from_str(&info)?;
    let pid = |of: &str| -> anyhow::Result<nix::unistd::Pid> {
        Ok(nix::unistd::Pid::from_raw(info[of].as_i64().with_context(|| format!("no {of}"))?.try_into()?))
    };
    let launcher = pid("pid")?;
    nix::sys::signal::kill(launcher, nix::sys::signal::Signal::SIGKILL)?;
    // The kernel ends PID 1 only when every process of its namespace is gone; then its own entry goes. Where there is
    // a guardian, it removes the control groups and goes, too.
    for process in [Some(launcher), pid("guardian").ok()].into_iter().flatten() {
        let gone = (0..2000).any(|_| {
            let gone = nix::sys::signal::kill(process, None).is_err();
            if !gone {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            gone
        });
        ensure!(gone, "process {process} is still there 10 s after the end of PID 1");
    }
    session.nothing_left()
}

#[test]
fn bad_input_starts_nothing() {
    check(|| {
        let session = Session::new(None)?;
        let emulator = &session.emulator;
        let refused = |args: &[&str], word: &str| -> anyhow::Result<()> {
            let up = emulator.try_knetsim(args)?;
            ensure!(up.code != 0 && up.stderr.contains(word), "{}: {} instead of {word:?}", up.command, up.stderr);
            session.nothing_left()
        };
        let broken = session.dir.path().join("broken.yaml");
        fs::write(&broken, "clusters: [{wrkers: 2}]")?;
        refused(&["up", "-f", &broken.to_string_lossy()], "wrkers")?;
        fs::write(&broken, "clusters: [{underlay: 10.96.0.0/24}]")?;
        refused(&["up", "-f", &broken.to_string_lossy()], "overlap")?;
        refused(&["up", "-f", "/nowhere.yaml"], "/nowhere.yaml")?;
        let taken = TcpListener::bind("127.0.0.1:0")?;
        let port = taken.local_addr()?.port();
        fs::write(&broken, format!("clusters: [{{apiPort: {port}}}]"))?;
        refused(&["up", "-f", &broken.to_string_lossy()], "is taken")?;
        for args in [["status"].as_slice(), &["exec", "c0w1", "--", "true"], &["net", "cut", "c0", "c1"]] {
            refused(args, "nothing is running")?;
        }
        Ok(())
    });
}
