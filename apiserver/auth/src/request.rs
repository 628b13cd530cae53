//! What a request wants to do, as authorizers see it, and what they say.

use std::sync::Arc;

use crate::user::UserInfo;

/// A request: upstream's `authorizer.Attributes`.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    pub user: &'a UserInfo,
    /// Lower case: `get`, `list`, `create`, … or the HTTP method for paths.
    pub verb: &'a str,
    pub target: Target<'a>,
}

/// What a request is about.
#[derive(Clone, Copy, Debug)]
pub enum Target<'a> {
    Resource(Resource<'a>),
    /// A path that is no resource, e.g. `/healthz`.
    Path(&'a str),
}

/// A resource; what does not apply is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resource<'a> {
    /// The API group, empty for the core group.
    pub group: &'a str,
    /// The plural.
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl Resource<'_> {
    /// `pods/log`, or `pods` without subresource.
    pub fn with_subresource(&self) -> String {
        match self.subresource {
            "" => self.resource.to_owned(),
            subresource => format!("{}/{subresource}", self.resource),
        }
    }
}

/// What an authorizer says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Yes; the reason is for the audit log.
    Allow(Arc<str>),
    /// No, whatever the others say.
    Deny(String),
    /// Ask the next one; if there is none it is a no. The reason is shown to the user.
    NoOpinion(String),
}

impl Decision {
    pub fn allowed(&self) -> bool {
        matches!(self, Self::Allow(_))
    }

    pub fn reason(&self) -> &str {
        match self {
            Self::Allow(reason) => reason,
            Self::Deny(reason) | Self::NoOpinion(reason) => reason,
        }
    }
}

impl Attributes<'_> {
    /// The detail of a 403: `User "jane" cannot list resource "pods" in API group "" in the namespace "default"`.
    pub fn forbidden_message(&self, reason: &str) -> String {
        let (user, verb) = (&self.user.username, self.verb);
        let mut message = match self.target {
            Target::Path(path) => format!("User {user:?} cannot {verb} path {path:?}"),
            Target::Resource(resource) => {
                let scope = match resource.namespace {
                    "" => "at the cluster scope".to_owned(),
                    namespace => format!("in the namespace {namespace:?}"),
                };
                let (name, group) = (resource.with_subresource(), resource.group);
                format!("User {user:?} cannot {verb} resource {name:?} in API group {group:?} {scope}")
            }
        };
        if !reason.is_empty() {
            message.push_str(": ");
            message.push_str(reason);
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_upstreams() {
        let user = UserInfo::new("jane", ["dev"]);
        let message = |verb, target, reason| Attributes { user: &user, verb, target }.forbidden_message(reason);
        let log =
            Resource { resource: "pods", subresource: "log", namespace: "default", name: "a", ..Resource::default() };
        assert_eq!(
            message("get", Target::Resource(log), ""),
            r#"User "jane" cannot get resource "pods/log" in API group "" in the namespace "default""#
        );
        let roles = Resource { group: "rbac.authorization.k8s.io", resource: "clusterroles", ..Resource::default() };
        assert_eq!(
            message("list", Target::Resource(roles), "why"),
            r#"User "jane" cannot list resource "clusterroles" in API group "rbac.authorization.k8s.io" at the cluster scope: why"#
        );
        assert_eq!(message("get", Target::Path("/metrics"), ""), r#"User "jane" cannot get path "/metrics""#);
    }
}
