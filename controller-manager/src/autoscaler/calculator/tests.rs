use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const NOW: i64 = 10_000;

fn settings() -> Settings {
    Settings {
        sync_period: std::time::Duration::from_secs(15),
        downscale_stabilization: SignedDuration::from_mins(5),
        tolerance: 0.1,
        cpu_initialization: SignedDuration::from_mins(2),
        initial_readiness: SignedDuration::from_secs(10),
        workers: 1,
    }
}

/// A pod that requests 1000m CPU, has run for long and is ready; `changes` are merged into it.
fn pod(name: &str, changes: Value) -> Arc<Pod> {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "ns"},
        "spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "100"}}}]},
        "status": {"phase": "Running", "startTime": at(0).to_string(),
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": at(20).to_string()}]},
    });
    merge(&mut pod, changes);
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            changes.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, changes) => *into = changes,
    }
}

fn unready(name: &str, started: i64, changed: i64) -> Arc<Pod> {
    let ready = json!([{"type": "Ready", "status": "False", "lastTransitionTime": at(changed).to_string()}]);
    pod(name, json!({"status": {"startTime": at(started).to_string(), "conditions": ready}}))
}

fn samples(values: &[(&str, i64)]) -> Samples {
    let sample = |value| Sample { value, timestamp: at(NOW), window: SignedDuration::from_secs(60) };
    values.iter().map(|(pod, value)| ((*pod).to_owned(), sample(*value))).collect()
}

