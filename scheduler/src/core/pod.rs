//! A pod as the scheduler sees it: parsed once, then shared.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{
    NodeSelectorTerm, Pod, PodAffinityTerm, PodSpec, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};

use super::resources::{Resources, guessed, pod_requests};
use super::volumes::used::{self, Used};

/// A port taken on the node itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    pub ip: String,
    pub protocol: String,
    pub port: i32,
}

impl HostPort {
    /// Two pods clash on a port when one of them takes it on all addresses, or both on the same one.
    #[must_use]
    pub fn clashes(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || self.ip == ANY || other.ip == ANY)
    }
}

/// One term of pod (anti-)affinity: other pods, and the node label that says what "together" means.
#[derive(Clone, Debug)]
pub struct Term {
    pub selector: Option<Selector>,
    pub namespaces: Vec<String>,
    /// Present when the term chooses namespaces by their labels, too.
    pub namespace_selector: Option<Selector>,
    pub topology_key: String,
    /// 0 for required terms.
    pub weight: i32,
}

impl Term {
    fn new(term: &PodAffinityTerm, pod: &Pod, weight: i32) -> Self {
        let namespaces = term.namespaces.clone().unwrap_or_default();
        let own = pod.metadata.namespace.clone().unwrap_or_default();
        let only_own = namespaces.is_empty() && term.namespace_selector.is_none();
        Self {
            selector: selector_of(with_label_keys(term.label_selector.as_ref(), term.match_label_keys.as_deref(), pod)),
            namespaces: if only_own { vec![own] } else { namespaces },
            namespace_selector: selector_of(term.namespace_selector.clone()),
            topology_key: term.topology_key.clone(),
            weight,
        }
    }

    /// Whether the term means `pod`; `namespaces` are the labels of all namespaces.
    #[must_use]
    pub fn means(&self, pod: &PodInfo, namespaces: &BTreeMap<String, BTreeMap<String, String>>) -> bool {
        let none = BTreeMap::new();
        let in_namespace = self.namespaces.contains(&pod.namespace)
            || self
                .namespace_selector
                .as_ref()
                .is_some_and(|selector| selector.matches(namespaces.get(&pod.namespace).unwrap_or(&none)));
        in_namespace && self.selector.as_ref().is_some_and(|selector| selector.matches(&pod.labels))
    }
}

#[derive(Clone, Debug)]
pub struct Spread {
    pub selector: Option<Selector>,
    pub topology_key: String,
    pub max_skew: i32,
    pub min_domains: i32,
    /// `DoNotSchedule`, against `ScheduleAnyway`.
    pub required: bool,
    pub honor_affinity: bool,
    pub honor_taints: bool,
}

impl Spread {
    fn new(constraint: &TopologySpreadConstraint, pod: &Pod) -> Self {
        let selector = with_label_keys(constraint.label_selector.as_ref(), constraint.match_label_keys.as_deref(), pod);
        Self {
            selector: selector_of(selector),
            topology_key: constraint.topology_key.clone(),
            max_skew: constraint.max_skew,
            min_domains: constraint.min_domains.unwrap_or(1),
            required: constraint.when_unsatisfiable == "DoNotSchedule",
            honor_affinity: constraint.node_affinity_policy.as_deref() != Some("Ignore"),
            honor_taints: constraint.node_taints_policy.as_deref() == Some("Honor"),
        }
    }
}

/// The selector, narrowed to pods with the same values of these labels as `pod`.
fn with_label_keys(selector: Option<&LabelSelector>, keys: Option<&[String]>, pod: &Pod) -> Option<LabelSelector> {
    let mut selector = selector?.clone();
    for key in keys.unwrap_or_default() {
        if let Some(value) = pod.metadata.labels.as_ref().and_then(|labels| labels.get(key)) {
            selector.match_labels.get_or_insert_default().insert(key.clone(), value.clone());
        }
    }
    Some(selector)
}

fn selector_of(selector: Option<LabelSelector>) -> Option<Selector> {
    selector.and_then(|selector| Selector::try_from(selector).ok())
}

