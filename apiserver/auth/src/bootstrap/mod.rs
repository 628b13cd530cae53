//! The policy a cluster begins with: upstream's default roles and bindings, made by the API server at start.
//!
//! The facts are tables; this module turns them into objects. One difference from upstream: our controller manager runs all
//! controllers under its own identity, so each controller's binding names `system:kube-controller-manager` beside the
//! controller's ServiceAccount.

mod controllers;
mod namespaced;
mod roles;

use crate::rbac::{API_GROUP, PolicyRule, Role, aggregated_rules};
use crate::user::{AUTHENTICATED, MASTERS, UNAUTHENTICATED};
use controllers::CONTROLLERS;
use namespaced::{NAMESPACED_BINDINGS, NAMESPACED_ROLES};
use roles::CLUSTER_ROLES;
use serde_json::{Value, json};

const CONTROLLER_MANAGER: &str = "system:kube-controller-manager";
const SCHEDULER: &str = "system:kube-scheduler";

/// A ClusterRole of the table.
struct RoleFacts {
    name: &'static str,
    rules: &'static [&'static str],
    /// A label set to `true`, by which another role takes in this one's rules.
    label: Option<&'static str>,
    /// Takes in the rules of all roles with this label.
    aggregates: Option<&'static str>,
}

/// Whom a binding of the tables is for.
enum Subject {
    User(&'static str),
    Group(&'static str),
    /// A ServiceAccount in kube-system.
    Account(&'static str),
}

const CLUSTER_BINDINGS: &[(&str, &[Subject])] = &[
    ("cluster-admin", &[Subject::Group(MASTERS)]),
    ("system:basic-user", &[Subject::Group(AUTHENTICATED)]),
    ("system:discovery", &[Subject::Group(AUTHENTICATED)]),
    ("system:kube-controller-manager", &[Subject::User(CONTROLLER_MANAGER)]),
    ("system:kube-dns", &[Subject::Account("kube-dns")]),
    ("system:kube-scheduler", &[Subject::User(SCHEDULER)]),
    ("system:monitoring", &[Subject::Group("system:monitoring")]),
    // Kubelets are judged by the node authorizer; the binding is there for others to add to.
    ("system:node", &[]),
    ("system:node-proxier", &[Subject::User("system:kube-proxy")]),
    ("system:public-info-viewer", &[Subject::Group(AUTHENTICATED), Subject::Group(UNAUTHENTICATED)]),
    ("system:service-account-issuer-discovery", &[Subject::Group("system:serviceaccounts")]),
    ("system:volume-scheduler", &[Subject::User(SCHEDULER)]),
];

/// All objects of the default policy, each with `apiVersion`, `kind` and `metadata`; roles come before bindings.
pub fn policy() -> Vec<Value> {
    let mut objects = cluster_roles();
    objects.extend(NAMESPACED_ROLES.iter().map(|(namespace, name, rules)| {
        let mut role = object("Role", namespace, name);
        role["rules"] = json!(rules_of(rules));
        role
    }));
    let cluster = CLUSTER_BINDINGS.iter().map(|(name, subjects)| {
        binding("ClusterRoleBinding", "", name, "ClusterRole", name, subjects.iter().map(subject).collect())
    });
    let controllers = CONTROLLERS.iter().map(|(controller, _)| {
        let name = format!("system:controller:{controller}");
        let subjects = vec![account(controller), subject(&Subject::User(CONTROLLER_MANAGER))];
        binding("ClusterRoleBinding", "", &name, "ClusterRole", &name, subjects)
    });
    let namespaced = NAMESPACED_BINDINGS.iter().map(|(namespace, name, role, subjects)| {
        binding("RoleBinding", namespace, name, "Role", role, subjects.iter().map(subject).collect())
    });
    objects.extend(cluster.chain(controllers).chain(namespaced));
    objects
}

/// The rules of a ClusterRole of the table that is not aggregated; none for an unknown one.
pub(crate) fn cluster_role_rules(name: &str) -> Vec<PolicyRule> {
    CLUSTER_ROLES.iter().find(|facts| facts.name == name).map(|facts| rules_of(facts.rules)).unwrap_or_default()
}

fn cluster_roles() -> Vec<Value> {
    let mut roles: Vec<Value> = CLUSTER_ROLES
        .iter()
        .map(|facts| {
            let mut role = object("ClusterRole", "", facts.name);
            if let Some(label) = facts.label {
                role["metadata"]["labels"][label] = "true".into();
            }
            if let Some(label) = facts.aggregates {
                role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {label: "true"}}]});
            }
            role["rules"] = json!(rules_of(facts.rules));
            role
        })
        .collect();
    roles.extend(CONTROLLERS.iter().map(|(controller, rules)| {
        let mut role = object("ClusterRole", "", &format!("system:controller:{controller}"));
        role["rules"] = json!(rules_of(rules));
        role
    }));
    fill_aggregated(&mut roles);
    roles
}

