//! HorizontalPodAutoscalers (`pkg/apis/autoscaling/validation`).

use schema::field::{Error, ErrorList, Path};
use schema::names;
use schema::quantity::Quantity;
use serde_json::Value;

use super::super::json::Json;
use super::{named, one_of, quantity_text, required_name, resource_name, spec};

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
    reference(&mut errors, &path.child("scaleTargetRef"), body.at("scaleTargetRef"), false);
    for (i, metric) in body.list("metrics").iter().enumerate() {
        self::metric(&mut errors, &path.child("metrics").index(i), metric);
    }
    let counts_outside = |metric: &Value| matches!(metric.text("type"), "Object" | "External");
    if min == Some(0) && !body.list("metrics").iter().any(counts_outside) {
        let detail = "must specify at least one Object or External metric to support scaling to zero replicas";
        errors.push(Error::forbidden(&path.child("metrics"), detail));
    }
    for direction in ["scaleUp", "scaleDown"] {
        let rules = body.at("behavior").at(direction);
        if !rules.is_null() {
            scaling_rules(&mut errors, &path.child("behavior").child(direction), rules);
        }
    }
    errors
}

/// An object of another kind. Of what is scaled the group must be known, or nobody could find its scale; only
/// ReplicationControllers have none.
fn reference(errors: &mut ErrorList, path: &Path, reference: &Value, groupless: bool) {
    for field in ["kind", "name"] {
        required_name(errors, &path.child(field), reference.text(field), names::path_segment);
    }
    let version = reference.text("apiVersion");
    let parts = version.split('/').count();
    let detail = if parts > 2 {
        format!("unexpected GroupVersion string: {version}")
    } else if parts < 2 && !groupless && reference.text("kind") != "ReplicationController" {
        "apiVersion must specify API group".to_owned()
    } else {
        return;
    };
    errors.push(Error::invalid(&path.child("apiVersion"), version, detail));
}

/// The kinds of metrics by name: their field, and what of one must be said.
const SOURCES: [(&str, &str, Source); 5] = [
    ("ContainerResource", "containerResource", Source::Container),
    ("External", "external", Source::External),
    ("Object", "object", Source::Object),
    ("Pods", "pods", Source::Pods),
    ("Resource", "resource", Source::Resource),
];

/// The order in which upstream looks for them.
const LOOKED_FOR: [&str; 5] = ["object", "external", "pods", "containerResource", "resource"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Container,
    External,
    Object,
    Pods,
    Resource,
}

fn metric(errors: &mut ErrorList, path: &Path, metric: &Value) {
    let kind = metric.text("type");
    let names: Vec<&str> = SOURCES.iter().map(|source| source.0).collect();
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric source type"));
    }
    one_of(errors, &path.child("type"), kind, &names);
    let mut given = LOOKED_FOR.iter().filter(|field| metric.has(field));
    // Only the first is looked into.
    let first = given.next().and_then(|field| SOURCES.iter().find(|source| source.1 == *field));
    if let Some((_, field, source)) = first {
        self::source(errors, &path.child(field), metric.at(field), *source);
    }
    let mut expected = kind.to_owned();
    if let Some(letter) = expected.get_mut(..1) {
        letter.make_ascii_lowercase();
    }
    if !names.contains(&kind) {
        // Which is told again here.
        one_of(errors, &path.child("type"), kind, &names);
    } else if !metric.has(&expected) {
        let detail = "must populate information for the given metric source";
        errors.push(Error::required(&path.child(&expected), detail));
    }
    let several = LOOKED_FOR.iter().filter(|field| metric.has(field)).count() != 1;
    for field in LOOKED_FOR.iter().filter(|field| several && metric.has(field) && **field != expected) {
        errors.push(Error::forbidden(&path.child(field), "must populate the given metric source only"));
    }
}

fn source(errors: &mut ErrorList, path: &Path, body: &Value, source: Source) {
    let target = path.child("target");
    match source {
        Source::Container | Source::Resource => {
            let name = body.text("name");
            if name.is_empty() {
                errors.push(Error::required(&path.child("name"), "must specify a resource name"));
            } else if source == Source::Container {
                resource_name::of_container(errors, &path.child("name"), name);
            }
            if source == Source::Container {
                match body.text("container") {
                    "" => errors.push(Error::required(&path.child("container"), "must specify a container")),
                    name => named(errors, &path.child("container"), name, names::dns1123_label),
                }
            }
        }
        Source::Object => reference(errors, &path.child("describedObject"), body.at("describedObject"), true),
        Source::External | Source::Pods => {}
    }
    if matches!(source, Source::External | Source::Object | Source::Pods) {
        let metric = path.child("metric");
        match body.text("metric.name") {
            "" => errors.push(Error::required(&metric.child("name"), "must specify a metric name")),
            name => named(errors, &metric.child("name"), name, names::path_segment),
        }
    }
    self::target(errors, &target, body.at("target"));
    let has = |field: &str| body.at("target").has(field);
    let (value, average, utilization) = (has("value"), has("averageValue"), has("averageUtilization"));
    match source {
        Source::Container | Source::Resource => {
            if !utilization && !average {
                let detail = "must set either a target raw value or a target utilization";
                errors.push(Error::required(&target.child("averageUtilization"), detail));
            }
            if utilization && average {
                let detail = "may not set both a target raw value and a target utilization";
                errors.push(Error::forbidden(&target.child("averageValue"), detail));
            }
        }
        Source::Pods if !average => {
            let detail = "must specify a positive target averageValue";
            errors.push(Error::required(&target.child("averageValue"), detail));
        }
        Source::Object if !value && !average => {
            let detail = "must set either a target value or averageValue";
            errors.push(Error::required(&target.child("averageValue"), detail));
        }
        Source::External if !value && !average => {
            let detail = "must set either a target value for metric or a per-pod target";
            errors.push(Error::required(&target.child("averageValue"), detail));
        }
        Source::External if value && average => {
            let detail = "may not set both a target value for metric and a per-pod target";
            errors.push(Error::forbidden(&target.child("value"), detail));
        }
        _ => {}
    }
}

