//! Watches → memory: Services and their EndpointSlices, and which Services have changed since they were last compiled.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::runtime::watcher::Event;

use crate::base::Config;
use crate::compile::{EndpointsByPort, Program, compile};
use crate::model::{self, Endpoint, ServiceName, ServiceSpec, Slice};

/// A change of one of the watched kinds.
pub enum Update {
    Service(Box<Event<Service>>),
    Slice(Box<Event<EndpointSlice>>),
}

/// All that the proxy knows, as of the last update.
pub struct Index {
    node: String,
    services: HashMap<ServiceName, ServiceSpec>,
    slices: HashMap<ServiceName, BTreeMap<String, Slice>>,
    dirty: BTreeSet<ServiceName>,
    /// What a list that is under way has not named yet: gone, once the list is complete.
    unlisted_services: BTreeSet<ServiceName>,
    unlisted_slices: BTreeSet<(ServiceName, String)>,
    services_listed: bool,
    slices_listed: bool,
}

impl Index {
    /// An empty index for the proxy of `node`.
    #[must_use]
    pub fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            services: HashMap::new(),
            slices: HashMap::new(),
            dirty: BTreeSet::new(),
            unlisted_services: BTreeSet::new(),
            unlisted_slices: BTreeSet::new(),
            services_listed: false,
            slices_listed: false,
        }
    }

    /// Whether both kinds have been listed: before that, compiling would withdraw what is merely not known yet.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.services_listed && self.slices_listed
    }

    /// Takes one update in.
    pub fn apply(&mut self, update: Update) {
        match update {
            Update::Service(event) => self.service_event(*event),
            Update::Slice(event) => self.slice_event(*event),
        }
    }

    fn service_event(&mut self, event: Event<Service>) {
        match event {
            Event::Init => self.unlisted_services = self.services.keys().cloned().collect(),
            Event::InitApply(service) | Event::Apply(service) => {
                let name = name_of(&service);
                self.unlisted_services.remove(&name);
                self.set_service(name, ServiceSpec::of(&service));
            }
            Event::InitDone => {
                self.services_listed = true;
                for name in std::mem::take(&mut self.unlisted_services) {
                    self.set_service(name, None);
                }
            }
            Event::Delete(service) => self.set_service(name_of(&service), None),
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

    fn slice_event(&mut self, event: Event<EndpointSlice>) {
        match event {
            Event::Init => {
                let all = self.slices.iter();
                self.unlisted_slices =
                    all.flat_map(|(name, slices)| slices.keys().map(|slice| (name.clone(), slice.clone()))).collect();
            }
            Event::InitApply(slice) | Event::Apply(slice) => {
                let Some(name) = model::service_of(&slice) else { return };
                let key = (name, slice.name_any());
                self.unlisted_slices.remove(&key);
                self.set_slice(key, Some(Slice::of(&slice, &self.node)));
            }
            Event::InitDone => {
                self.slices_listed = true;
                for key in std::mem::take(&mut self.unlisted_slices) {
                    self.set_slice(key, None);
                }
            }
            Event::Delete(slice) => {
                if let Some(name) = model::service_of(&slice) {
                    self.set_slice((name, slice.name_any()), None);
                }
            }
        }
    }

    fn set_slice(&mut self, (name, slice): (ServiceName, String), content: Option<Slice>) {
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

fn name_of(service: &Service) -> ServiceName {
    ServiceName { namespace: service.namespace().unwrap_or_default(), name: service.name_any() }
}
