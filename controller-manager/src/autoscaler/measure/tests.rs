use serde_json::json;

use super::*;

#[test]
fn resources_of_pods() {
    let pod = json!({"metadata": {"name": "a"}, "timestamp": "2026-01-01T00:00:00Z", "window": "15.5s", "containers": [
        {"name": "c", "usage": {"cpu": "250m", "memory": "1Ki"}}, {"name": "d", "usage": {"cpu": "1500000n"}}]});
    let value = |resource, container| resource_of(&pod, resource, container).map(|(_, sample)| sample.value);
    assert_eq!(value("cpu", None), Some(252), "rounded up, as Go does");
    assert_eq!(value("memory", None), None, "one of the containers was not measured");
    assert_eq!(value("memory", Some("c")), Some(1_024_000));
    assert_eq!(value("cpu", Some("other")), None);
    let (name, sample) = resource_of(&pod, "cpu", None).unwrap();
    assert_eq!((name.as_str(), sample.window), ("a", SignedDuration::from_millis(15_500)));
    assert_eq!(sample.timestamp, "2026-01-01T00:00:00Z".parse().unwrap());
}

#[test]
fn custom_metrics_of_pods() {
    for (metric, window) in [(json!({"windowSeconds": 30}), 30), (json!({"window": 20}), 20), (json!({}), 60)] {
        let mut object = json!({"describedObject": {"name": "a"}, "value": "3", "timestamp": "2026-01-01T00:00:00Z"});
        object.as_object_mut().unwrap().extend(metric.as_object().unwrap().clone());
        let (name, sample) = custom_of_pod(&object).unwrap();
        assert_eq!((name.as_str(), sample.value, sample.window), ("a", 3000, SignedDuration::from_secs(window)));
    }
}

#[test]
fn versions_of_custom_metrics() {
    let group = |preferred: &str, all: &[&str]| {
        let versions: Vec<_> = all.iter().map(|version| json!({"groupVersion": version})).collect();
        custom_version(&json!({"preferredVersion": {"groupVersion": preferred}, "versions": versions}))
    };
    let [new, old] = CUSTOM_VERSIONS;
    assert_eq!(group(old, &[new, old]), Ok(old));
    assert_eq!(group("custom.metrics.k8s.io/v9", &["custom.metrics.k8s.io/v9", new]), Ok(new));
    assert_eq!(group("x/v1", &["x/v1"]), Err("no known available metric versions found".to_owned()));
}
