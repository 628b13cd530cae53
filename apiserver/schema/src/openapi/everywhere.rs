//! The kinds that every group version has, and the group versions that a document says so of.

use serde_json::Value;

use super::group_version_kind;

const EVERYWHERE: [&str; 2] = ["DeleteOptions", "WatchEvent"];
const PACKAGE: &str = "apimachinery.pkg.apis.meta.v1.";

/// Whose kinds a document tells of.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scope {
    /// Those of one group and version.
    Own(String, String),
    /// Those that clients know: documents of custom resources.
    Clients,
    /// Those that the server knows.
    Server,
}

/// All group versions of v1.35, and whether clients know them: some are served without types for them, and some are only spoken
/// to webhooks.
const GROUP_VERSIONS: &[(&str, &[&str], bool)] = &[
    ("admission.k8s.io", &["v1", "v1beta1"], false),
    ("admissionregistration.k8s.io", &["v1", "v1alpha1", "v1beta1"], true),
    ("apiextensions.k8s.io", &["v1", "v1beta1"], false),
    ("apiregistration.k8s.io", &["v1", "v1beta1"], false),
    ("apps", &["v1", "v1beta1", "v1beta2"], true),
    ("authentication.k8s.io", &["v1", "v1alpha1", "v1beta1"], true),
    ("authorization.k8s.io", &["v1", "v1beta1"], true),
    ("autoscaling", &["v1", "v2", "v2beta1", "v2beta2"], true),
    ("batch", &["v1", "v1beta1"], true),
    ("certificates.k8s.io", &["v1", "v1alpha1", "v1beta1"], true),
    ("coordination.k8s.io", &["v1", "v1alpha2", "v1beta1"], true),
    ("discovery.k8s.io", &["v1", "v1beta1"], true),
    ("events.k8s.io", &["v1", "v1beta1"], true),
    ("extensions", &["v1beta1"], true),
    ("flowcontrol.apiserver.k8s.io", &["v1", "v1beta1", "v1beta2", "v1beta3"], true),
    ("imagepolicy.k8s.io", &["v1alpha1"], false),
    ("internal.apiserver.k8s.io", &["v1alpha1"], true),
    ("networking.k8s.io", &["v1", "v1beta1"], true),
    ("node.k8s.io", &["v1", "v1alpha1", "v1beta1"], true),
    ("policy", &["v1", "v1beta1"], true),
    ("rbac.authorization.k8s.io", &["v1", "v1alpha1", "v1beta1"], true),
    ("resource.k8s.io", &["v1", "v1alpha3", "v1beta1", "v1beta2"], true),
    ("scheduling.k8s.io", &["v1", "v1alpha1", "v1beta1"], true),
    ("storage.k8s.io", &["v1", "v1alpha1", "v1beta1"], true),
    ("storagemigration.k8s.io", &["v1beta1"], true),
];

/// The group versions of a type that is a kind in all of them.
pub(super) fn kinds(ty: &str, scope: &Scope) -> Option<Value> {
    let kind = ty.strip_prefix(PACKAGE).filter(|kind| EVERYWHERE.contains(kind))?;
    let mut all = vec![("", "v1")];
    match scope {
        Scope::Own(group, _) if group.is_empty() => {}
        Scope::Own(group, version) => all.push((group, version)),
        Scope::Clients | Scope::Server => {
            let told = GROUP_VERSIONS.iter().filter(|(.., clients)| *clients || *scope == Scope::Server);
            all.extend(told.flat_map(|(group, versions, _)| versions.iter().map(|version| (*group, *version))));
        }
    }
    Some(all.into_iter().map(|(group, version)| group_version_kind(group, version, kind)).collect())
}
