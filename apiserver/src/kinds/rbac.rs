//! The group rbac.authorization.k8s.io.

use super::Kind;

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("rbac.authorization.k8s.io", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind { namespaced: false, ..kind("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding") },
    Kind { namespaced: false, ..kind("ClusterRole", "clusterroles", "clusterrole") },
    kind("RoleBinding", "rolebindings", "rolebinding"),
    kind("Role", "roles", "role"),
];
