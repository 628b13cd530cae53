//! The group resource.k8s.io: dynamic resource allocation.

use super::Kind;
use super::row::ONLY_STATUS;

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("resource.k8s.io", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind { namespaced: false, ..kind("DeviceClass", "deviceclasses", "deviceclass") },
    Kind { subresources: ONLY_STATUS, ..kind("ResourceClaim", "resourceclaims", "resourceclaim") },
    kind("ResourceClaimTemplate", "resourceclaimtemplates", "resourceclaimtemplate"),
    Kind { namespaced: false, ..kind("ResourceSlice", "resourceslices", "resourceslice") },
];
