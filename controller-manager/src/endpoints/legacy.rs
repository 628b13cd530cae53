//! The Endpoints object: deprecated, and still read by many.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointPort, EndpointSubset, Endpoints, Pod, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;

use super::addresses;
use crate::framework::meta::{is_deleting, label, to_seconds};
use crate::framework::pods;

/// The label by which this controller knows its own objects (v1.33 and later).
const MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
const MANAGER: &str = "endpoint-controller";
const HEADLESS: &str = "service.kubernetes.io/headless";
const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";
const OVER_CAPACITY: &str = "endpoints.kubernetes.io/over-capacity";
/// The most addresses an Endpoints object may have.
const CAPACITY: usize = 1000;

pub fn is_ours(endpoints: &Endpoints) -> bool {
    label(&endpoints.metadata, MANAGED_BY) == Some(MANAGER)
}

/// The object as it must be, based on the `known` one.
pub fn desired(service: &Service, pods: &[Arc<Pod>], known: Option<&Endpoints>, now: Timestamp) -> Endpoints {
    let mut endpoints = known.cloned().unwrap_or_default();
    if known.is_none() {
        endpoints.metadata = ObjectMeta {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            ..ObjectMeta::default()
        };
    }
    let mut labels = service.metadata.labels.clone().unwrap_or_default();
    labels.remove(HEADLESS);
    if service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None") {
        labels.insert(HEADLESS.into(), String::new());
    }
    labels.insert(MANAGED_BY.into(), MANAGER.into());
    endpoints.metadata.labels = Some(labels);
    let subsets = subsets(service, pods);
    if subsets != endpoints.subsets.clone().unwrap_or_default() {
        let time = serde_json::to_value(to_seconds(now)).ok().and_then(|time| time.as_str().map(str::to_owned));
        let annotations = endpoints.metadata.annotations.get_or_insert_default();
        annotations.insert(TRIGGER_TIME.into(), time.unwrap_or_default());
        if pods.len() > CAPACITY {
            annotations.insert(OVER_CAPACITY.into(), "truncated".into());
        } else {
            annotations.remove(OVER_CAPACITY);
        }
        endpoints.subsets = (!subsets.is_empty()).then_some(subsets);
    }
    endpoints
}

/// Addresses by the set of ports they have, then by readiness. A pod being deleted is listed no more.
fn subsets(service: &Service, pods: &[Arc<Pod>]) -> Vec<EndpointSubset> {
    let family = addresses::families(service)[0].to_owned();
    let service_ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let headless_without_ports = service_ports.is_empty();
    let mut by_ports: BTreeMap<String, EndpointSubset> = BTreeMap::new();
    let publishes = addresses::publishes_not_ready(service);
    for pod in pods.iter().filter(|pod| addresses::is_endpoint(pod)).take(CAPACITY) {
        if is_deleting(&pod.metadata) && !publishes {
            continue;
        }
        let Some(ip) = addresses::ip_of(pod, &family) else { continue };
        let ports: Vec<EndpointPort> = service_ports
            .iter()
            .filter_map(|port| {
                Some(EndpointPort {
                    name: port.name.clone().filter(|name| !name.is_empty()),
                    port: addresses::port_number(port, pod)?,
                    protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                    app_protocol: port.app_protocol.clone(),
                })
            })
            .collect();
        if ports.is_empty() && !headless_without_ports {
            continue;
        }
        let address = EndpointAddress {
            ip: ip.to_owned(),
            hostname: addresses::hostname(service, pod),
            node_name: pods::node_name(pod).map(str::to_owned),
            target_ref: Some(addresses::target(pod)),
        };
        let key = serde_json::to_string(&ports).expect("ports always serialise");
        let subset = by_ports.entry(key).or_insert_with(|| EndpointSubset {
            ports: (!ports.is_empty()).then_some(ports),
            ..EndpointSubset::default()
        });
        let ready = publishes || pods::is_ready(pod);
        let list = if ready { &mut subset.addresses } else { &mut subset.not_ready_addresses };
        list.get_or_insert_default().push(address);
    }
    for subset in by_ports.values_mut() {
        for list in [&mut subset.addresses, &mut subset.not_ready_addresses].into_iter().flatten() {
            list.sort_by(|a, b| a.ip.cmp(&b.ip));
        }
    }
    by_ports.into_values().collect()
}
