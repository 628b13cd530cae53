//! HorizontalPodAutoscalers. v1 knows one metric, CPU; the rest of a v2 object travels in annotations of its v1 view
//! (`pkg/apis/autoscaling/v1/conversion.go`).

use schema::field::ErrorList;
use serde_json::{Map, Value, json};

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::{WITH_STATUS, zero};

pub const AUTOSCALER: Strategy = Strategy {
    unconditional_update: true,
    default: Some(default),
    validate_path: &[("status", validate::counts::autoscaler)],
    validate: Some(check),
    convert: Some(convert),
    ..WITH_STATUS
};

/// Judged as v2, whichever version it came in; of a v1 object what it says in fields.
fn check(object: &Value) -> ErrorList {
    if object.text("apiVersion") != "autoscaling/v1" {
        return validate::autoscaler::autoscaler(object);
    }
    let mut object = object.clone();
    object.remove("metadata.annotations");
    to_v2(&mut object);
    validate::autoscaler::autoscaler(&object)
}

/// The utilisation aimed at where no metric is named.
const CPU_PERCENT: i64 = 80;

fn default(object: &mut Value) {
    let v1 = object.text("apiVersion") == "autoscaling/v1";
    object.default_to("spec.minReplicas", 1);
    zero(object, if v1 { &["currentReplicas", "desiredReplicas"] } else { &["desiredReplicas"] });
    if v1 {
        // A metric that an annotation carries is one, too.
        let others = object.entries("metadata.annotations").get(CARRIED[0].0).and_then(parsed);
        let alone = others.is_none_or(|others| others.as_array().is_none_or(Vec::is_empty));
        if alone && object.at("spec").is_object() {
            object.default_to("spec.targetCPUUtilizationPercentage", CPU_PERCENT);
        }
        return;
    }
    default_metrics(object);
    if object.at("spec.behavior").is_object() {
        default_rules(
            object,
            "scaleUp",
            0,
            &json!([
            {"type": "Pods", "value": 4, "periodSeconds": 15}, {"type": "Percent", "value": 100, "periodSeconds": 15}]),
        );
        default_rules(object, "scaleDown", -1, &json!([{"type": "Percent", "value": 100, "periodSeconds": 15}]));
    }
}

fn default_metrics(object: &mut Value) {
    if object.list("spec.metrics").is_empty() {
        object.put("spec.metrics", json!([cpu_metric(CPU_PERCENT)]));
    }
}

/// A negative window is left to the controller's own setting.
fn default_rules(object: &mut Value, direction: &str, window: i64, policies: &Value) {
    let path = format!("spec.behavior.{direction}");
    object.default_to(&path, json!({}));
    let Some(rules) = object.at_mut(&path) else { return };
    if window >= 0 {
        rules.default_to("stabilizationWindowSeconds", window);
    }
    rules.default_pointer("selectPolicy", "Max");
    if !rules.has("policies") {
        rules.put("policies", policies.clone());
    }
}

