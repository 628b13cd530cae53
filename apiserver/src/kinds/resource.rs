//! The group resource.k8s.io: dynamic resource allocation.

use super::json::Json;
use super::row::ONLY_STATUS;
use super::{Kind, SelectableField, columns, strategy};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("resource.k8s.io", &["v1"], kind, plural, singular)
}

const SLICE_FIELDS: &[SelectableField] =
    &[("spec.nodeName", |o| o.text("spec.nodeName").to_owned()), ("spec.driver", |o| o.text("spec.driver").to_owned())];

pub const KINDS: &[Kind] = &[
    Kind {
        namespaced: false,
        columns: columns::ONLY_AGE,
        strategy: strategy::resource::CLASS,
        ..kind("DeviceClass", "deviceclasses", "deviceclass")
    },
    Kind {
        subresources: ONLY_STATUS,
        columns: columns::storage::RESOURCE_CLAIMS,
        strategy: strategy::resource::CLAIM,
        ..kind("ResourceClaim", "resourceclaims", "resourceclaim")
    },
    Kind {
        columns: columns::ONLY_AGE,
        strategy: strategy::resource::TEMPLATE,
        ..kind("ResourceClaimTemplate", "resourceclaimtemplates", "resourceclaimtemplate")
    },
    Kind {
        namespaced: false,
        columns: columns::storage::RESOURCE_SLICES,
        strategy: strategy::resource::SLICE,
        fields: SLICE_FIELDS,
        ..kind("ResourceSlice", "resourceslices", "resourceslice")
    },
];
