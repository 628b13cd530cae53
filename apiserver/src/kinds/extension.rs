//! What extends the API itself: apiextensions.k8s.io and apiregistration.k8s.io.

use super::row::ONLY_STATUS;
use super::{Kind, columns, strategy};

pub const DEFINITIONS: &[Kind] = &[Kind {
    short_names: &["crd", "crds"],
    categories: &["api-extensions"],
    namespaced: false,
    subresources: ONLY_STATUS,
    registry: "apiextensions.k8s.io/customresourcedefinitions",
    columns: columns::ONLY_CREATED_AT,
    strategy: strategy::definition::DEFINITION,
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
    columns: columns::system::API_SERVICES,
    strategy: strategy::definition::API_SERVICE,
    ..Kind::new("apiregistration.k8s.io", &["v1"], "APIService", "apiservices", "apiservice")
}];
