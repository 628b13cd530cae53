//! HorizontalPodAutoscalers (`pkg/apis/autoscaling/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use serde_json::Value;

use super::super::json::Json;
use super::{required_name, required_one_of, spec};

#[must_use]
pub fn autoscaler(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let (path, body) = (spec(), object.at("spec"));
    let (min, max) = (body.at("minReplicas").as_i64(), body.int("maxReplicas"));
    if let Some(min) = min
        && min < 1
    {
        errors.push(Error::invalid(&path.child("minReplicas"), min, "must be greater than or equal to 1"));
    }
    if max < 1 {
        errors.push(Error::invalid(&path.child("maxReplicas"), max, "must be greater than 0"));
    }
    if min.is_some_and(|min| max < min) {
        let detail = "must be greater than or equal to `minReplicas`";
        errors.push(Error::invalid(&path.child("maxReplicas"), max, detail));
    }
    for field in ["kind", "name"] {
        let at = path.child("scaleTargetRef").child(field);
        required_name(&mut errors, &at, body.at("scaleTargetRef").text(field), names::path_segment);
    }
    for (i, metric) in body.list("metrics").iter().enumerate() {
        self::metric(&mut errors, &path.child("metrics").index(i), metric);
    }
    errors
}

const SOURCES: [(&str, &str); 5] = [
    ("ContainerResource", "containerResource"),
    ("External", "external"),
    ("Object", "object"),
    ("Pods", "pods"),
    ("Resource", "resource"),
];

fn metric(errors: &mut ErrorList, path: &Path, metric: &Value) {
    let kind = metric.text("type");
    let names: Vec<&str> = SOURCES.iter().map(|s| s.0).collect();
    required_one_of(errors, &path.child("type"), kind, &names);
    let Some((_, field)) = SOURCES.iter().find(|s| s.0 == kind) else { return };
    for (_, other) in SOURCES.iter().filter(|s| s.1 != *field && metric.has(s.1)) {
        errors.push(Error::forbidden(&path.child(other), "must populate the given metric source only"));
    }
    let (at, body) = (path.child(field), metric.at(field));
    if body.is_null() {
        errors.push(Error::required(&at, "must populate information for the given metric source"));
        return;
    }
    required_one_of(
        errors,
        &at.child("target").child("type"),
        body.text("target.type"),
        &["AverageValue", "Utilization", "Value"],
    );
    let utilization = body.at("target.averageUtilization").as_i64();
    if utilization.is_some_and(|u| u < 1) {
        let path = at.child("target").child("averageUtilization");
        errors.push(Error::invalid(&path, utilization, "must be greater than 0"));
    }
    if matches!(kind, "Resource" | "ContainerResource") {
        super::required(errors, body, "name", &at);
        if utilization.is_none() && !body.has("target.averageValue") {
            let detail = "must set either a target raw value or a target utilization";
            errors.push(Error::required(&at.child("target").child("averageUtilization"), detail));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn bounds() {
        let hpa = json!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d"}}});
        assert_eq!(
            texts(&autoscaler(&hpa)),
            ["spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"]
        );
    }
}
