//! HorizontalPodAutoscalers, as v2 or as v1, and what a `scale` shows.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, integer, plain, text};

pub const AUTOSCALERS: &[Column] = &[
    text("Reference", |object, _| {
        format!("{}/{}", object.text("spec.scaleTargetRef.kind"), object.text("spec.scaleTargetRef.name")).into()
    }),
    text("Targets", |object, _| targets(object).into()),
    text("MinPods", |object, _| match object.at("spec.minReplicas") {
        Value::Null => "<unset>".into(),
        n => plain(n).into(),
    }),
    text("MaxPods", |object, _| object.int("spec.maxReplicas").into()),
    text("Replicas", |object, _| object.int("status.currentReplicas").into()),
    AGE,
];

/// Behind the name.
pub const SCALE: &[Column] = &[
    integer("Desired", |object, _| object.int("spec.replicas").into()),
    integer("Available", |object, _| object.int("status.replicas").into()),
    AGE,
];

/// The object of a metric's type, such as `resource` of a Resource metric.
fn body(metric: &Value) -> (&'static str, &Value) {
    let name = match metric.text("type") {
        "External" => "external",
        "Pods" => "pods",
        "Object" => "object",
        "Resource" => "resource",
        "ContainerResource" => "containerResource",
        _ => return ("", &super::super::json::NULL),
    };
    (name, metric.at(name))
}

fn targets(object: &Value) -> String {
    const MAX: usize = 2;
    if object.has("spec.targetCPUUtilizationPercentage") {
        let current = object.at("status.currentCPUUtilizationPercentage").as_i64();
        let current = current.map_or_else(|| "<unknown>".to_owned(), |p| format!("{p}%"));
        return format!("cpu: {current}/{}%", object.int("spec.targetCPUUtilizationPercentage"));
    }
    let metrics = object.list("spec.metrics");
    let current = object.list("status.currentMetrics");
    let texts: Vec<String> = metrics.iter().enumerate().map(|(i, m)| target(m, current.get(i))).collect();
    match texts.len() {
        0 => "<none>".to_owned(),
        n if n > MAX => format!("{} + {} more...", texts[..MAX].join(", "), n - MAX),
        _ => texts.join(", "),
    }
}

fn target(metric: &Value, current: Option<&Value>) -> String {
    let (kind, spec) = body(metric);
    let now = current.map_or(&super::super::json::NULL, |c| body(c).1);
    let unknown = || "<unknown>".to_owned();
    let quantity = |v: &Value| if v.is_null() { unknown() } else { plain(v) };
    let prefix = match kind {
        "resource" | "containerResource" => format!("{}: ", spec.text("name")),
        "" => return "<unknown type>".to_owned(),
        _ => String::new(),
    };
    if spec.has("target.averageUtilization") {
        let now = now.at("current.averageUtilization").as_i64().map_or_else(unknown, |p| format!("{p}%"));
        return format!("{prefix}{now}/{}%", spec.int("target.averageUtilization"));
    }
    if spec.has("target.averageValue") {
        let average = if matches!(kind, "external" | "object") { " (avg)" } else { "" };
        return format!(
            "{prefix}{}/{}{average}",
            quantity(now.at("current.averageValue")),
            plain(spec.at("target.averageValue"))
        );
    }
    format!("{prefix}{}/{}", quantity(now.at("current.value")), plain(spec.at("target.value")))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn targets_in_both_versions() {
        let v2 = json!({"spec": {"metrics": [{"type": "Resource", "resource": {"name": "cpu",
            "target": {"type": "Utilization", "averageUtilization": 80}}}]}});
        assert_eq!(targets(&v2), "cpu: <unknown>/80%");
        let v1 =
            json!({"spec": {"targetCPUUtilizationPercentage": 80}, "status": {"currentCPUUtilizationPercentage": 5}});
        assert_eq!(targets(&v1), "cpu: 5%/80%");
        assert_eq!(targets(&json!({})), "<none>");
    }
}
