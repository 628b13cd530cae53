//! Aggregated ClusterRoles get the rules of all that their selectors choose
//! (upstream `pkg/controller/clusterroleaggregation`).

use std::sync::Arc;

use auth::rbac::{Role, aggregated_rules};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};

use crate::context::Context;
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
    drive(&context.gate(), &Arc::new(Aggregation { context: context.clone() }), &queue, 1);
}

impl Controller for Aggregation {
    const NAME: &'static str = "clusterrole-aggregation-controller";

    async fn sync(&self, name: &str) -> Outcome {
        let kind = &self.context.kinds.cluster_roles;
        let Some(role) = kind.get(name) else { return Ok(None) };
        let Some(rules) = aggregated(&role, &kind.all()).map_err(kube::Error::SerdeError)? else { return Ok(None) };
        if role.rules.as_deref().unwrap_or_default() == rules {
            return Ok(None);
        }
        let mut changed = (*role).clone();
        changed.rules = Some(rules);
        kind.update(&role, &changed).await.map(|_| None)
    }
}

/// The rules an aggregated role should have; `None` when it is not aggregated.
fn aggregated(role: &ClusterRole, all: &[Arc<ClusterRole>]) -> serde_json::Result<Option<Vec<PolicyRule>>> {
    let read = |role: &ClusterRole| Role::try_from(&serde_json::to_value(role)?);
    if role.aggregation_rule.is_none() {
        return Ok(None);
    }
    let all: Vec<Role> = all.iter().map(|other| read(other)).collect::<Result<_, _>>()?;
    let rules = aggregated_rules(&read(role)?, all.iter());
    rules.map(|rules| serde_json::from_value(serde_json::to_value(rules)?)).transpose()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_selected_rules_come_as_they_are() {
        let role = |value: serde_json::Value| -> Arc<ClusterRole> { Arc::new(serde_json::from_value(value).unwrap()) };
        let rules = json!([
            { "apiGroups": ["", "apps"], "resources": ["pods"], "resourceNames": ["a"], "verbs": ["get"] },
            { "nonResourceURLs": ["/x"], "verbs": ["*"] },
        ]);
        let part = role(json!({ "metadata": { "name": "part", "labels": { "to": "sum" } }, "rules": rules }));
        let selector = json!({ "matchLabels": { "to": "sum" } });
        let sum = json!({ "metadata": { "name": "sum" }, "aggregationRule": { "clusterRoleSelectors": [selector] } });
        let sum = role(sum);
        let all = [part.clone(), sum.clone()];
        assert_eq!(aggregated(&sum, &all).unwrap(), part.rules);
        assert_eq!(aggregated(&part, &all).unwrap(), None);
    }
}
