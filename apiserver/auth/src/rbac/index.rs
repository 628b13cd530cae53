//! The policy in memory: roles by name, bindings by subject. One change costs as much as the changed object is large.

use super::model::{Binding, Role, RoleKind, SubjectKey};
use super::rule::{PolicyRule, join_verbs, quoted, uncovered};
use crate::request::{Attributes, Decision, Target};
use crate::serviceaccount;
use crate::user::{MASTERS, UserInfo};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// (namespace, name); the namespace is empty for the whole cluster.
type Id = (String, String);
/// Bindings by id, so that reasons do not depend on the order of arrival.
type Bindings = BTreeMap<Id, Arc<Binding>>;

/// Roles and bindings; empty at first, fed by the `apply_` and `remove_` functions.
#[derive(Clone, Debug, Default)]
pub struct Index {
    roles: HashMap<Id, Arc<Role>>,
    bindings: Bindings,
    by_subject: HashMap<SubjectKey, Bindings>,
}

/// A rule that applies to a user, and why.
struct Grant<'a> {
    binding: &'a Binding,
    subject: &'a SubjectKey,
    rules: &'a [PolicyRule],
}

impl Index {
    /// Adds or replaces a Role or ClusterRole.
    pub fn apply_role(&mut self, role: Role) {
        self.roles.insert((role.namespace.clone(), role.name.clone()), Arc::new(role));
    }

    pub fn remove_role(&mut self, namespace: &str, name: &str) {
        self.roles.remove(&(namespace.to_owned(), name.to_owned()));
    }

    /// Adds or replaces a RoleBinding or ClusterRoleBinding.
    pub fn apply_binding(&mut self, binding: Binding) {
        self.remove_binding(&binding.namespace, &binding.name);
        let id = (binding.namespace.clone(), binding.name.clone());
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            self.by_subject.entry(subject.clone()).or_default().insert(id.clone(), binding.clone());
        }
        self.bindings.insert(id, binding);
    }

    pub fn remove_binding(&mut self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        let Some(binding) = self.bindings.remove(&id) else { return };
        for subject in &binding.subjects {
            if let Some(bindings) = self.by_subject.get_mut(subject) {
                bindings.remove(&id);
                if bindings.is_empty() {
                    self.by_subject.remove(subject);
                }
            }
        }
    }

    /// The role of this name; `namespace` is empty for a ClusterRole.
    pub fn role(&self, namespace: &str, name: &str) -> Option<&Role> {
        self.roles.get(&(namespace.to_owned(), name.to_owned())).map(|role| &**role)
    }

    /// The ClusterRoles, in no order.
    pub fn cluster_roles(&self) -> impl Iterator<Item = &Role> {
        self.roles.values().map(|role| &**role).filter(|role| role.namespace.is_empty())
    }

    /// Whether the request is permitted. Members of `system:masters` may do anything.
    pub fn authorize(&self, request: &Attributes<'_>) -> Decision {
        if request.user.in_group(MASTERS) {
            return Decision::Allow(String::new());
        }
        let namespace = match request.target {
            Target::Resource(resource) => resource.namespace,
            Target::Path(_) => "",
        };
        let mut missing = Vec::new();
        for grant in self.grants(request.user, namespace, &mut missing) {
            if grant.rules.iter().any(|rule| rule.allows(request)) {
                return Decision::Allow(grant.reason());
            }
        }
        match missing.is_empty() {
            true => Decision::NoOpinion(String::new()),
            false => Decision::NoOpinion(format!("RBAC: {}", aggregate_errors(missing))),
        }
    }

    /// All rules that apply to the user in the namespace (empty: only those of the whole cluster), and the bindings'
    /// roles that do not exist.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str) -> (Vec<PolicyRule>, Vec<String>) {
        let mut missing = Vec::new();
        let grants = self.grants(user, namespace, &mut missing);
        (grants.iter().flat_map(|grant| grant.rules).cloned().collect(), missing)
    }

    /// That the user has all `rules` already, so that granting them is no escalation. Members of `system:masters` have all.
    ///
    /// # Errors
    /// The message of the 403.
    pub fn confirm_no_escalation(&self, user: &UserInfo, namespace: &str, rules: &[PolicyRule]) -> Result<(), String> {
        if user.in_group(MASTERS) {
            return Ok(());
        }
        let (owned, errors) = self.rules_for(user, namespace);
        let missing = uncovered(&owned, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let mut missing: Vec<_> = join_verbs(missing).iter().map(PolicyRule::compact).collect();
        missing.sort_unstable();
        let mut message = format!(
            "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            user.username,
            quoted(&user.groups),
            missing.join("\n")
        );
        if !errors.is_empty() {
            message.push_str(&format!("; resolution errors: {}", quoted(&errors)));
        }
        Err(message)
    }

    /// The rules behind a binding's reference, for the check of who makes the binding.
    ///
    /// # Errors
    /// The role does not exist; the message of the 404.
    pub fn referenced_rules(&self, binding: &Binding) -> Result<&[PolicyRule], String> {
        let role = self.role(binding.role_namespace(), &binding.role);
        role.map(|role| &*role.rules).ok_or_else(|| not_found(binding))
    }

    /// The grants of the whole cluster first, then those of the namespace.
    fn grants<'a>(&'a self, user: &UserInfo, namespace: &str, missing: &mut Vec<String>) -> Vec<Grant<'a>> {
        let mut keys = vec![SubjectKey::User(user.username.clone())];
        keys.extend(user.groups.iter().cloned().map(SubjectKey::Group));
        if let Some((namespace, name)) = serviceaccount::split_username(&user.username) {
            keys.push(SubjectKey::ServiceAccount { namespace: namespace.into(), name: name.into() });
        }
        let mut grants = Vec::new();
        let mut scopes = vec![""];
        scopes.extend((!namespace.is_empty()).then_some(namespace));
        for scope in scopes {
            for key in &keys {
                let Some((subject, bindings)) = self.by_subject.get_key_value(key) else { continue };
                let first = (scope.to_owned(), String::new());
                for (_, binding) in bindings.range(first..).take_while(|((namespace, _), _)| namespace == scope) {
                    match self.referenced_rules(binding) {
                        Ok(rules) => grants.push(Grant { binding, subject, rules }),
                        Err(message) => missing.push(message),
                    }
                }
            }
        }
        grants
    }
}

impl Grant<'_> {
    fn reason(&self) -> String {
        let Binding { namespace, name, role, role_kind, .. } = self.binding;
        let binding = match namespace.as_str() {
            "" => format!("ClusterRoleBinding {name:?}"),
            _ => format!("RoleBinding \"{name}/{namespace}\""),
        };
        format!("RBAC: allowed by {binding} of {} {role:?} to {}", role_kind.name(), self.subject)
    }
}

fn not_found(binding: &Binding) -> String {
    let resource = match binding.role_kind {
        RoleKind::Role => "role",
        RoleKind::ClusterRole => "clusterrole",
    };
    format!("{resource}.rbac.authorization.k8s.io {:?} not found", binding.role)
}

/// As upstream prints several errors as one.
fn aggregate_errors(mut errors: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    errors.retain(|error| seen.insert(error.clone()));
    match errors.len() {
        1 => errors.remove(0),
        _ => format!("[{}]", errors.join(", ")),
    }
}
