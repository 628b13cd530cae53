//! What the binder writes.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use runtime::events::EventType;
use scheduler::core::volumes::matching::{
    BIND_COMPLETED, BOUND_BY_CONTROLLER, SELECTED_NODE, class_of_claim, is_meant_for, volume_name,
};

use super::{Binder, FINALIZER, PROVISIONER, STORAGE_PROVISIONER, Tale, clear, provision, volume};
use crate::framework::ApiError;
use crate::framework::meta::{annotation, is_deleting, key_of, to_seconds};

type Done = Result<(), kube::Error>;

/// A volume's phase; empty when it has none yet.
pub(super) fn phase(volume: &PersistentVolume) -> &str {
    volume.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

impl Binder {
    /// Binds both to each other: volume, its phase, claim, its phase. What is so already is not written.
    pub(super) async fn bind(&self, volume: Arc<PersistentVolume>, claim: Arc<PersistentVolumeClaim>) -> Done {
        let kinds = &self.context.kinds;
        let mut changed = (*volume).clone();
        if !is_meant_for(&volume, &claim) {
            note(&mut changed.metadata.annotations, BOUND_BY_CONTROLLER, "yes");
        }
        let spec = changed.spec.get_or_insert_default();
        if spec.claim_ref.as_ref().is_none_or(|known| known.uid != claim.metadata.uid) {
            spec.claim_ref = Some(provision::reference(&claim));
        }
        let volume = kinds.volumes.update(&volume, &changed).await?;
        let volume = self.volume_phase(&volume, "Bound", "").await?;

        let mut changed = (*claim).clone();
        if volume_name(&claim) != key_of(&volume.metadata) {
            changed.spec.get_or_insert_default().volume_name = volume.metadata.name.clone();
            note(&mut changed.metadata.annotations, BOUND_BY_CONTROLLER, "yes");
        }
        note(&mut changed.metadata.annotations, BIND_COMPLETED, "yes");
        let claim = kinds.claims.update(&claim, &changed).await?;
        self.claim_phase(&claim, "Bound", Some(&volume)).await
    }

    /// Frees a volume whose claim has another one; what its user has reserved stays reserved.
    pub(super) async fn unbind(&self, volume: &Arc<PersistentVolume>) -> Done {
        let mut changed = (**volume).clone();
        let spec = changed.spec.get_or_insert_default();
        let chosen = changed.metadata.annotations.as_mut().is_some_and(|all| all.remove(BOUND_BY_CONTROLLER).is_some());
        if chosen {
            spec.claim_ref = None;
        } else if let Some(claim) = &mut spec.claim_ref {
            claim.uid = None;
        }
        let volume = self.context.kinds.volumes.update(volume, &changed).await?;
        self.volume_phase(&volume, "Available", "").await.map(drop)
    }

    pub(super) async fn volume_phase(
        &self,
        volume: &Arc<PersistentVolume>,
        wanted: &str,
        message: &str,
    ) -> Result<Arc<PersistentVolume>, kube::Error> {
        if phase(volume) == wanted {
            return Ok(volume.clone());
        }
        let mut changed = (**volume).clone();
        let status = changed.status.get_or_insert_default();
        status.phase = Some(wanted.to_owned());
        status.message = (!message.is_empty()).then(|| message.to_owned());
        status.last_phase_transition_time = Some(to_seconds(self.context.now()));
        self.context.kinds.volumes.update_status(volume, &changed).await
    }

    /// Sets a claim's phase, and what goes with it: the volume's modes and, when it is new, its capacity.
    pub(super) async fn claim_phase(
        &self,
        claim: &Arc<PersistentVolumeClaim>,
        wanted: &str,
        volume: Option<&PersistentVolume>,
    ) -> Done {
        let mut changed = (**claim).clone();
        let status = changed.status.get_or_insert_default();
        let fresh = status.phase.as_deref() != Some(wanted);
        status.phase = Some(wanted.to_owned());
        match volume.and_then(|volume| volume.spec.as_ref()) {
            None => (status.access_modes, status.capacity) = (None, None),
            Some(spec) => {
                status.access_modes.clone_from(&spec.access_modes);
                if fresh {
                    status.capacity.clone_from(&spec.capacity);
                    status.current_volume_attributes_class_name.clone_from(&spec.volume_attributes_class_name);
                }
            }
        }
        self.context.kinds.claims.update_status(claim, &changed).await.map(drop)
    }

    pub(super) async fn provision(&self, claim: &Arc<PersistentVolumeClaim>, class: Option<&StorageClass>) -> Done {
        let kinds = &self.context.kinds;
        let fail = |words: String| self.tell(&**claim, Tale::new(EventType::Warning, "ProvisioningFailed", words));
        let name = class_of_claim(claim);
        let Some(class) = class else {
            fail(format!("storageclass.storage.k8s.io {name:?} not found"));
            return Ok(());
        };
        let provisioner = class.provisioner.as_str();
        if provisioner.starts_with("kubernetes.io/") {
            fail(format!("no volume plugin matched name: {provisioner}"));
            return Ok(());
        }
        if is_deleting(&claim.metadata) {
            return Ok(());
        }
        let mut changed = (**claim).clone();
        STORAGE_PROVISIONER.iter().for_each(|key| note(&mut changed.metadata.annotations, key, provisioner));
        let claim = kinds.claims.update(claim, &changed).await?;
        let inform = |reason, words| self.tell(&*claim, Tale::new(EventType::Normal, reason, words));
        if provisioner != PROVISIONER {
            let words = format!(
                "Waiting for a volume to be created either by the external provisioner '{provisioner}' or manually by the \
                 system administrator. If volume creation is delayed, please verify that the provisioner is running and \
                 correctly registered."
            );
            inform("ExternalProvisioning", words);
            return Ok(());
        }
        let node = annotation(&claim.metadata, SELECTED_NODE).and_then(|node| kinds.nodes.get(node));
        let made = match provision::volume(&claim, class, node.as_deref()) {
            Ok(made) => made,
            Err(why) => {
                fail(format!("failed to provision volume with StorageClass {name:?}: {why}"));
                return Ok(());
            }
        };
        match kinds.volumes.create(&made).await {
            Ok(made) => {
                inform("ProvisioningSucceeded", format!("Successfully provisioned volume {}", key_of(&made.metadata)))
            }
            Err(error) if error.already_exists() => {}
            Err(error) => {
                fail(format!("failed to provision volume with StorageClass {name:?}: {error}"));
                return Err(error);
            }
        }
        Ok(())
    }

    /// Does with a released volume what its policy says.
    pub(super) async fn reclaim(&self, volume: &Arc<PersistentVolume>) -> Done {
        match volume::policy(volume) {
            "Retain" if is_deleting(&volume.metadata) => self.let_go(volume).await,
            "Retain" => Ok(()),
            "Recycle" => self.fail(volume, "VolumeFailedRecycle", "No recycler plugin found for the volume!").await,
            "Delete" => self.clear(volume).await,
            _ => {
                let words = "Volume has unrecognized PersistentVolumeReclaimPolicy";
                self.fail(volume, "VolumeUnknownReclaimPolicy", words).await
            }
        }
    }

    async fn clear(&self, volume: &Arc<PersistentVolume>) -> Done {
        let kinds = &self.context.kinds;
        let name = key_of(&volume.metadata);
        let pod = kinds.pods.get(&clear::key(&name));
        match clear::next(volume, pod.as_deref(), |node| kinds.nodes.get(node).is_some()) {
            clear::Step::Foreign | clear::Step::Wait => Ok(()),
            clear::Step::Impossible(words) => self.fail(volume, "VolumeFailedDelete", &words).await,
            clear::Step::Run(pod) => match kinds.pods.create(&pod).await {
                Err(error) if !error.already_exists() => Err(error),
                _ => Ok(()),
            },
            clear::Step::Again => match pod {
                Some(pod) => kinds.pods.delete_now(&pod.metadata).await,
                None => Ok(()),
            },
            clear::Step::Done => {
                if !is_deleting(&volume.metadata) {
                    kinds.volumes.delete(&volume.metadata, None).await?;
                }
                match kinds.volumes.get(&name) {
                    Some(volume) if is_deleting(&volume.metadata) => self.let_go(&volume).await,
                    _ => Ok(()),
                }
            }
        }
    }

    /// Takes our finalizer away.
    async fn let_go(&self, volume: &Arc<PersistentVolume>) -> Done {
        let mut changed = (**volume).clone();
        if let Some(finalizers) = &mut changed.metadata.finalizers {
            finalizers.retain(|finalizer| finalizer != FINALIZER);
        }
        self.context.kinds.volumes.update(volume, &changed).await.map(drop)
    }

    async fn fail(&self, volume: &Arc<PersistentVolume>, reason: &'static str, words: &str) -> Done {
        if phase(volume) != "Failed" {
            self.volume_phase(volume, "Failed", words).await?;
            self.tell(&**volume, Tale::new(EventType::Warning, reason, words));
        }
        Ok(())
    }
}

fn note(annotations: &mut Option<std::collections::BTreeMap<String, String>>, key: &str, value: &str) {
    annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
}