fn with<T>(pods: &[Arc<Pod>], ask: impl FnOnce(&Calculator<'_>) -> T) -> T {
    let settings = settings();
    let tolerances = Tolerances { down: 0.1, up: 0.1 };
    ask(&Calculator { pods, tolerances, settings: &settings, now: at(NOW) })
}

fn utilization(
    pods: &[Arc<Pod>],
    current: i32,
    target: i32,
    values: &[(&str, i64)],
) -> Result<(i32, i32, i64), String> {
    let found = with(pods, |calculator| calculator.utilization(current, target, samples(values), "cpu", None));
    found.map(|(replicas, usage)| (replicas, usage.percent, usage.average))
}

fn three() -> Vec<Arc<Pod>> {
    ["a", "b", "c"].map(|name| pod(name, json!({}))).to_vec()
}

#[test]
fn by_share_of_the_request() {
    for (why, pods, target, values, expected) in [
        ("up", three(), 30, vec![("a", 300), ("b", 500), ("c", 700)], (5, 50, 500)),
        ("down", three(), 100, vec![("a", 100), ("b", 300), ("c", 500)], (1, 30, 300)),
        ("within a tenth", three(), 100, vec![("a", 1010), ("b", 1030), ("c", 1020)], (3, 102, 1020)),
        ("a missing pod uses nothing when it is to be more", three(), 20, vec![("a", 500), ("b", 500)], (5, 50, 500)),
        ("and all it asked for when it is to be less", three(), 50, vec![("a", 100), ("b", 100)], (3, 10, 100)),
        (
            "an unready pod uses nothing when it is to be more",
            vec![pod("a", json!({})), pod("b", json!({})), unready("c", NOW - 60, NOW - 60)],
            30,
            vec![("a", 500), ("b", 700), ("c", 900)],
            (4, 60, 600),
        ),
        (
            "what ends or failed does not count",
            vec![
                pod("a", json!({})),
                pod("b", json!({"metadata": {"deletionTimestamp": at(NOW).to_string()}})),
                pod("c", json!({"status": {"phase": "Failed"}})),
            ],
            50,
            vec![("a", 1000), ("b", 9000), ("c", 9000)],
            (2, 100, 1000),
        ),
    ] {
        assert_eq!(utilization(&pods, 3, target, &values), Ok(expected), "{why}");
    }
}

#[test]
fn what_cannot_be_answered() {
    let no_request = pod("a", json!({"spec": {"containers": [{"name": "c"}]}}));
    let error = |pods: &[Arc<Pod>], values: &[(&str, i64)]| utilization(pods, 1, 50, values).unwrap_err();
    assert_eq!(error(&[], &[("a", 1)]), "no pods returned by selector while calculating replica count");
    assert_eq!(error(&three(), &[]), "did not receive metrics for targeted pods (pods might be unready)");
    assert_eq!(error(&[no_request], &[("a", 1)]), "missing request for cpu in container c of Pod a");
    let stranger = pod("a", json!({}));
    assert_eq!(error(&[stranger], &[("z", 1)]), "no metrics returned matched known pods");
    let container = with(&three(), |calculator| {
        calculator.utilization(3, 50, samples(&[("a", 1)]), "cpu", Some("other")).unwrap_err()
    });
    assert_eq!(container, "container other not found in Pod a");
}

#[test]
fn requests_of_the_pod_of_sidecars_and_of_one_container() {
    let changes = json!({"spec": {"initContainers": [
        {"name": "setup", "resources": {"requests": {"cpu": "9"}}},
        {"name": "side", "restartPolicy": "Always", "resources": {"requests": {"cpu": "250m"}}}]}});
    let pods = [pod("a", changes)];
    let of = |container, pods: &[Arc<Pod>]| requests(pods, container, "cpu").map(|found| found["a"]);
    assert_eq!(of(None, &pods), Ok(1250));
    assert_eq!(of(Some("side"), &pods), Ok(250));
    let whole = [pod("a", json!({"spec": {"resources": {"requests": {"cpu": "3"}}}}))];
    assert_eq!(of(None, &whole), Ok(3000));
    assert_eq!(of(Some("c"), &whole), Ok(1000));
}

#[test]
fn a_starting_pods_cpu_says_nothing() {
    let sample = |second, window| Sample { value: 1, timestamp: at(second), window: SignedDuration::from_secs(window) };
    let ready = |started: i64, changed: i64| {
        let ready = json!([{"type": "Ready", "status": "True", "lastTransitionTime": at(changed).to_string()}]);
        pod("a", json!({"status": {"startTime": at(started).to_string(), "conditions": ready}}))
    };
    let fresh = NOW - 60;
    for (why, pod, sample, warming) in [
        ("fresh and unready", unready("a", fresh, fresh), sample(NOW, 10), true),
        ("fresh and ready, measured since", ready(fresh, fresh + 5), sample(NOW, 10), false),
        ("fresh and ready, measured from before", ready(fresh, NOW - 5), sample(NOW, 10), true),
        ("old, has never been ready", unready("a", NOW - 600, NOW - 595), sample(NOW, 10), true),
        ("old, was ready once", unready("a", NOW - 600, NOW - 300), sample(NOW, 10), false),
    ] {
        assert_eq!(with(&[], |calculator| calculator.is_warming_up(&pod, &sample)), warming, "{why}");
    }
}

#[test]
fn by_mean_usage() {
    let ask = |target, values: &[(&str, i64)]| {
        with(&three(), |calculator| calculator.average(3, target, samples(values), None))
            .map(|(replicas, usage)| (replicas, usage.average))
    };
    assert_eq!(ask(15_000, &[("a", 20_000), ("b", 10_000), ("c", 30_000)]), Ok((4, 20_000)));
    assert_eq!(ask(20_000, &[("a", 12_000), ("b", 12_000), ("c", 12_000)]), Ok((2, 12_000)));
    assert_eq!(ask(20_000, &[("a", 10_000)]), Ok((3, 10_000)), "missing ones are at the target, at a scale down");
    assert_eq!(ask(20_000, &[]), Err("did not receive metrics for targeted pods (pods might be unready)".into()));
}

#[test]
fn by_one_value() {
    let value = |current, target, value| with(&three(), |calculator| calculator.value(current, target, value));
    assert_eq!(value(3, 15_000, 20_000), Ok(4));
    assert_eq!(value(3, 20_000, 20_500), Ok(3));
    assert_eq!(value(0, 10_000, 25_000), Ok(3), "from zero, by the ratio alone");
    assert_eq!(value(3, 1, i64::MAX), Ok(i32::MAX));
    let none = with(&[], |calculator| calculator.value(3, 1000, 9000));
    assert_eq!(none, Err(format!("unable to calculate ready pods: {NO_PODS}")));
    let each = |present, target, value| with(&[], |calculator| calculator.per_pod(present, target, value));
    assert_eq!(each(3, 2150, 8600), (4, 2867));
    assert_eq!(each(4, 2150, 8600), (4, 2150));
    assert_eq!(each(1, 1, i64::MAX).0, i32::MAX);
}
