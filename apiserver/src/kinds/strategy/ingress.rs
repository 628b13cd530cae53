//! Ingresses and their classes.

use super::super::json::Json;
use super::super::validate;
use super::super::{Strategy, WarnedAgain};
use super::SPEC_AND_STATUS;

pub const INGRESS: Strategy = Strategy {
    default: Some(|object| object.default_to("status.loadBalancer", serde_json::json!({}))),
    validate: Some(validate::ingress::ingress),
    validate_create: Some(validate::ingress::new_ingress),
    warnings: Some(validate::ingress::warnings),
    warned_again: WarnedAgain::Never,
    status_warnings: Some(validate::service::status_warnings),
    ..SPEC_AND_STATUS
};

pub const INGRESS_CLASS: Strategy = Strategy {
    has_generation: true,
    default: Some(|object| {
        if object.at("spec.parameters").is_object() {
            object.default_pointer("spec.parameters.scope", "Cluster");
        }
    }),
    validate: Some(validate::ingress::ingress_class),
    validate_update: Some(validate::ingress::ingress_class_update),
    ..Strategy::PLAIN
};
