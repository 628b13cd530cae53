//! Which admission plugins may be switched (`kubeapiserver/options/plugins.go`).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plugin {
    /// It runs unless it is switched off.
    On,
    /// It always runs.
    Always,
    /// It runs where it is switched on.
    Off,
    /// There is none here, and it would do nothing either.
    Idle,
    /// There is none here.
    Missing,
}

use Plugin::{Always, Idle, Missing, Off, On};

const PLUGINS: &[(&str, Plugin)] = &[
    ("AlwaysAdmit", Idle),
    ("AlwaysDeny", Missing),
    ("AlwaysPullImages", Missing),
    ("CertificateApproval", Always),
    ("CertificateSigning", Always),
    ("CertificateSubjectRestriction", Always),
    ("ClusterTrustBundleAttest", Always),
    ("DefaultIngressClass", On),
    ("DefaultStorageClass", On),
    ("DefaultTolerationSeconds", On),
    ("DenyServiceExternalIPs", Off),
    ("EventRateLimit", Off),
    ("ExtendedResourceToleration", Missing),
    ("ImagePolicyWebhook", Off),
    ("LimitPodHardAntiAffinityTopology", Missing),
    ("LimitRanger", On),
    ("MutatingAdmissionPolicy", On),
    ("MutatingAdmissionWebhook", On),
    ("NamespaceAutoProvision", Missing),
    ("NamespaceExists", Missing),
    ("NamespaceLifecycle", On),
    // Upstream's is off, and kubeadm switches it on.
    ("NodeRestriction", On),
    ("OwnerReferencesPermissionEnforcement", Off),
    ("PersistentVolumeClaimResize", On),
    ("PodNodeSelector", Missing),
    ("PodSecurity", On),
    ("PodTolerationRestriction", Missing),
    ("PodTopologyLabels", On),
    ("Priority", On),
    ("ResourceQuota", On),
    ("RuntimeClass", On),
    ("ServiceAccount", On),
    ("StorageObjectInUseProtection", On),
    ("TaintNodesByCondition", On),
    ("ValidatingAdmissionPolicy", On),
    ("ValidatingAdmissionWebhook", On),
];

fn find(flag: &str, name: &str) -> Result<Plugin, String> {
    let found = PLUGINS.iter().find(|(known, _)| *known == name);
    found.map(|(_, plugin)| *plugin).ok_or_else(|| format!("{flag} plugin {name:?} is unknown"))
}

/// A name of `--enable-admission-plugins`.
///
/// # Errors
/// There is no such plugin.
pub fn enable(name: &str) -> Result<String, String> {
    match find("enable-admission-plugins", name.trim())? {
        Missing => Err(format!("the admission plugin {name} is not supported")),
        On | Always | Off | Idle => Ok(name.trim().to_owned()),
    }
}

/// A name of `--disable-admission-plugins`.
///
/// # Errors
/// There is no such plugin, or it always runs.
pub fn disable(name: &str) -> Result<String, String> {
    match find("disable-admission-plugins", name.trim())? {
        Always => Err(format!("the admission plugin {name} cannot be disabled")),
        On | Off | Idle | Missing => Ok(name.trim().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (name, enabled, disabled) in [
            ("NodeRestriction", "", ""),
            ("ServiceAccount", "", ""),
            ("EventRateLimit", "", ""),
            ("AlwaysPullImages", "the admission plugin AlwaysPullImages is not supported", ""),
            ("CertificateApproval", "", "the admission plugin CertificateApproval cannot be disabled"),
            (
                "Nope",
                "enable-admission-plugins plugin \"Nope\" is unknown",
                "disable-admission-plugins plugin \"Nope\" is unknown",
            ),
        ] {
            assert_eq!(enable(name).err().unwrap_or_default(), enabled);
            assert_eq!(disable(name).err().unwrap_or_default(), disabled);
        }
        assert!(PLUGINS.is_sorted_by_key(|(name, _)| *name));
    }
}
