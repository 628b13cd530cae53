//! Aggregated ClusterRoles get the rules of all that their selectors choose
//! (upstream `pkg/controller/clusterroleaggregation`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use crate::context::Context;
use crate::framework::meta::selects;
use crate::framework::{Controller, Outcome, Queue, drive};

struct Aggregation {
    context: Arc<Context>,
}

pub fn start(context: &Arc<Context>) {
    let queue = Arc::new(Queue::default());
    let (on_role, roles) = (queue.clone(), Arc::downgrade(&context.kinds.cluster_roles));
    context.kinds.cluster_roles.on_change(move |change| {
        if let Some(name) = &change.object().metadata.name {
            on_role.add(name.clone());
        }
        // Any role may be part of any aggregated one, by its labels as they are or as they were.
        let Some(roles) = roles.upgrade() else { return };
        for role in roles.filter(|role| role.aggregation_rule.is_some()) {
            on_role.add(role.metadata.name.clone().unwrap_or_default());
        }
    });
    drive(context.gate(), &Arc::new(Aggregation { context: context.clone() }), &queue, 1);
}

impl Controller for Aggregation {
    const NAME: &'static str = "clusterrole-aggregation-controller";

    async fn sync(&self, name: &str) -> Outcome {
        let kind = &self.context.kinds.cluster_roles;
        let Some(role) = kind.get(name) else { return Ok(None) };
        let Some(rules) = aggregated(&role, &kind.all()) else { return Ok(None) };
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(None);
        }
        let mut changed = (*role).clone();
        changed.rules = Some(rules);
        kind.update(&role, &changed).await.map(|_| None)
    }
}

/// The rules an aggregated role should have: selector by selector, in the order of the roles' names, each once; `None` when
/// it is not aggregated.
fn aggregated(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.as_deref().unwrap_or_default();
    let by_name: BTreeMap<&str, &ClusterRole> = all
        .iter()
        .filter(|other| other.metadata.name != role.metadata.name)
        .filter_map(|other| Some((other.metadata.name.as_deref()?, &**other)))
        .collect();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        for other in by_name.values().filter(|other| selects(Some(selector), other.metadata.labels.as_ref())) {
            for rule in other.rules.iter().flatten() {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
    }
    Some(rules)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_of_the_selected_are_joined() {
        let role = |value: serde_json::Value| -> Arc<ClusterRole> { Arc::new(serde_json::from_value(value).unwrap()) };
        let part = |name: &str, label: &str, verb: &str| {
            role(json!({ "metadata": { "name": name, "labels": { "to": label } }, "rules": [{ "verbs": [verb] }] }))
        };
        let sum = role(json!({
            "metadata": { "name": "sum" },
            "aggregationRule": { "clusterRoleSelectors": [{ "matchLabels": { "to": "b" } }, { "matchLabels": { "to": "a" } }] },
        }));
        let all = [
            part("z", "a", "get"),
            part("y", "a", "list"),
            part("x", "b", "watch"),
            part("w", "c", "create"),
            part("v", "a", "get"),
            sum.clone(),
        ];
        let verbs: Vec<String> = aggregated(&sum, &all).unwrap().into_iter().flat_map(|rule| rule.verbs).collect();
        assert_eq!(verbs, ["watch", "get", "list"]);
        assert_eq!(aggregated(&all[0], &all), None);
    }
}
