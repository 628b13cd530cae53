//! What the node says about itself: `/pods`, `/metrics`, `/metrics/resource`, `/stats/summary`.

use std::fmt::Write as _;

use http::{Response, StatusCode};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::{Body, text};
use crate::node::Node;
use crate::pod::registry::Registry;
use crate::usage::{self, OfPod, Report, Usage};

pub fn pods(registry: &Registry) -> Response<Body> {
    let items: Vec<Pod> = registry.all().into_iter().map(|view| (*view.pod).clone()).collect();
    super::json(&json!({ "kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": items }))
}

pub fn metrics(node: &Node, registry: &Registry) -> Response<Body> {
    let views = registry.all();
    let running: usize = views.iter().map(|view| view.containers.values().filter(|c| c.is_running()).count()).sum();
    let body = format!(
        "# TYPE kubelet_node_name gauge\nkubelet_node_name{{node=\"{}\"}} 1\n\
         # TYPE kubelet_running_pods gauge\nkubelet_running_pods {}\n\
         # TYPE kubelet_running_containers gauge\nkubelet_running_containers{{container_state=\"running\"}} {running}\n",
        node.name,
        views.len(),
    );
    text(StatusCode::OK, body)
}

fn measure(node: &Node, registry: &Registry) -> Report {
    usage::measure(node, &registry.all(), Timestamp::now().as_millisecond())
}

pub fn resources(node: &Node, registry: &Registry) -> Response<Body> {
    text(StatusCode::OK, resource_metrics(&measure(node, registry)))
}

pub fn summary(node: &Node, registry: &Registry) -> Response<Body> {
    super::json(&summary_of(&node.name, &measure(node, registry)))
}

fn seconds(usage: Usage) -> f64 {
    usage.cpu_nanos as f64 / 1e9
}

/// Upstream's `/metrics/resource` (`pkg/kubelet/metrics/collectors/resource_metrics.go`).
fn resource_metrics(report: &Report) -> String {
    let mut body = String::new();
    let mut family = |name: &str, help: &str, kind: &str, lines: Vec<(String, f64)>| {
        if lines.is_empty() {
            return;
        }
        let _ = write!(body, "# HELP {name} [STABLE] {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in lines {
            let _ = writeln!(body, "{name}{labels} {value} {}", report.at);
        }
    };
    let containers = |value: &dyn Fn(&usage::OfContainer) -> f64| {
        let lines = report.pods.iter().flat_map(|pod| pod.containers.iter().map(move |container| (pod, container)));
        let labels = |pod: &OfPod, name: &str| {
            format!("{{container={name:?},namespace={:?},pod={:?}}}", pod.namespace, pod.name)
        };
        lines.map(|(pod, container)| (labels(pod, &container.name), value(container))).collect::<Vec<_>>()
    };
    let pods = |value: &dyn Fn(Usage) -> f64| {
        let running = report.pods.iter().filter(|pod| !pod.containers.is_empty());
        let labels = |pod: &OfPod| format!("{{namespace={:?},pod={:?}}}", pod.namespace, pod.name);
        running.map(|pod| (labels(pod), value(pod.total()))).collect::<Vec<_>>()
    };
    let node = |value: f64| vec![(String::new(), value)];
    let (cpu, memory) = ("Cumulative cpu time consumed by the", "Current working set of the");
    for (name, help, kind, lines) in [
        (
            "container_cpu_usage_seconds_total",
            format!("{cpu} container in core-seconds"),
            "counter",
            containers(&|container| seconds(container.usage)),
        ),
        (
            "container_memory_working_set_bytes",
            format!("{memory} container in bytes"),
            "gauge",
            containers(&|container| container.usage.memory as f64),
        ),
        (
            "container_start_time_seconds",
            "Start time of the container since unix epoch in seconds".to_owned(),
            "gauge",
            containers(&|container| container.started_at as f64 / 1000.0),
        ),
        ("node_cpu_usage_seconds_total", format!("{cpu} node in core-seconds"), "counter", node(seconds(report.node))),
        ("node_memory_working_set_bytes", format!("{memory} node in bytes"), "gauge", node(report.node.memory as f64)),
        ("pod_cpu_usage_seconds_total", format!("{cpu} pod in core-seconds"), "counter", pods(&seconds)),
        ("pod_memory_working_set_bytes", format!("{memory} pod in bytes"), "gauge", pods(&|usage| usage.memory as f64)),
    ] {
        family(name, &help, kind, lines);
    }
    body.push_str(
        "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n\
         # TYPE resource_scrape_error gauge\nresource_scrape_error 0\n",
    );
    body
}

