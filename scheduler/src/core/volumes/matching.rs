//! Which volume a claim gets. The controller that binds them judges by the same rules (upstream
//! `component-helpers/storage/volume`).

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{Selector, SelectorExt};

use crate::core::matching::selects_node;
use crate::core::resources::units;

/// On a claim: the controller has bound it once.
pub const BIND_COMPLETED: &str = "pv.kubernetes.io/bind-completed";
/// On a claim or a volume: it was the controller that chose the other one.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
/// On a claim: the node its first pod goes to.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// The older way to name a class.
const CLASS: &str = "volume.beta.kubernetes.io/storage-class";

/// Who looks for a volume.
#[derive(Clone, Copy, Debug)]
pub enum Seeker<'a> {
    /// The controller; of a class that waits for its first consumer it gives only what is reserved for the claim.
    Binder { waits: bool },
    /// The scheduler, for a pod on this node; volumes of these names are taken.
    Node(&'a Node, &'a HashSet<String>),
}

#[must_use]
pub fn annotation<'a>(meta: &'a ObjectMeta, name: &str) -> Option<&'a str> {
    meta.annotations.as_ref()?.get(name).map(String::as_str)
}

/// The class a claim names; empty for none.
#[must_use]
pub fn class_of_claim(claim: &PersistentVolumeClaim) -> &str {
    let spec = claim.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&claim.metadata, CLASS).or(spec).unwrap_or_default()
}

/// Whether a claim says anything at all of its class: an empty name does.
#[must_use]
pub fn names_class(claim: &PersistentVolumeClaim) -> bool {
    annotation(&claim.metadata, CLASS).is_some()
        || claim.spec.as_ref().is_some_and(|spec| spec.storage_class_name.is_some())
}

/// The class a volume is of; empty for none.
#[must_use]
pub fn class_of_volume(volume: &PersistentVolume) -> &str {
    let spec = volume.spec.as_ref().and_then(|spec| spec.storage_class_name.as_deref());
    annotation(&volume.metadata, CLASS).or(spec).unwrap_or_default()
}

/// The name of the volume a claim asks for, or has; empty for none.
#[must_use]
pub fn volume_name(claim: &PersistentVolumeClaim) -> &str {
    claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default()
}

#[must_use]
pub fn claim_ref(volume: &PersistentVolume) -> Option<&ObjectReference> {
    volume.spec.as_ref()?.claim_ref.as_ref()
}

/// Bound both ways, by the word of the controller.
#[must_use]
pub fn is_bound(claim: &PersistentVolumeClaim) -> bool {
    !volume_name(claim).is_empty() && annotation(&claim.metadata, BIND_COMPLETED).is_some()
}

/// The volume is bound to, or reserved for, this claim.
#[must_use]
pub fn is_meant_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let meta = &claim.metadata;
    claim_ref(volume).is_some_and(|wanted| {
        wanted.name == meta.name
            && wanted.namespace == meta.namespace
            && wanted.uid.as_ref().is_none_or(|uid| uid.is_empty() || meta.uid.as_ref() == Some(uid))
    })
}

/// Whether the nodes a volume can be used on include this one.
#[must_use]
pub fn is_reachable(volume: &PersistentVolume, node: &Node) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    affinity.and_then(|affinity| affinity.required.as_ref()).is_none_or(|selector| selects_node(selector, node))
}

/// In bytes.
fn size(list: Option<&BTreeMap<String, Quantity>>) -> i64 {
    list.and_then(|list| list.get("storage")).and_then(|quantity| units(&quantity.0)).unwrap_or(0)
}

