use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::Settings;
use super::super::calculator::{Sample, Tolerances};
use super::*;

fn ask(spec: Value, measured: Result<Measured, String>) -> Result<(i32, String, Value), Unable> {
    let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:00:00Z"}]);
    let pod = |name| {
        let requests = json!({"requests": {"cpu": "200m", "memory": "64Mi"}});
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "resources": requests}]},
            "status": {"phase": "Running", "startTime": "1970-01-01T00:00:00Z", "conditions": ready}});
        Arc::new(serde_json::from_value::<Pod>(pod).unwrap())
    };
    let settings = Settings {
        sync_period: std::time::Duration::from_secs(15),
        downscale_stabilization: SignedDuration::ZERO,
        tolerance: 0.1,
        cpu_initialization: SignedDuration::ZERO,
        initial_readiness: SignedDuration::ZERO,
        workers: 1,
    };
    let calculator = Calculator {
        pods: &[pod("a"), pod("b")],
        tolerances: Tolerances { down: 0.1, up: 0.1 },
        settings: &settings,
        now: Timestamp::from_second(1000).unwrap(),
    };
    let spec: MetricSpec = serde_json::from_value(spec).unwrap();
    let found = propose(&spec, measured, Target { namespace: "ns", wanted: 2, present: 2 }, &calculator)?;
    Ok((found.replicas, found.metric, serde_json::to_value(found.status).unwrap()))
}

fn pods(value: i64) -> Result<Measured, String> {
    let sample = Sample { value, timestamp: Timestamp::from_second(1000).unwrap(), window: SignedDuration::ZERO };
    Ok(Measured::Pods(["a", "b"].map(|name| (name.to_owned(), sample)).into()))
}

fn gone() -> Result<Measured, String> {
    Err("unable to fetch metrics".to_owned())
}

#[test]
fn each_kind_of_metric() {
    let metric = json!({"name": "hits", "selector": {"matchLabels": {"a": "b"}}});
    let shown =
        "hits(&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{},})";
    let object = json!({"kind": "Ingress", "name": "main", "apiVersion": "networking.k8s.io/v1"});
    let described = |current: Value| json!({"type": "Object", "object": {"describedObject": object, "metric": metric, "current": current}});
    for (spec, measured, replicas, words, status) in [
        (
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
            pods(200),
            4,
            "cpu resource utilization (percentage of request)".to_owned(),
            json!({"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 100, "averageValue": "200m"}}}),
        ),
        (
            json!({"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "32Mi"}}}),
            pods((64 << 20) * 1000),
            4,
            "memory resource".to_owned(),
            json!({"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "64Mi"}}}),
        ),
        (
            json!({"type": "ContainerResource", "containerResource":
                {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 50}}}),
            pods(50),
            1,
            "cpu container resource utilization (percentage of request)".to_owned(),
            json!({"type": "ContainerResource", "containerResource":
                {"name": "cpu", "container": "c", "current": {"averageUtilization": 25, "averageValue": "50m"}}}),
        ),
        (
            json!({"type": "Pods", "pods": {"metric": metric, "target": {"type": "AverageValue", "averageValue": "10"}}}),
            pods(20_000),
            4,
            "pods metric hits".to_owned(),
            json!({"type": "Pods", "pods": {"metric": metric, "current": {"averageValue": "20"}}}),
        ),
        (
            json!({"type": "Object", "object": {"describedObject": object, "metric": metric, "target": {"type": "Value", "value": "10"}}}),
            Ok(Measured::Value(15_000)),
            3,
            "Ingress metric hits".to_owned(),
            described(json!({"value": "15"})),
        ),
        (
            json!({"type": "Object", "object":
                {"describedObject": object, "metric": metric, "target": {"type": "AverageValue", "averageValue": "10"}}}),
            Ok(Measured::Value(50_000)),
            5,
            format!("external metric {shown}"),
            described(json!({"averageValue": "25"})),
        ),
        (
            json!({"type": "External", "external": {"metric": metric, "target": {"type": "Value", "value": "10"}}}),
            Ok(Measured::Values(vec![5000, 15_000])),
            4,
            format!("external metric {shown}"),
            json!({"type": "External", "external": {"metric": metric, "current": {"value": "20"}}}),
        ),
        (
            json!({"type": "External", "external": {"metric": metric, "target": {"type": "AverageValue", "averageValue": "10"}}}),
            Ok(Measured::Values(vec![5000, 15_000])),
            2,
            format!("external metric {shown}"),
            json!({"type": "External", "external": {"metric": metric, "current": {"averageValue": "10"}}}),
        ),
    ] {
        assert_eq!(ask(spec.clone(), measured), Ok((replicas, words, status)), "{spec}");
    }
}

#[test]
fn each_failure_in_upstreams_words() {
    let metric = json!({"name": "hits"});
    let object = json!({"kind": "Service", "name": "main"});
    let value = json!({"type": "Value", "value": "1"});
    let average = json!({"type": "AverageValue", "averageValue": "1"});
    let on = "unable to get metric hits: unable to fetch metrics on Service ns/main";
    let external = "unable to get external metric ns/hits/nil: unable to fetch metrics";
    for (spec, reason, cause, error) in [
        (
            json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 50}}}),
            "FailedGetResourceMetric",
            "failed to get cpu utilization: unable to get metrics for resource cpu: unable to fetch metrics".to_owned(),
            "failed to get cpu resource metric value: ",
        ),
        (
            json!({"type": "Resource", "resource": {"name": "memory", "target": average}}),
            "FailedGetResourceMetric",
            "failed to get memory usage: unable to get metrics for resource memory: unable to fetch metrics".to_owned(),
            "failed to get memory resource metric value: ",
        ),
        (
            json!({"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c", "target": average}}),
            "FailedGetContainerResourceMetric",
            "failed to get cpu usage: unable to get metrics for resource cpu: unable to fetch metrics".to_owned(),
            "failed to get c container metric value: ",
        ),
        (
            json!({"type": "Pods", "pods": {"metric": metric, "target": average}}),
            "FailedGetPodsMetric",
            "unable to get metric hits: unable to fetch metrics".to_owned(),
            "failed to get pods metric value: ",
        ),
        (
            json!({"type": "Object", "object": {"describedObject": object, "metric": metric, "target": value}}),
            "FailedGetObjectMetric",
            on.to_owned(),
            "failed to get object metric value: ",
        ),
        (
            json!({"type": "Object", "object": {"describedObject": object, "metric": metric, "target": average}}),
            "FailedGetObjectMetric",
            on.to_owned(),
            "failed to get object metric value: failed to get hits object metric: ",
        ),
        (
            json!({"type": "External", "external": {"metric": metric, "target": value}}),
            "FailedGetExternalMetric",
            external.to_owned(),
            "failed to get hits external metric value: failed to get external metric hits: ",
        ),
        (
            json!({"type": "External", "external": {"metric": metric, "target": average}}),
            "FailedGetExternalMetric",
            external.to_owned(),
            "failed to get hits external metric value: failed to get hits external metric: ",
        ),
        (json!({"type": "Odd"}), "InvalidMetricSourceType", "unknown metric source type \"Odd\"".to_owned(), ""),
    ] {
        let unable = ask(spec.clone(), gone()).unwrap_err();
        assert_eq!(unable, Unable { reason, error: format!("{error}{cause}"), cause }, "{spec}");
    }
}
