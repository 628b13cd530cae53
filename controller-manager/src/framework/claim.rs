//! Adoption and release: which objects a controller may call its own (upstream's `controller_ref_manager`).
//!
//! Ours are those that name us as their controller *and* match the selector. A match without a controller is adopted, one
//! of ours that no longer matches is released. An owner or an object being deleted is left as it is. That the owner is
//! not being deleted is as fresh here as in the garbage collector, for both read the same cache.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde_json::json;

use super::meta::{controller_of, controller_reference, is_deleting, key_of, selects};
use super::{ApiError, Kind, Object, Queue};

#[derive(Debug, PartialEq, Eq)]
enum Claim {
    Ours,
    Adopt,
    Release,
    Ignore,
}

fn judge(owner: &ObjectMeta, object: &ObjectMeta, selector: &LabelSelector) -> Claim {
    let matches = selects(Some(selector), object.labels.as_ref());
    match controller_of(object) {
        Some(controller) if Some(&controller.uid) != owner.uid.as_ref() => Claim::Ignore,
        Some(_) if matches => Claim::Ours,
        Some(_) if is_deleting(owner) || is_deleting(object) => Claim::Ignore,
        Some(_) => Claim::Release,
        None if !matches || is_deleting(owner) || is_deleting(object) => Claim::Ignore,
        None => Claim::Adopt,
    }
}

/// The objects of `kind` that belong to `owner`, after adopting and releasing.
///
/// # Errors
/// When an adoption or a release is refused for another reason than that the object is gone.
pub async fn claim<O: Object, K: Object>(
    kind: &Kind<K>,
    owner: &O,
    selector: &LabelSelector,
) -> Result<Vec<Arc<K>>, kube::Error> {
    let meta = owner.meta();
    let mut ours = Vec::new();
    let mut candidates = kind.controlled_by(meta.uid.as_deref().unwrap_or_default());
    candidates.extend(kind.orphans_in(meta.namespace.as_deref().unwrap_or_default()));
    for object in candidates {
        let mut references = object.meta().owner_references.clone().unwrap_or_default();
        match judge(meta, object.meta(), selector) {
            Claim::Ignore => continue,
            Claim::Ours => {
                ours.push(object);
                continue;
            }
            Claim::Adopt => references.push(controller_reference(owner)),
            Claim::Release => references.retain(|reference| Some(&reference.uid) != meta.uid.as_ref()),
        }
        let patch = json!({ "metadata": {
            "ownerReferences": references, "uid": object.meta().uid, "resourceVersion": object.meta().resource_version,
        }});
        match kind.merge(object.meta(), None, &patch).await {
            Ok(object) if controller_of(object.meta()).is_some() => ours.push(object),
            Ok(_) => {}
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ours)
}

/// An object's labels.
type Labels = BTreeMap<String, String>;

/// Queues, at every change of one of `owned`, whose it is: its controller's key if that is one of `owners`, and, as long as it
/// has none, those of all in its namespace that `selects` its labels.
pub fn queue_owners<O: Object, K: Object>(
    owned: &Kind<O>,
    owners: &Arc<Kind<K>>,
    queue: &Arc<Queue>,
    selects: impl Fn(&K, Option<&Labels>) -> bool + Send + Sync + 'static,
) {
    let (owners, queue) = (owners.clone(), queue.clone());
    owned.on_change(move |change| {
        for object in [change.old, change.new].into_iter().flatten() {
            let meta = object.meta();
            if let Some(key) = owner_key(meta, &K::kind(&())) {
                queue.add(key);
            } else if controller_of(meta).is_none() && change.new.is_some() {
                let namespace = meta.namespace.as_deref().unwrap_or_default();
                let adopters = owners.filter_in(namespace, |owner| selects(owner, meta.labels.as_ref()));
                adopters.iter().for_each(|owner| queue.add(key_of(owner.meta())));
            }
        }
    });
}

/// The key of `object`'s controller, if that is a `kind`.
#[must_use]
pub fn owner_key(object: &ObjectMeta, kind: &str) -> Option<String> {
    let owner = controller_of(object).filter(|owner| owner.kind == kind)?;
    Some(key_of(&ObjectMeta {
        name: Some(owner.name.clone()),
        namespace: object.namespace.clone(),
        ..ObjectMeta::default()
    }))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    #[test]
    fn claims() {
        let selector =
            LabelSelector { match_labels: Some([("app".into(), "web".into())].into()), ..Default::default() };
        let owner = ObjectMeta { uid: Some("me".into()), ..Default::default() };
        let object = |controller: Option<&str>, app: &str| ObjectMeta {
            labels: Some([("app".into(), app.into())].into()),
            owner_references: controller
                .map(|uid| vec![OwnerReference { uid: uid.into(), controller: Some(true), ..Default::default() }]),
            ..Default::default()
        };
        let cases = [
            (Some("me"), "web", Claim::Ours),
            (Some("me"), "db", Claim::Release),
            (Some("other"), "web", Claim::Ignore),
            (None, "web", Claim::Adopt),
            (None, "db", Claim::Ignore),
        ];
        for (controller, app, expected) in cases {
            assert_eq!(judge(&owner, &object(controller, app), &selector), expected, "{controller:?} {app}");
        }
        let dying = ObjectMeta { deletion_timestamp: Some(Time(Timestamp::UNIX_EPOCH)), ..owner };
        assert_eq!(judge(&dying, &object(None, "web"), &selector), Claim::Ignore);
        assert_eq!(judge(&dying, &object(Some("me"), "web"), &selector), Claim::Ours);
    }
}