/// What a volume has, in bytes.
#[must_use]
pub fn capacity(volume: &PersistentVolume) -> i64 {
    size(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

/// What a claim asks for, in bytes.
#[must_use]
pub fn request(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    size(resources.and_then(|resources| resources.requests.as_ref()))
}

/// What a claim has been given, in bytes.
#[must_use]
pub fn given(claim: &PersistentVolumeClaim) -> i64 {
    size(claim.status.as_ref().and_then(|status| status.capacity.as_ref()))
}

/// Both are file systems, or both are devices.
#[must_use]
pub fn same_mode(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    fn mode(named: Option<&String>) -> &str {
        named.map_or("Filesystem", String::as_str)
    }
    mode(volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
        == mode(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_ref()))
}

fn has_access_modes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let has = volume.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let wanted = claim.spec.as_ref().and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    wanted.iter().all(|mode| has.contains(mode))
}

fn same_attributes(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let has = volume.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    let wanted = claim.spec.as_ref().and_then(|spec| spec.volume_attributes_class_name.as_deref());
    has.unwrap_or_default() == wanted.unwrap_or_default()
}

/// Whether a volume that a claim asks for by name will do.
///
/// # Errors
/// Why not, in upstream's words.
pub fn satisfies(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> Result<(), String> {
    let checks = [
        (volume.metadata.deletion_timestamp.is_none(), ""),
        (capacity(volume) >= request(claim), "requested PV is too small"),
        (class_of_volume(volume) == class_of_claim(claim), "storageClassName does not match"),
        (same_attributes(volume, claim), "volumeAttributesClassName does not match"),
        (same_mode(volume, claim), "incompatible volumeMode"),
        (has_access_modes(volume, claim), "incompatible accessMode"),
    ];
    match checks.iter().find(|(holds, _)| !holds) {
        None => Ok(()),
        Some((_, "")) => {
            Err(format!("the volume is marked for deletion {:?}", volume.metadata.name.as_deref().unwrap_or_default()))
        }
        Some((_, why)) => Err((*why).to_owned()),
    }
}

/// The volume for a claim: the one that is reserved for it, else the smallest free one that is large enough.
pub fn find<'a>(
    claim: &PersistentVolumeClaim,
    volumes: impl IntoIterator<Item = &'a Arc<PersistentVolume>>,
    seeker: Seeker<'_>,
) -> Option<&'a Arc<PersistentVolume>> {
    let selector = claim.spec.as_ref().and_then(|spec| spec.selector.clone()).map(Selector::try_from);
    let mut best: Option<&Arc<PersistentVolume>> = None;
    for volume in volumes {
        let taken = match seeker {
            Seeker::Binder { .. } => false,
            Seeker::Node(_, taken) => volume.metadata.name.as_ref().is_some_and(|name| taken.contains(name)),
        };
        let reserved = is_meant_for(volume, claim);
        if taken
            || (claim_ref(volume).is_some() && !reserved)
            || capacity(volume) < request(claim)
            || !same_mode(volume, claim)
            || !same_attributes(volume, claim)
            || !has_access_modes(volume, claim)
            || volume.metadata.deletion_timestamp.is_some()
        {
            continue;
        }
        let reachable = match seeker {
            Seeker::Binder { .. } => true,
            Seeker::Node(node, _) => is_reachable(volume, node),
        };
        if reserved {
            return reachable.then_some(volume);
        }
        let available = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Available");
        let selected = match &selector {
            None => true,
            Some(Ok(selector)) => selector.matches(volume.metadata.labels.as_ref().unwrap_or(&BTreeMap::new())),
            Some(Err(_)) => false,
        };
        if matches!(seeker, Seeker::Binder { waits: true })
            || !available
            || !selected
            || class_of_volume(volume) != class_of_claim(claim)
            || !reachable
        {
            continue;
        }
        if best.is_none_or(|best| capacity(volume) < capacity(best)) {
            best = Some(volume);
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(name: &str, size: &str, more: Value) -> Arc<PersistentVolume> {
        let mut volume = json!({
            "metadata": { "name": name, "labels": { "kind": &name[..1] } },
            "spec": { "capacity": { "storage": size }, "accessModes": ["ReadWriteOnce"], "storageClassName": "slow" },
            "status": { "phase": "Available" },
        });
        volume["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        Arc::new(serde_json::from_value(volume).unwrap())
    }

    fn claim(size: &str, more: Value) -> PersistentVolumeClaim {
        let mut claim = json!({
            "metadata": { "namespace": "n", "name": "c", "uid": "u" },
            "spec": { "resources": { "requests": { "storage": size } }, "accessModes": ["ReadWriteOnce"],
                      "storageClassName": "slow" },
        });
        claim["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(claim).unwrap()
    }

    #[test]
    fn the_smallest_that_will_do() {
        let on = |node: &str| {
            json!({ "nodeAffinity": { "required": { "nodeSelectorTerms": [
            { "matchExpressions": [{ "key": "host", "operator": "In", "values": [node] }] }] } } })
        };
        let volumes = [
            volume("a-large", "10Gi", json!({})),
            volume("a-small", "2Gi", json!({})),
            volume("b-fast", "1Gi", json!({ "storageClassName": "fast" })),
            volume("b-device", "1Gi", json!({ "volumeMode": "Block" })),
            volume("b-many", "3Gi", json!({ "accessModes": ["ReadWriteOnce", "ReadWriteMany"] })),
            volume("b-taken", "1Gi", json!({ "claimRef": { "namespace": "n", "name": "other" } })),
            volume(
                "b-mine",
                "50Gi",
                json!({ "claimRef": { "namespace": "n", "name": "mine" }, "storageClassName": "x" }),
            ),
            volume("c-old", "1Gi", json!({ "claimRef": { "namespace": "n", "name": "c", "uid": "before" } })),
            volume("c-there", "1Gi", on("there")),
        ];
        let many = json!({ "accessModes": ["ReadWriteMany"] });
        let labels = json!({ "selector": { "matchLabels": { "kind": "b" } } });
        let mut mine = claim("1Gi", json!({}));
        mine.metadata.name = Some("mine".into());
        let node = |name: &str| -> Node {
            serde_json::from_value(json!({ "metadata": { "name": name, "labels": { "host": name } } })).unwrap()
        };
        let (here, there, none) = (node("here"), node("there"), HashSet::new());
        let taken: HashSet<String> = ["c-there".to_owned()].into();
        let (now, waits) = (Seeker::Binder { waits: false }, Seeker::Binder { waits: true });
        let cases = [
            ("smallest anywhere", claim("1Gi", json!({})), now, Some("c-there")),
            ("large enough", claim("2100Mi", json!({})), now, Some("b-many")),
            ("too large", claim("1Ti", json!({})), now, None),
            ("access modes", claim("1Gi", many), now, Some("b-many")),
            ("selector", claim("1Gi", labels), now, Some("b-many")),
            ("class", claim("1Gi", json!({ "storageClassName": "fast" })), now, Some("b-fast")),
            ("no class", claim("1Gi", json!({ "storageClassName": "" })), now, None),
            ("mode", claim("1Gi", json!({ "volumeMode": "Block" })), now, Some("b-device")),
            ("reserved", mine.clone(), now, Some("b-mine")),
            ("waits for its consumer", claim("1Gi", json!({})), waits, None),
            ("waits, but reserved", mine, waits, Some("b-mine")),
            ("on a node", claim("1Gi", json!({})), Seeker::Node(&here, &none), Some("a-small")),
            ("on another", claim("1Gi", json!({})), Seeker::Node(&there, &none), Some("c-there")),
            ("taken there", claim("1Gi", json!({})), Seeker::Node(&there, &taken), Some("a-small")),
        ];
        for (what, claim, seeker, wanted) in cases {
            let found = find(&claim, &volumes, seeker).and_then(|volume| volume.metadata.name.clone());
            assert_eq!(found.as_deref(), wanted, "{what}");
        }
    }

    #[test]
    fn what_is_asked_for_by_name_must_do() {
        let device = claim("1Gi", json!({ "volumeMode": "Block" }));
        let cases = [
            (claim("1Gi", json!({})), Ok(())),
            (claim("3Gi", json!({})), Err("requested PV is too small")),
            (claim("1Gi", json!({ "storageClassName": "" })), Err("storageClassName does not match")),
            (device, Err("incompatible volumeMode")),
            (claim("1Gi", json!({ "accessModes": ["ReadOnlyMany"] })), Err("incompatible accessMode")),
            (
                claim("1Gi", json!({ "volumeAttributesClassName": "gold" })),
                Err("volumeAttributesClassName does not match"),
            ),
        ];
        let mut volume = Arc::into_inner(volume("a", "2Gi", json!({}))).unwrap();
        for (claim, wanted) in cases {
            assert_eq!(satisfies(&volume, &claim), wanted.map_err(str::to_owned));
        }
        volume.metadata.deletion_timestamp = Some(serde_json::from_value(json!("2024-01-02T03:04:05Z")).unwrap());
        let words = "the volume is marked for deletion \"a\"".to_owned();
        assert_eq!(satisfies(&volume, &claim("1Gi", json!({}))), Err(words));
    }
}
