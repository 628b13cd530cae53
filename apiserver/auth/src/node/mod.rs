//! The node authorizer: a kubelet may do its work, but reads only what belongs to the pods on its node.
//!
//! Follows upstream's `plugin/pkg/auth/authorizer/node` with selectors (KEP-4601): lists and watches of pods need the field
//! selector `spec.nodeName`, reads of nodes are of the own one. That writes are of the own node and pods only is the task
//! of the admission plugin NodeRestriction: [`restrict`].

mod graph;
mod mirror;
mod restriction;

pub use graph::{Graph, Referred, secrets};
pub use restriction::{Operation, Write, restrict};

use std::sync::Arc;

use crate::rbac::PolicyRule;
use crate::request::{Attributes, Decision, Resource, Target};

const LEASES: &str = "kube-node-lease";

/// Decides requests of kubelets; everyone else's are [`Decision::NoOpinion`].
#[derive(Clone, Debug)]
pub struct NodeAuthorizer {
    rules: Vec<PolicyRule>,
}

impl Default for NodeAuthorizer {
    fn default() -> Self {
        Self { rules: crate::bootstrap::cluster_role_rules("system:node") }
    }
}

impl NodeAuthorizer {
    /// `fields` are the requirements of the request's field selector that are equalities. A name asked for by the selector
    /// `metadata.name` must be the resource's name already, as upstream does.
    pub fn authorize(&self, request: &Attributes<'_>, fields: &[(&str, &str)], graph: &Graph) -> Decision {
        let Some(node) = request.user.node() else { return Decision::NoOpinion(String::new()) };
        if let Target::Resource(resource) = request.target
            && let Some(decision) = self.own(node, request.verb, &resource, fields, graph)
        {
            return decision;
        }
        match self.rules.iter().any(|rule| rule.allows(request)) {
            true => Decision::Allow(Arc::default()),
            false => Decision::NoOpinion(String::new()),
        }
    }

    /// Whether the answer depends on the graph. Most requests of a kubelet (leases, events, status of nodes and pods) do
    /// not, so a caller that makes its graph on demand can save the trouble.
    pub fn needs_graph(&self, request: &Attributes<'_>, fields: &[(&str, &str)]) -> bool {
        let (Some(node), Target::Resource(resource)) = (request.user.node(), request.target) else { return false };
        match (resource.group, resource.resource, resource.subresource) {
            ("", "secrets" | "configmaps", "") | ("", "persistentvolumeclaims", "" | "status") => true,
            ("", "serviceaccounts", "" | "token") => true,
            ("", "pods", "" | "status") => match request.verb {
                "get" => true,
                "list" | "watch" => !fields.contains(&("spec.nodeName", node)),
                _ => false,
            },
            _ => false,
        }
    }

