//! One Service and its endpoints → its part of the table (pure).
//!
//! ```text
//! service-ips ── cluster IP ─────────> service-HASH-ns/name/proto/port    or local-HASH-… (internalTrafficPolicy Local)
//!             └─ external, balancer ─> external-HASH-…  ─────┐               │ one of
//! service-nodeports ── node port ────> external-HASH-…  ─────┴─> the same    ├─> endpoint-HASH-…__ip/port ── dnat
//! ```
//!
//! Traffic from outside passes `external-…`: with policy Cluster it is marked for masquerade, so that the answer comes
//! back through this node; with Local it keeps its sender's address and only sees endpoints of this node.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::base::{Config, MARK_CHAIN, REJECT_CHAIN};
use crate::endpoints::Choice;
use crate::expr::*;
use crate::model::{Endpoint, Port, Protocol, ServiceName, ServiceSpec};

/// A key in one of the table's named sets and maps.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub set: &'static str,
    pub ip: Option<Ipv4Addr>,
    pub port: Option<(Protocol, u16)>,
}

impl Key {
    fn destination(set: &'static str, ip: Ipv4Addr, port: &Port) -> Self {
        Self { set, ip: Some(ip), port: Some((port.protocol, port.port)) }
    }
}

/// What a key leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A set's element leads nowhere.
    Member,
    Chain(String),
    Drop,
}

/// A Service's part of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Sets of clients, by name: the timeout of their elements in seconds.
    pub affinity_sets: BTreeMap<String, u32>,
    /// Chains by name: their rules.
    pub chains: BTreeMap<String, Vec<Vec<Value>>>,
    pub elements: BTreeMap<Key, Target>,
}

/// Endpoints of a Service, by port name and protocol.
pub type EndpointsByPort = BTreeMap<(String, Protocol), Vec<Endpoint>>;

/// The part of the table that makes `service` work.
#[must_use]
pub fn compile(name: &ServiceName, service: &ServiceSpec, endpoints: &EndpointsByPort, config: &Config) -> Program {
    let mut program = Program::default();
    program.elements.insert(Key { set: "cluster-ips", ip: Some(service.cluster_ip), port: None }, Target::Member);
    for port in &service.ports {
        let all = endpoints.get(&(port.name.clone(), port.protocol)).map(Vec::as_slice).unwrap_or_default();
        PortCompiler { name, service, port, config, choice: Choice::among(all, &config.place), program: &mut program }
            .run();
    }
    program
}

struct PortCompiler<'a> {
    name: &'a ServiceName,
    service: &'a ServiceSpec,
    port: &'a Port,
    config: &'a Config,
    choice: Choice,
    program: &'a mut Program,
}

