//! Aggregated ClusterRoles: the union of the rules of all ClusterRoles that selectors choose. A controller writes it into them
//! (`pkg/controller/clusterroleaggregation`); who authorizes reads only the rules.

use super::model::Role;
use super::rule::PolicyRule;
use serde_json::Value;
use std::collections::BTreeMap;

/// The rules an aggregated role should have: selector by selector, in the order of the roles' names, each once; `None` when it
/// is not aggregated.
pub fn aggregated_rules<'a>(role: &Role, all: impl Iterator<Item = &'a Role>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation.as_ref()?;
    let others = all.filter(|other| other.namespace.is_empty() && other.name != role.name);
    let others: BTreeMap<_, _> = others.map(|other| (&other.name, other)).collect();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let chosen = others.values().filter(|other| selects(selector, &other.labels));
        for rule in chosen.flat_map(|other| &other.rules) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
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
