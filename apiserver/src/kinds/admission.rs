//! The group admissionregistration.k8s.io.

use super::row::ONLY_STATUS;
use super::{Kind, columns, strategy};

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind {
        categories: &["api-extensions"],
        namespaced: false,
        ..Kind::new("admissionregistration.k8s.io", &["v1"], kind, plural, singular)
    }
}

pub const KINDS: &[Kind] = &[
    Kind {
        columns: columns::system::WEBHOOKS,
        strategy: strategy::webhook::MUTATING,
        ..kind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration")
    },
    Kind {
        subresources: ONLY_STATUS,
        columns: columns::system::ADMISSION_POLICIES,
        strategy: strategy::webhook::POLICY,
        ..kind("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "validatingadmissionpolicy")
    },
    Kind {
        columns: columns::system::ADMISSION_BINDINGS,
        strategy: strategy::webhook::POLICY_BINDING,
        ..kind(
            "ValidatingAdmissionPolicyBinding",
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicybinding",
        )
    },
    Kind {
        columns: columns::system::WEBHOOKS,
        strategy: strategy::webhook::WEBHOOKS,
        ..kind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validatingwebhookconfiguration")
    },
    Kind {
        versions: &["v1beta1"],
        storage_version: "v1beta1",
        columns: columns::system::MUTATING_POLICIES,
        strategy: strategy::webhook::MUTATING_POLICY,
        ..kind("MutatingAdmissionPolicy", "mutatingadmissionpolicies", "mutatingadmissionpolicy")
    },
    Kind {
        versions: &["v1beta1"],
        storage_version: "v1beta1",
        columns: columns::system::ADMISSION_BINDINGS,
        strategy: strategy::webhook::MUTATING_POLICY_BINDING,
        ..kind("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", "mutatingadmissionpolicybinding")
    },
];
