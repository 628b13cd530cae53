//! Roles and bindings, as far as authorization looks at them, from their JSON.

use super::rule::PolicyRule;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

pub const API_GROUP: &str = "rbac.authorization.k8s.io";

/// A Role, or with an empty namespace a ClusterRole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Role {
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub rules: Vec<PolicyRule>,
    /// Set for an aggregated ClusterRole: its rules are those of all ClusterRoles that one of these selects.
    pub aggregation: Option<Vec<Value>>,
}

/// A RoleBinding, or with an empty namespace a ClusterRoleBinding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    pub namespace: String,
    pub name: String,
    pub role_kind: RoleKind,
    pub role: String,
    pub subjects: Vec<SubjectKey>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleKind {
    Role,
    ClusterRole,
}

/// Whom a binding is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SubjectKey {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

impl fmt::Display for SubjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "User {name:?}"),
            Self::Group(name) => write!(f, "Group {name:?}"),
            Self::ServiceAccount { namespace, name } => write!(f, "ServiceAccount \"{name}/{namespace}\""),
        }
    }
}

impl RoleKind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Role => "Role",
            Self::ClusterRole => "ClusterRole",
        }
    }
}

impl Binding {
    /// Where the role is: a ClusterRole is nowhere.
    pub fn role_namespace(&self) -> &str {
        match self.role_kind {
            RoleKind::Role => &self.namespace,
            RoleKind::ClusterRole => "",
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawRole {
    metadata: RawMeta,
    #[serde(default)]
    rules: Option<Vec<PolicyRule>>,
    #[serde(default)]
    aggregation_rule: Option<RawAggregation>,
}

#[derive(Deserialize)]
struct RawMeta {
    name: String,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAggregation {
    #[serde(default)]
    cluster_role_selectors: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBinding {
    metadata: RawMeta,
    #[serde(default)]
    subjects: Option<Vec<RawSubject>>,
    role_ref: RawRef,
}

#[derive(Deserialize)]
struct RawSubject {
    kind: String,
    name: String,
    #[serde(default)]
    namespace: Option<String>,
}

#[derive(Deserialize)]
struct RawRef {
    kind: String,
    name: String,
}

impl TryFrom<&Value> for Role {
    type Error = serde_json::Error;

    fn try_from(object: &Value) -> Result<Self, Self::Error> {
        let raw = RawRole::deserialize(object)?;
        Ok(Self {
            namespace: raw.metadata.namespace.unwrap_or_default(),
            name: raw.metadata.name,
            labels: raw.metadata.labels.unwrap_or_default(),
            rules: raw.rules.unwrap_or_default(),
            aggregation: raw.aggregation_rule.map(|rule| rule.cluster_role_selectors.unwrap_or_default()),
        })
    }
}

impl TryFrom<&Value> for Binding {
    type Error = serde_json::Error;

    fn try_from(object: &Value) -> Result<Self, Self::Error> {
        let raw = RawBinding::deserialize(object)?;
        let namespace = raw.metadata.namespace.unwrap_or_default();
        let subject = |subject: RawSubject| match subject.kind.as_str() {
            "User" => Some(SubjectKey::User(subject.name)),
            "Group" => Some(SubjectKey::Group(subject.name)),
            "ServiceAccount" => {
                // A RoleBinding's ServiceAccounts are in its own namespace unless it says otherwise.
                let namespace =
                    subject.namespace.filter(|named| !named.is_empty()).unwrap_or_else(|| namespace.clone());
                Some(SubjectKey::ServiceAccount { namespace, name: subject.name })
            }
            _ => None,
        };
        let subjects = raw.subjects.unwrap_or_default().into_iter().filter_map(subject).collect();
        let role_kind = match raw.role_ref.kind.as_str() {
            "Role" => RoleKind::Role,
            "ClusterRole" => RoleKind::ClusterRole,
            other => return Err(serde::de::Error::custom(format!("unsupported role reference kind: {other:?}"))),
        };
        Ok(Self { namespace, name: raw.metadata.name, role_kind, role: raw.role_ref.name, subjects })
    }
}
