//! The hops of the demo. A hop runs one command that a person could type, says what came back, and fails with the reason when
//! it is not what upstream and physics demand.
//!
//! What a hop needs of others is in its row ([`Hop::after`]); everything else runs side by side ([`walk`]), because a hop
//! mostly waits for the cluster to follow.

mod clusters;
mod extending;
mod ingress;
mod leaving;
mod load;
mod nodes;
mod pods;
mod services;
mod walk;

pub use walk::walk;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;

use crate::emulator::Emulator;
use pods::Places;

/// What the hops of one walk share: the emulator, and where the first roll-out put the pods.
pub struct Scene {
    emulator: Emulator,
    rolled_out: Mutex<Option<Arc<Places>>>,
    pod_ranges: Mutex<BTreeMap<String, Arc<PodRanges>>>,
    /// When c0 was last cut off from the WAN.
    cut: Mutex<Timestamp>,
}

/// The podCIDR of each node, by name.
type PodRanges = BTreeMap<String, String>;

impl Scene {
    fn new(emulator: Emulator) -> Self {
        Self { emulator, rolled_out: Mutex::default(), pod_ranges: Mutex::default(), cut: Mutex::default() }
    }

    /// Where the pods are between the roll-out and the first hop that scales: who comes first asks for all.
    fn rolled_out(&self) -> anyhow::Result<Arc<Places>> {
        let mut known = self.rolled_out.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some(places) => Ok(places.clone()),
            None => Ok(known.insert(Arc::new(pods::places(self)?)).clone()),
        }
    }

    /// The nodes' pod ranges, which never change: who comes first asks for all.
    fn pod_ranges(&self, context: &str) -> anyhow::Result<Arc<PodRanges>> {
        let mut known = self.pod_ranges.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ranges) = known.get(context) {
            return Ok(ranges.clone());
        }
        let path = r#"jsonpath={range .items[*]}{.metadata.name} {.spec.podCIDR}{"\n"}{end}"#;
        let said = self.kubectl(context, &["get", "nodes", "-o", path])?;
        let ranges = said.lines().filter_map(|line| line.split_once(' '));
        let ranges: PodRanges = ranges.map(|(node, range)| (node.to_owned(), range.to_owned())).collect();
        let ranges = Arc::new(ranges);
        known.insert(context.to_owned(), ranges.clone());
        Ok(ranges)
    }
}

impl Deref for Scene {
    type Target = Emulator;

    fn deref(&self) -> &Emulator {
        &self.emulator
    }
}

/// What a hop shows when it went well: the command that tells the story, and what it said, in one line each.
pub struct Seen {
    pub command: String,
    pub saw: String,
}

/// Makes a [`Seen`].
fn seen(command: impl Into<String>, saw: impl Into<String>) -> anyhow::Result<Seen> {
    Ok(Seen { command: command.into(), saw: saw.into() })
}

/// One hop.
pub struct Hop {
    pub name: &'static str,
    /// Hops above this one in the table that must have gone well before.
    pub after: &'static [&'static str],
    pub run: fn(&Scene) -> anyhow::Result<Seen>,
    /// How many other hops it lasts as long as, about.
    pub lasts: usize,
}

impl Hop {
    const fn lasting(mut self, others: usize) -> Self {
        self.lasts = others;
        self
    }
}

const fn hop(name: &'static str, after: &'static [&'static str], run: fn(&Scene) -> anyhow::Result<Seen>) -> Hop {
    Hop { name, after, run, lasts: 1 }
}

/// All hops but the last, which takes everything away again.
pub const HOPS: &[Hop] = &[
    hop("nodes of c0", &[], |s| nodes::ready(s, "c0")),
    hop("nodes of c1", &[], |s| nodes::ready(s, "c1")),
    hop("components of c0", &[], |s| nodes::components(s, "c0")),
    hop("components of c1", &[], |s| nodes::components(s, "c1")),
    hop("node to node", &[], nodes::ping),
    // Cuts c0 off from the WAN for a moment: nothing that comes from outside may be under way.
    hop("cluster to cluster", &[], nodes::by_way_of_wan),
    hop("add-ons of c0", &[], |s| nodes::add_ons(s, "c0")),
    hop("add-ons of c1", &[], |s| nodes::add_ons(s, "c1")),
    hop("apply", &[], pods::apply),
    hop("roll out", &["apply"], pods::roll_out),
    hop("one pod a worker", &["roll out"], pods::spread),
    hop("pod to pod, same node", &["roll out"], |s| pods::talk(s, true)),
    hop("pod to pod, across", &["roll out"], |s| pods::talk(s, false)),
    hop("VXLAN on the wire", &["roll out"], pods::vxlan),
    hop("logs", &["roll out"], pods::logs),
    hop("logs, followed", &["logs"], pods::follow),
    hop("exec", &["roll out"], pods::exec),
    hop("exec with a terminal", &["roll out"], pods::terminal),
    hop("cp", &["roll out"], pods::copy),
    hop("port-forward", &["roll out"], pods::port_forward),
    hop("describe", &["roll out"], pods::describe),
    hop("Service by name", &["roll out", "add-ons of c0"], services::by_name),
    hop(
        "scale under load",
        &[
            "one pod a worker",
            "pod to pod, same node",
            "pod to pod, across",
            "VXLAN on the wire",
            "port-forward",
            "describe",
            "Service by name",
        ],
        services::scale,
    )
    .lasting(3),
    hop("delete under load", &["scale under load"], services::delete).lasting(4),
    hop("NodePort from outside", &["cluster to cluster", "roll out"], services::node_port),
    hop("Ingress from outside", &["cluster to cluster", "apply"], ingress::paths),
    hop("Ingress edited", &["Ingress from outside"], ingress::edit),
    hop("site c0", &["apply"], |s| clusters::site(s, "c0", "40-skupper-c0.yaml")),
    hop("site c1", &[], |s| clusters::site(s, "c1", "50-skupper-c1.yaml")),
    hop("sites linked", &["cluster to cluster", "site c0", "site c1"], clusters::link),
    hop("c1 asks c0", &["sites linked", "roll out", "add-ons of c1"], clusters::ask),
    hop("WAN cut", &["c1 asks c0", "NodePort from outside", "Ingress edited"], clusters::cut),
    hop("WAN mended", &["WAN cut"], clusters::mend),
    hop("a kind of one's own", &["apply"], extending::custom_kind),
    hop("controller outside", &["apply"], extending::controller_outside),
    hop("controller as a pod", &["controller outside"], extending::controller_inside),
];

/// Deletes what the hops made, and looks for leftovers.
pub const LEAVE: Hop = hop("all deleted", &[], leaving::nothing_left);
