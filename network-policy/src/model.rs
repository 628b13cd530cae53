//! What matters of Pods and NetworkPolicies.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicyPeer, NetworkPolicyPort};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::core::{Selector, SelectorExt};
use runtime::address;

pub type Labels = BTreeMap<String, String>;

/// A pod with an address of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodInfo {
    pub ip: Ipv4Addr,
    pub labels: Labels,
    /// On this node.
    pub local: bool,
    /// Named container ports: protocol (as nft says it) and number.
    pub ports: BTreeMap<String, Vec<(&'static str, u16)>>,
}

impl PodInfo {
    /// None for pods that policies do not see: without an address yet, finished, or on their node's own network.
    #[must_use]
    pub fn of(pod: &Pod, node: &str) -> Option<Self> {
        let (spec, status) = (pod.spec.as_ref()?, pod.status.as_ref()?);
        let finished = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        if spec.host_network == Some(true) || finished {
            return None;
        }
        let mut ports: BTreeMap<String, Vec<_>> = BTreeMap::new();
        for port in spec.containers.iter().flat_map(|container| container.ports.iter().flatten()) {
            if let (Some(name), Ok(number)) = (&port.name, u16::try_from(port.container_port)) {
                ports.entry(name.clone()).or_default().push((protocol(port.protocol.as_deref()), number));
            }
        }
        Some(Self {
            ip: status.pod_ip.as_ref()?.parse().ok()?,
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            local: spec.node_name.as_deref() == Some(node),
            ports,
        })
    }
}

/// A NetworkPolicy; a direction that is none leaves its pods alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    pub pods: Selector,
    pub ingress: Option<Vec<Rule>>,
    pub egress: Option<Vec<Rule>>,
}

/// Allows what comes from (or goes to) any of `peers` and any of `ports`; none of either: all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rule {
    pub peers: Option<Vec<Peer>>,
    pub ports: Option<Vec<PortMatch>>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Peer {
    Block {
        cidr: Ipv4Net,
        except: Vec<Ipv4Net>,
    },
    /// `namespaces` none: the policy's own.
    Pods {
        namespaces: Option<Selector>,
        pods: Selector,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortMatch {
    Protocol(&'static str),
    /// First and last.
    Range(&'static str, u16, u16),
    Named(&'static str, String),
}

impl Policy {
    /// Reads a policy. What cannot be read allows nothing: a rule that is dropped closes more, never less.
    #[must_use]
    pub fn of(policy: &NetworkPolicy) -> Option<Self> {
        let spec = policy.spec.as_ref()?;
        let ingress = spec
            .ingress
            .iter()
            .flatten()
            .map(|rule| Rule { peers: peers(rule.from.as_deref()), ports: ports(rule.ports.as_deref()) });
        let egress = spec
            .egress
            .iter()
            .flatten()
            .map(|rule| Rule { peers: peers(rule.to.as_deref()), ports: ports(rule.ports.as_deref()) });
        // The API server fills policyTypes in; this is its default.
        let listed = spec.policy_types.as_ref().filter(|types| !types.is_empty());
        let has = |kind: &str, default: bool| listed.map_or(default, |types| types.iter().any(|t| t == kind));
        Some(Self {
            pods: selector(spec.pod_selector.as_ref())?,
            ingress: has("Ingress", true).then(|| ingress.collect()),
            egress: has("Egress", spec.egress.is_some()).then(|| egress.collect()),
        })
    }

    /// Whether any peer's selectors could pick a pod of `namespace` with these labels.
    pub fn peers_with<'a>(
        &'a self,
        own_namespace: &'a str,
        namespace: &'a str,
        namespace_labels: &'a Labels,
        labels: &'a Labels,
    ) -> bool {
        let rules = self.ingress.iter().chain(&self.egress).flatten();
        let mut peers = rules.clone().filter_map(|rule| rule.peers.as_ref()).flatten();
        let named =
            |ports: &Option<Vec<PortMatch>>| ports.iter().flatten().any(|port| matches!(port, PortMatch::Named(..)));
        // A named port may be looked up in any pod: the rule's peers, or the policy's own pods.
        rules.clone().any(|rule| named(&rule.ports))
            || peers.any(|peer| peer.selects(own_namespace, namespace, namespace_labels, labels))
    }
}

impl Peer {
    /// Whether a pod of `namespace` is this peer.
    #[must_use]
    pub fn selects(&self, own_namespace: &str, namespace: &str, namespace_labels: &Labels, labels: &Labels) -> bool {
        match self {
            Self::Block { .. } => false,
            Self::Pods { namespaces: None, pods } => own_namespace == namespace && pods.matches(labels),
            Self::Pods { namespaces: Some(wanted), pods } => wanted.matches(namespace_labels) && pods.matches(labels),
        }
    }
}

fn peers(peers: Option<&[NetworkPolicyPeer]>) -> Option<Vec<Peer>> {
    // An empty list is the same as none: all.
    let peers = peers.filter(|peers| !peers.is_empty())?;
    let read = |peer: &NetworkPolicyPeer| {
        if let Some(block) = &peer.ip_block {
            let except = block.except.iter().flatten().filter_map(|net| address::v4_net(net)).collect();
            return Some(Peer::Block { cidr: address::v4_net(&block.cidr)?, except });
        }
        let namespaces = match &peer.namespace_selector {
            Some(wanted) => Some(selector(Some(wanted))?),
            None => None,
        };
        Some(Peer::Pods { namespaces, pods: selector(peer.pod_selector.as_ref())? })
    };
    Some(peers.iter().filter_map(read).collect())
}

fn ports(ports: Option<&[NetworkPolicyPort]>) -> Option<Vec<PortMatch>> {
    let ports = ports.filter(|ports| !ports.is_empty())?;
    let read = |port: &NetworkPolicyPort| {
        let protocol = protocol(port.protocol.as_deref());
        Some(match &port.port {
            None => PortMatch::Protocol(protocol),
            Some(IntOrString::String(name)) => PortMatch::Named(protocol, name.clone()),
            Some(IntOrString::Int(first)) => {
                let last = port.end_port.unwrap_or(*first);
                PortMatch::Range(protocol, u16::try_from(*first).ok()?, u16::try_from(last).ok()?)
            }
        })
    };
    Some(ports.iter().filter_map(read).collect())
}

/// None or empty selects everything.
fn selector(wanted: Option<&LabelSelector>) -> Option<Selector> {
    let read = Selector::try_from(wanted.cloned().unwrap_or_default());
    read.inspect_err(|error| tracing::warn!(%error, "a label selector makes no sense; it selects nothing")).ok()
}

fn protocol(text: Option<&str>) -> &'static str {
    match text {
        Some("UDP") => "udp",
        Some("SCTP") => "sctp",
        _ => "tcp",
    }
}
