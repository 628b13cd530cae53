//! What is known of Services, as the DNS needs it: a small model of each, and the reverse names.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::IpAddr;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use runtime::address;
use runtime::listing::Key;

/// A named port: `_name._protocol`.
pub type PortName = (String, String);

/// One Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Behind virtual addresses.
    Cluster { ips: Vec<IpAddr>, ports: BTreeMap<PortName, u16> },
    /// Its endpoints themselves.
    Headless,
    /// Another name.
    External(String),
}

/// A ready endpoint of a headless Service, by the name it has below the Service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub hostname: String,
    pub ip: IpAddr,
    pub ports: BTreeMap<PortName, u16>,
}

/// All Services and endpoints, kept up one object at a time.
#[derive(Debug, Default)]
pub struct Records {
    services: HashMap<Key, Entry>,
    /// Slices by Service, then by name.
    slices: HashMap<Key, BTreeMap<String, Vec<Endpoint>>>,
    /// Which Service a slice belongs to.
    slice_owner: HashMap<Key, Key>,
    /// How many Services a namespace has.
    namespaces: HashMap<String, usize>,
    /// Services by their virtual addresses, endpoints by theirs.
    by_ip: HashMap<IpAddr, BTreeSet<(Key, Option<String>)>>,
}

impl Records {
    #[must_use]
    pub fn service(&self, key: &Key) -> Option<&Entry> {
        self.services.get(key)
    }

    /// The ready endpoints of a Service, over all its slices.
    pub fn endpoints(&self, key: &Key) -> impl Iterator<Item = &Endpoint> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).flatten()
    }

    #[must_use]
    pub fn has_namespace(&self, namespace: &str) -> bool {
        self.namespaces.contains_key(namespace)
    }

    /// The names an address has: a Service, or an endpoint (by its hostname) of a headless one.
    pub fn names(&self, ip: IpAddr) -> impl Iterator<Item = (&Key, Option<&str>)> {
        let named = self.by_ip.get(&ip).into_iter().flatten();
        named
            .filter(|(key, hostname)| hostname.is_none() || self.services.get(key) == Some(&Entry::Headless))
            .map(|(key, hostname)| (key, hostname.as_deref()))
    }

    /// Sets a Service, or forgets it.
    pub fn set_service(&mut self, key: &Key, object: Option<&Service>) {
        let new = object.and_then(read_service);
        let old = match &new {
            Some(service) => self.services.insert(key.clone(), service.clone()),
            None => self.services.remove(key),
        };
        for ip in addresses(old.as_ref()) {
            self.unname(ip, &(key.clone(), None));
        }
        for ip in addresses(new.as_ref()) {
            self.by_ip.entry(ip).or_default().insert((key.clone(), None));
        }
        match (old.is_some(), new.is_some()) {
            (false, true) => *self.namespaces.entry(key.0.clone()).or_default() += 1,
            (true, false) => {
                if let Some(count) = self.namespaces.get_mut(&key.0) {
                    *count -= 1;
                    if *count == 0 {
                        self.namespaces.remove(&key.0);
                    }
                }
            }
            _ => {}
        }
    }

    /// Sets an EndpointSlice, or forgets it.
    pub fn set_slice(&mut self, key: &Key, object: Option<&EndpointSlice>) {
        if let Some(owner) = self.slice_owner.remove(key) {
            let slices = self.slices.entry(owner.clone()).or_default();
            let old = slices.remove(&key.1).unwrap_or_default();
            if slices.is_empty() {
                self.slices.remove(&owner);
            }
            for endpoint in old {
                self.unname(endpoint.ip, &(owner.clone(), Some(endpoint.hostname)));
            }
        }
        let Some(slice) = object else { return };
        let labels = slice.metadata.labels.as_ref();
        let Some(service) = labels.and_then(|labels| labels.get("kubernetes.io/service-name")) else { return };
        let owner = (key.0.clone(), service.clone());
        let endpoints = read_slice(slice);
        for endpoint in &endpoints {
            self.by_ip.entry(endpoint.ip).or_default().insert((owner.clone(), Some(endpoint.hostname.clone())));
        }
        self.slice_owner.insert(key.clone(), owner.clone());
        self.slices.entry(owner).or_default().insert(key.1.clone(), endpoints);
    }

    fn unname(&mut self, ip: IpAddr, name: &(Key, Option<String>)) {
        if let Some(names) = self.by_ip.get_mut(&ip) {
            names.remove(name);
            if names.is_empty() {
                self.by_ip.remove(&ip);
            }
        }
    }
}

fn addresses(service: Option<&Entry>) -> Vec<IpAddr> {
    match service {
        Some(Entry::Cluster { ips, .. }) => ips.clone(),
        _ => Vec::new(),
    }
}

fn read_service(service: &Service) -> Option<Entry> {
    let spec = service.spec.as_ref()?;
    if spec.type_.as_deref() == Some("ExternalName") {
        return spec.external_name.clone().map(Entry::External);
    }
    if spec.cluster_ip.as_deref() == Some("None") {
        return Some(Entry::Headless);
    }
    let texts: BTreeSet<&String> = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip).collect();
    let ips: Vec<IpAddr> = texts.into_iter().filter_map(|ip| Some(address::ip(ip)?.to_canonical())).collect();
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        Some((port_name(port.name.as_deref(), port.protocol.as_deref()), u16::try_from(port.port).ok()?))
    });
    (!ips.is_empty()).then(|| Entry::Cluster { ips, ports: ports.collect() })
}

fn read_slice(slice: &EndpointSlice) -> Vec<Endpoint> {
    let ports = slice.ports.iter().flatten().filter_map(|port| {
        Some((port_name(port.name.as_deref(), port.protocol.as_deref()), u16::try_from(port.port?).ok()?))
    });
    let ports: BTreeMap<PortName, u16> = ports.collect();
    let ready = slice.endpoints.iter().filter(|endpoint| {
        // Unknown means ready; publishNotReadyAddresses makes every endpoint ready at the source.
        endpoint.conditions.as_ref().and_then(|conditions| conditions.ready).unwrap_or(true)
    });
    ready
        .flat_map(|endpoint| endpoint.addresses.iter().map(move |ip| (endpoint, ip)))
        .filter_map(|(endpoint, ip)| {
            let ip = address::ip(ip)?.to_canonical();
            // CoreDNS's name for an endpoint without a hostname: its address with dashes.
            let hostname = endpoint.hostname.clone().unwrap_or_else(|| ip.to_string().replace(['.', ':'], "-"));
            Some(Endpoint { hostname: hostname.to_lowercase(), ip, ports: ports.clone() })
        })
        .collect()
}

fn port_name(name: Option<&str>, protocol: Option<&str>) -> PortName {
    (name.unwrap_or_default().to_lowercase(), protocol.unwrap_or("TCP").to_lowercase())
}
