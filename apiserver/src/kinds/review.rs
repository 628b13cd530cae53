//! Questions put to the server: authentication.k8s.io and authorization.k8s.io. They are created, answered, and never stored.

use super::Kind;
use super::row::CREATE;

const fn kind(group: &'static str, kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind { namespaced: false, verbs: CREATE, registry: "", ..Kind::new(group, &["v1"], kind, plural, singular) }
}

const AUTHN: &str = "authentication.k8s.io";
const AUTHZ: &str = "authorization.k8s.io";

pub const KINDS: &[Kind] = &[
    kind(AUTHN, "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview"),
    kind(AUTHN, "TokenReview", "tokenreviews", "tokenreview"),
    Kind {
        namespaced: true,
        ..kind(AUTHZ, "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview")
    },
    kind(AUTHZ, "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview"),
    kind(AUTHZ, "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview"),
    kind(AUTHZ, "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview"),
];
