//! In which order upstream asks the rules of an update, some of them twice: first those every kind has
//! (`registry/rest/update.go`, `validateCommonFields`), then the kind's own (its strategy's `ValidateUpdate`, of which most begin
//! with the metadata again). Errors are told in that order, and as often.

/// Rules that are asked together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rules {
    /// What metadata must be by itself.
    Meta,
    /// What an update may not change of it.
    MetaChange,
    /// What the object must be by itself.
    Own,
    /// What an update may not change of it.
    Change,
}

use Rules::{Change, Meta, MetaChange, Own};

/// The usual order of a kind's own.
const USUAL: &[Rules] = &[MetaChange, Own, Change];

/// Group, plural (`*`: all of the group) and order of those that have another.
const OTHERS: &[(&str, &str, &[Rules])] = &[
    ("", "configmaps", &[MetaChange, Change, Meta, Own]),
    ("", "endpoints", &[MetaChange, Meta, Own, Change]),
    ("", "limitranges", &[Meta, Own, Change]),
    ("", "namespaces", &[Meta, Own, MetaChange, Change]),
    ("", "nodes", &[Meta, Own, MetaChange, Change]),
    ("", "persistentvolumeclaims", &[MetaChange, Meta, Own, Change]),
    ("", "persistentvolumes", &[Meta, Own, Meta, Own, Change]),
    ("", "pods", &[MetaChange, Meta, Own, Change]),
    ("", "secrets", &[MetaChange, Change, Meta, Own]),
    ("", "serviceaccounts", &[MetaChange, Meta, Own, Change]),
    ("", "services", &[MetaChange, Change, Own]),
    ("admissionregistration.k8s.io", "*", &[Meta, Own, Change]),
    ("apiregistration.k8s.io", "*", &[MetaChange, Meta, Own, Change]),
    ("apps", "controllerrevisions", &[MetaChange, Meta, Own, Change]),
    ("apps", "daemonsets", &[MetaChange, Change, Own]),
    ("batch", "jobs", &[Meta, Own, MetaChange, Change]),
    ("certificates.k8s.io", "certificatesigningrequests", &[Meta, Own, Change, MetaChange]),
    ("discovery.k8s.io", "*", &[Meta, Own, Change]),
    ("flowcontrol.apiserver.k8s.io", "*", &[Meta, Own, Change]),
    ("networking.k8s.io", "ingressclasses", &[MetaChange, Change, Meta, Own]),
    ("networking.k8s.io", "ingresses", &[MetaChange, Meta, Own, Change]),
    ("networking.k8s.io", "ipaddresses", &[Meta, Own, MetaChange, Change]),
    ("networking.k8s.io", "servicecidrs", &[MetaChange, Change, Own]),
    ("node.k8s.io", "*", &[Meta, Own, MetaChange, Change]),
    ("policy", "*", &[Own, Change]),
    ("rbac.authorization.k8s.io", "*", &[Meta, Own, MetaChange, Change]),
    ("resource.k8s.io", "deviceclasses", &[Meta, MetaChange, Own, Change]),
    ("resource.k8s.io", "resourceclaims", &[Meta, MetaChange, Change]),
    ("resource.k8s.io", "resourceclaimtemplates", &[Meta, Own, MetaChange, Change]),
    ("scheduling.k8s.io", "*", &[MetaChange, Change]),
    ("storage.k8s.io", "csinodes", &[Meta, Own, Change]),
    ("storage.k8s.io", "csistoragecapacities", &[Meta, Own, MetaChange, Change]),
    ("storage.k8s.io", "storageclasses", &[Meta, Own, MetaChange, Change]),
    ("storage.k8s.io", "volumeattachments", &[Meta, Own, Change]),
    ("storage.k8s.io", "volumeattributesclasses", &[MetaChange, Change, Meta, Own]),
];

/// Those of which a subresource is judged as the whole object is.
const WHOLE: &[(&str, &str)] = &[("certificates.k8s.io", "certificatesigningrequests")];

/// Whether what makes a new object of the kind wrong is not asked of its metadata, which is looked at when nothing else is.
#[must_use]
pub fn metadata_last(group: &str, plural: &str) -> bool {
    group == "policy" || (group, plural) == ("", "events")
}

/// The order of a kind's own rules. Those of a subresource are mostly asked as usual, but that who writes the status of a
/// built-in object is not asked about its spec.
#[must_use]
pub fn own(group: &str, plural: &str, subresource: &str, custom: bool) -> &'static [Rules] {
    let whole = subresource.is_empty() || WHOLE.contains(&(group, plural));
    if subresource == "status" && !custom && !whole {
        return &[MetaChange, Change];
    }
    let fits = |of: &&(&str, &str, &'static [Rules])| of.0 == group && (of.1 == plural || of.1 == "*");
    OTHERS.iter().find(fits).filter(|_| whole).map_or(USUAL, |of| of.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_the_table_is_one() {
        for (group, plural, rules) in OTHERS {
            let known = super::super::all()
                .iter()
                .any(|kind| kind.group == *group && (kind.plural == *plural || *plural == "*"));
            assert!(known, "{group} {plural}");
            assert!(*rules != USUAL, "{group} {plural} is as usual");
        }
        assert_eq!(own("apps", "deployments", "", false), USUAL);
        assert_eq!(own("batch", "jobs", "status", false), [MetaChange, Change]);
        assert_eq!(own("certificates.k8s.io", "certificatesigningrequests", "status", false)[1], Own);
        assert_eq!(own("example.io", "foos", "status", true), USUAL);
        assert_eq!(own("scheduling.k8s.io", "priorityclasses", "", false), [MetaChange, Change]);
    }
}