    /// What depends on the node; `None` for what the rules decide alone.
    fn own(
        &self,
        node: &str,
        verb: &str,
        resource: &Resource<'_>,
        fields: &[(&str, &str)],
        graph: &Graph,
    ) -> Option<Decision> {
        let Resource { group, resource: kind, subresource, namespace, name } = *resource;
        let related = |kind| !name.is_empty() && graph.related(node, kind, namespace, name);
        let reading = matches!(verb, "get" | "list" | "watch");
        let unrelated = || match name {
            "" => "No Object name found".to_owned(),
            _ => format!("no relationship found between node '{node}' and this object"),
        };
        Some(match (group, kind, subresource) {
            ("", "secrets", "") => {
                decide(reading, related(Referred::Secret), "can only read resources of this type", unrelated)
            }
            ("", "configmaps", "") => {
                decide(reading, related(Referred::ConfigMap), "can only read resources of this type", unrelated)
            }
            ("", "persistentvolumeclaims", "") => decide(
                verb == "get",
                related(Referred::Claim),
                "can only get individual resources of this type",
                unrelated,
            ),
            ("", "persistentvolumeclaims", "status") => {
                let may = matches!(verb, "get" | "update" | "patch");
                decide(may, related(Referred::Claim), "can only get and update status of this type", unrelated)
            }
            ("", "serviceaccounts", "token") => {
                let may = verb == "create";
                decide(
                    may,
                    related(Referred::ServiceAccount),
                    "can only create tokens for individual service accounts",
                    unrelated,
                )
            }
            ("", "serviceaccounts", "") => decide(
                verb == "get",
                related(Referred::ServiceAccount),
                "can only get individual resources of this type",
                unrelated,
            ),
            ("", "pods", "" | "status") if verb == "get" => decide(true, related(Referred::Pod), "", unrelated),
            ("", "pods", "") if reading => {
                let selected = fields.contains(&("spec.nodeName", node)) || related(Referred::Pod);
                decide(true, selected, "", || "can only list/watch pods with spec.nodeName field selector".into())
            }
            ("", "nodes", "" | "status") if reading => decide(true, name == node, "", || match name {
                "" => format!("node '{node}' cannot read all nodes, only its own Node object"),
                _ => format!("node '{node}' cannot read '{name}', only its own Node object"),
            }),
            ("coordination.k8s.io", "leases", "") => {
                let may = matches!(verb, "get" | "create" | "update" | "patch" | "delete");
                let own = namespace == LEASES && (name == node || (verb == "create" && name.is_empty()));
                decide(may, own, "can only get, create, update, patch, or delete a node lease", || match namespace {
                    LEASES => "can only access node lease with the same name as the requesting node".into(),
                    _ => format!("can only access leases in the {LEASES:?} system namespace"),
                })
            }
            ("storage.k8s.io", "csinodes", "") => {
                let may = matches!(verb, "get" | "create" | "update" | "patch" | "delete");
                let own = name == node || (verb == "create" && name.is_empty());
                let reason = || "can only access CSINode with the same name as the requesting node".into();
                decide(may, own, "can only get, create, update, patch, or delete a CSINode", reason)
            }
            _ => return None,
        })
    }
}

