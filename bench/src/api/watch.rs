//! Watches: how long after a POST is sent its event arrives, and how many events a second many watchers get together.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::Method;
use tokio::sync::Mutex;

use super::load::{JSON, Request, run};
use super::{configmap, configmaps};
use crate::api::wire::{Ask, Lines, Target};

/// Opens a watch on a connection of its own, from now on; the names of what is added.
async fn watch(target: &Target, namespace: &str) -> anyhow::Result<Lines> {
    let mut connection = target.http2().await?;
    let list = target.send(&mut connection, Ask::get(&format!("{}?limit=1", configmaps(namespace)))).await?;
    let list = list.json();
    let revision = list["metadata"]["resourceVersion"].as_str().context("a list has no resourceVersion")?;
    let path = format!("{}?watch=true&resourceVersion={revision}", configmaps(namespace));
    Ok(Lines::new(target.open(&mut connection, Ask::get(&path)).await?))
}

/// Milliseconds from sending each of `count` paced POSTs to the arrival of its event.
pub async fn latency(target: &Target, namespace: &str, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut lines = watch(target, namespace).await?;
    let sent: Arc<Mutex<HashMap<String, Instant>>> = Arc::default();
    let (poster, noted, path) = (target.clone(), sent.clone(), configmaps(namespace));
    let posts = tokio::spawn(async move {
        let mut connection = poster.http2().await?;
        // A hundred a second: what is measured is the way, not a queue.
        let mut pace = tokio::time::interval(Duration::from_millis(10));
        for number in 0..count {
            pace.tick().await;
            let name = format!("paced-{number}");
            let body = configmap(&name, "x");
            noted.lock().await.insert(name, Instant::now());
            poster.send(&mut connection, Ask::new(Method::POST, &path, body)).await?;
        }
        anyhow::Ok(())
    });
    let mut times = Vec::with_capacity(count);
    while times.len() < count {
        let line = lines.next().await?.context("the watch ended")?;
        let now = Instant::now();
        let event: serde_json::Value = serde_json::from_slice(&line)?;
        let name = event["object"]["metadata"]["name"].as_str().unwrap_or_default();
        if let Some(sent) = sent.lock().await.get(name) {
            times.push(now.duration_since(*sent).as_secs_f64() * 1000.0);
        }
    }
    posts.await??;
    Ok(times)
}

/// Events a second that `watchers` get together of `count` ConfigMaps made by eight clients as fast as they can.
pub async fn fan_out(target: &Target, namespace: &str, watchers: usize, count: usize) -> anyhow::Result<f64> {
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..watchers {
        let mut lines = watch(target, namespace).await?;
        readers.spawn(async move {
            for _ in 0..count {
                lines.next().await?.context("a watch ended")?;
            }
            anyhow::Ok(Instant::now())
        });
    }
    let (begin, path) = (Instant::now(), configmaps(namespace));
    let make = move |number| Request::new(Method::POST, path.as_str(), JSON, configmap(&format!("fan-{number}"), "x"));
    run(target, 8, count, Duration::from_secs(60), make).await?;
    let mut last = begin;
    while let Some(reader) = readers.join_next().await {
        last = last.max(reader??);
    }
    // Counts are far below 2^52.
    #[expect(clippy::cast_precision_loss)]
    let events = (watchers * count) as f64;
    Ok(events / last.duration_since(begin).as_secs_f64())
}
