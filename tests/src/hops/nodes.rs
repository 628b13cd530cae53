//! Nodes and the underlay.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};

use super::{Scene, Seen, seen};

/// Four nodes Ready, each with its own address, as `kubectl get nodes -o wide` prints them.
pub fn ready(scene: &Scene, context: &str) -> anyhow::Result<Seen> {
    let wide = scene.kubectl(context, &["get", "nodes", "-o", "wide"])?;
    let rows: Vec<Vec<&str>> = wide.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    ensure!(rows.len() == 4, "{} nodes instead of 4:\n{}", rows.len(), wide.stdout);
    for row in &rows {
        ensure!(row[1] == "Ready", "{} is {}", row[0], row[1]);
        ensure!(row[4] == "v1.35.0", "{} has version {}", row[0], row[4]);
    }
    ensure!(rows.iter().any(|row| row[2] == "control-plane"), "no node has the role control-plane");
    let addresses: BTreeSet<_> = rows.iter().map(|row| row[5]).collect();
    ensure!(addresses.len() == 4, "addresses are not distinct: {addresses:?}");
    seen(wide.command.clone(), format!("4 Ready, {}", addresses.into_iter().collect::<Vec<_>>().join(" ")))
}

/// The scheduler, the controller manager and the store are found where upstream's listen.
pub fn components(scene: &Scene, context: &str) -> anyhow::Result<Seen> {
    let said = scene.kubectl(context, &["get", "componentstatuses"])?;
    let rows = said.lines().skip(1).map(|line| line.split_whitespace().take(3).collect());
    let rows: BTreeSet<Vec<&str>> = rows.collect();
    let expected = ["scheduler", "controller-manager", "etcd-0"].map(|name| vec![name, "Healthy", "ok"]);
    ensure!(rows == BTreeSet::from(expected), "{}", said.stdout);
    seen(said.command.clone(), "3 Healthy")
}

/// Cluster DNS, the ingress controller and the Skupper controller serve.
pub fn add_ons(scene: &Scene, context: &str) -> anyhow::Result<Seen> {
    let wait = ["wait", "-A", "--for=condition=Available", "deployment", "-l", "knetsim.dev/add-on", "--timeout=80s"];
    let said = scene.kubectl(context, &wait)?;
    let names: Vec<_> =
        said.lines().filter_map(|line| line.strip_prefix("deployment.apps/")?.split(' ').next()).collect();
    ensure!(names.contains(&"coredns"), "{}", said.stdout);
    seen(said.command.clone(), names.join(" "))
}

/// Every worker of c0 pings the next one.
pub fn ping(scene: &Scene) -> anyhow::Result<Seen> {
    for (from, to) in [("c0w1", "10.0.0.12"), ("c0w2", "10.0.0.13"), ("c0w3", "10.0.0.11"), ("c0w1", "10.0.0.10")] {
        scene.knetsim(&["exec", from, "--", "ping", "-c1", "-W2", to])?;
    }
    let last = scene.knetsim(&["exec", "c1w1", "--", "ping", "-c1", "-W2", "10.0.1.12"])?;
    let time = last.lines().find_map(|l| l.split("time=").nth(1)).context("ping told no time")?.to_owned();
    seen(last.command, time)
}

/// From c0 to c1 there is one router in between, and it is `wan`.
pub fn by_way_of_wan(scene: &Scene) -> anyhow::Result<Seen> {
    // An earlier walk may have ended in between; mostly there is nothing to mend.
    let _ = scene.try_knetsim(&["net", "mend", "c0", "wan"])?;
    let ping = scene.knetsim(&["exec", "c0w1", "--", "ping", "-c1", "-W2", "10.0.1.11"])?;
    ensure!(ping.stdout.contains("ttl=63"), "the TTL is not one less than 64: {}", ping.stdout);
    let route = scene.knetsim(&["exec", "c0w1", "--", "ip", "route", "get", "10.0.1.11"])?;
    ensure!(route.stdout.contains("via 10.0.0.1 "), "the way does not lead over wan: {}", route.stdout);
    let cut = ["net", "cut", "c0", "wan"];
    scene.knetsim(&cut)?;
    let gone = scene.try_knetsim(&["exec", "c0w1", "--", "ping", "-c1", "-W0.3", "10.0.1.11"])?;
    scene.knetsim(&["net", "mend", "c0", "wan"])?;
    ensure!(gone.code != 0, "c1 answers although c0 is cut off from the WAN");
    seen(ping.command, "ttl=63; nothing when wan is cut off")
}