fn target(errors: &mut ErrorList, path: &Path, target: &Value) {
    let kind = target.text("type");
    if kind.is_empty() {
        errors.push(Error::required(&path.child("type"), "must specify a metric target type"));
    }
    if !matches!(kind, "Utilization" | "Value" | "AverageValue") {
        let detail = "must be either Utilization, Value, or AverageValue";
        errors.push(Error::invalid(&path.child("type"), kind, detail));
    }
    for field in ["value", "averageValue"] {
        let text = quantity_text(target.at(field));
        if Quantity::parse(&text).is_ok_and(|amount| amount.is_zero() || amount.is_negative()) {
            errors.push(Error::invalid(&path.child(field), text, "must be positive"));
        }
    }
    if target.has("averageUtilization") && target.int("averageUtilization") < 1 {
        let at = path.child("averageUtilization");
        errors.push(Error::invalid(&at, target.int("averageUtilization"), "must be greater than 0"));
    }
}

/// An hour is the longest an autoscaler may wait for things to settle, half of one the longest it may look back.
const WINDOW: i64 = 3600;
const PERIOD: i64 = 1800;

fn scaling_rules(errors: &mut ErrorList, path: &Path, rules: &Value) {
    let window = rules.int("stabilizationWindowSeconds");
    let at = path.child("stabilizationWindowSeconds");
    if window < 0 {
        errors.push(Error::invalid(&at, window, "must be greater than or equal to zero"));
    }
    if window > WINDOW {
        errors.push(Error::invalid(&at, window, format!("must be less than or equal to {WINDOW}")));
    }
    if rules.has("selectPolicy") {
        one_of(errors, &path.child("selectPolicy"), rules.text("selectPolicy"), &["Disabled", "Max", "Min"]);
    }
    let at = path.child("policies");
    if rules.list("policies").is_empty() {
        errors.push(Error::required(&at, "must specify at least one Policy"));
    }
    for (i, policy) in rules.list("policies").iter().enumerate() {
        let path = at.index(i);
        one_of(errors, &path.child("type"), policy.text("type"), &["Percent", "Pods"]);
        for field in ["value", "periodSeconds"] {
            if policy.int(field) <= 0 {
                errors.push(Error::invalid(&path.child(field), policy.int(field), "must be greater than zero"));
            }
        }
        let period = policy.int("periodSeconds");
        if period > PERIOD {
            let detail = format!("must be less than or equal to {PERIOD}");
            errors.push(Error::invalid(&path.child("periodSeconds"), period, detail));
        }
    }
    if rules.has("tolerance") {
        super::quantity(errors, &path.child("tolerance"), rules.at("tolerance"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::texts;
    use super::*;

    #[test]
    fn metrics_and_behaviour() {
        let check = |more: Value| {
            let mut spec = json!({"minReplicas": 1, "maxReplicas": 2,
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}});
            spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            texts(&autoscaler(&json!({ "spec": spec })))
        };
        assert_eq!(
            check(json!({"scaleTargetRef": {"kind": "Deployment", "name": "d"}})),
            ["spec.scaleTargetRef.apiVersion: Invalid value: \"\": apiVersion must specify API group"]
        );
        assert_eq!(
            check(json!({"scaleTargetRef": {"kind": "ReplicationController", "name": "d"}})),
            Vec::<String>::new()
        );
        assert_eq!(
            check(json!({"metrics": [{"type": "Pods", "pods": {"metric": {"name": "a/b"}, "target": {"type": "X"}}}]})),
            [
                "spec.metrics[0].pods.metric.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.metrics[0].pods.target.type: Invalid value: \"X\": must be either Utilization, Value, or AverageValue",
                "spec.metrics[0].pods.target.averageValue: Required value: must specify a positive target averageValue",
            ]
        );
        let policy = json!({"type": "X", "value": 1, "periodSeconds": 1801});
        assert_eq!(
            check(json!({"behavior": {"scaleUp": {"policies": [policy]}}})),
            [
                "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"X\": supported values: \"Percent\", \"Pods\"",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ]
        );
    }

    #[test]
    fn bounds() {
        let hpa = json!({"spec": {"minReplicas": 3, "maxReplicas": 2, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}});
        assert_eq!(
            texts(&autoscaler(&hpa)),
            ["spec.maxReplicas: Invalid value: 2: must be greater than or equal to `minReplicas`"]
        );
    }
}
