//! Policies and pods → chains, sets and map elements (pure).
//!
//! ```text
//! forward: established? accept
//!          map egress-pods  (source)      ──> pod-egress-…  ── each policy's egress-…  ── allowed: goto ingress-check
//!                                                            └ drop
//!          ingress-check: map ingress-pods (destination) ──> pod-ingress-… ── each policy's ingress-… ── accept
//!                                                            └ drop        └ (no entry: accept)
//! ```
//!
//! A pod is in a map only while a policy selects it for that direction. Peers' addresses are named sets, so that a pod
//! that comes or goes changes one element of a set and no rule.

use std::collections::{BTreeMap, BTreeSet};

use ipnet::Ipv4Net;
use kube::core::SelectorExt;
use runtime::listing::Key;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::model::{Labels, Peer, PodInfo, Policy, PortMatch, Rule};

/// What the cluster looks like.
#[derive(Debug, Default)]
pub struct World {
    pub pods: BTreeMap<Key, PodInfo>,
    pub policies: BTreeMap<Key, Policy>,
    pub namespaces: BTreeMap<String, Labels>,
}

/// The part of the table that one policy or one pod is answerable for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Named sets: their declaration, and their elements (as text, for comparison).
    pub sets: BTreeMap<String, (Value, BTreeSet<String>)>,
    pub chains: BTreeMap<String, Vec<Vec<Value>>>,
    /// (map, address) → chain.
    pub elements: BTreeMap<(&'static str, String), String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    fn word(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }

    /// The peer's side of a packet.
    fn peer_field(self) -> Value {
        let field = if self == Self::Ingress { "saddr" } else { "daddr" };
        json!({ "payload": { "protocol": "ip", "field": field } })
    }

    /// What "allowed" means: the last word for ingress; for egress the destination has still to be asked.
    fn allow(self) -> Value {
        if self == Self::Ingress { json!({ "accept": null }) } else { json!({ "goto": { "target": "ingress-check" } }) }
    }
}

const BOTH: [Direction; 2] = [Direction::Ingress, Direction::Egress];

impl World {
    fn namespace_labels(&self, name: &str) -> Labels {
        self.namespaces.get(name).cloned().unwrap_or_default()
    }

    /// The policy's chains and sets.
    #[must_use]
    pub fn policy(&self, key: &Key) -> Option<Program> {
        let policy = self.policies.get(key)?;
        let mut program = Program::default();
        for direction in BOTH {
            let Some(rules) = rules_of(policy, direction) else { continue };
            let chain = policy_chain(direction, key);
            let mut made = Vec::new();
            for (n, rule) in rules.iter().enumerate() {
                let set = format!("{}-{n}", policy_chain(direction, key));
                made.extend(self.rule(key, policy, rule, direction, &set, &mut program));
            }
            program.chains.insert(chain, made);
        }
        Some(program)
    }

    fn rule(
        &self,
        key: &Key,
        policy: &Policy,
        rule: &Rule,
        direction: Direction,
        set: &str,
        program: &mut Program,
    ) -> Vec<Vec<Value>> {
        let mut made = Vec::new();
        let ports = plain_ports(rule.ports.as_deref());
        for peer in self.peers(key, rule, direction, set, program) {
            for port in &ports {
                let allow = [json!({ "counter": null }), direction.allow()];
                made.push(peer.iter().chain(port).cloned().chain(allow).collect());
            }
        }
        made.extend(self.named_ports(key, policy, rule, direction, set, program));
        made
    }

    /// The alternatives a packet's peer may match; each a list of matches.
    fn peers(&self, key: &Key, rule: &Rule, direction: Direction, set: &str, program: &mut Program) -> Vec<Vec<Value>> {
        let Some(peers) = &rule.peers else { return vec![vec![]] };
        let is =
            |op: &str, right: Value| json!({ "match": { "op": op, "left": direction.peer_field(), "right": right } });
        let mut alternatives = Vec::new();
        if peers.iter().any(|peer| matches!(peer, Peer::Pods { .. })) {
            let addresses = self.pods.iter().filter(|(pod, info)| self.is_peer(key, peers, pod, info));
            let addresses = addresses.map(|(_, info)| json!(info.ip).to_string()).collect();
            program.sets.insert(set.to_owned(), (json!("ipv4_addr"), addresses));
            alternatives.push(vec![is("==", json!(format!("@{set}")))]);
        }
        for peer in peers {
            if let Peer::Block { cidr, except } = peer {
                let mut matches = Vec::new();
                // 0.0.0.0/0 is every address, and no prefix to nft.
                if cidr.prefix_len() > 0 {
                    matches.push(is("==", prefix(*cidr)));
                }
                matches.extend(except.iter().map(|net| is("!=", prefix(*net))));
                alternatives.push(matches);
            }
        }
        alternatives
    }

    fn is_peer(&self, key: &Key, peers: &[Peer], pod: &Key, info: &PodInfo) -> bool {
        let labels = self.namespace_labels(&pod.0);
        peers.iter().any(|peer| peer.selects(&key.0, &pod.0, &labels, &info.labels))
    }

