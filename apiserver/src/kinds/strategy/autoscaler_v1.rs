//! What autoscaling/v1 has no fields for, as its annotations carry it: metrics and their values in the forms of v1's own types,
//! the behavior by the names of Go's fields, for upstream writes its internal type there (`pkg/apis/autoscaling/v1/conversion.go`).

use std::fmt::Display;

use serde_json::{Map, Value, json};

use super::super::json::Json;

/// A field of a metric: its name in v1 and where v2 has it, `@` for the side's word; and where v1 always says it (an amount, `0`
/// without one).
type Field = (&'static str, &'static str, Always);
/// A type of metrics, the member that describes it, and that one's fields in Go's order.
type Form = (&'static str, &'static str, &'static [Field]);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Always {
    Nowhere,
    InStatus,
    OnBothSides,
}
use Always::{InStatus, Nowhere, OnBothSides};

/// What is aimed at, and what was measured.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Spec,
    Status,
}

impl Side {
    fn word(self) -> &'static str {
        match self {
            Self::Spec => "target",
            Self::Status => "current",
        }
    }

    fn of(self, name: &str) -> String {
        name.replace('@', self.word())
    }

    fn says(self, always: Always) -> bool {
        always == OnBothSides || (always == InStatus && self == Self::Status)
    }
}

const FORMS: &[Form] = &[
    (
        "Object",
        "object",
        &[
            ("target", "describedObject", Nowhere),
            ("metricName", "metric.name", Nowhere),
            ("@Value", "@.value", OnBothSides),
            ("selector", "metric.selector", Nowhere),
            ("averageValue", "@.averageValue", Nowhere),
        ],
    ),
    (
        "Pods",
        "pods",
        &[
            ("metricName", "metric.name", Nowhere),
            ("@AverageValue", "@.averageValue", OnBothSides),
            ("selector", "metric.selector", Nowhere),
        ],
    ),
    ("Resource", "resource", RESOURCE),
    (
        "ContainerResource",
        "containerResource",
        &[RESOURCE[0], RESOURCE[1], RESOURCE[2], ("container", "container", Nowhere)],
    ),
    (
        "External",
        "external",
        &[
            ("metricName", "metric.name", Nowhere),
            ("metricSelector", "metric.selector", Nowhere),
            ("@Value", "@.value", InStatus),
            ("@AverageValue", "@.averageValue", Nowhere),
        ],
    ),
];
const RESOURCE: &[Field] = &[
    ("name", "name", Nowhere),
    ("@AverageUtilization", "@.averageUtilization", Nowhere),
    ("@AverageValue", "@.averageValue", InStatus),
];

/// Go's names of the behavior's fields, in its order, and v2's; what is not said is null.
const RULES: [(&str, &str); 4] = [
    ("StabilizationWindowSeconds", "stabilizationWindowSeconds"),
    ("SelectPolicy", "selectPolicy"),
    ("Policies", "policies"),
    ("Tolerance", "tolerance"),
];
const DIRECTIONS: [(&str, &str); 2] = [("ScaleUp", "scaleUp"), ("ScaleDown", "scaleDown")];
const POLICY: [(&str, &str); 3] = [("Type", "type"), ("Value", "value"), ("PeriodSeconds", "periodSeconds")];

const CONDITION: &[&str] = &["type", "status", "lastTransitionTime", "reason", "message"];
const REFERENCE: &[&str] = &["kind", "name", "apiVersion"];
const SELECTOR: &[&str] = &["matchLabels", "matchExpressions"];

/// `{"a":…,"b":…}` in this order.
fn object(members: impl IntoIterator<Item = (impl Display, String)>) -> String {
    let members: Vec<String> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", members.join(","))
}

fn list(items: impl IntoIterator<Item = String>) -> String {
    format!("[{}]", items.into_iter().collect::<Vec<_>>().join(","))
}

