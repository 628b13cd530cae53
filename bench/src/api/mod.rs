//! What the API server costs over each store: single objects, lists, watches, memory, and how cost grows with the number of
//! objects. The load comes from this process, on the same cores.

#[path = "../../../apiserver/examples/dev_cluster/pki.rs"]
mod pki;
#[path = "../../../apiserver/tests/support/wire.rs"]
mod wire;

mod load;
mod server;
mod watch;

use std::time::Duration;

use http::Method;
use serde_json::json;

use crate::stats::percentile;
use load::{JSON, Request};
use server::{Backend, Server};
use wire::Target;

const LIMIT: Duration = Duration::from_secs(20);
const NAMESPACE: &str = "default";
const PODS: &str = "/api/v1/namespaces/default/pods";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

fn configmaps(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps")
}

/// Some 0.7 kB as the server keeps it.
fn configmap(name: &str, text: &str) -> String {
    let data = json!({ "text": text, "filling": "x".repeat(256) });
    json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": data }).to_string()
}

/// A pod that no scheduler takes; some 3 kB with defaults and managed fields.
fn pod(name: &str) -> String {
    let probe = json!({ "httpGet": { "path": "/healthz", "port": "http" }, "periodSeconds": 5 });
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "labels": { "app": "bench", "pod-template-hash": "6f8d9c7b5d" } },
        "spec": {
            "schedulerName": "nobody", "automountServiceAccountToken": false,
            "containers": [{
                "name": "app", "image": "registry.example.test/team/app:1.2.3",
                "args": ["--listen=:8080", "--log-level=info"],
                "ports": [{ "name": "http", "containerPort": 8080 }],
                "env": [{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }, { "name": "MODE", "value": "production" }],
                "resources": { "requests": { "cpu": "10m", "memory": "16Mi" }, "limits": { "memory": "64Mi" } },
                "readinessProbe": probe, "livenessProbe": probe,
            }],
        },
    })
    .to_string()
}

fn line(what: &str, figures: std::fmt::Arguments<'_>) {
    println!("{what:<52} {figures}");
}

/// Runs one closed loop and prints it.
async fn rate(
    target: &Target,
    what: &str,
    clients: usize,
    count: usize,
    make: impl Fn(usize) -> Request + Send + Sync + 'static,
) -> anyhow::Result<()> {
    let outcome = load::run(target, clients, count, LIMIT, make).await?;
    let p = |share| percentile(&outcome.times, share);
    let (per_second, p50, p99) = (outcome.per_second(), p(0.5), p(0.99));
    line(
        &format!("{what}, {clients} clients"),
        format_args!("{per_second:>9.0} /s   p50 {p50:.2} ms   p99 {p99:.2} ms"),
    );
    Ok(())
}

/// Everything, over each store.
pub fn measure(runs: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for backend in [Backend::Embedded, Backend::Etcd] {
        println!("\nAPI server over {backend:?}");
        runtime.block_on(over(backend, runs))?;
    }
    Ok(())
}

/// Only what grows with the number of objects, over the embedded store.
pub fn lists() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let dir = tempfile::tempdir()?;
    runtime.block_on(async { sizes(&Server::start(Backend::Embedded, dir.path()).await?).await })
}

async fn over(backend: Backend, runs: usize) -> anyhow::Result<()> {
    let mut ready = Vec::new();
    for _ in 0..runs {
        let dir = tempfile::tempdir()?;
        ready.push(Server::start(backend, dir.path()).await?.ready.as_secs_f64() * 1000.0);
    }
    crate::stats::row("start to readyz", &ready, "ms");
    let dir = tempfile::tempdir()?;
    let server = Server::start(backend, dir.path()).await?;
    memory(&server, "RSS, nothing in it")?;
    let target = &server.target;
    single(target).await?;
    let times = watch::latency(target, NAMESPACE, 300).await?;
    crate::stats::row("watch: POST sent to event, 100 a second", &times, "ms");
    for (watchers, count) in [(100, 500), (1000, 100)] {
        // A namespace each, so that watchers see only their own.
        let namespace = format!("fan-{watchers}");
        make_namespace(target, &namespace).await?;
        let per_second = watch::fan_out(target, &namespace, watchers, count).await?;
        line(&format!("fan-out to {watchers} watchers"), format_args!("{per_second:>9.0} events/s"));
    }
    sizes(&server).await
}