fn decide(may: bool, own: bool, verbs: &str, reason: impl FnOnce() -> String) -> Decision {
    match (may, own) {
        (false, _) => Decision::NoOpinion(verbs.to_owned()),
        (true, true) => Decision::Allow(Arc::default()),
        (true, false) => Decision::NoOpinion(reason()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::{NODES, UserInfo};
    use serde_json::{Value, json};

    fn pod(name: &str, node: &str) -> Value {
        json!({
            "metadata": {"namespace": "web", "name": name},
            "spec": {
                "nodeName": node,
                "serviceAccountName": "bot",
                "imagePullSecrets": [{"name": "pull"}],
                "containers": [{
                    "envFrom": [{"configMapRef": {"name": "env"}}],
                    "env": [{"valueFrom": {"secretKeyRef": {"name": "password"}}}],
                }],
                "volumes": [
                    {"secret": {"secretName": "tls"}},
                    {"projected": {"sources": [{"serviceAccountToken": {}}, {"configMap": {"name": "kube-root-ca.crt"}}]}},
                    {"persistentVolumeClaim": {"claimName": "data"}},
                    {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
                ],
            },
        })
    }

    #[test]
    fn kubelets_see_what_is_theirs() {
        let authorizer = NodeAuthorizer::default();
        let mut graph = Graph::default();
        graph.apply_pod(&pod("a", "w1"));
        graph.apply_pod(&pod("b", "w1"));
        graph.remove_pod("web", "b");
        let mut mirror = pod("m", "w2");
        mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.mirror": "x"});
        graph.apply_pod(&mirror);
        // Verb, group, resource, namespace, name, for w1, for w2.
        let table = [
            ("get", "", "secrets", "web", "tls", true, false),
            ("watch", "", "secrets", "web", "password", true, false),
            ("get", "", "secrets", "web", "pull", true, false),
            ("get", "", "secrets", "web", "other", false, false),
            ("get", "", "secrets", "db", "tls", false, false),
            ("list", "", "secrets", "web", "", false, false),
            ("delete", "", "secrets", "web", "tls", false, false),
            ("get", "", "configmaps", "web", "env", true, false),
            ("get", "", "configmaps", "web", "kube-root-ca.crt", true, false),
            ("get", "", "persistentvolumeclaims", "web", "data", true, false),
            ("get", "", "persistentvolumeclaims", "web", "a-scratch", true, false),
            ("get", "", "persistentvolumeclaims", "web", "b-scratch", false, false),
            ("create", "", "serviceaccounts/token", "web", "bot", true, false),
            ("create", "", "serviceaccounts/token", "web", "admin", false, false),
            ("get", "", "pods", "web", "a", true, false),
            ("get", "", "pods", "web", "m", false, true),
            ("list", "", "pods", "", "", false, false),
            ("create", "", "pods", "web", "", true, true),
            ("patch", "", "pods/status", "web", "a", true, true),
            ("create", "", "pods/exec", "web", "a", false, false),
            ("get", "", "nodes", "", "w1", true, false),
            ("list", "", "nodes", "", "", false, false),
            ("create", "", "nodes", "", "", true, true),
            ("patch", "", "nodes/status", "", "w1", true, true),
            ("list", "", "services", "", "", true, true),
            ("create", "", "events", "web", "", true, true),
            ("create", "events.k8s.io", "events", "web", "", true, true),
            ("update", "coordination.k8s.io", "leases", "kube-node-lease", "w1", true, false),
            ("create", "coordination.k8s.io", "leases", "kube-node-lease", "", true, true),
            ("update", "coordination.k8s.io", "leases", "web", "w1", false, false),
            ("get", "apps", "deployments", "web", "a", false, false),
        ];
        for (verb, group, resource, namespace, name, first, second) in table {
            for (node, allowed) in [("w1", first), ("w2", second)] {
                let user = UserInfo::new(format!("system:node:{node}"), [NODES]);
                let (kind, subresource) = resource.split_once('/').unwrap_or((resource, ""));
                let target = Target::Resource(Resource { group, resource: kind, subresource, namespace, name });
                let request = Attributes { user: &user, verb, target };
                let decision = authorizer.authorize(&request, &[], &graph);
                if !authorizer.needs_graph(&request, &[]) {
                    assert_eq!(authorizer.authorize(&request, &[], &Graph::default()), decision);
                }
                assert_eq!(decision.allowed(), allowed, "{node} {verb} {resource} {namespace}/{name}: {decision:?}");
            }
        }
    }

    #[test]
    fn selectors_and_other_users() {
        let (authorizer, graph) = (NodeAuthorizer::default(), Graph::default());
        let target = Target::Resource(Resource { resource: "pods", ..Resource::default() });
        let kubelet = UserInfo::new("system:node:w1", [NODES]);
        let ask = |user, fields: &[(&str, &str)]| {
            authorizer.authorize(&Attributes { user, verb: "watch", target }, fields, &graph)
        };
        assert!(ask(&kubelet, &[("spec.nodeName", "w1")]).allowed());
        assert!(!ask(&kubelet, &[("spec.nodeName", "w2")]).allowed());
        assert_eq!(ask(&UserInfo::new("jane", [NODES]), &[]), Decision::NoOpinion(String::new()));
    }

    #[test]
    fn removed_pods_leave_nothing() {
        let mut graph = Graph::default();
        graph.apply_pod(&pod("a", "w1"));
        graph.apply_pod(&pod("a", "w2"));
        assert!(!graph.related("w1", Referred::Secret, "web", "tls"));
        assert!(graph.related("w2", Referred::Secret, "web", "tls"));
        graph.remove_pod("web", "a");
        assert!(!graph.related("w2", Referred::Secret, "web", "tls"));
    }
}