/// The members of an object that are there, in this order.
fn ordered(value: &Value, names: &[&'static str]) -> String {
    object(names.iter().filter(|name| value.has(name)).map(|name| (*name, value.at(name).to_string())))
}

/// Metrics of v2 as v1 writes them.
pub fn metrics_to_v1(metrics: &[Value], side: Side) -> String {
    list(metrics.iter().map(|metric| {
        let kind = metric.text("type");
        let of = FORMS.iter().find(|(name, member, _)| *name == kind && metric.has(member));
        let described = of.map(|(_, member, fields)| {
            let metric = metric.at(member);
            let written = fields.iter().filter_map(|(name, path, always)| {
                let value = metric.at(&side.of(path));
                let text = match *name {
                    _ if value.is_null() => side.says(*always).then(|| "\"0\"".to_owned())?,
                    "target" => ordered(value, REFERENCE),
                    "selector" | "metricSelector" => ordered(value, SELECTOR),
                    _ => value.to_string(),
                };
                Some((side.of(name), text))
            });
            (*member, object(written))
        });
        object(std::iter::once(("type", json!(kind).to_string())).chain(described))
    }))
}

/// The way back; `None` where the text is none of such metrics.
pub fn metrics_to_v2(text: &str, side: Side) -> Option<Vec<Value>> {
    let metrics: Vec<Map<String, Value>> = serde_json::from_str(text).ok()?;
    let read = |metric: Map<String, Value>| {
        let metric = Value::Object(metric);
        let mut read = json!({ "type": metric.text("type") });
        let Some((kind, member, fields)) = FORMS.iter().find(|(_, member, _)| metric.has(member)) else { return read };
        let (from, mut into) = (metric.at(member), json!({}));
        for (name, path, always) in *fields {
            let path = side.of(path);
            match from.at(&side.of(name)) {
                Value::Null if side.says(*always) => into.put(&path, json!("0")),
                Value::Null => {}
                value => into.put(&path, value.clone()),
            }
        }
        if side == Side::Spec {
            aim(kind, &mut into);
        }
        read.put(member, into);
        read
    };
    Some(metrics.into_iter().map(read).collect())
}

/// Says which kind of target it is, which v1 leaves to what is given.
fn aim(kind: &str, metric: &mut Value) {
    let is = |field: &str| metric.has(&format!("target.{field}"));
    let target = match kind {
        "Object" if is("averageValue") => "AverageValue",
        "Object" => "Value",
        "External" if is("value") => "Value",
        "Resource" | "ContainerResource" if is("averageUtilization") => "Utilization",
        _ => "AverageValue",
    };
    if kind == "Object" && target == "AverageValue" && metric.text("target.value") == "0" {
        metric.remove("target.value");
    }
    metric.put("target.type", json!(target));
}

pub fn conditions_to_v1(conditions: &[Value]) -> String {
    list(conditions.iter().map(|condition| ordered(condition, CONDITION)))
}

pub fn behavior_to_v1(behavior: &Value) -> String {
    object(DIRECTIONS.map(|(go, name)| {
        let rules = behavior.at(name);
        if rules.is_null() {
            return (go, "null".to_owned());
        }
        let written = RULES.map(|(go, name)| match rules.at(name) {
            Value::Array(policies) => {
                let policy = |policy: &Value| object(POLICY.map(|(go, name)| (go, policy.at(name).to_string())));
                (go, list(policies.iter().map(policy)))
            }
            value => (go, value.to_string()),
        });
        (go, object(written))
    }))
}

/// Reads names as Go does, however they are written; `None` where nothing is said.
pub fn behavior_to_v2(text: &str) -> Option<Value> {
    let behavior: Value = serde_json::from_str(text).ok()?;
    let read = renamed(&behavior, &DIRECTIONS, |_, rules| {
        renamed(rules, &RULES, |name, value| match value {
            Value::Array(policies) if name == "policies" => {
                policies.iter().map(|policy| renamed(policy, &POLICY, |_, value| value.clone())).collect()
            }
            value => value.clone(),
        })
    });
    read.as_object().is_some_and(|read| !read.is_empty()).then_some(read)
}

fn renamed(value: &Value, names: &[(&str, &'static str)], read: impl Fn(&str, &Value) -> Value) -> Value {
    let mut into = Map::new();
    for (key, value) in value.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null()) {
        if let Some((_, name)) = names.iter().find(|(_, name)| name.eq_ignore_ascii_case(key)) {
            into.insert((*name).to_owned(), read(name, value));
        }
    }
    into.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_there_and_back() {
        let metrics = json!([
            {"type": "Resource", "resource": {"name": "memory", "target": {"type": "AverageValue", "averageValue": "1Gi"}}},
            {"type": "ContainerResource", "containerResource":
                {"name": "cpu", "container": "c", "target": {"type": "Utilization", "averageUtilization": 60}}},
            {"type": "Pods", "pods": {"metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "5"}}},
            {"type": "Object", "object": {"describedObject": {"apiVersion": "v1", "kind": "Service", "name": "s"},
                "metric": {"name": "m"}, "target": {"type": "Value", "value": "3"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"},
                "metric": {"name": "m"}, "target": {"type": "AverageValue", "averageValue": "3"}}},
            {"type": "External", "external": {"metric": {"name": "m", "selector": {"matchLabels": {"a": "b"},
                "matchExpressions": []}}, "target": {"type": "Value", "value": "7"}}}]);
        let text = metrics_to_v1(metrics.as_array().unwrap(), Side::Spec);
        let expected = r#"[{"type":"Resource","resource":{"name":"memory","targetAverageValue":"1Gi"}},
            {"type":"ContainerResource","containerResource":{"name":"cpu","targetAverageUtilization":60,"container":"c"}},
            {"type":"Pods","pods":{"metricName":"m","targetAverageValue":"5"}},
            {"type":"Object","object":{"target":{"kind":"Service","name":"s","apiVersion":"v1"},"metricName":"m","targetValue":"3"}},
            {"type":"Object","object":{"target":{"kind":"Service","name":"s"},"metricName":"m","targetValue":"0","averageValue":"3"}},
            {"type":"External","external":{"metricName":"m","metricSelector":{"matchLabels":{"a":"b"},"matchExpressions":[]},"targetValue":"7"}}]"#;
        assert_eq!(text, expected.replace("\n            ", ""));
        assert_eq!(metrics_to_v2(&text, Side::Spec), metrics.as_array().cloned());
        assert_eq!(metrics_to_v2("{}", Side::Spec), None);
        assert_eq!(metrics_to_v2("[{}]", Side::Spec), Some(vec![json!({"type": ""})]));
    }

    #[test]
    fn values_there_and_back() {
        let metrics = json!([
            {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 60, "averageValue": "5m"}}},
            {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s"}, "metric": {"name": "m"},
                "current": {"value": "0", "averageValue": "3"}}}]);
        let text = metrics_to_v1(metrics.as_array().unwrap(), Side::Status);
        let expected = r#"[{"type":"Resource","resource":{"name":"cpu","currentAverageUtilization":60,"currentAverageValue":"5m"}},
            {"type":"Object","object":{"target":{"kind":"Service","name":"s"},"metricName":"m","currentValue":"0","averageValue":"3"}}]"#;
        assert_eq!(text, expected.replace("\n            ", ""));
        assert_eq!(metrics_to_v2(&text, Side::Status), metrics.as_array().cloned());
    }

    #[test]
    fn the_behavior_has_the_names_of_go() {
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 9, "selectPolicy": "Max",
            "policies": [{"type": "Pods", "value": 4, "periodSeconds": 15}]}});
        let text = behavior_to_v1(&behavior);
        let expected = r#"{"ScaleUp":null,"ScaleDown":{"StabilizationWindowSeconds":9,"SelectPolicy":"Max",
            "Policies":[{"Type":"Pods","Value":4,"PeriodSeconds":15}],"Tolerance":null}}"#;
        assert_eq!(text, expected.replace("\n            ", ""));
        assert_eq!(behavior_to_v2(&text), Some(behavior.clone()));
        assert_eq!(behavior_to_v2(&behavior.to_string()), Some(behavior), "and those of v2 are read, too");
        assert_eq!(behavior_to_v2("{}"), None);
    }
}
