//! From a Service's creation to its rule in the kernel of a node, as `nft monitor` sees it there.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;
use knetsim_tests::emulator::Emulator;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::stats::row;

const COUNT: usize = 50;
/// No Service takes so long.
const PATIENCE: Duration = Duration::from_secs(10);

pub fn measure(emulator: &Emulator) -> anyhow::Result<()> {
    let mut command = emulator.command(&emulator.binary, &["exec", "c0w1", "--", "nft", "monitor", "elements"]);
    let mut monitor = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let output = monitor.stdout.take().context("stdout is piped")?;
    let (say, lines) = mpsc::channel();
    // It ends with the monitor.
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| say.send(line))
    });
    let measured = runtime::block_on(async {
        let services: Api<Service> = Api::namespaced(super::pods::client(emulator).await?, "default");
        let mut times = Vec::new();
        // The monitor does not say when it has begun: the first Services find that out, and are not counted.
        let (mut monitored, mut index) = (false, 0);
        while times.len() < COUNT {
            anyhow::ensure!(index < 2 * COUNT, "nft monitor shows nothing of what is made");
            index += 1;
            let name = format!("bench-{index}");
            let service: Service = serde_json::from_value(json!({
                "metadata": { "name": name },
                "spec": { "selector": { "app": "nobody" }, "ports": [{ "port": 80 }] },
            }))?;
            let begun = Instant::now();
            let made = services.create(&PostParams::default(), &service).await?;
            let ip = made.spec.and_then(|s| s.cluster_ip).context("no cluster IP")?;
            let seen = loop {
                match lines.recv_timeout(if monitored { PATIENCE } else { Duration::from_millis(200) }) {
                    Ok(line) if line.contains(&ip) => break true,
                    Ok(_) => {}
                    Err(mpsc::RecvTimeoutError::Timeout) if !monitored => break false,
                    Err(error) => anyhow::bail!("Service {name} is not in the kernel: nft monitor: {error}"),
                }
            };
            if seen && std::mem::replace(&mut monitored, true) {
                times.push(begun.elapsed().as_secs_f64() * 1000.0);
            }
            services.delete(&name, &DeleteParams::default()).await?;
        }
        anyhow::Ok(times)
    });
    monitor.kill()?;
    monitor.wait()?;
    println!();
    row("Service: create to rule in the kernel", &measured?, "ms");
    Ok(())
}