/// Upstream's `/stats/summary`, as far as it is about CPU and memory.
fn summary_of(node: &str, report: &Report) -> Value {
    let time = |millis: i64| Timestamp::from_millisecond(millis).map(|time| time.to_string()).unwrap_or_default();
    let stats = |mut of: Value, usage: Usage| {
        of["cpu"] = json!({ "time": time(report.at), "usageCoreNanoSeconds": usage.cpu_nanos });
        of["memory"] = json!({ "time": time(report.at), "workingSetBytes": usage.memory });
        of
    };
    let pods: Vec<Value> = report
        .pods
        .iter()
        .map(|pod| {
            let containers = pod.containers.iter().map(|container| {
                stats(json!({ "name": container.name, "startTime": time(container.started_at) }), container.usage)
            });
            let start = pod.containers.iter().map(|container| container.started_at).min();
            stats(
                json!({
                    "podRef": { "name": pod.name, "namespace": pod.namespace, "uid": pod.uid },
                    "startTime": start.map(time),
                    "containers": containers.collect::<Vec<_>>(),
                }),
                pod.total(),
            )
        })
        .collect();
    json!({ "node": stats(json!({ "nodeName": node }), report.node), "pods": pods })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::OfContainer;

    fn report() -> Report {
        let container = |name: &str, cpu_nanos, memory| OfContainer {
            name: name.to_owned(),
            started_at: 1_500,
            usage: Usage { cpu_nanos, memory },
        };
        let pod = |name: &str, containers| OfPod {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            uid: "u".to_owned(),
            containers,
        };
        let pods =
            vec![pod("a", vec![container("c", 1_500_000_000, 4096), container("d", 5, 1)]), pod("b", Vec::new())];
        Report { at: 60_000, node: Usage { cpu_nanos: 2_000_000_000, memory: 8192 }, pods }
    }

    #[test]
    fn resource_metrics_are_upstreams() {
        let text = resource_metrics(&report());
        for line in [
            "# TYPE container_cpu_usage_seconds_total counter",
            "container_cpu_usage_seconds_total{container=\"c\",namespace=\"ns\",pod=\"a\"} 1.5 60000",
            "container_memory_working_set_bytes{container=\"c\",namespace=\"ns\",pod=\"a\"} 4096 60000",
            "container_start_time_seconds{container=\"c\",namespace=\"ns\",pod=\"a\"} 1.5 60000",
            "node_cpu_usage_seconds_total 2 60000",
            "node_memory_working_set_bytes 8192 60000",
            "pod_cpu_usage_seconds_total{namespace=\"ns\",pod=\"a\"} 1.500000005 60000",
            "pod_memory_working_set_bytes{namespace=\"ns\",pod=\"a\"} 4097 60000",
            "resource_scrape_error 0",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("pod=\"b\""), "nothing is said of a pod that does not run");
    }

    #[test]
    fn the_summary_has_the_same_numbers() {
        let summary = summary_of("n", &report());
        assert_eq!(summary["node"]["memory"]["workingSetBytes"], 8192);
        assert_eq!(summary["pods"][0]["cpu"]["usageCoreNanoSeconds"], 1_500_000_005_u64);
        assert_eq!(summary["pods"][0]["containers"][1]["name"], "d");
        assert_eq!(summary["pods"][1]["containers"], json!([]));
    }
}