    /// A named port is another number on each pod: a set of (address, protocol, port) of the pods on the receiving side.
    fn named_ports(
        &self,
        key: &Key,
        policy: &Policy,
        rule: &Rule,
        direction: Direction,
        set: &str,
        program: &mut Program,
    ) -> Vec<Vec<Value>> {
        let named: Vec<_> = rule
            .ports
            .iter()
            .flatten()
            .filter_map(|port| match port {
                PortMatch::Named(protocol, name) => Some((*protocol, name)),
                _ => None,
            })
            .collect();
        if named.is_empty() {
            return Vec::new();
        }
        let receivers = self.pods.iter().filter(|(pod, info)| match (direction, &rule.peers) {
            (Direction::Ingress, _) => info.local && pod.0 == key.0 && policy.pods.matches(&info.labels),
            (Direction::Egress, None) => true,
            (Direction::Egress, Some(peers)) => {
                self.is_peer(key, peers, pod, info) || peers.iter().any(|peer| in_block(peer, info))
            }
        });
        let mut elements = BTreeSet::new();
        for (_, info) in receivers {
            for (protocol, name) in &named {
                let numbers = info.ports.get(*name).into_iter().flatten().filter(|(p, _)| p == protocol);
                elements.extend(numbers.map(|(p, n)| json!({ "concat": [info.ip, p, n] }).to_string()));
            }
        }
        let name = format!("{set}-named");
        let parts = json!([
            { "payload": { "protocol": "ip", "field": "daddr" } },
            { "meta": { "key": "l4proto" } },
            { "payload": { "protocol": "th", "field": "dport" } },
        ]);
        let receiving = json!({ "match": { "op": "==", "left": { "concat": parts }, "right": format!("@{name}") } });
        program.sets.insert(name, (json!(["ipv4_addr", "inet_proto", "inet_service"]), elements));
        // For egress the receivers are the peers, already chosen above; for ingress the sender is still to be checked.
        let senders = match direction {
            Direction::Ingress => self.peers(key, rule, direction, set, program),
            Direction::Egress => vec![vec![]],
        };
        let allow = [json!({ "counter": null }), direction.allow()];
        senders
            .into_iter()
            .map(|sender| sender.into_iter().chain([receiving.clone()]).chain(allow.clone()).collect())
            .collect()
    }

    /// A local pod's chains and map entries, for the directions in which policies isolate it.
    #[must_use]
    pub fn pod(&self, key: &Key) -> Option<Program> {
        let info = self.pods.get(key).filter(|info| info.local)?;
        let mut program = Program::default();
        for direction in BOTH {
            let selecting = self.policies.iter().filter(|(policy, spec)| {
                policy.0 == key.0 && rules_of(spec, direction).is_some() && spec.pods.matches(&info.labels)
            });
            let mut rules: Vec<Vec<Value>> = selecting
                .map(|(policy, _)| vec![json!({ "jump": { "target": policy_chain(direction, policy) } })])
                .collect();
            if rules.is_empty() {
                continue;
            }
            rules.push(vec![json!({ "counter": null }), json!({ "drop": null })]);
            let chain = format!("pod-{}-{}", direction.word(), hashed(key));
            let map = if direction == Direction::Ingress { "ingress-pods" } else { "egress-pods" };
            program.elements.insert((map, info.ip.to_string()), chain.clone());
            program.chains.insert(chain, rules);
        }
        Some(program)
    }
}

fn rules_of(policy: &Policy, direction: Direction) -> Option<&Vec<Rule>> {
    match direction {
        Direction::Ingress => policy.ingress.as_ref(),
        Direction::Egress => policy.egress.as_ref(),
    }
}

fn in_block(peer: &Peer, info: &PodInfo) -> bool {
    matches!(peer, Peer::Block { cidr, except } if cidr.contains(&info.ip) && !except.iter().any(|net| net.contains(&info.ip)))
}

/// The alternatives a packet's port may match, but for named ones.
fn plain_ports(ports: Option<&[PortMatch]>) -> Vec<Vec<Value>> {
    let Some(ports) = ports else { return vec![vec![]] };
    let is = |left: Value, right: Value| json!({ "match": { "op": "==", "left": left, "right": right } });
    let protocol = |name: &str| is(json!({ "meta": { "key": "l4proto" } }), json!(name));
    let mut alternatives = Vec::new();
    for name in ["tcp", "udp", "sctp"] {
        let of_this =
            |port: &&PortMatch| matches!(port, PortMatch::Protocol(p) | PortMatch::Range(p, ..) if *p == name);
        let mine: Vec<_> = ports.iter().filter(of_this).collect();
        if mine.iter().any(|port| matches!(port, PortMatch::Protocol(_))) {
            alternatives.push(vec![protocol(name)]);
            continue;
        }
        for port in mine {
            if let PortMatch::Range(_, first, last) = port {
                let range = if first == last { json!(first) } else { json!({ "range": [first, last] }) };
                let dport = json!({ "payload": { "protocol": "th", "field": "dport" } });
                alternatives.push(vec![protocol(name), is(dport, range)]);
            }
        }
    }
    alternatives
}

fn prefix(net: Ipv4Net) -> Value {
    if net.prefix_len() == 32 {
        return json!(net.addr());
    }
    json!({ "prefix": { "addr": net.network(), "len": net.prefix_len() } })
}

fn policy_chain(direction: Direction, key: &Key) -> String {
    format!("{}-{}", direction.word(), hashed(key))
}

/// Unique however long names are, and readable; well below the kernel's 255 bytes with what is put before and after.
fn hashed((namespace, name): &Key) -> String {
    const LONGEST: usize = 200;
    let full = format!("{namespace}/{name}");
    let digest = Sha256::digest(full.as_bytes());
    let short: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut text = format!("{short}-{full}");
    text.truncate(LONGEST);
    text
}
