//! Webhook configurations and admission policies (`pkg/apis/admissionregistration/v1/defaults.go`).

use serde_json::{Value, json};

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::{CONDITIONAL, METADATA, SPEC_AND_STATUS};

pub const WEBHOOKS: Strategy = Strategy {
    has_generation: true,
    generation_counts_empty: true,
    default: Some(default),
    validate: Some(validate::webhook::configuration),
    ..CONDITIONAL
};

pub const MUTATING: Strategy = Strategy {
    default: Some(|object| {
        default(object);
        for hook in object.list_mut("webhooks") {
            hook.default_pointer("reinvocationPolicy", "Never");
        }
    }),
    ..WEBHOOKS
};

pub const POLICY: Strategy = Strategy {
    unconditional_update: false,
    default: Some(|policy| {
        policy.default_pointer("spec.failurePolicy", "Fail");
        if policy.at("spec.matchConstraints").is_object() {
            default_match(policy, "spec.matchConstraints");
        }
    }),
    validate: Some(validate::admission_policy::validating),
    status_keeps: METADATA,
    ..SPEC_AND_STATUS
};

pub const MUTATING_POLICY: Strategy = Strategy {
    has_generation: true,
    default: POLICY.default,
    validate: Some(validate::admission_policy::mutating),
    ..CONDITIONAL
};

pub const MUTATING_POLICY_BINDING: Strategy =
    Strategy { validate: Some(validate::admission_policy::mutating_binding), ..POLICY_BINDING };

pub const POLICY_BINDING: Strategy = Strategy {
    has_generation: true,
    default: Some(|binding| {
        if binding.at("spec.matchResources").is_object() {
            default_match(binding, "spec.matchResources");
        }
    }),
    validate: Some(validate::admission_policy::validating_binding),
    ..CONDITIONAL
};

fn default(object: &mut Value) {
    for hook in object.list_mut("webhooks") {
        hook.default_pointer("failurePolicy", "Fail");
        hook.default_pointer("matchPolicy", "Equivalent");
        hook.default_to("namespaceSelector", json!({}));
        hook.default_to("objectSelector", json!({}));
        hook.default_to("timeoutSeconds", 10);
        default_port(hook, "clientConfig.service");
        for rule in hook.list_mut("rules") {
            rule.default_pointer("scope", "*");
        }
    }
}

/// A Service reference means its port 443 unless it says otherwise.
pub fn default_port(object: &mut Value, service: &str) {
    if object.at(service).is_object() {
        object.default_to(&format!("{service}.port"), 443);
    }
}

fn default_match(object: &mut Value, path: &str) {
    let Some(constraints) = object.at_mut(path) else { return };
    constraints.default_pointer("matchPolicy", "Equivalent");
    constraints.default_to("namespaceSelector", json!({}));
    constraints.default_to("objectSelector", json!({}));
    for list in ["resourceRules", "excludeResourceRules"] {
        for rule in constraints.list_mut(list) {
            rule.default_pointer("scope", "*");
        }
    }
}
