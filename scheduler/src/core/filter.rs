//! Who can take a pod: every node gets a verdict from every plugin (upstream `pkg/scheduler/framework/plugins`).

use std::sync::Arc;

use super::cluster::Cluster;
use super::interpod::InterPod;
use super::matching::{untolerated, wants_node};
use super::node::NodeInfo;
use super::pod::PodInfo;
use super::spread::SpreadState;
use super::volumes::plan::{Bindings, Claims};
use super::volumes::restrictions;

/// The plugins that can refuse a node. An event wakes those pods only that a plugin it concerns has refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Plugin {
    NodeUnschedulable,
    NodeName,
    TaintToleration,
    NodeAffinity,
    NodePorts,
    NodeResourcesFit,
    VolumeRestrictions,
    VolumeBinding,
    PodTopologySpread,
    InterPodAffinity,
}

/// Why a node cannot take a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub plugin: Plugin,
    /// In upstream's words, for they end up in Events.
    pub reasons: Vec<String>,
    /// Evicting pods could help.
    pub resolvable: bool,
}

impl Refusal {
    pub fn new(plugin: Plugin, reason: impl Into<String>, resolvable: bool) -> Self {
        Self { plugin, reasons: vec![reason.into()], resolvable }
    }
}

/// What is computed once a pod, before its nodes are looked at.
pub struct Prepared {
    pub pod: Arc<PodInfo>,
    claims: Claims,
    /// What the pod's claims say of every node.
    restricted: Option<Refusal>,
    interpod: InterPod,
    spread: SpreadState,
}

impl Prepared {
    /// # Errors
    /// A refusal that holds for all nodes.
    pub fn new(pod: &Arc<PodInfo>, cluster: &Cluster) -> Result<Self, Refusal> {
        let claims = Claims::of(pod, &cluster.storage)?;
        Ok(Self {
            pod: pod.clone(),
            claims,
            restricted: restrictions::refuse(pod, cluster),
            interpod: InterPod::new(pod, cluster),
            spread: SpreadState::new(pod, cluster),
        })
    }

    /// The verdict on one node: nothing, or the first plugin that refuses it, in upstream's order.
    #[must_use]
    pub fn refuse(&self, node: &NodeInfo) -> Option<Refusal> {
        let pod = &*self.pod;
        unschedulable(pod, node)
            .or_else(|| name(pod, node))
            .or_else(|| taints(pod, node))
            .or_else(|| affinity(pod, node))
            .or_else(|| ports(pod, node))
            .or_else(|| fit(pod, node))
            .or_else(|| self.restricted.clone())
            .or_else(|| self.volumes(node))
            .or_else(|| self.spread.refuse(node))
            .or_else(|| self.interpod.refuse(node))
    }

    fn volumes(&self, node: &NodeInfo) -> Option<Refusal> {
        let reasons = self.claims.on(&node.node).err()?;
        Some(Refusal { plugin: Plugin::VolumeBinding, reasons, resolvable: false })
    }

    /// What is to be done for the pod's claims on a node that does not refuse it.
    #[must_use]
    pub fn bindings(&self, node: &NodeInfo) -> Bindings {
        self.claims.on(&node.node).unwrap_or_default()
    }
}

fn unschedulable(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    if node.node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true) {
        return None;
    }
    let taint = k8s_openapi::api::core::v1::Taint {
        key: "node.kubernetes.io/unschedulable".into(),
        effect: "NoSchedule".into(),
        ..Default::default()
    };
    untolerated(&pod.tolerations, std::slice::from_ref(&taint), &["NoSchedule"])?;
    Some(Refusal::new(Plugin::NodeUnschedulable, "node(s) were unschedulable", false))
}

/// The node a pod names.
#[must_use]
pub fn name(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let wanted = pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())?;
    (wanted != node.name).then(|| Refusal::new(Plugin::NodeName, "node(s) didn't match the requested node name", false))
}

fn taints(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let taint = untolerated(&pod.tolerations, node.taints(), &["NoSchedule", "NoExecute"])?;
    let value = taint.value.as_deref().unwrap_or_default();
    let reason = format!("node(s) had untolerated taint {{{}: {value}}}", taint.key);
    Some(Refusal::new(Plugin::TaintToleration, reason, false))
}

/// The taint that would drive the pod away from the node.
#[must_use]
pub fn evicting_taint<'a>(pod: &PodInfo, node: &'a NodeInfo) -> Option<&'a k8s_openapi::api::core::v1::Taint> {
    untolerated(&pod.tolerations, node.taints(), &["NoExecute"])
}

/// Node selector and required node affinity.
#[must_use]
pub fn affinity(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let spec = pod.spec.as_ref()?;
    (!wants_node(spec, &node.node))
        .then(|| Refusal::new(Plugin::NodeAffinity, "node(s) didn't match Pod's node affinity/selector", false))
}

/// Ports of the node itself.
#[must_use]
pub fn ports(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    if pod.ports.is_empty() {
        return None;
    }
    let taken = node.pods.values().flat_map(|other| &other.ports);
    let clash = taken.into_iter().any(|other| pod.ports.iter().any(|port| port.clashes(other)));
    clash.then(|| Refusal::new(Plugin::NodePorts, "node(s) didn't have free ports for the requested pod ports", true))
}

/// Room on the node, not counting on what pods of at least this priority have been promised there.
fn fit(pod: &PodInfo, node: &NodeInfo) -> Option<Refusal> {
    let mut reasons = Vec::new();
    let mut resolvable = true;
    let promised = || node.nominated.values().filter(|other| other.uid != pod.uid && other.priority >= pod.priority);
    let count = i64::try_from(node.pods.len() + promised().count()).unwrap_or(i64::MAX);
    if count + 1 > node.most_pods {
        reasons.push("Too many pods".to_owned());
        resolvable = node.most_pods > 0;
    }
    for (name, wanted) in pod.requests.each().filter(|(_, wanted)| *wanted > 0) {
        let there = node.allocatable.get(name);
        let taken = node.requested.get(name) + promised().map(|other| other.requests.get(name)).sum::<i64>();
        if wanted > there - taken {
            reasons.push(format!("Insufficient {name}"));
            // More than the node has when it is empty: nobody's eviction helps.
            resolvable &= wanted <= there;
        }
    }
    (!reasons.is_empty()).then_some(Refusal { plugin: Plugin::NodeResourcesFit, reasons, resolvable })
}
