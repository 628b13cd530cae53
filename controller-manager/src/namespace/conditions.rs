//! What `kubectl describe namespace` says about one that does not go away.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NamespaceCondition, NamespaceStatus};
use k8s_openapi::jiff::Timestamp;

use crate::framework::meta::to_seconds;

#[derive(Debug, Default)]
pub struct Remains {
    /// Group versions that could not be discovered, and why.
    pub discovery_failures: Vec<(String, String)>,
    /// Deletions that were refused.
    pub failures: Vec<String>,
    /// By kind, the finalizers of each object left.
    pub content: Vec<(String, Vec<Vec<String>>)>,
}

/// Writes all conditions; one that says the same already keeps its time.
pub fn write(status: &mut NamespaceStatus, remains: &Remains, now: Timestamp) {
    let discovery = remains.discovery_failures.iter().map(|(name, error)| format!("{name}: {error}")).collect();
    set(
        status,
        now,
        "NamespaceDeletionDiscoveryFailure",
        discovery,
        [
            "DiscoveryFailed",
            "Discovery failed for some groups, ",
            "ResourcesDiscovered",
            "All resources successfully discovered",
        ],
    );
    set(
        status,
        now,
        "NamespaceDeletionGroupVersionParsingFailure",
        Vec::new(),
        ["GroupVersionParsingFailed", "", "ParsedGroupVersions", "All legacy kube types successfully parsed"],
    );
    set(
        status,
        now,
        "NamespaceDeletionContentFailure",
        remains.failures.clone(),
        [
            "ContentDeletionFailed",
            "Failed to delete all resource types, ",
            "ContentDeleted",
            "All content successfully deleted, may be waiting on finalization",
        ],
    );
    let mut content: Vec<_> = remains
        .content
        .iter()
        .map(|(kind, objects)| format!("{kind} has {} resource instances", objects.len()))
        .collect();
    content.sort();
    set(
        status,
        now,
        "NamespaceContentRemaining",
        content,
        ["SomeResourcesRemain", "Some resources are remaining: ", "ContentRemoved", "All content successfully removed"],
    );
    let mut finalizers: BTreeMap<&str, usize> = BTreeMap::new();
    for finalizer in remains.content.iter().flat_map(|(_, objects)| objects.iter().flatten()) {
        *finalizers.entry(finalizer).or_default() += 1;
    }
    let finalizers = finalizers.into_iter().map(|(name, count)| format!("{name} in {count} resource instances"));
    set(
        status,
        now,
        "NamespaceFinalizersRemaining",
        finalizers.collect(),
        [
            "SomeFinalizersRemain",
            "Some content in the namespace has finalizers remaining: ",
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished",
        ],
    );
}

/// `texts`: reason and message's beginning when there are problems, reason and message when there are none.
fn set(status: &mut NamespaceStatus, now: Timestamp, kind: &str, problems: Vec<String>, texts: [&str; 4]) {
    let (value, reason, message) = if problems.is_empty() {
        ("False", texts[2], texts[3].to_owned())
    } else {
        ("True", texts[0], format!("{}{}", texts[1], problems.join(", ")))
    };
    let conditions = status.conditions.get_or_insert_default();
    let known = conditions.iter().position(|condition| condition.type_ == kind);
    let since = known
        .map(|at| &conditions[at])
        .filter(|known| known.status == value)
        .and_then(|known| known.last_transition_time.clone())
        .unwrap_or_else(|| to_seconds(now));
    let condition = NamespaceCondition {
        type_: kind.into(),
        status: value.into(),
        reason: Some(reason.into()),
        message: Some(message),
        last_transition_time: Some(since),
    };
    match known {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_remains() {
        let mut status = NamespaceStatus::default();
        let remains =
            Remains { content: vec![("pods".into(), vec![vec![], vec!["a/b".into()]])], ..Remains::default() };
        write(&mut status, &remains, Timestamp::UNIX_EPOCH);
        let message = |status: &NamespaceStatus, kind: &str| {
            let conditions = status.conditions.as_ref().unwrap();
            conditions.iter().find(|condition| condition.type_ == kind).unwrap().message.clone().unwrap()
        };
        assert_eq!(
            message(&status, "NamespaceContentRemaining"),
            "Some resources are remaining: pods has 2 resource instances"
        );
        assert_eq!(
            message(&status, "NamespaceFinalizersRemaining"),
            "Some content in the namespace has finalizers remaining: a/b in 1 resource instances"
        );
        let before = status.clone();
        write(&mut status, &remains, Timestamp::from_second(99).unwrap());
        assert_eq!(status, before);
        assert_eq!(status.conditions.unwrap().len(), 5);
    }
}
