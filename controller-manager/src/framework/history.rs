//! ControllerRevisions: the templates a DaemonSet or StatefulSet has had (upstream `pkg/controller/history`).

use std::sync::Arc;

use k8s_openapi::api::apps::v1::ControllerRevision;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::runtime::RawExtension;
use kube::ResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use super::meta::{controller_reference, short_hash};
use super::{ApiError, Kind, Object, claim};

/// What a revision stores: the template, as a patch that replaces it (`kubectl rollout undo` applies exactly this).
pub fn data_of(template: &impl Serialize) -> Value {
    let mut template = serde_json::to_value(template).expect("API types always serialise");
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The history of one owner: all its revisions, oldest first, and the one its present template has.
pub struct History {
    pub all: Vec<Arc<ControllerRevision>>,
    pub current: Arc<ControllerRevision>,
}

/// Finds the revision of the present template, or makes it; an old one that is used again becomes the newest.
///
/// # Errors
/// As the API server's refusals; a name taken by another template is an error until the collision count has grown.
pub async fn sync<O: Object>(
    kind: &Kind<ControllerRevision>,
    owner: &O,
    selector: &LabelSelector,
    template: &impl Serialize,
    label: &str,
    collisions: Option<i32>,
) -> Result<History, kube::Error> {
    let mut all = claim(kind, owner, selector).await?;
    all.sort_by_key(|revision| revision.revision);
    let data = data_of(template);
    let newest = all.last().map_or(0, |revision| revision.revision);
    if let Some(at) = all.iter().rposition(|revision| revision.data.as_ref().is_some_and(|known| known.0 == data)) {
        let known = all.remove(at);
        let mut wanted = (*known).clone();
        wanted.revision = if known.revision == newest { newest } else { newest + 1 };
        let current = kind.update(&known, &wanted).await?;
        all.push(current.clone());
        return Ok(History { all, current });
    }
    let hash = short_hash(&data, collisions);
    let mut labels = selector.match_labels.clone().unwrap_or_default();
    labels.insert(label.to_owned(), hash.clone());
    let revision = ControllerRevision {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", owner.name_any())),
            namespace: owner.namespace(),
            labels: Some(labels),
            annotations: owner.meta().annotations.clone(),
            owner_references: Some(vec![controller_reference(owner)]),
            ..ObjectMeta::default()
        },
        data: Some(RawExtension(data)),
        revision: newest + 1,
    };
    let current = kind.create(&revision).await?;
    all.push(current.clone());
    Ok(History { all, current })
}

/// The hash by which pods are labelled as being of this revision.
#[must_use]
pub fn hash_of(revision: &ControllerRevision) -> &str {
    let name = revision.metadata.name.as_deref().unwrap_or_default();
    name.rsplit_once('-').map_or(name, |(_, hash)| hash)
}

/// Deletes the oldest revisions beyond `limit` that no pod uses.
///
/// # Errors
/// As the API server's refusals.
pub async fn truncate(
    kind: &Kind<ControllerRevision>,
    history: &History,
    limit: i32,
    is_used: impl Fn(&ControllerRevision) -> bool,
) -> Result<(), kube::Error> {
    let unused: Vec<_> = history
        .all
        .iter()
        .filter(|revision| revision.metadata.uid != history.current.metadata.uid && !is_used(revision))
        .collect();
    let excess = unused.len().saturating_sub(usize::try_from(limit).unwrap_or(0));
    for revision in &unused[..excess] {
        match kind.delete(&revision.metadata, None).await {
            Err(error) if !error.is_not_found() => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
