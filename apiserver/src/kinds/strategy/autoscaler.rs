//! HorizontalPodAutoscalers. v1 knows one metric, CPU; the rest of a v2 object travels in annotations of its v1 view
//! (`pkg/apis/autoscaling/v1/conversion.go`).

use schema::field::ErrorList;
use serde_json::{Map, Value, json};

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::{WITH_STATUS, autoscaler_v1 as v1, zero};

pub const AUTOSCALER: Strategy = Strategy {
    unconditional_update: true,
    default: Some(default),
    prepare_create: Some(|object| keep_carried_status(object, &Value::Null)),
    prepare_update: Some(keep_carried_status),
    validate_path: &[("status", validate::counts::autoscaler)],
    validate: Some(check),
    convert: Some(convert),
    ..WITH_STATUS
};

/// Judged as v2, whichever version it came in.
fn check(object: &Value) -> ErrorList {
    if object.text("apiVersion") != "autoscaling/v1" {
        return validate::autoscaler::autoscaler(object);
    }
    let mut object = object.clone();
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
        let others = object.entries("metadata.annotations").get(METRICS).and_then(Value::as_str);
        let others = others.and_then(|text| v1::metrics_to_v2(text, v1::Side::Spec));
        let alone = others.is_none_or(|others| others.is_empty());
        if alone && object.at("spec").is_object() {
            object.default_to("spec.targetCPUUtilizationPercentage", CPU_PERCENT);
        }
        return;
    }
    drop_carried(object);
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

/// The share of CPU that a metric is about, if it is: the one metric v1 has fields for.
fn cpu_share<'a>(metric: &'a Value, path: &str) -> Option<&'a Value> {
    let cpu = metric.text("type") == "Resource" && metric.text("resource.name") == "cpu";
    Some(metric.at(path)).filter(|share| cpu && !share.is_null())
}

const METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";

/// Something of a v2 object that v1 has no field for.
struct Carried {
    annotation: &'static str,
    path: &'static str,
    /// As the annotation carries it; `None` where there is nothing to carry.
    write: fn(&Value) -> Option<String>,
    /// `None` where that cannot be read.
    read: fn(&str) -> Option<Value>,
}

const CARRIED: [Carried; 4] = [
    Carried {
        annotation: METRICS,
        path: "spec.metrics",
        write: |value| {
            let others = |metric: &&Value| cpu_share(metric, "resource.target.averageUtilization").is_none();
            let others: Vec<Value> = value.list("").iter().filter(others).cloned().collect();
            (!others.is_empty()).then(|| v1::metrics_to_v1(&others, v1::Side::Spec))
        },
        read: |text| v1::metrics_to_v2(text, v1::Side::Spec).map(Value::from),
    },
    Carried {
        annotation: "autoscaling.alpha.kubernetes.io/current-metrics",
        path: "status.currentMetrics",
        // Those of CPU, too, for the field has not all of them.
        write: |value| {
            let metrics = value.list("");
            (!metrics.is_empty()).then(|| v1::metrics_to_v1(metrics, v1::Side::Status))
        },
        read: |text| v1::metrics_to_v2(text, v1::Side::Status).map(Value::from),
    },
    Carried {
        annotation: "autoscaling.alpha.kubernetes.io/conditions",
        path: "status.conditions",
        write: |value| {
            let conditions = value.list("");
            (!conditions.is_empty()).then(|| v1::conditions_to_v1(conditions))
        },
        read: |text| serde_json::from_str(text).ok().filter(Value::is_array),
    },
    Carried {
        annotation: "autoscaling.alpha.kubernetes.io/behavior",
        path: "spec.behavior",
        write: |value| (!value.is_null()).then(|| v1::behavior_to_v1(value)),
        read: v1::behavior_to_v2,
    },
];

fn convert(object: &mut Value, _: &str, to: &str) {
    if to == "autoscaling/v1" { to_v1(object) } else { to_v2(object) }
}

fn to_v1(object: &mut Value) {
    let target = "resource.target.averageUtilization";
    if let Some(share) = object.list("spec.metrics").iter().find_map(|metric| cpu_share(metric, target)).cloned() {
        object.put("spec.targetCPUUtilizationPercentage", share);
    }
    let current = "resource.current.averageUtilization";
    let mut shares = object.list("status.currentMetrics").iter().filter_map(|metric| cpu_share(metric, current));
    if let Some(share) = shares.next_back().cloned() {
        object.put("status.currentCPUUtilizationPercentage", share);
    }
    let mut annotations = object.entries("metadata.annotations").clone();
    for carried in CARRIED {
        annotations.remove(carried.annotation);
        if let Some(text) = (carried.write)(object.at(carried.path)) {
            annotations.insert(carried.annotation.to_owned(), text.into());
        }
        object.remove(carried.path);
    }
    put_annotations(object, annotations);
    if object.at("status").is_object() {
        object.default_to("status.currentReplicas", 0);
    }
}

