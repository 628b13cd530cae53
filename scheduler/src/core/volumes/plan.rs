//! What a pod's claims allow: which nodes, and what must be done there before it can start (upstream's plugin
//! `VolumeBinding`).

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;

use super::Storage;
use super::matching::{self, SELECTED_NODE, Seeker, annotation, class_of_claim, is_bound, is_reachable, volume_name};
use super::used::{self, Used};
use crate::core::filter::{Plugin, Refusal};
use crate::core::pod::PodInfo;

const NO_VOLUME: &str = "node(s) didn't find available persistent volumes to bind";
const ELSEWHERE: &str = "node(s) didn't match PersistentVolume's node affinity";
const GONE: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";
/// A class of volumes that somebody makes by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";

/// A pod's claims.
#[derive(Clone, Debug, Default)]
pub struct Claims {
    /// The volumes of those that are bound; `None` for one that does not exist.
    bound: Vec<Option<Arc<PersistentVolume>>>,
    /// Those that wait for the pod, the smallest first, with their classes.
    waiting: Vec<(Arc<PersistentVolumeClaim>, Option<Arc<StorageClass>>)>,
    /// What they are looked for in.
    volumes: Vec<Arc<PersistentVolume>>,
}

/// What is to be done for a pod's claims on a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bindings {
    /// Volumes to be reserved, each for its claim.
    pub reserve: Vec<(Arc<PersistentVolume>, Arc<PersistentVolumeClaim>)>,
    /// Claims for which a volume is to be made on this node.
    pub provision: Vec<Arc<PersistentVolumeClaim>>,
}

impl Claims {
    /// # Errors
    /// A refusal that holds for all nodes.
    pub fn of(pod: &PodInfo, storage: &Storage) -> Result<Self, Refusal> {
        let mut claims = Self::default();
        let refuse = |reason: String| Err(Refusal::new(Plugin::VolumeBinding, reason, false));
        let mut immediate = false;
        for Used { name, ephemeral } in &pod.claims {
            let Some(claim) = storage.claim(&format!("{}/{name}", pod.namespace)) else {
                return refuse(if *ephemeral {
                    format!("waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}")
                } else {
                    format!("persistentvolumeclaim {name:?} not found")
                });
            };
            let volume = volume_name(claim);
            if claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Lost") {
                return refuse(format!(
                    "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {volume:?}"
                ));
            }
            if claim.metadata.deletion_timestamp.is_some() {
                return refuse(format!("persistentvolumeclaim {name:?} is being deleted"));
            }
            if *ephemeral && let Err(why) = used::is_made_for(claim, &pod.namespace, &pod.name, &pod.uid) {
                return refuse(why);
            }
            if is_bound(claim) {
                claims.bound.push(storage.volume(volume).cloned());
                continue;
            }
            let class = storage.class(class_of_claim(claim)).cloned();
            let waits = class
                .as_ref()
                .is_some_and(|class| class.volume_binding_mode.as_deref() == Some("WaitForFirstConsumer"));
            immediate |= !(waits && volume.is_empty());
            claims.waiting.push((claim.clone(), class));
        }
        if immediate {
            return refuse("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        if !claims.waiting.is_empty() {
            claims.waiting.sort_by_key(|(claim, _)| matching::request(claim));
            claims.volumes = storage.volumes().cloned().collect();
        }
        Ok(claims)
    }

    /// What is to be done on `node`.
    ///
    /// # Errors
    /// Why the pod cannot go there, in upstream's words.
    pub fn on(&self, node: &Node) -> Result<Bindings, Vec<String>> {
        let mut bindings = Bindings::default();
        let mut reasons = Vec::new();
        if self.bound.iter().flatten().any(|volume| !is_reachable(volume, node)) {
            reasons.push(ELSEWHERE.to_owned());
        }
        let mut taken = HashSet::new();
        for (claim, class) in &self.waiting {
            if let Some(selected) = annotation(&claim.metadata, SELECTED_NODE) {
                if Some(selected) != node.metadata.name.as_deref() {
                    reasons.push(NO_VOLUME.to_owned());
                    break;
                }
                bindings.provision.push(claim.clone());
                continue;
            }
            if let Some(volume) = matching::find(claim, &self.volumes, Seeker::Node(node, &taken)) {
                taken.extend(volume.metadata.name.clone());
                bindings.reserve.push((volume.clone(), claim.clone()));
                continue;
            }
            if !class.as_ref().is_some_and(|class| can_provision(class, node)) {
                reasons.push(NO_VOLUME.to_owned());
                break;
            }
            bindings.provision.push(claim.clone());
        }
        if self.bound.iter().any(Option::is_none) {
            reasons.push(GONE.to_owned());
        }
        if reasons.is_empty() { Ok(bindings) } else { Err(reasons) }
    }
}

/// A class without topologies can be had anywhere; else one of its terms must hold, all of a term's labels.
fn can_provision(class: &StorageClass, node: &Node) -> bool {
    let label = |key: &str| node.metadata.labels.as_ref().and_then(|labels| labels.get(key));
    let terms = class.allowed_topologies.as_deref().unwrap_or_default();
    let allowed = terms.is_empty()
        || terms.iter().any(|term| {
            let wanted = term.match_label_expressions.as_deref().unwrap_or_default();
            wanted.iter().all(|wanted| label(&wanted.key).is_some_and(|value| wanted.values.contains(value)))
        });
    !class.provisioner.is_empty() && class.provisioner != NO_PROVISIONER && allowed
}
