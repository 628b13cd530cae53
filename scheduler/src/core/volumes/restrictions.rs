//! Claims that one pod alone may use (`ReadWriteOncePod`; upstream's plugin VolumeRestrictions, KEP-2485).

use std::sync::Arc;

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

use crate::core::cluster::Cluster;
use crate::core::filter::{Plugin, Refusal};
use crate::core::pod::PodInfo;

const IN_USE: &str =
    "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod";

/// The claims of `pod` that nobody else may use. A claim made for the pod is nobody else's anyway.
fn exclusive<'a>(pod: &'a PodInfo, cluster: &'a Cluster) -> impl Iterator<Item = &'a str> {
    let alone = |claim: &Arc<PersistentVolumeClaim>| {
        let modes = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
        modes.iter().any(|mode| mode == "ReadWriteOncePod")
    };
    let named = pod.claims.iter().filter(|used| !used.ephemeral).map(|used| used.name.as_str());
    named.filter(move |name| cluster.storage.claim(&format!("{}/{name}", pod.namespace)).is_some_and(alone))
}

/// Whether who else uses the pod's claims, on whatever node, matters.
#[must_use]
pub fn applies(pod: &PodInfo, cluster: &Cluster) -> bool {
    exclusive(pod, cluster).next().is_some()
}

/// A refusal of every node while another pod anywhere uses one of the pod's own claims. That pod's eviction would help.
#[must_use]
pub fn refuse(pod: &PodInfo, cluster: &Cluster) -> Option<Refusal> {
    let alone: Vec<&str> = exclusive(pod, cluster).collect();
    if alone.is_empty() {
        return None;
    }
    let uses = |other: &PodInfo| {
        let named = || other.claims.iter().filter(|used| !used.ephemeral);
        other.namespace == pod.namespace && named().any(|used| alone.contains(&used.name.as_str()))
    };
    let taken = cluster.pods().any(|(_, other)| other.uid != pod.uid && uses(other));
    taken.then(|| Refusal::new(Plugin::VolumeRestrictions, IN_USE, true))
}
