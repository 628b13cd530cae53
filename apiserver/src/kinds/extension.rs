//! What extends the API itself: apiextensions.k8s.io and apiregistration.k8s.io.

use super::Kind;
use super::row::ONLY_STATUS;

pub const DEFINITIONS: &[Kind] = &[Kind {
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    subresources: ONLY_STATUS,
    registry: "apiextensions.k8s.io/customresourcedefinitions",
    ..Kind::new(
        "apiextensions.k8s.io",
        &["v1"],
        "CustomResourceDefinition",
        "customresourcedefinitions",
        "customresourcedefinition",
    )
}];

pub const REGISTRATION: &[Kind] = &[Kind {
    categories: &["api-extensions"],
    namespaced: false,
    subresources: ONLY_STATUS,
    registry: "apiregistration.k8s.io/apiservices",
    ..Kind::new("apiregistration.k8s.io", &["v1"], "APIService", "apiservices", "apiservice")
}];
