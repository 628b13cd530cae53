//! Groups that say how the cluster is run: policy, certificates.k8s.io, scheduling.k8s.io, coordination.k8s.io, node.k8s.io
//! and flowcontrol.apiserver.k8s.io.

use super::Kind;
use super::row::{GET_PATCH_UPDATE, ONLY_STATUS, STATUS, same};

pub const KINDS: &[Kind] = &[Kind {
    short_names: &["pdb"],
    subresources: ONLY_STATUS,
    ..Kind::new("policy", &["v1"], "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
}];

pub const CERTIFICATES: &[Kind] = &[Kind {
    short_names: &["csr"],
    namespaced: false,
    subresources: &[same("approval", GET_PATCH_UPDATE), STATUS],
    ..Kind::new(
        "certificates.k8s.io",
        &["v1"],
        "CertificateSigningRequest",
        "certificatesigningrequests",
        "certificatesigningrequest",
    )
}];

pub const SCHEDULING: &[Kind] = &[
    Kind {
        short_names: &["pc"],
        namespaced: false,
        ..Kind::new("scheduling.k8s.io", &["v1"], "PriorityClass", "priorityclasses", "priorityclass")
    },
    Kind::new("coordination.k8s.io", &["v1"], "Lease", "leases", "lease"),
    Kind { namespaced: false, ..Kind::new("node.k8s.io", &["v1"], "RuntimeClass", "runtimeclasses", "runtimeclass") },
    Kind {
        namespaced: false,
        subresources: ONLY_STATUS,
        ..Kind::new("flowcontrol.apiserver.k8s.io", &["v1"], "FlowSchema", "flowschemas", "flowschema")
    },
    Kind {
        namespaced: false,
        subresources: ONLY_STATUS,
        ..Kind::new(
            "flowcontrol.apiserver.k8s.io",
            &["v1"],
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            "prioritylevelconfiguration",
        )
    },
];
