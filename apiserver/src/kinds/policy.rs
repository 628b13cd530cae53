//! Groups that say how the cluster is run: policy, certificates.k8s.io, scheduling.k8s.io, coordination.k8s.io, node.k8s.io
//! and flowcontrol.apiserver.k8s.io.

use super::json::Json;
use super::row::{GET_PATCH_UPDATE, ONLY_STATUS, STATUS, same};
use super::{Kind, columns, strategy};

pub const KINDS: &[Kind] = &[Kind {
    short_names: &["pdb"],
    subresources: ONLY_STATUS,
    columns: columns::policy::DISRUPTION_BUDGETS,
    strategy: strategy::policy::DISRUPTION_BUDGET,
    ..Kind::new("policy", &["v1"], "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget")
}];

pub const CERTIFICATES: &[Kind] = &[Kind {
    short_names: &["csr"],
    namespaced: false,
    subresources: &[same("approval", GET_PATCH_UPDATE), STATUS],
    columns: columns::policy::SIGNING_REQUESTS,
    strategy: strategy::policy::SIGNING_REQUEST,
    fields: &[("spec.signerName", |o| o.text("spec.signerName").to_owned())],
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
        columns: columns::policy::PRIORITY_CLASSES,
        strategy: strategy::policy::PRIORITY_CLASS,
        ..Kind::new("scheduling.k8s.io", &["v1"], "PriorityClass", "priorityclasses", "priorityclass")
    },
    Kind {
        columns: columns::policy::LEASES,
        strategy: strategy::policy::LEASE,
        ..Kind::new("coordination.k8s.io", &["v1"], "Lease", "leases", "lease")
    },
    Kind {
        namespaced: false,
        columns: columns::policy::RUNTIME_CLASSES,
        strategy: strategy::policy::RUNTIME_CLASS,
        ..Kind::new("node.k8s.io", &["v1"], "RuntimeClass", "runtimeclasses", "runtimeclass")
    },
];

pub const FLOW_CONTROL: &[Kind] = &[
    Kind {
        namespaced: false,
        subresources: ONLY_STATUS,
        columns: columns::system::FLOW_SCHEMAS,
        strategy: strategy::policy::FLOW_SCHEMA,
        ..Kind::new("flowcontrol.apiserver.k8s.io", &["v1"], "FlowSchema", "flowschemas", "flowschema")
    },
    Kind {
        namespaced: false,
        subresources: ONLY_STATUS,
        columns: columns::system::PRIORITY_LEVELS,
        strategy: strategy::policy::PRIORITY_LEVEL,
        ..Kind::new(
            "flowcontrol.apiserver.k8s.io",
            &["v1"],
            "PriorityLevelConfiguration",
            "prioritylevelconfigurations",
            "prioritylevelconfiguration",
        )
    },
];
