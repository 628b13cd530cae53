//! The names of resources (`validateResourceName` and its kin): what Kubernetes itself counts, or something with a domain.

pub use quota::is_native;
use schema::field::{Error, ErrorList, Path};
use schema::names;

use super::named;

/// Before the size of large pages.
pub const PAGES: &str = "hugepages-";

/// What containers may ask for, which anything else may be counted by, too.
const OF_CONTAINERS: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What there is besides.
const COUNTED: [&str; 17] = [
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "pods",
    "resourcequotas",
    "services",
    "replicationcontrollers",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
    "storage",
    "requests.storage",
    "services.nodeports",
    "services.loadbalancers",
];

/// Of anything.
pub fn any(errors: &mut ErrorList, path: &Path, name: &str) {
    let before = errors.len();
    named(errors, path, name, names::qualified_name);
    let known = OF_CONTAINERS.contains(&name)
        || COUNTED.contains(&name)
        || name.starts_with(PAGES)
        || name.strip_prefix("requests.").is_some_and(|rest| rest.starts_with(PAGES));
    if errors.len() == before && !name.contains('/') && !known {
        errors.push(Error::invalid(path, name, "must be a standard resource type or fully qualified"));
    }
}

/// One that somebody else than Kubernetes counts, and that a quota could name.
#[must_use]
pub fn is_extended(name: &str) -> bool {
    !is_native(name) && !name.starts_with("requests.") && names::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Of what a container asks for.
pub fn of_container(errors: &mut ErrorList, path: &Path, name: &str) {
    any(errors, path, name);
    if !name.contains('/') {
        if !OF_CONTAINERS.contains(&name) && !name.starts_with(PAGES) {
            errors.push(Error::invalid(path, name, "must be a standard resource for containers"));
        }
    } else if !is_native(name) && !is_extended(name) {
        errors.push(Error::invalid(path, name, "doesn't follow extended resource name standard"));
    }
}

/// Of what a pod as a whole asks for.
pub fn of_pod(errors: &mut ErrorList, path: &Path, name: &str) {
    let before = errors.len();
    any(errors, path, name);
    if errors.len() == before && !matches!(name, "cpu" | "memory") && !name.starts_with(PAGES) {
        errors.push(Error::not_supported(path, name, &["cpu", PAGES, "memory"]));
    }
}

#[cfg(test)]
mod tests {
    use super::super::texts;
    use super::*;

    #[test]
    fn who_knows_which() {
        type Rule = fn(&mut ErrorList, &Path, &str);
        let (standard, container) =
            ("must be a standard resource type or fully qualified", "must be a standard resource for containers");
        for (rule, name, wrong) in [
            (any as Rule, "pods", vec![]),
            (any, "requests.hugepages-2Mi", vec![]),
            (any, "zz", vec![standard]),
            (of_container, "hugepages-2Mi", vec![]),
            (of_container, "a.b/c", vec![]),
            (of_container, "pods", vec![container]),
            (of_container, "zz", vec![standard, container]),
            (of_container, "requests.a.b/c", vec!["doesn't follow extended resource name standard"]),
        ] {
            let mut errors = ErrorList::new();
            rule(&mut errors, &Path::new("x"), name);
            let expected: Vec<String> =
                wrong.into_iter().map(|wrong| format!("x: Invalid value: {name:?}: {wrong}")).collect();
            assert_eq!(texts(&errors), expected);
        }
    }
}
