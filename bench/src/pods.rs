//! How fast pods start: one after the other, and a hundred at once.

use std::collections::HashMap;
use std::time::Instant;

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Namespace, Pod};
use knetsim_tests::emulator::Emulator;
use kube::api::{Api, DeleteParams, PostParams, WatchEvent, WatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde_json::json;

use crate::stats::row;

/// A client of cluster c0.
pub async fn client(emulator: &Emulator) -> anyhow::Result<Client> {
    let file = Kubeconfig::read_from(emulator.kubeconfig())?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

pub fn measure(emulator: &Emulator, runs: usize) -> anyhow::Result<()> {
    runtime::block_on(async {
        let client = client(emulator).await?;
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": "bench" } }))?;
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
        emulator.kubectl("c0", &["-n", "bench", "wait", "--for=create", "serviceaccount/default", "--timeout=10s"])?;
        let pods: Api<Pod> = Api::namespaced(client, "bench");
        // Everything cold is warm after the first.
        batch(&pods, "warm", 1).await?;
        let mut single = Vec::new();
        for run in 0..runs * 4 {
            single.extend(batch(&pods, &format!("one-{run}"), 1).await?.0);
        }
        let (each, took) = batch(&pods, "many", 100).await?;
        println!();
        row("pod: create to Running with IP, one by one", &single, "ms");
        row("pod: create to Running with IP, 100 at once", &each, "ms");
        println!("{:<52} {:>13.1} pods/s", "pods: 100 over 3 workers", 100.0 / took);
        Ok(())
    })
}

/// Creates `count` pods and waits until all run; milliseconds of each, seconds of all. Deletes them again.
async fn batch(pods: &Api<Pod>, prefix: &str, count: usize) -> anyhow::Result<(Vec<f64>, f64)> {
    let params = WatchParams::default().labels(&format!("batch={prefix}"));
    let mut events = pods.watch(&params, "0").await?.boxed();
    let begun = Instant::now();
    let mut created = HashMap::new();
    let make = |index: usize| {
        let pod: Result<Pod, _> = serde_json::from_value(json!({
            "metadata": { "name": format!("{prefix}-{index}"), "labels": { "batch": prefix } },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [{ "name": "pause", "image": "registry.k8s.io/pause:3.10" }] },
        }));
        async move {
            let pod = pod?;
            let at = Instant::now();
            pods.create(&PostParams::default(), &pod).await?;
            anyhow::Ok((format!("{prefix}-{index}"), at))
        }
    };
    let mut creating = futures::stream::iter(0..count).map(make).buffer_unordered(16);
    while let Some((name, at)) = creating.try_next().await? {
        created.insert(name, at);
    }
    let mut times = HashMap::new();
    while times.len() < count {
        let event = events.try_next().await?.context("the watch ended")?;
        let (WatchEvent::Added(pod) | WatchEvent::Modified(pod)) = event else { continue };
        let name = pod.metadata.name.unwrap_or_default();
        let status = pod.status.unwrap_or_default();
        if status.phase.as_deref() == Some("Running")
            && status.pod_ip.is_some()
            && let Some(at) = created.get(&name)
        {
            times.entry(name).or_insert_with(|| at.elapsed().as_secs_f64() * 1000.0);
        }
    }
    let took = begun.elapsed().as_secs_f64();
    let list = kube::api::ListParams::default().labels(&format!("batch={prefix}"));
    pods.delete_collection(&DeleteParams::default(), &list).await?;
    let mut left = count;
    while left > 0 {
        if let WatchEvent::Deleted(_) = events.try_next().await?.context("the watch ended")? {
            left -= 1;
        }
    }
    Ok((times.into_values().collect(), took))
}