fn to_v2(object: &mut Value) {
    let mut annotations = object.entries("metadata.annotations").clone();
    for carried in CARRIED {
        let text = annotations.remove(carried.annotation);
        if let Some(value) = text.as_ref().and_then(Value::as_str).and_then(carried.read) {
            object.put(carried.path, value);
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
    // An annotation knows more of what was measured.
    if let Some(percent) = object.at("status.currentCPUUtilizationPercentage").as_i64()
        && !object.has("status.currentMetrics")
    {
        let metric = json!({"type": "Resource",
            "resource": {"name": "cpu", "current": {"averageUtilization": percent, "averageValue": "0"}}});
        object.put("status.currentMetrics", vec![metric]);
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

/// What annotations of a v1 object say of its status is as little the client's as the status is.
fn keep_carried_status(object: &mut Value, old: &Value) {
    if object.text("apiVersion") != "autoscaling/v1" {
        return;
    }
    let mut annotations = object.entries("metadata.annotations").clone();
    for carried in CARRIED.iter().filter(|carried| carried.path.starts_with("status.")) {
        match old.entries("metadata.annotations").get(carried.annotation) {
            Some(text) => annotations.insert(carried.annotation.to_owned(), text.clone()),
            None => annotations.remove(carried.annotation),
        };
    }
    put_annotations(object, annotations);
}

/// What annotations carry for v1 a v2 object says in fields.
fn drop_carried(object: &mut Value) {
    let annotations = object.entries("metadata.annotations");
    if CARRIED.iter().any(|carried| annotations.contains_key(carried.annotation)) {
        let mut annotations = annotations.clone();
        annotations.retain(|name, _| CARRIED.iter().all(|carried| carried.annotation != name));
        put_annotations(object, annotations);
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
        let carried = r#"[{"type":"Resource","resource":{"name":"memory","targetAverageUtilization":60}}]"#;
        assert_eq!(object["metadata"]["annotations"][METRICS], carried);
        convert(&mut object, "autoscaling/v1", "autoscaling/v2");
        assert_eq!(object, v2);
    }

    #[test]
    fn policies_are_given_even_if_there_are_none() {
        let behavior = json!({"scaleUp": {"policies": []}, "scaleDown": {"stabilizationWindowSeconds": 5}});
        let mut object = json!({"apiVersion": "autoscaling/v2", "spec": {"behavior": behavior}});
        default(&mut object);
        assert_eq!(object.at("spec.behavior.scaleUp.policies"), &json!([]));
        assert_eq!(object.list("spec.behavior.scaleDown.policies").len(), 1);
        let wrong: Vec<String> = check(&object).iter().map(ToString::to_string).collect();
        let told = "spec.behavior.scaleUp.policies: Required value: must specify at least one Policy";
        assert!(wrong.iter().any(|wrong| wrong == told), "{wrong:?}");
    }

    #[test]
    fn annotations_of_v1_are_judged_and_say_nothing_of_the_status() {
        let behavior = r#"{"ScaleDown":{"StabilizationWindowSeconds":5}}"#;
        let [metrics, conditions, other] =
            ["current-metrics", "conditions", "behavior"].map(|name| format!("autoscaling.alpha.kubernetes.io/{name}"));
        let annotations = json!({ (metrics): "[]", (conditions.clone()): "[]", (other.clone()): behavior });
        let mut object = json!({"apiVersion": "autoscaling/v1", "metadata": {"annotations": annotations}, "spec": {}});
        let wrong: Vec<String> = check(&object).iter().map(ToString::to_string).collect();
        let told = "spec.behavior.scaleDown.policies: Required value: must specify at least one Policy";
        assert!(wrong.iter().any(|wrong| wrong == told), "{wrong:?}");
        let old = json!({"metadata": {"annotations": { (conditions.clone()): "[1]" }}});
        keep_carried_status(&mut object, &old);
        assert_eq!(object.at("metadata.annotations"), &json!({ (conditions): "[1]", (other): behavior }));
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
        let mut object = json!({"apiVersion": "autoscaling/v2", "spec": {"maxReplicas": 3},
            "metadata": {"annotations": {METRICS: "[]", "a": "b"}}});
        default(&mut object);
        assert_eq!(object["spec"]["metrics"], json!([cpu_metric(80)]));
        assert_eq!(object["metadata"]["annotations"], json!({"a": "b"}), "v1 alone says something in annotations");
    }
}
