//! The table of default Roles and RoleBindings in kube-system and kube-public.
//!
//! Facts from upstream's bootstrap policy at v1.35. How a line is read: see [`super::rule`].

use super::{CONTROLLER_MANAGER, SCHEDULER, Subject};

const SYSTEM: &str = "kube-system";
const PUBLIC: &str = "kube-public";

/// Namespace, name, rules.
pub(super) const NAMESPACED_ROLES: &[(&str, &str, &[&str])] = &[
    (SYSTEM, "extension-apiserver-authentication-reader", &["READ core configmaps extension-apiserver-authentication"]),
    (
        SYSTEM,
        "system::leader-locking-kube-controller-manager",
        &["watch core configmaps", "get,update core configmaps kube-controller-manager"],
    ),
    (
        SYSTEM,
        "system::leader-locking-kube-scheduler",
        &["watch core configmaps", "get,update core configmaps kube-scheduler"],
    ),
    (SYSTEM, "system:controller:bootstrap-signer", &["READ core secrets"]),
    (SYSTEM, "system:controller:cloud-provider", &["READ,create core configmaps"]),
    (SYSTEM, "system:controller:token-cleaner", &["READ,delete core secrets", "EVENTS"]),
    (
        PUBLIC,
        "system:controller:bootstrap-signer",
        &["READ core configmaps", "update core configmaps cluster-info", "EVENTS"],
    ),
];

/// Namespace, name, role, subjects.
pub(super) const NAMESPACED_BINDINGS: &[(&str, &str, &str, &[Subject])] = &[
    (
        SYSTEM,
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        &[Subject::User(CONTROLLER_MANAGER), Subject::User(SCHEDULER)],
    ),
    (
        SYSTEM,
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        &[Subject::User(CONTROLLER_MANAGER), Subject::Account("kube-controller-manager")],
    ),
    (
        SYSTEM,
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        &[Subject::User(SCHEDULER), Subject::Account("kube-scheduler")],
    ),
    (
        SYSTEM,
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Subject::Account("bootstrap-signer")],
    ),
    (
        SYSTEM,
        "system:controller:cloud-provider",
        "system:controller:cloud-provider",
        &[Subject::Account("cloud-provider")],
    ),
    (
        SYSTEM,
        "system:controller:token-cleaner",
        "system:controller:token-cleaner",
        &[Subject::Account("token-cleaner")],
    ),
    (
        PUBLIC,
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        &[Subject::Account("bootstrap-signer")],
    ),
];
