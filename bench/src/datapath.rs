//! iperf3 from pod to pod: on one node, across the overlay, and through a Service, each beside the same kind of path made
//! of bare namespaces, a veth pair, a bridge and a vxlan link, built by hand in the same nodes in the same run.

use anyhow::Context;
use knetsim_tests::emulator::Emulator;

use crate::stats::percentile;

/// Seconds of one stream.
const SECONDS: u32 = 2;

/// A pod for each end, kept on its node by name.
const PODS: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: a1, namespace: default, labels: {app: a1}}
spec: {nodeName: c0w1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: nicolaka/netshoot, command: [iperf3, -s]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a2, namespace: default, labels: {app: a2}}
spec: {nodeName: c0w1, terminationGracePeriodSeconds: 0, containers: [{name: c, image: nicolaka/netshoot, command: [iperf3, -s]}]}
---
apiVersion: v1
kind: Pod
metadata: {name: b1, namespace: default, labels: {app: b1}}
spec: {nodeName: c0w2, terminationGracePeriodSeconds: 0, containers: [{name: c, image: nicolaka/netshoot, command: [iperf3, -s]}]}
---
apiVersion: v1
kind: Service
metadata: {name: b1, namespace: default}
spec: {selector: {app: b1}, ports: [{port: 5201}]}
"#;

/// By hand: two namespaces on a bridge of c0w1, one on c0w2, and a vxlan of our own between the bridges.
const BARE: &str = "
ip link add hand0 mtu 1450 type bridge; ip link set hand0 up
ip link add vxhand type vxlan id 99 dstport 8473 local $SELF remote $OTHER dev eth0
ip link set vxhand mtu 1450 master hand0 up
for n in $NAMES; do
  ip netns add $n; ip link add v$n mtu 1450 type veth peer name e0 mtu 1450 netns $n; ip link set v$n master hand0 up
  ip -n $n link set lo up; ip -n $n link set e0 up; ip -n $n addr add 192.0.2.${n#h}/24 dev e0
done";

pub fn measure(emulator: &Emulator, runs: usize) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("pods.yaml");
    std::fs::write(&file, PODS)?;
    emulator.kubectl("c0", &["apply", "-f", &file.to_string_lossy()])?;
    emulator.kubectl("c0", &["wait", "--for=condition=Ready", "pod/a1", "pod/a2", "pod/b1", "--timeout=60s"])?;
    let ip =
        |pod: &str| emulator.kubectl("c0", &["get", "pod", pod, "-o", "jsonpath={.status.podIP}"]).map(|o| o.stdout);
    let (a2, b1) = (ip("a2")?, ip("b1")?);
    let vip = emulator.kubectl("c0", &["get", "service", "b1", "-o", "jsonpath={.spec.clusterIP}"])?.stdout;
    for (node, own, other, names) in
        [("c0w1", "10.0.0.11", "10.0.0.12", "h1 h2"), ("c0w2", "10.0.0.12", "10.0.0.11", "h3")]
    {
        let script = format!("SELF={own} OTHER={other} NAMES='{names}'\n{BARE}");
        emulator.knetsim(&["exec", node, "--", "sh", "-ec", &script])?;
    }
    for (node, name) in [("c0w1", "h2"), ("c0w2", "h3")] {
        emulator.knetsim(&["exec", node, "--", "ip", "netns", "exec", name, "iperf3", "-s", "-D"])?;
    }
    let pod = |to: &str| {
        stream(
            &emulator
                .kubectl("c0", &["exec", "a1", "--", "iperf3", "-J", "-t", &SECONDS.to_string(), "-c", to])?
                .stdout,
        )
    };
    let bare = |to: &str| {
        let args =
            ["exec", "c0w1", "--", "ip", "netns", "exec", "h1", "iperf3", "-J", "-t", &SECONDS.to_string(), "-c", to];
        stream(&emulator.knetsim(&args)?.stdout)
    };
    let mut samples: [Vec<f64>; 5] = Default::default();
    for _ in 0..runs {
        // Interleaved, so that what else the machine does meets them all alike.
        for (list, value) in
            samples.iter_mut().zip([bare("192.0.2.2")?, pod(&a2)?, bare("192.0.2.3")?, pod(&b1)?, pod(&vip)?])
        {
            list.push(value);
        }
    }
    let [bare_same, same, bare_across, across, vip] = samples.map(|list| percentile(&list, 0.5));
    println!("\niperf3, one stream, Gbit/s (medians of {runs})");
    println!("  same node     by hand {bare_same:>6.2}   pod to pod {same:>6.2}   ratio {:.2}", same / bare_same);
    println!(
        "  across vxlan  by hand {bare_across:>6.2}   pod to pod {across:>6.2}   ratio {:.2}",
        across / bare_across
    );
    println!("  through a VIP direct  {across:>6.2}   Service    {vip:>6.2}   ratio {:.2}", vip / across);
    emulator.kubectl("c0", &["delete", "-f", &file.to_string_lossy(), "--wait=false"])?;
    Ok(())
}

fn stream(json: &str) -> anyhow::Result<f64> {
    let report: serde_json::Value = serde_json::from_str(json).context("iperf3 printed no JSON")?;
    let bits = report["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(bits.with_context(|| format!("iperf3 measured nothing: {}", report["error"]))? / 1e9)
}
