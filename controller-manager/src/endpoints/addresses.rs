//! From pods to endpoints: who is ready, under which address, on which ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ObjectReference, Pod, Service, ServicePort};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointHints, EndpointPort, ForNode, ForZone};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::slices::Group;
use crate::framework::meta::is_deleting;
use crate::framework::pods;

pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Whether a change of a pod is none to any Service: most of a pod's status does not matter here.
pub fn is_same_to_services(old: &Pod, new: &Pod) -> bool {
    old.metadata.labels == new.metadata.labels
        && is_deleting(&old.metadata) == is_deleting(&new.metadata)
        && pods::phase(old) == pods::phase(new)
        && pods::is_ready(old) == pods::is_ready(new)
        && pods::node_name(old) == pods::node_name(new)
        && ips(old) == ips(new)
}

fn ips(pod: &Pod) -> Vec<&str> {
    let Some(status) = &pod.status else { return Vec::new() };
    match status.pod_ips.as_deref() {
        Some(ips) if !ips.is_empty() => ips.iter().map(|ip| ip.ip.as_str()).collect(),
        _ => status.pod_ip.as_deref().into_iter().filter(|ip| !ip.is_empty()).collect(),
    }
}

/// A pod that can be an endpoint: it has an address and has not ended.
pub fn is_endpoint(pod: &Pod) -> bool {
    !pods::is_finished(pod) && !ips(pod).is_empty()
}

/// The pod's first address of a family.
pub fn ip_of<'a>(pod: &'a Pod, family: &str) -> Option<&'a str> {
    ips(pod).into_iter().find(|ip| ip.contains(':') == (family == "IPv6"))
}

pub fn publishes_not_ready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses).unwrap_or(false)
}

pub fn conditions(service: &Service, pod: &Pod) -> EndpointConditions {
    let (serving, terminating) = (pods::is_ready(pod), is_deleting(&pod.metadata));
    EndpointConditions {
        ready: Some(publishes_not_ready(service) || (serving && !terminating)),
        serving: Some(serving),
        terminating: Some(terminating),
    }
}

/// Whom an endpoint is meant for by the Service's `trafficDistribution` (upstream `endpointslice/trafficdist`, KEP-3015).
fn hints(service: &Service, node: Option<&str>, zone: Option<&str>) -> Option<EndpointHints> {
    let wish = service.spec.as_ref()?.traffic_distribution.as_deref()?;
    let zones: Vec<ForZone> = zone.map(|name| ForZone { name: name.to_owned() }).into_iter().collect();
    let nodes: Vec<ForNode> = match wish {
        "PreferSameNode" => node.map(|name| ForNode { name: name.to_owned() }).into_iter().collect(),
        // PreferClose is the older name of the same.
        "PreferSameZone" | "PreferClose" => Vec::new(),
        _ => return None,
    };
    let some = |hints: &EndpointHints| hints.for_nodes.is_some() || hints.for_zones.is_some();
    Some(EndpointHints {
        for_nodes: (!nodes.is_empty()).then_some(nodes),
        for_zones: (!zones.is_empty()).then_some(zones),
    })
    .filter(some)
}

pub fn target(pod: &Pod) -> ObjectReference {
    ObjectReference {
        kind: Some("Pod".into()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        ..ObjectReference::default()
    }
}

/// The pod's own DNS name below a headless Service, when it asked for one there.
pub fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let hostname = spec.hostname.clone().filter(|name| !name.is_empty())?;
    (spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace)
        .then_some(hostname)
}

/// The number behind a Service port on this pod; a named one may differ from pod to pod.
pub fn port_number(port: &ServicePort, pod: &Pod) -> Option<i32> {
    let protocol = |protocol: Option<&str>| protocol.unwrap_or("TCP").to_owned();
    match &port.target_port {
        None => Some(port.port),
        Some(IntOrString::Int(0)) => Some(port.port),
        Some(IntOrString::Int(number)) => Some(*number),
        Some(IntOrString::String(name)) => {
            let spec = pod.spec.as_ref()?;
            // Native sidecars are containers, too, although they are listed with the init containers.
            let sidecars =
                spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
            let mut ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
            ports
                .find(|known| {
                    known.name.as_deref() == Some(name)
                        && protocol(known.protocol.as_deref()) == protocol(port.protocol.as_deref())
                })
                .map(|known| known.container_port)
        }
    }
}

fn ports(service: &Service, pod: &Pod) -> Vec<EndpointPort> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    ports
        .iter()
        .filter_map(|port| {
            Some(EndpointPort {
                // Upstream writes an empty name rather than none.
                name: Some(port.name.clone().unwrap_or_default()),
                port: Some(port_number(port, pod)?),
                protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
                app_protocol: port.app_protocol.clone(),
            })
        })
        .collect()
}

pub fn families(service: &Service) -> Vec<&str> {
    match service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref()) {
        Some(families) if !families.is_empty() => families.iter().map(String::as_str).collect(),
        _ => vec!["IPv4"],
    }
}

/// The endpoints of a Service, by address family and set of ports: each such group fills slices of its own.
pub fn groups(service: &Service, pods: &[Arc<Pod>], zone_of: &dyn Fn(&str) -> Option<String>) -> Vec<Group> {
    let mut groups: BTreeMap<(String, String), Group> = BTreeMap::new();
    for family in families(service) {
        for pod in pods.iter().filter(|pod| is_endpoint(pod)) {
            let Some(ip) = ip_of(pod, family) else { continue };
            let ports = ports(service, pod);
            let key = (family.to_owned(), serde_json::to_string(&ports).expect("ports always serialise"));
            let group = groups.entry(key).or_insert_with(|| Group::new(family, ports));
            let node = pods::node_name(pod);
            let (conditions, zone) = (conditions(service, pod), node.and_then(zone_of));
            let ready = conditions.ready == Some(true);
            group.endpoints.push(Endpoint {
                addresses: vec![ip.to_owned()],
                conditions: Some(conditions),
                hints: hints(service, node, zone.as_deref()).filter(|_| ready),
                hostname: hostname(service, pod),
                node_name: node.map(str::to_owned),
                target_ref: Some(target(pod)),
                zone,
                ..Endpoint::default()
            });
        }
        // Without a single pod the Service still has one, empty slice, so that "none" can be told from "not yet".
        if !groups.values().any(|group| group.family == family) {
            groups.insert((family.to_owned(), String::new()), Group::new(family, Vec::new()));
        }
    }
    groups.into_values().collect()
}
