//! Who makes a request.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const ANONYMOUS: &str = "system:anonymous";
/// The group of all who proved who they are.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of all who did not.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that may do anything, whatever the policy says.
pub const MASTERS: &str = "system:masters";
pub const NODES: &str = "system:nodes";
pub const NODE_USER_PREFIX: &str = "system:node:";

/// A user, in the form of `authentication.k8s.io/v1` `UserInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UserInfo {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub extra: BTreeMap<String, Vec<String>>,
}

impl UserInfo {
    /// A user with groups, nothing else.
    pub fn new(username: impl Into<String>, groups: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self { username: username.into(), groups: groups.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Who a request without credentials is.
    pub fn anonymous() -> Self {
        Self::new(ANONYMOUS, [UNAUTHENTICATED])
    }

    pub fn in_group(&self, group: &str) -> bool {
        self.groups.iter().any(|have| have == group)
    }

    /// Adds `system:authenticated`, as is done for everyone an authenticator recognised.
    #[must_use]
    pub fn authenticated(mut self) -> Self {
        if !self.in_group(AUTHENTICATED) && !self.in_group(UNAUTHENTICATED) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }

    /// The node this user is the kubelet of: `system:node:<name>` in `system:nodes`.
    pub fn node(&self) -> Option<&str> {
        self.node_identity().filter(|name| !name.is_empty())
    }

    /// The same; empty for a kubelet whose name ends where its node's is to follow (upstream's `NodeIdentity`).
    pub fn node_identity(&self) -> Option<&str> {
        self.username.strip_prefix(NODE_USER_PREFIX).filter(|_| self.in_group(NODES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_the_authenticated() {
        assert_eq!(UserInfo::new("a", ["x"]).authenticated().groups, ["x", AUTHENTICATED]);
        assert_eq!(UserInfo::new("a", [AUTHENTICATED]).authenticated().groups, [AUTHENTICATED]);
        assert_eq!(UserInfo::anonymous().authenticated().groups, [UNAUTHENTICATED]);
    }

    #[test]
    fn nodes_need_name_and_group() {
        assert_eq!(UserInfo::new("system:node:c0w1", [NODES]).node(), Some("c0w1"));
        assert_eq!(UserInfo::new("system:node:c0w1", ["x"]).node(), None);
        assert_eq!(UserInfo::new("system:node:", [NODES]).node(), None);
        assert_eq!(UserInfo::new("c0w1", [NODES]).node(), None);
        let identities = ["system:node:", "c0w1"].map(|name| UserInfo::new(name, [NODES]).node_identity() == Some(""));
        assert_eq!(identities, [true, false]);
    }
}
