//! From an Ingress backend to the pods behind it: Service port, then the ready endpoints of its EndpointSlices.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::api::networking::v1::IngressBackend;
use runtime::address;

use crate::index::{Index, Key};

/// Where a backend leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// nginx name of the upstream: namespace, service and port joined by a character none of them may contain.
    pub name: String,
    /// Empty when no pod is ready: the location answers 503.
    pub endpoints: Vec<(IpAddr, u16)>,
}

/// Resolves `backend` of an Ingress in `namespace`.
///
/// # Errors
/// A message for the Ingress's owner when the backend can never work as written.
pub fn resolve(namespace: &str, backend: &IngressBackend, index: &Index) -> Result<Resolved, String> {
    let Some(wanted) = &backend.service else {
        return Err("only Service backends are supported, not resource backends".to_owned());
    };
    let key = Key::new(namespace, &wanted.name);
    let service = index.service(&key).ok_or_else(|| format!("service \"{key}\" does not exist"))?;
    let port = wanted.port.as_ref();
    let spec_port = find_port(service, port.and_then(|port| port.name.as_deref()), port.and_then(|port| port.number))
        .ok_or_else(|| format!("service \"{key}\" does not have the backend's port"))?;
    if service.spec.as_ref().and_then(|spec| spec.type_.as_deref()) == Some("ExternalName") {
        return Err(format!("service \"{key}\" is an ExternalName; give it endpoints of its own instead"));
    }
    let endpoints = endpoints(&key, spec_port.name.as_deref().unwrap_or_default(), index);
    Ok(Resolved { name: format!("{namespace}_{}_{}", wanted.name, spec_port.port), endpoints })
}

fn find_port<'a>(service: &'a Service, name: Option<&str>, number: Option<i32>) -> Option<&'a ServicePort> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    ports.iter().find(|port| match name {
        Some(name) => port.name.as_deref() == Some(name),
        None => Some(port.port) == number,
    })
}

/// Ready endpoints only, each once, in a stable order.
fn endpoints(service: &Key, port_name: &str, index: &Index) -> Vec<(IpAddr, u16)> {
    let mut found = BTreeSet::new();
    for slice in index.slices(service) {
        let port = slice.ports.iter().flatten().find(|port| port.name.as_deref().unwrap_or_default() == port_name);
        let Some(number) = port.and_then(|port| port.port).and_then(|port| u16::try_from(port).ok()) else { continue };
        for endpoint in slice.endpoints.iter() {
            // A missing condition means ready (discovery.k8s.io/v1).
            if endpoint.conditions.as_ref().and_then(|conditions| conditions.ready) == Some(false) {
                continue;
            }
            found.extend(
                endpoint.addresses.iter().filter_map(|address| Some((address::ip(address)?.to_canonical(), number))),
            );
        }
    }
    found.into_iter().collect()
}
