//! Which ReplicaSet is the current one, and what its annotations say (upstream `deployment_util.go`).

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};

use crate::framework::meta::{annotation, controller_reference, created, short_hash};

pub const REVISION: &str = "deployment.kubernetes.io/revision";
const HISTORY: &str = "deployment.kubernetes.io/revision-history";
pub const DESIRED: &str = "deployment.kubernetes.io/desired-replicas";
pub const MAXIMUM: &str = "deployment.kubernetes.io/max-replicas";
const HASH: &str = "pod-template-hash";
/// Annotations of a Deployment that its ReplicaSets do not inherit.
const NOT_INHERITED: [&str; 6] = [
    "kubectl.kubernetes.io/last-applied-configuration",
    "deprecated.deployment.rollback.revision",
    REVISION,
    HISTORY,
    DESIRED,
    MAXIMUM,
];
/// The longest revision history an annotation holds, in bytes.
const HISTORY_LIMIT: usize = 2000;

/// The template without the hash label, the form in which two of them compare.
fn bare(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(meta) = &mut template.metadata {
        if let Some(labels) = &mut meta.labels {
            labels.remove(HASH);
        }
        meta.labels = meta.labels.take().filter(|labels| !labels.is_empty());
        meta.annotations = meta.annotations.take().filter(|annotations| !annotations.is_empty());
        meta.creation_timestamp = None;
    }
    template
}

fn template_of(deployment: &Deployment) -> PodTemplateSpec {
    deployment.spec.as_ref().map(|spec| spec.template.clone()).unwrap_or_default()
}

/// The oldest ReplicaSet with the Deployment's template.
pub fn find_new(deployment: &Deployment, sets: &[Arc<ReplicaSet>]) -> Option<Arc<ReplicaSet>> {
    let wanted = bare(&template_of(deployment));
    sets.iter()
        .filter(|set| {
            set.spec.as_ref().and_then(|spec| spec.template.as_ref()).is_some_and(|template| bare(template) == wanted)
        })
        .min_by_key(|set| created(&set.metadata))
        .cloned()
}

pub fn revision_of(meta: &ObjectMeta) -> i64 {
    annotation(meta, REVISION).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The revision the current ReplicaSet must have: one above all others.
pub fn next_revision(old: &[Arc<ReplicaSet>]) -> i64 {
    old.iter().map(|set| revision_of(&set.metadata)).max().unwrap_or(0) + 1
}

/// What the ReplicaSet inherits from its Deployment.
fn inherited(deployment: &Deployment) -> impl Iterator<Item = (&String, &String)> {
    let annotations = deployment.metadata.annotations.iter().flatten();
    annotations.filter(|(name, _)| !NOT_INHERITED.contains(&name.as_str()))
}

/// Writes revision (with the history of those it had before, after a rollback) and the inherited annotations.
pub fn annotate(deployment: &Deployment, set: &mut ReplicaSet, revision: i64) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    for (name, value) in inherited(deployment) {
        annotations.insert(name.clone(), value.clone());
    }
    let before = annotations.get(REVISION).and_then(|text| text.parse::<i64>().ok());
    if before.is_some_and(|before| before >= revision) {
        return;
    }
    if let Some(before) = before {
        let history = annotations.get(HISTORY).map_or_else(String::new, |history| format!("{history},"));
        let mut history = format!("{history}{before}");
        while history.len() > HISTORY_LIMIT {
            history = history.split_once(',').map(|(_, rest)| rest.to_owned()).unwrap_or_default();
        }
        annotations.insert(HISTORY.into(), history);
    }
    annotations.insert(REVISION.into(), revision.to_string());
}

/// Writes the size of the whole, from which proportional scaling later computes each part.
pub fn annotate_size(set: &mut ReplicaSet, desired: i32, maximum: i32) {
    let annotations = set.metadata.annotations.get_or_insert_default();
    annotations.insert(DESIRED.into(), desired.to_string());
    annotations.insert(MAXIMUM.into(), maximum.to_string());
}

/// A ReplicaSet for the Deployment's template, without a size yet.
pub fn new_set(deployment: &Deployment) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count);
    let hash = short_hash(&bare(&spec.template), collisions);
    let mut template = spec.template;
    let labels = template.metadata.get_or_insert_default().labels.get_or_insert_default();
    labels.insert(HASH.into(), hash.clone());
    let labels: BTreeMap<_, _> = labels.clone();
    let mut selector: LabelSelector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH.into(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.metadata.name.as_deref().unwrap_or_default())),
            namespace: deployment.metadata.namespace.clone(),
            labels: Some(labels),
            owner_references: Some(vec![controller_reference(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(0),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}
