//! Watches → memory: Services and their EndpointSlices, and which Services have changed since they were last compiled.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::runtime::watcher::Event;
use runtime::listing::{Change, Key, Listing};

use crate::base::Config;
use crate::compile::{EndpointsByPort, Program, compile};
use crate::conntrack::Served;
use crate::endpoints::Place;
use crate::model::{self, Endpoint, Protocol, ServiceName, ServiceSpec, Slice};

/// A change of one of the watched kinds.
pub enum Update {
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
    /// The own node's zone.
    Zone(Option<String>),
}

/// All that the proxy knows, as of the last update.
pub struct Index {
    node: String,
    zone: Option<String>,
    services: HashMap<ServiceName, ServiceSpec>,
    slices: HashMap<ServiceName, BTreeMap<String, Slice>>,
    /// Which Service a slice belongs to; a slice that is gone no longer says.
    owners: HashMap<Key, ServiceName>,
    dirty: BTreeSet<ServiceName>,
    listed_services: Listing,
    listed_slices: Listing,
}

impl Index {
    /// An empty index for the proxy of `node`.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            zone: None,
            services: HashMap::new(),
            slices: HashMap::new(),
            owners: HashMap::new(),
            dirty: BTreeSet::new(),
            listed_services: Listing::default(),
            listed_slices: Listing::default(),
        }
    }

    /// Where the proxy is.
    #[must_use]
    pub fn place(&self) -> Place {
        Place { node: self.node.clone(), zone: self.zone.clone() }
    }

    /// Whether both kinds have been listed: before that, compiling would withdraw what is merely not known yet.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.listed_services.complete() && self.listed_slices.complete()
    }

    /// Takes one update in.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Service(event) => {
                for change in self.listed_services.changes(*event) {
                    match change {
                        Change::Set(key, service) => self.set_service(name_of(key), ServiceSpec::of(&service)),
                        Change::Gone(key) => self.set_service(name_of(key), None),
                    }
                }
            }
            Update::Slice(event) => {
                for change in self.listed_slices.changes(*event) {
                    match change {
                        Change::Set(key, slice) => self.set_slice(key, Some(&slice)),
                        Change::Gone(key) => self.set_slice(key, None),
                    }
                }
            }
            Update::Zone(zone) => {
                if self.zone != zone {
                    self.zone = zone;
                    self.dirty.extend(self.services.keys().cloned());
                }
            }
        }
    }

    fn set_service(&mut self, name: ServiceName, spec: Option<ServiceSpec>) {
        let before = match &spec {
            Some(spec) => self.services.insert(name.clone(), spec.clone()),
            None => self.services.remove(&name),
        };
        if before != spec {
            self.dirty.insert(name);
        }
    }

    fn set_slice(&mut self, key: Key, slice: Option<&EndpointSlice>) {
        let owner = slice.and_then(model::service_of);
        let before = match &owner {
            Some(owner) => self.owners.insert(key.clone(), owner.clone()),
            None => self.owners.remove(&key),
        };
        if let Some(left) = before.filter(|before| Some(before) != owner.as_ref()) {
            self.put(left, key.1.clone(), None);
        }
        if let (Some(owner), Some(slice)) = (owner, slice) {
            self.put(owner, key.1, Some(Slice::of(slice, &self.node)));
        }
    }

    fn put(&mut self, name: ServiceName, slice: String, content: Option<Slice>) {
        let slices = self.slices.entry(name.clone()).or_default();
        let before = match &content {
            Some(content) => slices.insert(slice, content.clone()),
            None => slices.remove(&slice),
        };
        if slices.is_empty() {
            self.slices.remove(&name);
        }
        if before != content {
            self.dirty.insert(name);
        }
    }

    /// Whether UDP traffic is among what changes.
    #[must_use]
    pub fn udp_changes(&self) -> bool {
        let is_udp = |name: &ServiceName| {
            self.services
                .get(name)
                .is_some_and(|service| service.ports.iter().any(|port| port.protocol == Protocol::Udp))
        };
        self.dirty.iter().any(is_udp)
    }

    /// Where UDP traffic may go now: endpoints that are ready or at least still answer.
    #[must_use]
    pub fn served_udp(&self, config: &Config) -> Served {
        let mut served = Served { node_ips: config.node_port_ips.clone(), ..Served::default() };
        for (name, service) in &self.services {
            let endpoints = self.endpoints(name);
            for port in service.ports.iter().filter(|port| port.protocol == Protocol::Udp) {
                let all = endpoints.get(&(port.name.clone(), port.protocol)).into_iter().flatten();
                let usable: HashSet<_> = all.filter(|e| e.ready || e.serving).map(|e| (e.ip, e.port)).collect();
                let outside = service.external_ips.iter().chain(&service.load_balancer_ips);
                for ip in outside.chain([&service.cluster_ip]) {
                    served.addresses.insert((*ip, port.port), usable.clone());
                }
                if let Some(node_port) = port.node_port {
                    served.node_ports.insert(node_port, usable);
                }
            }
        }
        served
    }

    /// Compiles the Services that changed since the last call; none for those that are gone.
    pub fn changes(&mut self, config: &Config) -> Vec<(ServiceName, Option<Program>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|name| (name.clone(), self.compile(&name, config))).collect()
    }

    /// Compiles all Services.
    pub fn all(&mut self, config: &Config) -> Vec<(ServiceName, Program)> {
        self.dirty.clear();
        let names = self.services.keys().cloned();
        names.filter_map(|name| self.compile(&name, config).map(|program| (name, program))).collect()
    }

    fn compile(&self, name: &ServiceName, config: &Config) -> Option<Program> {
        let service = self.services.get(name)?;
        Some(compile(name, service, &self.endpoints(name), config))
    }

    /// The endpoints of a Service over all its slices. While an endpoint moves from one slice to another it may be in
    /// both: the better state counts.
    fn endpoints(&self, name: &ServiceName) -> EndpointsByPort {
        let mut ports: BTreeMap<_, BTreeMap<_, Endpoint>> = BTreeMap::new();
        for (port, protocol, endpoint) in
            self.slices.get(name).into_iter().flat_map(BTreeMap::values).flat_map(|s| &s.endpoints)
        {
            let known = ports.entry((port.clone(), *protocol)).or_default();
            let at = known.entry((endpoint.ip, endpoint.port)).or_insert_with(|| endpoint.clone());
            if (endpoint.ready, endpoint.serving) > (at.ready, at.serving) {
                *at = endpoint.clone();
            }
        }
        ports.into_iter().map(|(port, endpoints)| (port, endpoints.into_values().collect())).collect()
    }

    /// Services with a health check port: the port, and how many ready endpoints are on this node.
    pub fn health_checks(&self) -> BTreeMap<u16, (ServiceName, usize)> {
        let wanted = self.services.iter().filter_map(|(name, service)| Some((service.health_check_node_port?, name)));
        wanted.map(|(port, name)| (port, (name.clone(), self.local_endpoints(name)))).collect()
    }

    fn local_endpoints(&self, name: &ServiceName) -> usize {
        let endpoints = self.endpoints(name);
        let ready = endpoints.values().flatten().filter(|endpoint| endpoint.local && endpoint.ready);
        ready.map(|endpoint| endpoint.ip).collect::<BTreeSet<_>>().len()
    }
}

fn name_of((namespace, name): Key) -> ServiceName {
    ServiceName { namespace, name }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn slices_of_headless_services_are_not_served() {
        let mut index = Index::new("n");
        let labelled = |labels: serde_json::Value| {
            let slice = json!({ "metadata": { "name": "s", "namespace": "ns", "labels": labels }, "addressType": "IPv4",
                "endpoints": [{ "addresses": ["10.0.0.1"] }], "ports": [{ "port": 80 }] });
            Update::Slice(Box::new(Event::Apply(serde_json::from_value(slice).unwrap())))
        };
        let service = ServiceName { namespace: "ns".to_owned(), name: "s".to_owned() };
        let own = json!({ "kubernetes.io/service-name": "s" });
        let headless = json!({ "kubernetes.io/service-name": "s", "service.kubernetes.io/headless": "" });
        for (labels, served) in [(&own, true), (&headless, false), (&own, true), (&json!({}), false)] {
            index.apply(labelled(labels.clone()));
            assert_eq!(index.slices.contains_key(&service), served, "{labels}");
            assert!(index.dirty.remove(&service), "{labels}: it is compiled anew");
        }
    }
}
