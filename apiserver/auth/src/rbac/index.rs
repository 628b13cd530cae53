//! The policy in memory: roles by name, bindings by subject. One change costs as much as the changed object is large, a
//! question as much as there are bindings for the one who asks, up to the one that says yes; it copies no names.

use super::model::{Binding, Role, RoleKind, SubjectKey};
use super::rule::{PolicyRule, join_verbs, quoted, uncovered};
use crate::request::{Attributes, Decision, Target};
use crate::serviceaccount;
use crate::user::{MASTERS, UserInfo};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// By namespace (empty for the whole cluster) and name, so that reasons do not depend on the order of arrival.
type ByName<T> = BTreeMap<String, BTreeMap<String, T>>;
/// Bindings that name a subject, each with why what it grants is allowed.
type Bound = ByName<(Arc<Binding>, Arc<str>)>;

/// Roles and bindings; empty at first, fed by the `apply_` and `remove_` functions.
#[derive(Clone, Debug, Default)]
pub struct Index {
    roles: ByName<Arc<Role>>,
    bindings: ByName<Arc<Binding>>,
    users: HashMap<String, Bound>,
    groups: HashMap<String, Bound>,
    /// By namespace and name.
    accounts: HashMap<String, HashMap<String, Bound>>,
}

/// Rules that apply to a user, and why.
struct Grant<'a> {
    reason: &'a Arc<str>,
    rules: &'a [PolicyRule],
}

fn put<T>(map: &mut ByName<T>, namespace: &str, name: &str, value: T) {
    map.entry(namespace.to_owned()).or_default().insert(name.to_owned(), value);
}

fn take<T>(map: &mut ByName<T>, namespace: &str, name: &str) -> Option<T> {
    let within = map.get_mut(namespace)?;
    let value = within.remove(name);
    if within.is_empty() {
        map.remove(namespace);
    }
    value
}

impl Index {
    /// Adds or replaces a Role or ClusterRole.
    pub fn apply_role(&mut self, role: Role) {
        let role = Arc::new(role);
        put(&mut self.roles, &role.namespace, &role.name, role.clone());
    }

    pub fn remove_role(&mut self, namespace: &str, name: &str) {
        take(&mut self.roles, namespace, name);
    }

    /// Adds or replaces a RoleBinding or ClusterRoleBinding.
    pub fn apply_binding(&mut self, binding: Binding) {
        self.remove_binding(&binding.namespace, &binding.name);
        let binding = Arc::new(binding);
        for subject in &binding.subjects {
            let reason = reason(&binding, subject).into();
            put(self.bound(subject), &binding.namespace, &binding.name, (binding.clone(), reason));
        }
        put(&mut self.bindings, &binding.namespace, &binding.name, binding.clone());
    }

    pub fn remove_binding(&mut self, namespace: &str, name: &str) {
        let Some(binding) = take(&mut self.bindings, namespace, name) else { return };
        for subject in &binding.subjects {
            let bound = self.bound(subject);
            take(bound, namespace, name);
            if bound.is_empty() {
                self.forget(subject);
            }
        }
    }

    /// What is bound to a subject.
    fn bound(&mut self, subject: &SubjectKey) -> &mut Bound {
        match subject {
            SubjectKey::User(name) => self.users.entry(name.clone()).or_default(),
            SubjectKey::Group(name) => self.groups.entry(name.clone()).or_default(),
            SubjectKey::ServiceAccount { namespace, name } => {
                self.accounts.entry(namespace.clone()).or_default().entry(name.clone()).or_default()
            }
        }
    }

    fn forget(&mut self, subject: &SubjectKey) {
        match subject {
            SubjectKey::User(name) => drop(self.users.remove(name)),
            SubjectKey::Group(name) => drop(self.groups.remove(name)),
            SubjectKey::ServiceAccount { namespace, name } => {
                if let Some(within) = self.accounts.get_mut(namespace) {
                    within.remove(name);
                    if within.is_empty() {
                        self.accounts.remove(namespace);
                    }
                }
            }
        }
    }

    /// The role of this name; `namespace` is empty for a ClusterRole.
    pub fn role(&self, namespace: &str, name: &str) -> Option<&Role> {
        self.roles.get(namespace)?.get(name).map(|role| &**role)
    }

    /// Whether the request is permitted. Members of `system:masters` may do anything.
    pub fn authorize(&self, request: &Attributes<'_>) -> Decision {
        if request.user.in_group(MASTERS) {
            return Decision::Allow(Arc::default());
        }
        let namespace = match request.target {
            Target::Resource(resource) => resource.namespace,
            Target::Path(_) => "",
        };
        let mut missing = Vec::new();
        for grant in self.grants(request.user, namespace) {
            match grant {
                Ok(grant) if grant.rules.iter().any(|rule| rule.allows(request)) => {
                    return Decision::Allow(grant.reason.clone());
                }
                Ok(_) => {}
                Err(message) => missing.push(message),
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
        let (mut rules, mut missing) = (Vec::new(), Vec::new());
        for grant in self.grants(user, namespace) {
            match grant {
                Ok(grant) => rules.extend_from_slice(grant.rules),
                Err(message) => missing.push(message),
            }
        }
        (rules, missing)
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

    /// The grants of the whole cluster first, then those of the namespace; or which role does not exist.
    fn grants<'a>(
        &'a self,
        user: &UserInfo,
        namespace: &'a str,
    ) -> impl Iterator<Item = Result<Grant<'a>, String>> + use<'a> {
        let account = serviceaccount::split_username(&user.username);
        let account = account.and_then(|(namespace, name)| self.accounts.get(namespace)?.get(name));
        let groups = user.groups.iter().filter_map(|group| self.groups.get(group));
        let bound: Vec<&Bound> = self.users.get(&user.username).into_iter().chain(groups).chain(account).collect();
        let scopes = [Some(""), Some(namespace).filter(|namespace| !namespace.is_empty())];
        scopes.into_iter().flatten().flat_map(move |scope| {
            let within: Vec<_> = bound.iter().filter_map(|bound| bound.get(scope)).collect();
            within
                .into_iter()
                .flat_map(BTreeMap::values)
                .map(|(binding, reason)| Ok(Grant { reason, rules: self.referenced_rules(binding)? }))
        })
    }
}

/// Why what a binding grants to one of its subjects is allowed.
fn reason(binding: &Binding, subject: &SubjectKey) -> String {
    let Binding { namespace, name, role, role_kind, .. } = binding;
    let binding = match namespace.as_str() {
        "" => format!("ClusterRoleBinding {name:?}"),
        _ => format!("RoleBinding \"{name}/{namespace}\""),
    };
    format!("RBAC: allowed by {binding} of {} {role:?} to {subject}", role_kind.name())
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
