//! The node authorizer: a kubelet may do its work, but reads only what belongs to the pods on its node.
//!
//! Follows upstream's `plugin/pkg/auth/authorizer/node` with selectors (KEP-4601): lists and watches of pods need the field
//! selector `spec.nodeName`, reads of nodes are of the own one. That writes are of the own node and pods only is the task
//! of the admission plugin NodeRestriction: [`restrict`].

mod graph;
mod mirror;
mod restriction;
mod volumes;

pub use graph::{Graph, Referred, secrets};
pub use restriction::{Operation, Refusal, Write, mounts_token_for, pod_meant, restrict};
pub use volumes::{Through, driver, drivers, wants_token_for};

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::Value;

use crate::rbac::PolicyRule;
use crate::request::{Attributes, Decision, Resource, Target};
use crate::user::{NODE_USER_PREFIX, NODES};

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

/// Whose an object is that says so itself; the caller of [`NodeAuthorizer::authorize`] looks it up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    #[default]
    Unknown,
    Node(String),
    /// The claim a volume is bound to.
    Claim {
        namespace: String,
        name: String,
    },
}

impl Holder {
    /// Of an object of one of the kinds that [`NodeAuthorizer::asks_holder`] names.
    pub fn of(object: &Value) -> Self {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        match (text("/spec/nodeName"), text("/spec/claimRef/name")) {
            (node, _) if !node.is_empty() => Self::Node(node),
            (_, name) if !name.is_empty() => Self::Claim { namespace: text("/spec/claimRef/namespace"), name },
            _ => Self::Unknown,
        }
    }
}

/// What one decision goes by besides the request.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// The requirements of the request's field selector that are equalities. A name asked for by the selector `metadata.name`
    /// must be the resource's name already, as upstream does.
    pub fields: &'a [(&'a str, &'a str)],
    pub graph: &'a Graph,
    pub holder: &'a Holder,
}

