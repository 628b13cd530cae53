//! Ingresses and their classes.

use super::super::Strategy;
use super::super::json::Json;
use super::super::validate;
use super::SPEC_AND_STATUS;

pub const INGRESS: Strategy = Strategy {
    validate: Some(validate::ingress::ingress),
    validate_update: Some(|new, _| validate::ingress::ingress(new)),
    warnings: Some(validate::ingress::warnings),
    ..SPEC_AND_STATUS
};

pub const INGRESS_CLASS: Strategy = Strategy {
    has_generation: true,
    default: Some(|object| {
        if object.at("spec.parameters").is_object() {
            object.default_to("spec.parameters.scope", "Cluster");
        }
    }),
    validate: Some(validate::ingress::ingress_class),
    validate_update: Some(validate::ingress::ingress_class_update),
    ..Strategy::PLAIN
};
