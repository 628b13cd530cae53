//! Roles and bindings. Their names may be anything that fits in a path.

use serde_json::Value;

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::PATH_SEGMENT;

pub const ROLE: Strategy = Strategy { create_on_update: true, validate: Some(validate::rbac::role), ..PATH_SEGMENT };

pub const CLUSTER_ROLE: Strategy = Strategy { validate: Some(validate::rbac::cluster_role), ..ROLE };

pub const BINDING: Strategy = Strategy {
    default: Some(default),
    validate: Some(validate::rbac::role_binding),
    validate_update: Some(validate::rbac::binding_update),
    ..ROLE
};

pub const CLUSTER_BINDING: Strategy = Strategy { validate: Some(validate::rbac::cluster_role_binding), ..BINDING };

const GROUP: &str = "rbac.authorization.k8s.io";

fn default(binding: &mut Value) {
    binding.default_to("roleRef.apiGroup", GROUP);
    for subject in binding.list_mut("subjects") {
        if matches!(subject.text("kind"), "User" | "Group") {
            subject.default_to("apiGroup", GROUP);
        }
    }
}
