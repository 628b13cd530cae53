//! RoleBindings and ClusterRoleBindings; roles only have a creation time.

use serde_json::Value;

use super::super::Column;
use super::super::json::Json;
use super::{AGE, text, wide};

pub const BINDINGS: &[Column] = &[
    text("Role", |object, _| format!("{}/{}", object.text("roleRef.kind"), object.text("roleRef.name")).into()),
    AGE,
    wide("Users", |object, _| subjects(object, "User").into()),
    wide("Groups", |object, _| subjects(object, "Group").into()),
    wide("ServiceAccounts", |object, _| subjects(object, "ServiceAccount").into()),
];

fn subjects(object: &Value, kind: &str) -> String {
    let named = |s: &&Value| s.text("kind") == kind;
    let account = kind == "ServiceAccount";
    let text = |s: &Value| match s.text("name") {
        name if account => format!("{}/{name}", s.text("namespace")),
        name => name.to_owned(),
    };
    object.list("subjects").iter().filter(named).map(text).collect::<Vec<_>>().join(", ")
}
