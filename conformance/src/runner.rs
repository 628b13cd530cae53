//! Runs specs against a cluster: several at a time, each in a namespace of its own, the serial ones alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{FutureExt, StreamExt, stream};

use crate::client::Objects;
use crate::fixture::Cluster;
use crate::spec::{Spec, Test};

/// So many specs run at a time.
const AT_A_TIME: usize = 8;
/// No spec may take longer.
const LIMIT: Duration = Duration::from_secs(150);

/// What came of one spec.
pub struct Outcome {
    pub spec: &'static Spec,
    pub error: Option<String>,
    pub took: Duration,
}

/// Runs all of them.
pub async fn run(cluster: &Arc<Cluster>, specs: Vec<&'static Spec>, told: impl Fn(&Outcome)) -> Vec<Outcome> {
    let (serial, parallel): (Vec<_>, Vec<_>) = specs.into_iter().partition(|spec| spec.is_serial());
    let mut outcomes = Vec::new();
    let mut running = stream::iter(parallel).map(|spec| one(cluster, spec)).buffer_unordered(AT_A_TIME);
    while let Some(outcome) = running.next().await {
        told(&outcome);
        outcomes.push(outcome);
    }
    for spec in serial {
        let outcome = one(cluster, spec).await;
        told(&outcome);
        outcomes.push(outcome);
    }
    outcomes
}

async fn one(cluster: &Arc<Cluster>, spec: &'static Spec) -> Outcome {
    let started = Instant::now();
    let area = spec.name.split_once("] ").map_or(spec.name, |(_, rest)| rest);
    let namespace = cluster.namespace_name(area);
    let test = Test::new(cluster.clone(), namespace.clone());
    let running = async {
        cluster.make_namespace(&namespace).await?;
        (spec.run)(test.clone()).await
    };
    // A panic fails its spec, not the others.
    let result = tokio::time::timeout(LIMIT, AssertUnwindSafe(running).catch_unwind()).await;
    let error = match result {
        Ok(Ok(Ok(()))) => None,
        Ok(Ok(Err(error))) => Some(format!("{error:#}")),
        Ok(Err(panic)) => Some(format!("panicked: {}", words(panic.as_ref()))),
        Err(_) => Some(format!("not done after {LIMIT:?}")),
    };
    let namespaces = Objects::new(cluster.api.clone(), None, "v1", "namespaces");
    for name in test.namespaces() {
        // The namespace may be gone by the spec's own doing; what stays goes with the cluster.
        let _ = namespaces.delete(&name).await;
    }
    Outcome { spec, error, took: started.elapsed() }
}

fn words(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("for no reason given")
}
