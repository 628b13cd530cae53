//! Which Ingresses are ours (networking.k8s.io/v1 IngressClass, and the older annotation).

use k8s_openapi::api::networking::v1::{Ingress, IngressClass};
use kube::ResourceExt;

use crate::index::Index;

/// `spec.controller` of the classes we serve.
pub const CONTROLLER: &str = "k8s.io/ingress-nginx";
/// What the older annotation must say.
const LEGACY_CLASS: &str = "nginx";
const LEGACY_ANNOTATION: &str = "kubernetes.io/ingress.class";
const DEFAULT_ANNOTATION: &str = "ingressclass.kubernetes.io/is-default-class";

/// Whether this controller serves `ingress`. The annotation wins over the field, as upstream has it; with neither, the
/// Ingress is ours when one of our classes is the cluster's default, or when `without_class` says to take all such.
pub fn is_ours(ingress: &Ingress, index: &Index, without_class: bool) -> bool {
    if let Some(annotation) = ingress.annotations().get(LEGACY_ANNOTATION) {
        return annotation == LEGACY_CLASS || names_ours(annotation, index);
    }
    match ingress.spec.as_ref().and_then(|spec| spec.ingress_class_name.as_deref()) {
        Some(name) => names_ours(name, index),
        None => without_class || index.classes().any(|class| serves(class) && is_default(class)),
    }
}

fn names_ours(name: &str, index: &Index) -> bool {
    index.class(name).is_some_and(serves)
}

fn serves(class: &IngressClass) -> bool {
    class.spec.as_ref().and_then(|spec| spec.controller.as_deref()) == Some(CONTROLLER)
}

fn is_default(class: &IngressClass) -> bool {
    class.annotations().get(DEFAULT_ANNOTATION).is_some_and(|value| value == "true")
}
