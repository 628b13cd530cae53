//! Claims of volumes (`evaluator/core/persistent_volume_claims.go`) and of devices (`resource_claims.go`).

use std::collections::BTreeSet;

use schema::quantity::Quantity;
use serde_json::Value;

use crate::scope::Selector;
use crate::{Amounts, list, text};

const BY_CLASS: &str = ".storageclass.storage.k8s.io/";
const BY_DEVICE_CLASS: &str = ".deviceclass.resource.k8s.io/devices";
const DEVICE_CLAIMS: &str = "count/resourceclaims.resource.k8s.io";
/// So many devices an allocation may have; what `allocationMode: All` is charged (`resource/v1 AllocationResultsMaxSize`).
const ALL_DEVICES: i64 = 32;

pub mod volume {
    use super::*;

    pub fn tracks(name: &str) -> bool {
        let plain = |name: &str| matches!(name, "persistentvolumeclaims" | "requests.storage");
        let by_class = name.find(BY_CLASS).is_some_and(|at| at > 0 && plain(&name[at + BY_CLASS.len()..]));
        name == "count/persistentvolumeclaims" || plain(name) || by_class
    }

    pub fn usage(claim: &Value) -> Amounts {
        let mut used = Amounts::default();
        used.set("persistentvolumeclaims", Quantity::ONE);
        used.set("count/persistentvolumeclaims", Quantity::ONE);
        let legacy = text(claim, "/metadata/annotations/volume.beta.kubernetes.io~1storage-class");
        let class = if legacy.is_empty() { text(claim, "/spec/storageClassName") } else { legacy };
        let storage = storage(claim);
        if let Some(amount) = storage {
            used.set("requests.storage", amount);
        }
        if !class.is_empty() {
            used.set(format!("{class}{BY_CLASS}persistentvolumeclaims"), Quantity::ONE);
            if let Some(amount) = storage {
                used.set(format!("{class}{BY_CLASS}requests.storage"), amount);
            }
        }
        used
    }

    /// What is asked for, or already allocated where that is more; whole bytes.
    fn storage(claim: &Value) -> Option<Quantity> {
        let read = |pointer: &str| Quantity::parse(text(claim, pointer)).ok();
        let asked = read("/spec/resources/requests/storage")?;
        let most = read("/status/allocatedResources/storage").filter(|have| *have > asked).unwrap_or(asked);
        Some(most.whole())
    }

    /// The classes of volume attributes a claim has, wants, or is on its way to.
    fn classes(claim: &Value) -> BTreeSet<&str> {
        [
            "/spec/volumeAttributesClassName",
            "/status/currentVolumeAttributesClassName",
            "/status/modifyVolumeStatus/targetVolumeAttributesClassName",
        ]
        .into_iter()
        .map(|at| text(claim, at))
        .filter(|name| !name.is_empty())
        .collect()
    }

    pub fn in_scope(claim: &Value, selector: &Selector) -> bool {
        if selector.scope != "VolumeAttributesClass" {
            return false;
        }
        let names = classes(claim);
        if names.is_empty() { selector.admits(None) } else { names.iter().any(|name| selector.admits(Some(name))) }
    }

    /// Whether a change of status alone changes what is charged.
    pub fn status_matters(new: &Value, old: &Value) -> bool {
        new["status"]["allocatedResources"]["storage"] != old["status"]["allocatedResources"]["storage"]
            || classes(new) != classes(old)
    }
}

pub mod device {
    use super::*;

    pub fn tracks(name: &str) -> bool {
        name == DEVICE_CLAIMS || (name.ends_with(BY_DEVICE_CLASS) && name.len() > BY_DEVICE_CLASS.len())
    }

    pub fn usage(claim: &Value) -> Amounts {
        let mut used = Amounts::default();
        used.set(DEVICE_CLAIMS, Quantity::ONE);
        for request in list(claim, "/spec/devices/requests") {
            let alternatives = list(request, "/firstAvailable");
            let mut most = Amounts::default();
            // Of alternatives one is allocated: each class is charged for the largest.
            if alternatives.is_empty() {
                // v1beta1 has no `exactly` around it.
                let exact = if request["exactly"].is_object() { &request["exactly"] } else { request };
                most.raise_to(&devices(exact));
            }
            alternatives.iter().for_each(|one| most.raise_to(&devices(one)));
            used.add(&most);
        }
        used
    }

    fn devices(request: &Value) -> Amounts {
        let mut used = Amounts::default();
        let count = match text(request, "/allocationMode") {
            "All" => ALL_DEVICES,
            _ => request["count"].as_i64().unwrap_or(1),
        };
        let class = text(request, "/deviceClassName");
        if !class.is_empty() {
            used.set(format!("{class}{BY_DEVICE_CLASS}"), Quantity::units(count));
        }
        used
    }
}