fn cpu_metric(percent: i64) -> Value {
    json!({"type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}}})
}

fn is_cpu(metric: &Value) -> bool {
    metric.text("type") == "Resource"
        && metric.text("resource.name") == "cpu"
        && (metric.has("resource.target.averageUtilization") || metric.has("resource.current"))
}

/// What of a v2 object v1 has no field for: (annotation, path).
const CARRIED: [(&str, &str); 4] = [
    ("autoscaling.alpha.kubernetes.io/metrics", "spec.metrics"),
    ("autoscaling.alpha.kubernetes.io/current-metrics", "status.currentMetrics"),
    ("autoscaling.alpha.kubernetes.io/conditions", "status.conditions"),
    ("autoscaling.alpha.kubernetes.io/behavior", "spec.behavior"),
];

/// What an annotation carries, if that can be read.
fn parsed(annotation: &Value) -> Option<Value> {
    serde_json::from_str(annotation.as_str()?).ok()
}

fn convert(object: &mut Value, _: &str, to: &str) {
    if to == "autoscaling/v1" { to_v1(object) } else { to_v2(object) }
}

fn to_v1(object: &mut Value) {
    for (list, target, source) in [
        ("spec.metrics", "spec.targetCPUUtilizationPercentage", "resource.target.averageUtilization"),
        ("status.currentMetrics", "status.currentCPUUtilizationPercentage", "resource.current.averageUtilization"),
    ] {
        let Some(mut metrics) = object.at(list).as_array().cloned() else { continue };
        if let Some(at) = metrics.iter().position(is_cpu) {
            let percent = metrics.remove(at).at(source).clone();
            if !percent.is_null() {
                object.put(target, percent);
            }
        }
        if metrics.is_empty() { object.remove(list) } else { object.put(list, metrics) }
    }
    let mut annotations = object.entries("metadata.annotations").clone();
    for (annotation, path) in CARRIED {
        let value = object.at(path);
        if !value.is_null() {
            annotations.insert(annotation.to_owned(), value.to_string().into());
        }
        object.remove(path);
    }
    put_annotations(object, annotations);
    if object.at("status").is_object() {
        object.default_to("status.currentReplicas", 0);
    }
}

fn to_v2(object: &mut Value) {
    let mut annotations = object.entries("metadata.annotations").clone();
    for (annotation, path) in CARRIED {
        if let Some(value) = annotations.remove(annotation).as_ref().and_then(parsed) {
            object.put(path, value);
        }
    }
    put_annotations(object, annotations);
    if let Some(percent) = object.at("spec.targetCPUUtilizationPercentage").as_i64() {
        let mut metrics = object.list("spec.metrics").to_vec();
        metrics.push(cpu_metric(percent));
        object.put("spec.metrics", metrics);
    }
    if object.at("spec").is_object() {
        default_metrics(object);
    }
    if let Some(percent) = object.at("status.currentCPUUtilizationPercentage").as_i64() {
        let mut metrics = object.list("status.currentMetrics").to_vec();
        metrics.push(json!({"type": "Resource",
            "resource": {"name": "cpu", "current": {"averageUtilization": percent, "averageValue": "0"}}}));
        object.put("status.currentMetrics", metrics);
    }
    object.remove("spec.targetCPUUtilizationPercentage");
    object.remove("status.currentCPUUtilizationPercentage");
    // v2 has no zero here, and always a list.
    if object.at("status.currentReplicas").as_i64() == Some(0) {
        object.remove("status.currentReplicas");
    }
    if object.at("status").is_object() && !object.has("status.currentMetrics") {
        object.put("status.currentMetrics", Value::Null);
    }
}

fn put_annotations(object: &mut Value, annotations: Map<String, Value>) {
    if annotations.is_empty() {
        object.remove("metadata.annotations");
    } else {
        object.put("metadata.annotations", annotations);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_is_a_view_of_v2() {
        let memory = json!({"type": "Resource",
            "resource": {"name": "memory", "target": {"type": "Utilization", "averageUtilization": 60}}});
        let v2 = json!({"metadata": {"name": "h"}, "spec": {"maxReplicas": 3, "metrics": [memory, cpu_metric(70)]}});
        let mut object = v2.clone();
        convert(&mut object, "autoscaling/v2", "autoscaling/v1");
        assert_eq!(object["spec"], json!({"maxReplicas": 3, "targetCPUUtilizationPercentage": 70}));
        assert!(object["metadata"]["annotations"]["autoscaling.alpha.kubernetes.io/metrics"].is_string());
        convert(&mut object, "autoscaling/v1", "autoscaling/v2");
        assert_eq!(object, v2);
    }

    #[test]
    fn v1_aims_at_the_default_too() {
        let mut object = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3}});
        default(&mut object);
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 80);
        convert(&mut object, "autoscaling/v1", "autoscaling/v2");
        assert_eq!(object["status"], json!({"desiredReplicas": 0, "currentMetrics": null}));
        convert(&mut object, "autoscaling/v2", "autoscaling/v1");
        assert_eq!(object["spec"]["targetCPUUtilizationPercentage"], 80);
        assert_eq!(object["status"], json!({"desiredReplicas": 0, "currentReplicas": 0}));
        object["spec"]["targetCPUUtilizationPercentage"] = json!(0);
        let wrong: Vec<String> = check(&object).iter().map(ToString::to_string).collect();
        assert!(
            wrong.iter().any(|wrong| wrong.starts_with("spec.metrics[0].resource.target.averageUtilization: ")),
            "{wrong:?}"
        );
        let mut carrying = json!({"apiVersion": "autoscaling/v1", "spec": {"maxReplicas": 3},
            "metadata": {"annotations": {"autoscaling.alpha.kubernetes.io/metrics": "[{}]"}}});
        default(&mut carrying);
        assert_eq!(carrying["spec"].get("targetCPUUtilizationPercentage"), None);
    }

    #[test]
    fn defaults_of_v2() {
        let mut object = json!({"apiVersion": "autoscaling/v2", "spec": {"maxReplicas": 3}});
        default(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([cpu_metric(80)]));
    }
}