/// Fills in the rules that the aggregation controller would, so that the roles are right from the first moment. A role
/// may take in another aggregated one, so this is repeated as often as they are nested: view, edit, admin.
fn fill_aggregated(roles: &mut [Value]) {
    const NESTING: usize = 3;
    for _ in 0..NESTING {
        let parsed: Vec<Role> =
            roles.iter().map(|role| Role::try_from(role).expect("the table's roles are well-formed")).collect();
        for (role, facts) in roles.iter_mut().zip(&parsed) {
            if let Some(rules) = aggregated_rules(facts, parsed.iter()) {
                role["rules"] = json!(rules);
            }
        }
    }
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "apiVersion": format!("{API_GROUP}/v1"),
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            // What is missing is added again when the API server starts, unless someone sets this to false.
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    });
    if !namespace.is_empty() {
        object["metadata"]["namespace"] = namespace.into();
    }
    object
}

fn binding(kind: &str, namespace: &str, name: &str, role_kind: &str, role: &str, subjects: Vec<Value>) -> Value {
    let mut binding = object(kind, namespace, name);
    binding["roleRef"] = json!({"apiGroup": API_GROUP, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        binding["subjects"] = subjects.into();
    }
    binding
}

fn subject(subject: &Subject) -> Value {
    match subject {
        Subject::User(name) => json!({"apiGroup": API_GROUP, "kind": "User", "name": name}),
        Subject::Group(name) => json!({"apiGroup": API_GROUP, "kind": "Group", "name": name}),
        Subject::Account(name) => account(name),
    }
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"})
}

fn rules_of(lines: &[&str]) -> Vec<PolicyRule> {
    lines.iter().map(|line| rule(line).expect("a line of the tables is well-formed")).collect()
}

/// Reads a rule: `VERBS GROUPS RESOURCES [NAMES]` or `VERBS PATHS`, each a list joined by commas. The group `core` is the one
/// without name; the verbs `READ` and `WRITE` stand for those of reading and writing; the line `EVENTS` for the rule by
/// which components write events.
fn rule(line: &str) -> Option<PolicyRule> {
    let line = if line == "EVENTS" { "create,patch,update core,events.k8s.io events" } else { line };
    // Upstream's builder sorts whatever it is given.
    let list = |part: &str| {
        let mut list: Vec<String> = part.split(',').map(str::to_owned).collect();
        list.sort_unstable();
        list
    };
    let mut verbs = Vec::new();
    let parts: Vec<_> = line.split(' ').collect();
    for verb in parts.first()?.split(',') {
        match verb {
            "READ" => verbs.extend(["get", "list", "watch"]),
            "WRITE" => verbs.extend(["create", "delete", "deletecollection", "patch", "update"]),
            verb => verbs.push(verb),
        }
    }
    verbs.sort_unstable();
    let verbs = verbs.into_iter().map(str::to_owned).collect();
    let groups = |part: &str| list(&part.replace("core", ""));
    match parts[..] {
        [_, paths] => Some(PolicyRule { verbs, non_resource_urls: list(paths), ..PolicyRule::default() }),
        [_, group, resources] => {
            Some(PolicyRule { verbs, api_groups: groups(group), resources: list(resources), ..PolicyRule::default() })
        }
        [_, group, resources, names] => Some(PolicyRule {
            verbs,
            api_groups: groups(group),
            resources: list(resources),
            resource_names: list(names),
            ..PolicyRule::default()
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rbac::Index;
    use crate::request::{Attributes, Resource, Target};
    use crate::user::UserInfo;
    use std::collections::HashSet;

    fn index() -> Index {
        let mut index = Index::default();
        for object in policy() {
            match object["kind"].as_str().unwrap() {
                "Role" | "ClusterRole" => index.apply_role((&object).try_into().unwrap()),
                _ => index.apply_binding((&object).try_into().unwrap()),
            }
        }
        index
    }

    fn may(index: &Index, user: &UserInfo, verb: &str, group: &str, resource: &str, namespace: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let target = Target::Resource(Resource { group, resource, subresource, namespace, name: "x" });
        index.authorize(&Attributes { user, verb, target }).allowed()
    }

    #[test]
    fn every_object_is_whole_and_named_once() {
        let mut seen = HashSet::new();
        for object in policy() {
            let metadata = &object["metadata"];
            assert_eq!(metadata["labels"]["kubernetes.io/bootstrapping"], "rbac-defaults");
            assert_eq!(metadata["annotations"]["rbac.authorization.kubernetes.io/autoupdate"], "true");
            assert!(seen.insert((
                object["kind"].to_string(),
                metadata["namespace"].to_string(),
                metadata["name"].to_string()
            )));
            for rule in object["rules"].as_array().into_iter().flatten() {
                assert!(!rule["verbs"].as_array().unwrap().is_empty(), "{object}");
                assert!(!rule.to_string().contains("READ") && !rule.to_string().contains("\"core\""), "{rule}");
            }
        }
        let index = index();
        for object in policy().iter().filter(|object| object["roleRef"].is_object()) {
            assert!(index.referenced_rules(&object.try_into().unwrap()).is_ok(), "{object}");
        }
    }

    #[test]
    fn aggregated_roles_hold_what_they_aggregate() {
        let index = index();
        let rules = |name: &str| index.role("", name).unwrap().rules.clone();
        let covers = |a: &str, b: &str| crate::rbac::uncovered(&rules(a), &rules(b)).is_empty();
        assert!(covers("admin", "edit") && covers("edit", "view") && covers("view", "system:aggregate-to-view"));
        assert!(covers("admin", "system:aggregate-to-admin"));
        assert!(!covers("view", "edit") && !covers("edit", "admin"));
    }

    #[test]
    fn the_usual_users_may_do_their_work_and_no_more() {
        let index = index();
        let manager = UserInfo::new(CONTROLLER_MANAGER, [AUTHENTICATED]);
        let scheduler = UserInfo::new(SCHEDULER, [AUTHENTICATED]);
        let someone = UserInfo::new("jane", [AUTHENTICATED]);
        let admin = UserInfo::new("kubernetes-admin", [MASTERS, AUTHENTICATED]);
        let table = [
            (&manager, "create", "apps", "replicasets", "web", true),
            (&manager, "update", "apps", "deployments/status", "web", true),
            (&manager, "create", "", "pods", "web", true),
            (&manager, "delete", "example.com", "widgets", "web", true),
            (&manager, "deletecollection", "example.com", "widgets", "web", true),
            (&manager, "update", "", "namespaces/finalize", "", true),
            (&manager, "patch", "", "nodes", "", true),
            (&manager, "create", "discovery.k8s.io", "endpointslices", "web", true),
            (&manager, "create", "", "configmaps", "web", true),
            (&manager, "create", "", "serviceaccounts", "web", true),
            (&manager, "create", "", "pods/exec", "web", false),
            (&scheduler, "create", "", "pods/binding", "web", true),
            (&scheduler, "patch", "", "pods/status", "web", true),
            (&scheduler, "create", "", "pods", "web", false),
            (&scheduler, "create", "events.k8s.io", "events", "web", true),
            (&someone, "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", true),
            (&someone, "get", "", "pods", "web", false),
            (&admin, "create", "", "pods/exec", "web", true),
        ];
        for (user, verb, group, resource, namespace, allowed) in table {
            let found = may(&index, user, verb, group, resource, namespace);
            assert_eq!(found, allowed, "{} {verb} {group}/{resource}", user.username);
        }
        let path = |user: &UserInfo, path| {
            index.authorize(&Attributes { user, verb: "get", target: Target::Path(path) }).allowed()
        };
        assert!(path(&UserInfo::anonymous(), "/version") && path(&UserInfo::anonymous(), "/healthz"));
        assert!(
            !path(&UserInfo::anonymous(), "/apis") && path(&someone, "/apis/apps/v1") && !path(&someone, "/metrics")
        );
    }

    #[test]
    fn bad_lines_are_noticed() {
        assert_eq!(rule("get"), None);
        assert_eq!(rule("get core pods a b"), None);
        assert_eq!(rule("READ core pods").unwrap().verbs, ["get", "list", "watch"]);
    }
}
