//! The group admissionregistration.k8s.io.

use super::Kind;
use super::row::ONLY_STATUS;

const fn kind(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind {
        categories: &["api-extensions"],
        namespaced: false,
        ..Kind::new("admissionregistration.k8s.io", &["v1"], kind, plural, singular)
    }
}

pub const KINDS: &[Kind] = &[
    kind("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "mutatingwebhookconfiguration"),
    Kind {
        subresources: ONLY_STATUS,
        ..kind("ValidatingAdmissionPolicy", "validatingadmissionpolicies", "validatingadmissionpolicy")
    },
    kind("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "validatingadmissionpolicybinding"),
    kind("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "validatingwebhookconfiguration"),
];
