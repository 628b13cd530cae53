//! Claims, volumes and classes as the scheduler sees them: what is watched, and what has been decided and not yet been
//! heard of.

pub mod matching;
pub mod plan;
pub mod restrictions;
#[cfg(test)]
mod tests;
pub mod used;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use matching::{BOUND_BY_CONTROLLER, SELECTED_NODE};
use plan::Bindings;

/// Claims by `namespace/name`, volumes and classes by name.
#[derive(Clone, Debug, Default)]
pub struct Storage {
    claims: HashMap<String, Arc<PersistentVolumeClaim>>,
    volumes: BTreeMap<String, Arc<PersistentVolume>>,
    classes: HashMap<String, Arc<StorageClass>>,
}

/// What has been decided for a pod's claims, and what was known before, so that it can be taken back.
#[derive(Clone, Debug, Default)]
pub struct Assumed {
    /// Volumes as they shall be, and as they were.
    pub volumes: Vec<(Arc<PersistentVolume>, Arc<PersistentVolume>)>,
    /// Claims as they shall be, and as they were.
    pub claims: Vec<(Arc<PersistentVolumeClaim>, Arc<PersistentVolumeClaim>)>,
    /// The claims that must be bound before the pod can be.
    pub awaited: Vec<Arc<PersistentVolumeClaim>>,
}

fn key(meta: &ObjectMeta) -> String {
    let name = meta.name.as_deref().unwrap_or_default();
    meta.namespace.as_ref().map_or_else(|| name.to_owned(), |namespace| format!("{namespace}/{name}"))
}

fn note(meta: &mut ObjectMeta, name: &str, value: &str) {
    meta.annotations.get_or_insert_default().insert(name.to_owned(), value.to_owned());
}

impl Storage {
    #[must_use]
    pub fn claim(&self, key: &str) -> Option<&Arc<PersistentVolumeClaim>> {
        self.claims.get(key)
    }

    #[must_use]
    pub fn volume(&self, name: &str) -> Option<&Arc<PersistentVolume>> {
        self.volumes.get(name)
    }

    #[must_use]
    pub fn class(&self, name: &str) -> Option<&Arc<StorageClass>> {
        self.classes.get(name)
    }

    pub fn volumes(&self) -> impl Iterator<Item = &Arc<PersistentVolume>> {
        self.volumes.values()
    }

    pub fn set_claim(&mut self, claim: Arc<PersistentVolumeClaim>) {
        self.claims.insert(key(&claim.metadata), claim);
    }

    pub fn set_volume(&mut self, volume: Arc<PersistentVolume>) {
        self.volumes.insert(key(&volume.metadata), volume);
    }

    pub fn set_class(&mut self, class: Arc<StorageClass>) {
        self.classes.insert(key(&class.metadata), class);
    }

    pub fn remove_claim(&mut self, key: &str) {
        self.claims.remove(key);
    }

    pub fn remove_volume(&mut self, name: &str) {
        self.volumes.remove(name);
    }

    pub fn remove_class(&mut self, name: &str) {
        self.classes.remove(name);
    }

    /// Forgets the claims that `keep` does not name.
    pub fn keep_claims(&mut self, keep: impl Fn(&str) -> bool) {
        self.claims.retain(|key, _| keep(key));
    }

    pub fn keep_volumes(&mut self, keep: impl Fn(&str) -> bool) {
        self.volumes.retain(|name, _| keep(name));
    }

    pub fn keep_classes(&mut self, keep: impl Fn(&str) -> bool) {
        self.classes.retain(|name, _| keep(name));
    }

    /// Decides before the API server knows, so that the next pod does not count on the same volume. Undone by
    /// [`forget`](Self::forget).
    pub fn assume(&mut self, bindings: &Bindings, node: &str) -> Assumed {
        let mut assumed = Assumed::default();
        for (volume, claim) in &bindings.reserve {
            let mut changed = (**volume).clone();
            if !matching::is_meant_for(volume, claim) {
                note(&mut changed.metadata, BOUND_BY_CONTROLLER, "yes");
            }
            changed.spec.get_or_insert_default().claim_ref = Some(ObjectReference {
                api_version: Some("v1".into()),
                kind: Some("PersistentVolumeClaim".into()),
                namespace: claim.metadata.namespace.clone(),
                name: claim.metadata.name.clone(),
                uid: claim.metadata.uid.clone(),
                resource_version: claim.metadata.resource_version.clone(),
                ..ObjectReference::default()
            });
            let changed = Arc::new(changed);
            self.set_volume(changed.clone());
            assumed.volumes.push((changed, volume.clone()));
            assumed.awaited.push(claim.clone());
        }
        for claim in &bindings.provision {
            let mut changed = (**claim).clone();
            note(&mut changed.metadata, SELECTED_NODE, node);
            let changed = Arc::new(changed);
            self.set_claim(changed.clone());
            assumed.claims.push((changed.clone(), claim.clone()));
            assumed.awaited.push(changed);
        }
        assumed
    }

    /// Takes back what has been assumed, unless there is newer news.
    pub fn forget(&mut self, assumed: Assumed) {
        for (now, before) in assumed.volumes {
            if self.volume(&key(&now.metadata)).is_some_and(|known| Arc::ptr_eq(known, &now)) {
                self.set_volume(before);
            }
        }
        for (now, before) in assumed.claims {
            if self.claim(&key(&now.metadata)).is_some_and(|known| Arc::ptr_eq(known, &now)) {
                self.set_claim(before);
            }
        }
    }
}