impl NodeAuthorizer {
    pub fn authorize(&self, request: &Attributes<'_>, known: &Known<'_>) -> Decision {
        let Some(node) = request.user.node() else {
            let nameless = request.user.username == NODE_USER_PREFIX && request.user.in_group(NODES);
            let why = || format!("unknown node for user {:?}", request.user.username);
            return Decision::NoOpinion(if nameless { why() } else { String::new() });
        };
        if let Target::Resource(resource) = request.target
            && let Some(decision) = own(node, request.verb, &resource, known)
        {
            return decision
                .map_or_else(|why| Decision::NoOpinion(why.into_owned()), |()| Decision::Allow(Arc::default()));
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
        match (resource.group, resource.resource) {
            ("", "secrets" | "configmaps" | "persistentvolumeclaims" | "persistentvolumes" | "serviceaccounts")
            | ("resource.k8s.io", "resourceclaims") => true,
            ("", "pods") => match request.verb {
                "get" => true,
                "list" | "watch" => !fields.contains(&("spec.nodeName", node)),
                _ => false,
            },
            _ => false,
        }
    }

    /// Whether the answer depends on what the object itself says.
    pub fn asks_holder(&self, request: &Attributes<'_>) -> bool {
        let (Some(_), Target::Resource(resource)) = (request.user.node(), request.target) else { return false };
        let named = (resource.group, resource.resource);
        !resource.name.is_empty()
            && matches!(
                named,
                ("", "persistentvolumes")
                    | ("storage.k8s.io", "volumeattachments")
                    | ("resource.k8s.io", "resourceslices")
            )
    }
}

/// Why a kubelet may not.
type Refused = Cow<'static, str>;

fn ensure(holds: bool, why: impl Into<Refused>) -> Result<(), Refused> {
    if holds { Ok(()) } else { Err(why.into()) }
}

/// What depends on the node; `None` for what the rules decide alone.
fn own(node: &str, verb: &str, resource: &Resource<'_>, known: &Known<'_>) -> Option<Result<(), Refused>> {
    let Resource { group, resource: kind, subresource, namespace, name } = *resource;
    let within = |have: bool| {
        ensure(!name.is_empty(), "No Object name found")?;
        ensure(have, format!("no relationship found between node '{node}' and this object"))
    };
    let related = |kind| within(known.graph.related(node, kind, namespace, name));
    let held = || {
        within(match known.holder {
            Holder::Unknown => false,
            Holder::Node(holder) => holder == node,
            Holder::Claim { namespace, name } => known.graph.related(node, Referred::Claim, namespace, name),
        })
    };
    let get = || {
        ensure(verb == "get", "can only get individual resources of this type")?;
        ensure(subresource.is_empty(), "cannot get subresource")
    };
    let read = || {
        ensure(matches!(verb, "get" | "list" | "watch"), "can only read resources of this type")?;
        ensure(subresource.is_empty(), "cannot read subresource")?;
        ensure(!namespace.is_empty(), "can only read namespaced object of this type")
    };
    let verbs = |why: &'static str| ensure(matches!(verb, "get" | "create" | "update" | "patch" | "delete"), why);
    // The authorizer does not know the name of what is to be created; NodeRestriction does.
    let same = |why: &'static str| ensure(verb == "create" || name == node, why);
    let selects = |field: &str| known.fields.contains(&(field, node));
    Some(match (group, kind) {
        ("", "secrets") => read().and_then(|()| related(Referred::Secret)),
        ("", "configmaps") => read().and_then(|()| related(Referred::ConfigMap)),
        ("", "persistentvolumeclaims") if subresource == "status" => {
            ensure(matches!(verb, "update" | "patch"), "can only get/update/patch this type")
                .and_then(|()| related(Referred::Claim))
        }
        ("", "persistentvolumeclaims") => get().and_then(|()| related(Referred::Claim)),
        ("", "persistentvolumes") | ("storage.k8s.io", "volumeattachments") => get().and_then(|()| held()),
        ("resource.k8s.io", "resourceclaims") => get().and_then(|()| related(Referred::ResourceClaim)),
        ("", "serviceaccounts") if verb == "get" && subresource.is_empty() => {
            read().and_then(|()| related(Referred::ServiceAccount))
        }
        ("", "serviceaccounts") => {
            ensure(verb == "create" && !name.is_empty(), "can only create tokens for individual service accounts")
                .and_then(|()| ensure(subresource == "token", "can only create token subresource of serviceaccount"))
                .and_then(|()| related(Referred::ServiceAccount))
        }
        ("coordination.k8s.io", "leases") => verbs("can only get, create, update, patch, or delete a node lease")
            .and_then(|()| {
                ensure(namespace == LEASES, format!("can only access leases in the {LEASES:?} system namespace"))
            })
            .and_then(|()| same("can only access node lease with the same name as the requesting node")),
        ("storage.k8s.io", "csinodes") => verbs("can only get, create, update, patch, or delete a CSINode")
            .and_then(|()| ensure(subresource.is_empty(), "cannot authorize CSINode subresources"))
            .and_then(|()| same("can only access CSINode with the same name as the requesting node")),
        ("resource.k8s.io", "resourceslices") => {
            ensure(subresource.is_empty(), "cannot authorize ResourceSlice subresources").and_then(|()| match verb {
                "create" => Ok(()),
                "get" | "update" | "patch" | "delete" => held(),
                "watch" | "list" | "deletecollection" => ensure(
                    selects("spec.nodeName"),
                    "can only list/watch/deletecollection resourceslices with nodeName field selector",
                ),
                _ => {
                    Err("only the following verbs are allowed for a ResourceSlice: get, watch, list, create, update, \
                          patch, delete, deletecollection"
                        .into())
                }
            })
        }
        ("", "nodes") => match (subresource, verb) {
            ("", "create" | "update" | "patch") | ("status", "update" | "patch") => Ok(()),
            ("", "get" | "list" | "watch") => match name {
                "" => Err(format!("node '{node}' cannot read all nodes, only its own Node object").into()),
                _ => ensure(name == node, format!("node '{node}' cannot read '{name}', only its own Node object")),
            },
            _ => Err("".into()),
        },
        ("", "pods") => match (subresource, verb) {
            ("", "create" | "delete") | ("status", "update" | "patch") | ("eviction", "create") => Ok(()),
            ("", "get") => related(Referred::Pod),
            ("", "list" | "watch") if selects("spec.nodeName") => Ok(()),
            ("", "list" | "watch") if !name.is_empty() => related(Referred::Pod),
            ("", "list" | "watch") => Err("can only list/watch pods with spec.nodeName field selector".into()),
            _ => Err("".into()),
        },
        // Behind a gate that is closed.
        ("certificates.k8s.io", "podcertificaterequests") => Err("".into()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::user::UserInfo;
    use serde_json::json;

    fn known<'a>(fields: &'a [(&'a str, &'a str)], graph: &'a Graph) -> Known<'a> {
        Known { fields, graph, holder: &Holder::Unknown }
    }

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
                let decision = authorizer.authorize(&request, &known(&[], &graph));
                if !authorizer.needs_graph(&request, &[]) {
                    assert_eq!(authorizer.authorize(&request, &known(&[], &Graph::default())), decision);
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
        let ask = |user: &UserInfo, fields: &[(&str, &str)]| {
            authorizer.authorize(&Attributes { user, verb: "watch", target }, &known(fields, &graph))
        };
        assert!(ask(&kubelet, &[("spec.nodeName", "w1")]).allowed());
        assert!(!ask(&kubelet, &[("spec.nodeName", "w2")]).allowed());
        assert_eq!(ask(&UserInfo::new("jane", [NODES]), &[]), Decision::NoOpinion(String::new()));
        let nameless = Decision::NoOpinion("unknown node for user \"system:node:\"".to_owned());
        assert_eq!(ask(&UserInfo::new("system:node:", [NODES]), &[]), nameless);
    }

    #[test]
    fn some_objects_say_whose_they_are() {
        let (authorizer, mut graph) = (NodeAuthorizer::default(), Graph::default());
        let mut with_claims = pod("a", "w1");
        with_claims["spec"]["resourceClaims"] = json!([{"name": "one", "resourceClaimName": "gpu"}, {"name": "two"}]);
        with_claims["status"] = json!({"resourceClaimStatuses": [{"name": "two", "resourceClaimName": "made"}],
            "extendedResourceClaimStatus": {"resourceClaimName": "extended"}});
        graph.apply_pod(&with_claims);
        let bound = json!({"spec": {"claimRef": {"namespace": "web", "name": "data"}}});
        let other = json!({"spec": {"claimRef": {"namespace": "db", "name": "data"}}});
        let attached = |node: &str| json!({"spec": {"nodeName": node}});
        let unrelated = "no relationship found between node 'w1' and this object";
        // Verb, group, resource, namespace, what the object says, and what is said to that.
        for (verb, group, kind, namespace, name, object, said) in [
            ("get", "", "persistentvolumes", "", "v", &bound, None),
            ("get", "", "persistentvolumes", "", "v", &other, Some(unrelated)),
            (
                "list",
                "",
                "persistentvolumes",
                "",
                "",
                &Value::Null,
                Some("can only get individual resources of this type"),
            ),
            ("get", "storage.k8s.io", "volumeattachments", "", "v", &attached("w1"), None),
            ("get", "storage.k8s.io", "volumeattachments", "", "v", &attached("w2"), Some(unrelated)),
            ("delete", "resource.k8s.io", "resourceslices", "", "s", &attached("w1"), None),
            ("delete", "resource.k8s.io", "resourceslices", "", "s", &attached("w2"), Some(unrelated)),
            ("create", "resource.k8s.io", "resourceslices", "", "", &Value::Null, None),
            (
                "list",
                "resource.k8s.io",
                "resourceslices",
                "",
                "",
                &Value::Null,
                Some("can only list/watch/deletecollection resourceslices with nodeName field selector"),
            ),
            ("get", "resource.k8s.io", "resourceclaims", "web", "gpu", &Value::Null, None),
            ("get", "resource.k8s.io", "resourceclaims", "web", "made", &Value::Null, None),
            ("get", "resource.k8s.io", "resourceclaims", "web", "extended", &Value::Null, None),
            ("get", "resource.k8s.io", "resourceclaims", "web", "two", &Value::Null, Some(unrelated)),
        ] {
            let target = Target::Resource(Resource { group, resource: kind, subresource: "", namespace, name });
            let user = UserInfo::new("system:node:w1", [NODES]);
            let request = Attributes { user: &user, verb, target };
            let holder = Holder::of(object);
            assert!(object.is_null() || authorizer.asks_holder(&request));
            let decision = authorizer.authorize(&request, &Known { fields: &[], graph: &graph, holder: &holder });
            let expected = said.map_or(Decision::Allow(Arc::default()), |why| Decision::NoOpinion(why.to_owned()));
            assert_eq!(decision, expected, "{verb} {kind} {name}");
        }
    }

    #[test]
    fn volumes_lead_to_secrets() {
        let mut graph = Graph::default();
        graph.apply_pod(&pod("a", "w1"));
        let volume = |name: &str, claim: &str, secret: &str| {
            json!({"metadata": {"name": name}, "spec": {"claimRef": {"namespace": "web", "name": claim},
                "csi": {"nodeStageSecretRef": {"namespace": "vault", "name": secret},
                    "controllerPublishSecretRef": {"namespace": "vault", "name": "controller"}}}})
        };
        graph.apply_volume(&volume("v", "data", "s"));
        graph.apply_volume(&volume("w", "other", "of-other"));
        graph.apply_volume(&volume("x", "a-scratch", "s"));
        let sees = |graph: &Graph, node: &str, secret: &str| graph.related(node, Referred::Secret, "vault", secret);
        assert!(sees(&graph, "w1", "s") && !sees(&graph, "w2", "s"));
        assert!(!sees(&graph, "w1", "of-other") && !sees(&graph, "w1", "controller"));
        // Another volume of the node's leads there as well; a volume that is bound anew does not any more.
        graph.remove_volume("v");
        assert!(sees(&graph, "w1", "s"));
        graph.apply_volume(&volume("x", "other", "s"));
        assert!(!sees(&graph, "w1", "s"));
        graph.apply_volume(&volume("x", "data", "s"));
        graph.forget_pods();
        assert!(!sees(&graph, "w1", "s"));
        graph.apply_pod(&pod("a", "w1"));
        assert!(sees(&graph, "w1", "s"));
        graph.forget_volumes();
        assert!(!sees(&graph, "w1", "s"));
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