impl PortCompiler<'_> {
    fn run(mut self) {
        let (internal_local, external_local) = (self.service.internal_local, self.service.external_local);
        let has_external = self.port.node_port.is_some() || !self.external_ips().is_empty();
        let internal = self.policy(internal_local);
        let external = self.policy(external_local);

        self.direct("service-ips", "no-endpoint-services", self.service.cluster_ip, &internal);
        if has_external {
            // Where traffic from outside goes, and what becomes of that which goes nowhere.
            let (chain, refusal) = match &external {
                Policy::Endpoints(inner) => (Some(self.external_chain(Some(inner))), None),
                // Local with endpoints only elsewhere: pods and this host may still go there, the outside may not.
                Policy::Nowhere => (external_local.then(|| self.external_chain(None)), Some(Target::Drop)),
                Policy::Refused => (None, Some(Target::Chain(REJECT_CHAIN.into()))),
            };
            let port = (self.port.protocol, self.port.port);
            let addresses =
                self.external_ips().into_iter().map(|ip| (("service-ips", "no-endpoint-services"), Some(ip), port));
            let node_port = self
                .port
                .node_port
                .map(|number| (("service-nodeports", "no-endpoint-nodeports"), None, (self.port.protocol, number)));
            for ((served, unserved), ip, port) in addresses.chain(node_port) {
                let targets = [(served, chain.clone().map(Target::Chain)), (unserved, refusal.clone())];
                for (set, target) in targets {
                    self.program.elements.extend(target.map(|target| (Key { set, ip, port: Some(port) }, target)));
                }
            }
        }
        self.firewall();
    }

    fn external_ips(&self) -> Vec<Ipv4Addr> {
        self.service.external_ips.iter().chain(&self.service.load_balancer_ips).copied().collect()
    }

    /// Puts `ip` and this port into the map that fits `policy`.
    fn direct(&mut self, served: &'static str, unserved: &'static str, ip: Ipv4Addr, policy: &Policy) {
        let (set, target) = match policy {
            Policy::Endpoints(chain) => (served, Target::Chain(chain.clone())),
            Policy::Nowhere => (unserved, Target::Drop),
            Policy::Refused => (unserved, Target::Chain(REJECT_CHAIN.into())),
        };
        self.program.elements.insert(Key::destination(set, ip, self.port), target);
    }

    /// Where traffic under a policy goes; makes the chains it needs.
    fn policy(&mut self, local: bool) -> Policy {
        let (kind, chosen) =
            if local { ("local", self.choice.local.clone()) } else { ("service", self.choice.cluster.clone()) };
        match (chosen.is_empty(), self.choice.cluster.is_empty() && self.choice.local.is_empty()) {
            (true, true) => Policy::Refused,
            (true, false) => Policy::Nowhere,
            (false, _) => Policy::Endpoints(self.balancing_chain(kind, &chosen)),
        }
    }

    /// The chain that spreads connections over `chosen`.
    fn balancing_chain(&mut self, kind: &str, chosen: &[Endpoint]) -> String {
        let chain = self.chain_name(kind);
        if self.program.chains.contains_key(&chain) {
            return chain;
        }
        let mut rules = Vec::new();
        if let Some(pods) = self.config.cluster_cidr {
            rules.push(vec![
                is(ip_daddr(), json!(self.service.cluster_ip)),
                is(l4proto(), json!(self.port.protocol.as_str())),
                is(dport(), json!(self.port.port)),
                matches("!=", ip_saddr(), prefix(pods)),
                jump(MARK_CHAIN),
            ]);
        }
        let targets: Vec<(String, String)> = chosen.iter().map(|endpoint| self.endpoint_chain(endpoint)).collect();
        if self.service.affinity.is_some() {
            for (target, set) in &targets {
                rules.push(vec![is(ip_saddr(), json!(format!("@{set}"))), goto(target)]);
            }
        }
        let targets: Vec<String> = targets.into_iter().map(|(target, _)| target).collect();
        rules.push(vec![counter(), one_of(&targets)]);
        self.program.chains.insert(chain.clone(), rules);
        chain
    }

    /// The chain that translates to one endpoint, and the name of its affinity set.
    fn endpoint_chain(&mut self, endpoint: &Endpoint) -> (String, String) {
        let name = format!("{}__{}/{}", self.base_name(), endpoint.ip, endpoint.port);
        let chain = format!("endpoint-{}", hashed(&name));
        // A set's timeout cannot be changed, so it is part of the name: another timeout is another set.
        let set = format!("affinity-{}", hashed(&format!("{name}/{}", self.service.affinity.unwrap_or_default())));
        if !self.program.chains.contains_key(&chain) {
            let mut rules = vec![
                // Hairpin: a pod that reaches itself through its Service must see an answer from the node, or it would
                // answer itself directly and the connection would never match.
                vec![is(ip_saddr(), json!(endpoint.ip)), jump(MARK_CHAIN)],
            ];
            if let Some(timeout) = self.service.affinity {
                self.program.affinity_sets.insert(set.clone(), timeout);
                rules.push(vec![remember_sender(&set)]);
            }
            let mut translate = vec![counter()];
            translate.extend(dnat(endpoint.ip, endpoint.port, self.port.protocol));
            rules.push(translate);
            self.program.chains.insert(chain.clone(), rules);
        }
        (chain, set)
    }

    /// The chain for traffic to external addresses and node ports, ahead of `inner`; without one, only for who is not from
    /// outside.
    fn external_chain(&mut self, inner: Option<&str>) -> String {
        let chain = self.chain_name("external");
        let mut rules = Vec::new();
        if self.service.external_local {
            // Pods and processes of the cluster are not "external", whichever address they use: they get all endpoints.
            if !self.choice.cluster.is_empty() {
                let everywhere = self.balancing_chain("service", &self.choice.cluster.clone());
                if let Some(pods) = self.config.cluster_cidr {
                    rules.push(vec![is(ip_saddr(), prefix(pods)), goto(&everywhere)]);
                }
                rules.push(vec![from_this_host(), jump(MARK_CHAIN)]);
                rules.push(vec![from_this_host(), goto(&everywhere)]);
            }
        } else {
            rules.push(vec![jump(MARK_CHAIN)]);
        }
        rules.extend(inner.map(|inner| vec![counter(), goto(inner)]));
        self.program.chains.insert(chain.clone(), rules);
        chain
    }

    /// `loadBalancerSourceRanges`: whoever is not in them is dropped.
    fn firewall(&mut self) {
        if self.service.source_ranges.is_empty() || self.service.load_balancer_ips.is_empty() {
            return;
        }
        let chain = self.chain_name("firewall");
        let ranges: Vec<Value> = self.service.source_ranges.iter().map(|net| prefix(*net)).collect();
        let outside = matches("!=", ip_saddr(), json!({ "set": ranges }));
        self.program.chains.insert(chain.clone(), vec![vec![outside, counter(), drop()]]);
        for ip in &self.service.load_balancer_ips {
            let key = Key::destination("firewall-ips", *ip, self.port);
            self.program.elements.insert(key, Target::Chain(chain.clone()));
        }
    }

    fn base_name(&self) -> String {
        format!("{}/{}/{}", self.name, self.port.protocol.as_str(), self.port.name)
    }

    fn chain_name(&self, kind: &str) -> String {
        format!("{kind}-{}", hashed(&self.base_name()))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Policy {
    /// To endpoints, by this chain.
    Endpoints(String),
    /// There are endpoints, but none that this traffic may use: dropped, so that a load balancer tries another node.
    Nowhere,
    /// There are none at all: refused.
    Refused,
}

/// `HASH-name`: unique however long names are, and readable. The kernel takes 255 bytes; the longest prefix is `endpoint-`.
fn hashed(name: &str) -> String {
    const LONGEST: usize = 235;
    let digest = Sha256::digest(name.as_bytes());
    let mut full = format!("{}-{name}", base32(&digest[..5]));
    if full.len() > LONGEST {
        full.truncate(LONGEST - 3);
        full.push_str("...");
    }
    full
}

/// RFC 4648 base32 of five bytes: eight letters.
fn base32(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let bits = bytes.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    (0..8).rev().map(|n| char::from(ALPHABET[(bits >> (n * 5) & 31) as usize])).collect()
}
