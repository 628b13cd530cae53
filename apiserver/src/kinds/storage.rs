//! The group storage.k8s.io.

use super::Kind;
use super::row::ONLY_STATUS;

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("storage.k8s.io", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind { namespaced: false, ..kind("CSIDriver", "csidrivers", "csidriver") },
    Kind { namespaced: false, ..kind("CSINode", "csinodes", "csinode") },
    kind("CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity"),
    Kind { short_names: &["sc"], namespaced: false, ..kind("StorageClass", "storageclasses", "storageclass") },
    Kind {
        namespaced: false,
        subresources: ONLY_STATUS,
        ..kind("VolumeAttachment", "volumeattachments", "volumeattachment")
    },
    Kind {
        short_names: &["vac"],
        namespaced: false,
        ..kind("VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass")
    },
];
