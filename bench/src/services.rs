//! From a Service's creation to its rule in the kernel of a node, as `nft monitor` sees it there.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context;
use k8s_openapi::api::core::v1::Service;
use knetsim_tests::emulator::Emulator;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;

use crate::stats::row;

const COUNT: usize = 50;

pub fn measure(emulator: &Emulator) -> anyhow::Result<()> {
    let mut command = emulator.command(&emulator.binary, &["exec", "c0w1", "--", "nft", "monitor", "elements"]);
    let mut monitor = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(monitor.stdout.take().context("stdout is piped")?).lines();
    let measured = runtime::block_on(async {
        let services: Api<Service> = Api::namespaced(super::pods::client(emulator).await?, "default");
        let mut times = Vec::new();
        for index in 0..COUNT {
            let name = format!("bench-{index}");
            let service: Service = serde_json::from_value(json!({
                "metadata": { "name": name },
                "spec": { "selector": { "app": "nobody" }, "ports": [{ "port": 80 }] },
            }))?;
            let begun = Instant::now();
            let made = services.create(&PostParams::default(), &service).await?;
            let ip = made.spec.and_then(|s| s.cluster_ip).context("no cluster IP")?;
            loop {
                let line = lines.next().context("nft monitor ended")??;
                if line.contains(&ip) {
                    break;
                }
            }
            times.push(begun.elapsed().as_secs_f64() * 1000.0);
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
