//! The group storage.k8s.io.

use super::row::ONLY_STATUS;
use super::{Kind, columns, strategy};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind::new("storage.k8s.io", &["v1"], kind, plural, singular)
}

pub const KINDS: &[Kind] = &[
    Kind {
        namespaced: false,
        columns: columns::storage::DRIVERS,
        strategy: strategy::storage::CSI_DRIVER,
        ..kind("CSIDriver", "csidrivers", "csidriver")
    },
    Kind {
        namespaced: false,
        columns: columns::storage::CSI_NODES,
        strategy: strategy::storage::CSI_NODE,
        ..kind("CSINode", "csinodes", "csinode")
    },
    Kind {
        columns: columns::ONLY_CREATED_AT,
        strategy: strategy::storage::CAPACITY,
        ..kind("CSIStorageCapacity", "csistoragecapacities", "csistoragecapacity")
    },
    Kind {
        short_names: &["sc"],
        namespaced: false,
        columns: columns::storage::CLASSES,
        strategy: strategy::storage::STORAGE_CLASS,
        ..kind("StorageClass", "storageclasses", "storageclass")
    },
    Kind {
        namespaced: false,
        subresources: ONLY_STATUS,
        columns: columns::storage::ATTACHMENTS,
        strategy: strategy::storage::ATTACHMENT,
        ..kind("VolumeAttachment", "volumeattachments", "volumeattachment")
    },
    Kind {
        short_names: &["vac"],
        namespaced: false,
        columns: columns::storage::ATTRIBUTES_CLASSES,
        strategy: strategy::storage::ATTRIBUTES_CLASS,
        ..kind("VolumeAttributesClass", "volumeattributesclasses", "volumeattributesclass")
    },
];
