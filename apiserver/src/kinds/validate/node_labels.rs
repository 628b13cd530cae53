//! Labels of nodes that are to go, wherever nodes are chosen by them (`pkg/api/node/util.go`).

use std::fmt::Display;

use schema::names;
use serde_json::Value;

use super::super::json::Json;

/// The labels, and what is said of them.
const DEPRECATED: [(&str, &str); 8] = [
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    ("failure-domain.beta.kubernetes.io/zone", "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead"),
    ("beta.kubernetes.io/instance-type", "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead"),
    ("app.kubernetes.io/created-by", "deprecated since v1.9"),
    ("scheduler.alpha.kubernetes.io/preferAvoidPods", "deprecated since v1.22; use Taints and Tolerations instead"),
    ("node-role.kubernetes.io/master", "use \"node-role.kubernetes.io/control-plane\" instead"),
];

fn deprecated(label: &str) -> Option<&'static str> {
    DEPRECATED.iter().find(|(name, _)| *name == label).map(|(_, text)| *text)
}

/// Of a label that is the key of a map, `path` says where.
pub fn key(warnings: &mut Vec<String>, path: impl Display, label: &str) {
    warnings.extend(deprecated(label).map(|text| format!("{path}: {text}")));
}

/// Of a label that is the value of the field at `path`.
pub fn value(warnings: &mut Vec<String>, path: impl Display, label: &str) {
    warnings.extend(deprecated(label).map(|text| format!("{path}: {label} is {text}")));
}

/// Of a term of a node selector. What is preferred is not checked as strictly as what is required: `values` are looked at here.
pub fn term(warnings: &mut Vec<String>, path: &str, term: &Value, values: bool) {
    for (i, expression) in term.list("matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{i}]");
        value(warnings, format_args!("{path}.key"), expression.text("key"));
        for (j, value) in expression.texts("values").into_iter().enumerate().filter(|_| values) {
            let wrong = names::label_value(value);
            warnings.extend(wrong.iter().map(|why| format!("{path}.values[{j}]: {value} is invalid, {why}")));
        }
    }
}

/// Of the nodes that a RuntimeClass wants.
#[must_use]
pub fn runtime_class(class: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for label in class.entries("scheduling.nodeSelector").keys() {
        key(&mut warnings, "scheduling.nodeSelector", label);
    }
    warnings
}

/// Of the nodes whose volumes a StorageClass makes.
#[must_use]
pub fn storage_class(class: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, topology) in class.list("allowedTopologies").iter().enumerate() {
        for (j, expression) in topology.list("matchLabelExpressions").iter().enumerate() {
            let path = format!("allowedTopologies[{i}].matchLabelExpressions[{j}].key");
            key(&mut warnings, path, expression.text("key"));
        }
    }
    warnings
}

/// Of the nodes that a CSIStorageCapacity is about.
#[must_use]
pub fn storage_capacity(capacity: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    for (i, expression) in capacity.list("nodeTopology.matchExpressions").iter().enumerate() {
        let path = format!("nodeTopology.matchExpressions[{i}].key");
        value(&mut warnings, path, expression.text("key"));
    }
    for label in capacity.entries("nodeTopology.matchLabels").keys() {
        key(&mut warnings, format_args!("nodeTopology.matchLabels.{label}"), label);
    }
    warnings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn labels_that_are_to_go() {
        let expressions = json!([{"key": "node-role.kubernetes.io/master"}, {"key": "kubernetes.io/os"}]);
        let master = "use \"node-role.kubernetes.io/control-plane\" instead";
        let os = "deprecated since v1.14; use \"kubernetes.io/os\" instead";
        let cases = [
            (
                storage_class(&json!({"allowedTopologies": [{"matchLabelExpressions": expressions}]})),
                vec![format!("allowedTopologies[0].matchLabelExpressions[0].key: {master}")],
            ),
            (
                storage_capacity(&json!({"nodeTopology": {"matchExpressions": expressions,
                    "matchLabels": {"beta.kubernetes.io/os": "linux", "a": "b"}}})),
                vec![
                    format!("nodeTopology.matchExpressions[0].key: node-role.kubernetes.io/master is {master}"),
                    format!("nodeTopology.matchLabels.beta.kubernetes.io/os: {os}"),
                ],
            ),
            (
                runtime_class(&json!({"scheduling": {"nodeSelector": {"beta.kubernetes.io/os": "linux", "a": "b"}}})),
                vec![format!("scheduling.nodeSelector: {os}")],
            ),
        ];
        for (warnings, expected) in cases {
            assert_eq!(warnings, expected);
        }
    }

    #[test]
    fn values_of_preferences_are_looked_at() {
        let preference = json!({"matchExpressions": [{"key": "a", "values": ["b", "-c"]}]});
        for (values, count) in [(true, 1), (false, 0)] {
            let mut warnings = Vec::new();
            term(&mut warnings, "t", &preference, values);
            assert_eq!(warnings.len(), count);
            assert!(warnings.iter().all(|text| text.starts_with("t.matchExpressions[0].values[1]: -c is invalid, ")));
        }
    }
}
