//! Aggregated ClusterRoles: the union of the rules of all ClusterRoles that selectors choose.

use super::model::Role;
use super::rule::PolicyRule;
use serde_json::Value;
use std::collections::BTreeMap;

/// The rules an aggregated role should have; `None` when it is not aggregated. The order is that of the roles' names.
pub fn aggregated_rules<'a>(role: &Role, all: impl Iterator<Item = &'a Role>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation.as_ref()?;
    let chosen: BTreeMap<_, _> = all
        .filter(|other| other.namespace.is_empty() && other.name != role.name)
        .filter(|other| selectors.iter().any(|selector| selects(selector, &other.labels)))
        .map(|other| (&other.name, &other.rules))
        .collect();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for rule in chosen.into_values().flatten() {
        if !rules.contains(rule) {
            rules.push(rule.clone());
        }
    }
    Some(rules)
}

/// A `metav1.LabelSelector`; an empty one selects everything, a malformed one nothing.
fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector["matchLabels"]
        .as_object()
        .is_none_or(|wanted| wanted.iter().all(|(name, value)| labels.get(name).map(String::as_str) == value.as_str()));
    let expressions = selector["matchExpressions"].as_array().is_none_or(|wanted| {
        wanted.iter().all(|expression| {
            let have = expression["key"].as_str().and_then(|key| labels.get(key));
            let listed = || {
                let values = expression["values"].as_array().into_iter().flatten();
                have.is_some_and(|have| values.filter_map(Value::as_str).any(|value| value == have))
            };
            match expression["operator"].as_str() {
                Some("In") => listed(),
                Some("NotIn") => !listed(),
                Some("Exists") => have.is_some(),
                Some("DoesNotExist") => have.is_none(),
                _ => false,
            }
        })
    });
    exact && expressions
}
