//! Endpoints somebody wrote by hand for a Service without a selector, mirrored into EndpointSlices.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{EndpointAddress, EndpointSubset, Endpoints, Service};
use k8s_openapi::api::discovery::v1::{Endpoint, EndpointConditions, EndpointPort};

use super::slices::{Frame, Group};
use super::{MANAGED_BY, MIRROR_MANAGER, SERVICE_NAME};
use crate::framework::meta::{annotation, controller_reference, label};

const SKIP: &str = "endpointslice.kubernetes.io/skip-mirror";
const LEADER: &str = "control-plane.alpha.kubernetes.io/leader";

/// Whether these Endpoints ask to be mirrored: they may decline, and those used for leader election are none.
pub fn is_wanted(endpoints: &Endpoints) -> bool {
    label(&endpoints.metadata, SKIP) != Some("true") && annotation(&endpoints.metadata, LEADER).is_none()
}

pub fn frame(service: &Service, endpoints: &Endpoints) -> Frame {
    let name = service.metadata.name.clone().unwrap_or_default();
    let mut labels = endpoints.metadata.labels.clone().unwrap_or_default();
    labels.insert(SERVICE_NAME.into(), name.clone());
    labels.insert(MANAGED_BY.into(), MIRROR_MANAGER.into());
    Frame {
        prefix: format!("{name}-"),
        namespace: service.metadata.namespace.clone(),
        labels,
        annotations: None,
        owner: controller_reference(endpoints),
    }
}

pub fn groups(endpoints: &Endpoints) -> Vec<Group> {
    let mut groups: BTreeMap<(bool, String), Group> = BTreeMap::new();
    for subset in endpoints.subsets.iter().flatten() {
        let ports = ports(subset);
        let key = serde_json::to_string(&ports).expect("ports always serialise");
        let ready = subset.addresses.iter().flatten().map(|address| (address, true));
        let not_ready = subset.not_ready_addresses.iter().flatten().map(|address| (address, false));
        for (address, ready) in ready.chain(not_ready) {
            let Some(ip) = runtime::address::ip(&address.ip).map(|ip| ip.to_canonical()) else { continue };
            let v6 = ip.is_ipv6();
            let family = if v6 { "IPv6" } else { "IPv4" };
            let group = groups.entry((v6, key.clone())).or_insert_with(|| Group::new(family, ports.clone()));
            group.endpoints.push(endpoint(address, ip, ready));
        }
    }
    groups.into_values().collect()
}

fn ports(subset: &EndpointSubset) -> Vec<EndpointPort> {
    let ports = subset.ports.iter().flatten();
    ports
        .map(|port| EndpointPort {
            name: Some(port.name.clone().unwrap_or_default()),
            port: Some(port.port),
            protocol: Some(port.protocol.clone().unwrap_or_else(|| "TCP".into())),
            app_protocol: port.app_protocol.clone(),
        })
        .collect()
}

/// However the address was written, in the slice it stands in its one right form.
fn endpoint(address: &EndpointAddress, ip: IpAddr, ready: bool) -> Endpoint {
    Endpoint {
        addresses: vec![ip.to_string()],
        conditions: Some(EndpointConditions { ready: Some(ready), ..EndpointConditions::default() }),
        hostname: address.hostname.clone(),
        node_name: address.node_name.clone(),
        target_ref: address.target_ref.clone(),
        ..Endpoint::default()
    }
}