fn memory(server: &Server, what: &str) -> anyhow::Result<()> {
    let etcd = server.resident_etcd().map(|mb| format!(" and etcd {mb:.0} MB")).unwrap_or_default();
    line(what, format_args!("{:>9.1} MB{etcd}", server.resident()?));
    Ok(())
}

async fn make_namespace(target: &Target, name: &str) -> anyhow::Result<()> {
    let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } }).to_string();
    let make = move |_| Request::new(Method::POST, "/api/v1/namespaces", JSON, body.clone());
    load::run(target, 1, 1, LIMIT, make).await.map(drop)
}

/// Reads and writes of one ConfigMap each.
async fn single(target: &Target) -> anyhow::Result<()> {
    let all = configmaps(NAMESPACE);
    let path = all.clone();
    load::run(target, 1, 64, LIMIT, move |n| {
        Request::new(Method::POST, path.as_str(), JSON, configmap(&format!("own-{n}"), "x"))
    })
    .await?;
    for clients in [1, 16, 64] {
        let count = if clients == 1 { 3000 } else { 15_000 };
        let path = format!("{all}/own-0");
        rate(target, "GET", clients, count, move |_| Request::get(path.as_str(), JSON)).await?;
    }
    for clients in [1, 16, 64] {
        let count = if clients == 1 { 500 } else { 4000 };
        let path = all.clone();
        rate(target, "CREATE", clients, count, move |n| {
            Request::new(Method::POST, path.as_str(), JSON, configmap(&format!("made-{clients}-{n}"), "x"))
        })
        .await?;
        let path = all.clone();
        rate(target, "UPDATE", clients, count, move |n| {
            let name = format!("own-{}", n % 64);
            Request::new(Method::PUT, format!("{path}/{name}"), JSON, configmap(&name, &n.to_string()))
        })
        .await?;
        let path = all.clone();
        rate(target, "PATCH (merge)", clients, count, move |n| {
            let patch = json!({ "data": { "text": format!("patched {n}") } }).to_string();
            Request::new(Method::PATCH, format!("{path}/own-{}", n % 64), "application/merge-patch+json", patch)
        })
        .await?;
        let path = all.clone();
        rate(target, "APPLY (server-side)", clients, count, move |n| {
            let name = format!("own-{}", n % 64);
            let path = format!("{path}/{name}?fieldManager=bench&force=true");
            Request::new(Method::PATCH, path, "application/apply-patch+yaml", configmap(&name, &n.to_string()))
        })
        .await?;
    }
    Ok(())
}

/// Cost against the number of pods: it must not grow for single objects, and grow with the list for lists.
async fn sizes(server: &Server) -> anyhow::Result<()> {
    let target = &server.target;
    let account =
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } }).to_string();
    let path = "/api/v1/namespaces/default/serviceaccounts";
    load::run(target, 1, 1, LIMIT, move |_| Request::new(Method::POST, path, JSON, account.clone())).await?;
    let mut made = 0;
    for pods in [1000, 10_000, 50_000] {
        let from = made;
        let make = move |n| Request::new(Method::POST, PODS, JSON, pod(&format!("pod-{}", from + n)));
        load::run(target, 32, pods - made, Duration::from_secs(300), make).await?;
        made = pods;
        println!("with {pods} pods:");
        memory(server, "  RSS")?;
        rate(target, "  GET a pod", 16, 5000, |_| Request::get(format!("{PODS}/pod-7"), JSON)).await?;
        rate(target, "  PATCH a pod", 16, 1000, |n| {
            let patch = json!({ "metadata": { "labels": { "n": n.to_string() } } }).to_string();
            Request::new(Method::PATCH, format!("{PODS}/pod-{}", n % 100), "application/merge-patch+json", patch)
        })
        .await?;
        for (form, accept) in [("JSON", JSON), ("protobuf", PROTOBUF), ("Table", TABLE)] {
            let count = if pods == 1000 { 20 } else { 3 };
            rate(target, &format!("  LIST {pods} pods, {form}"), 1, count, move |_| Request::get(PODS, accept)).await?;
        }
    }
    Ok(())
}