/// Everything scheduling asks of a pod.
#[derive(Clone, Debug)]
pub struct PodInfo {
    pub uid: String,
    /// Of the spec that is looked at.
    pub generation: i64,
    pub namespace: String,
    pub name: String,
    pub labels: BTreeMap<String, String>,
    /// The controller's uid: replicas of one owner are spread over nodes.
    pub owner: Option<String>,
    pub priority: i32,
    /// Whether it may evict others (`preemptionPolicy`).
    pub preempts: bool,
    pub node: Option<String>,
    pub nominated: Option<String>,
    pub deleting: bool,
    pub started: i64,
    pub requests: Resources,
    /// CPU and memory for scoring.
    pub guess: (i64, i64),
    pub ports: Vec<HostPort>,
    pub tolerations: Vec<Toleration>,
    pub preferred_nodes: Vec<(i32, NodeSelectorTerm)>,
    pub affinity: Vec<Term>,
    pub anti_affinity: Vec<Term>,
    pub preferred: Vec<Term>,
    pub spread: Vec<Spread>,
    pub gates: Vec<String>,
    pub claims: Vec<Used>,
    /// The spec, for node selectors; dropped from pods that run already, which are never judged again.
    pub spec: Option<Arc<PodSpec>>,
}

impl PodInfo {
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The pod as its spec alone has it: a node that sets its pods' resources itself counts what it has granted.
    #[must_use]
    pub fn granted(pod: &Pod) -> Self {
        let requests = pod.spec.as_ref().map(|spec| pod_requests(spec, None)).unwrap_or_default();
        Self { requests, ..Self::new(pod) }
    }

    #[must_use]
    pub fn new(pod: &Pod) -> Self {
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let affinity = spec.affinity.clone().unwrap_or_default();
        let (together, apart) =
            (affinity.pod_affinity.unwrap_or_default(), affinity.pod_anti_affinity.unwrap_or_default());
        let terms = |terms: Option<Vec<PodAffinityTerm>>| {
            terms.iter().flatten().map(|term| Term::new(term, pod, 0)).collect::<Vec<_>>()
        };
        let wishes = together.preferred_during_scheduling_ignored_during_execution.into_iter().flatten();
        let fears = apart.preferred_during_scheduling_ignored_during_execution.into_iter().flatten();
        let preferred = wishes
            .map(|wish| Term::new(&wish.pod_affinity_term, pod, wish.weight))
            .chain(fears.map(|fear| Term::new(&fear.pod_affinity_term, pod, -fear.weight)))
            .collect();
        let requests = pod_requests(spec, pod.status.as_ref());
        let node = spec.node_name.clone().filter(|name| !name.is_empty());
        let owner = pod.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
        let status = pod.status.as_ref();
        let time = |time: &k8s_openapi::apimachinery::pkg::apis::meta::v1::Time| time.0.as_second();
        Self {
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            generation: pod.metadata.generation.unwrap_or_default(),
            namespace: pod.metadata.namespace.clone().unwrap_or_default(),
            name: pod.metadata.name.clone().unwrap_or_default(),
            labels: pod.metadata.labels.clone().unwrap_or_default(),
            owner: owner.map(|owner| owner.uid.clone()),
            priority: spec.priority.unwrap_or(0),
            preempts: spec.preemption_policy.as_deref() != Some("Never"),
            nominated: status.and_then(|s| s.nominated_node_name.clone()).filter(|name| !name.is_empty()),
            deleting: pod.metadata.deletion_timestamp.is_some(),
            started: status.and_then(|s| s.start_time.as_ref()).map_or(0, time),
            guess: guessed(spec, &requests),
            requests,
            ports: host_ports(spec),
            tolerations: spec.tolerations.clone().unwrap_or_default(),
            preferred_nodes: affinity
                .node_affinity
                .and_then(|affinity| affinity.preferred_during_scheduling_ignored_during_execution)
                .unwrap_or_default()
                .into_iter()
                .map(|term| (term.weight, term.preference))
                .collect(),
            affinity: terms(together.required_during_scheduling_ignored_during_execution),
            anti_affinity: terms(apart.required_during_scheduling_ignored_during_execution),
            preferred,
            spread: spec.topology_spread_constraints.iter().flatten().map(|c| Spread::new(c, pod)).collect(),
            gates: spec.scheduling_gates.iter().flatten().map(|gate| gate.name.clone()).collect(),
            claims: used::by(pod),
            spec: node.is_none().then(|| Arc::new(spec.clone())),
            node,
        }
    }
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                port: port.host_port.filter(|port| *port > 0)?,
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".into()),
                ip: port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".into()),
            })
        })
        .collect()
}
