//! The group rbac.authorization.k8s.io.

use super::{Kind, columns, strategy};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("rbac.authorization.k8s.io", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind {
        namespaced: false,
        columns: columns::rbac::BINDINGS,
        strategy: strategy::rbac::CLUSTER_BINDING,
        ..kind("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding")
    },
    Kind {
        namespaced: false,
        columns: columns::ONLY_CREATED_AT,
        strategy: strategy::rbac::CLUSTER_ROLE,
        ..kind("ClusterRole", "clusterroles", "clusterrole")
    },
    Kind {
        columns: columns::rbac::BINDINGS,
        strategy: strategy::rbac::BINDING,
        ..kind("RoleBinding", "rolebindings", "rolebinding")
    },
    Kind { columns: columns::ONLY_CREATED_AT, strategy: strategy::rbac::ROLE, ..kind("Role", "roles", "role") },
];
