//! Which kernel entries reach the other nodes (pure): leases in, changes out.
//!
//! The desired state is a set of [`Entry`]; a Node event changes one peer's few entries, and only the difference goes to
//! the kernel. Order matters and is the order of `Entry`'s variants: a packet that follows a route before its neighbour
//! is known would start an ARP that nobody answers, so routes come last and go first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::lease::{BackendData, Lease, Mac};

/// Which of the node's links an entry uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Via {
    /// `flannel.<VNI>`; the gateway is on-link (it is no neighbour by address).
    Overlay,
    /// The external interface.
    Underlay,
}

/// One entry of one kernel table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entry {
    /// Overlay neighbour: the peer's subnet address answers at its VTEP's MAC.
    Neighbour { ip: Ipv4Addr, mac: Mac },
    /// FDB of the overlay: that MAC lives behind the peer's underlay address.
    Fdb { mac: Mac, remote: Ipv4Addr },
    /// The peer's pods are behind this gateway.
    Route { subnet: Ipv4Net, gateway: Ipv4Addr, via: Via },
}

impl Entry {
    /// Whether setting `self` overwrites `other`: same table, same key.
    fn replaces(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Neighbour { ip: a, .. }, Self::Neighbour { ip: b, .. }) => a == b,
            (Self::Fdb { mac: a, .. }, Self::Fdb { mac: b, .. }) => a == b,
            (Self::Route { subnet: a, .. }, Self::Route { subnet: b, .. }) => a == b,
            _ => false,
        }
    }
}

/// One thing to do in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add, or replace what has the same key.
    Set(Entry),
    Remove(Entry),
}

/// What decides how a peer is reached.
#[derive(Clone, Debug)]
pub struct Policy {
    /// This node's own subnet: its own lease is nobody's peer.
    pub own: Ipv4Net,
    pub reach: Reach,
}

#[derive(Clone, Debug)]
pub enum Reach {
    /// Through the tunnel; straight for peers inside `direct` (the underlay's segment, if direct routing is on).
    Vxlan {
        vni: u32,
        direct: Option<Ipv4Net>,
    },
    HostGw,
}

impl Policy {
    /// The entries that reach `lease`, in the order they must be made. None for ourselves and for nodes that run
    /// another backend (upstream ignores those too).
    #[must_use]
    pub fn entries(&self, lease: &Lease) -> Vec<Entry> {
        let straight = |via| Entry::Route { subnet: lease.subnet, gateway: lease.public_ip, via };
        if lease.subnet == self.own {
            return Vec::new();
        }
        match (&self.reach, &lease.data) {
            (Reach::HostGw, BackendData::HostGw) => vec![straight(Via::Underlay)],
            (Reach::Vxlan { vni, direct }, BackendData::Vxlan { vni: theirs, mac }) if vni == theirs => {
                if direct.is_some_and(|segment| segment.contains(&lease.public_ip)) {
                    return vec![straight(Via::Underlay)];
                }
                let gateway = lease.subnet.network();
                vec![
                    Entry::Neighbour { ip: gateway, mac: *mac },
                    Entry::Fdb { mac: *mac, remote: lease.public_ip },
                    Entry::Route { subnet: lease.subnet, gateway, via: Via::Overlay },
                ]
            }
            _ => Vec::new(),
        }
    }
}

/// All peers by node name.
#[derive(Debug)]
pub struct Peers {
    policy: Policy,
    by_node: BTreeMap<String, Vec<Entry>>,
}

impl Peers {
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self { policy, by_node: BTreeMap::new() }
    }

    /// Takes `node`'s lease as it is now (none: the node or its announcement is gone); returns what to change.
    pub fn update(&mut self, node: &str, lease: Option<&Lease>) -> Vec<Change> {
        let wanted = lease.map(|lease| self.policy.entries(lease)).unwrap_or_default();
        let had = if wanted.is_empty() {
            self.by_node.remove(node)
        } else {
            self.by_node.insert(node.to_owned(), wanted.clone())
        }
        .unwrap_or_default();
        let missing = wanted.into_iter().filter(|entry| !had.contains(entry)).collect();
        // What another node also wants stays: a subnet may have moved to a node that announced itself first.
        let lost: Vec<Entry> = had.into_iter().filter(|entry| !self.wants(entry)).collect();
        difference(lost, missing)
    }

    /// Takes the complete list of leases; `found` is what the kernel holds now. Forgets nodes not listed.
    pub fn replace(&mut self, leases: &BTreeMap<String, Lease>, found: Vec<Entry>) -> Vec<Change> {
        self.by_node = leases
            .iter()
            .map(|(node, lease)| (node.clone(), self.policy.entries(lease)))
            .filter(|(_, entries)| !entries.is_empty())
            .collect();
        let (kept, lost): (BTreeSet<Entry>, BTreeSet<Entry>) = found.into_iter().partition(|entry| self.wants(entry));
        let missing = self.by_node.values().flatten().filter(|entry| !kept.contains(entry)).cloned().collect();
        difference(lost.into_iter().collect(), missing)
    }

    /// Everything again: what the entries stood on is new.
    #[must_use]
    pub fn again(&self) -> Vec<Change> {
        self.by_node.values().flatten().cloned().map(Change::Set).collect()
    }

    fn wants(&self, entry: &Entry) -> bool {
        self.by_node.values().flatten().any(|wanted| wanted == entry)
    }
}

/// Removals first (routes before what they stand on), less those that a new entry overwrites anyway.
fn difference(lost: Vec<Entry>, wanted: Vec<Entry>) -> Vec<Change> {
    let gone = lost.into_iter().rev().filter(|old| !wanted.iter().any(|new| new.replaces(old)));
    let removals: Vec<Change> = gone.map(Change::Remove).collect();
    removals.into_iter().chain(wanted.into_iter().map(Change::Set)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Mac {
        Mac([2, 0, 0, 0, 0, last])
    }

    fn lease(n: u8) -> Lease {
        Lease {
            subnet: Ipv4Net::new(Ipv4Addr::new(11, 0, n, 0), 24).unwrap(),
            public_ip: Ipv4Addr::new(10, 0, 0, 10 + n),
            data: BackendData::Vxlan { vni: 1, mac: mac(n) },
        }
    }

    fn peers(direct: Option<&str>) -> Peers {
        let direct = direct.map(|net| net.parse().unwrap());
        Peers::new(Policy { own: lease(1).subnet, reach: Reach::Vxlan { vni: 1, direct } })
    }

    fn tunnel(lease: &Lease) -> Vec<Entry> {
        let BackendData::Vxlan { mac, .. } = lease.data else { panic!("a vxlan lease") };
        let gateway = lease.subnet.network();
        vec![
            Entry::Neighbour { ip: gateway, mac },
            Entry::Fdb { mac, remote: lease.public_ip },
            Entry::Route { subnet: lease.subnet, gateway, via: Via::Overlay },
        ]
    }

    fn set(entries: Vec<Entry>) -> Vec<Change> {
        entries.into_iter().map(Change::Set).collect()
    }

    #[test]
    fn a_peer_comes_as_neighbour_fdb_route_and_goes_in_reverse() {
        let mut peers = peers(None);
        assert_eq!(peers.update("w2", Some(&lease(2))), set(tunnel(&lease(2))));
        assert_eq!(peers.update("w2", Some(&lease(2))), [], "a Node that only beats");
        assert_eq!(peers.update("w1", Some(&lease(1))), [], "ourselves");
        let gone: Vec<Change> = tunnel(&lease(2)).into_iter().rev().map(Change::Remove).collect();
        assert_eq!(peers.update("w2", None), gone);
        assert_eq!(peers.update("w2", None), []);
    }

    #[test]
    fn on_a_new_link_everything_is_set_again() {
        let mut peers = peers(None);
        for n in [2, 3] {
            peers.update(&format!("w{n}"), Some(&lease(n)));
        }
        assert_eq!(peers.again(), set([tunnel(&lease(2)), tunnel(&lease(3))].concat()));
    }

    #[test]
    fn a_new_mac_removes_only_the_old_fdb_entry() {
        let mut peers = peers(None);
        peers.update("w2", Some(&lease(2)));
        let changed = Lease { data: BackendData::Vxlan { vni: 1, mac: mac(9) }, ..lease(2) };
        let changes = peers.update("w2", Some(&changed));
        let removed: Vec<_> = changes.iter().filter(|change| matches!(change, Change::Remove(_))).collect();
        assert_eq!(removed, [&Change::Remove(Entry::Fdb { mac: mac(2), remote: lease(2).public_ip })]);
    }

    #[test]
    fn leftovers_of_a_former_run_go_and_what_is_right_is_not_touched() {
        let mut peers = peers(None);
        let leases = BTreeMap::from([("w2".to_owned(), lease(2)), ("w3".to_owned(), lease(3))]);
        let found = [tunnel(&lease(2)), tunnel(&lease(7))].concat();
        let mut expected: Vec<Change> = tunnel(&lease(7)).into_iter().rev().map(Change::Remove).collect();
        expected.extend(set(tunnel(&lease(3))));
        assert_eq!(peers.replace(&leases, found), expected);
    }

    #[test]
    fn direct_routing_only_within_the_segment() {
        let mut peers = peers(Some("10.0.0.0/24"));
        let route = Entry::Route { subnet: lease(2).subnet, gateway: lease(2).public_ip, via: Via::Underlay };
        assert_eq!(peers.update("w2", Some(&lease(2))), set(vec![route]));
        let far = Lease { public_ip: "10.0.1.12".parse().unwrap(), ..lease(3) };
        assert_eq!(peers.update("w3", Some(&far)), set(tunnel(&far)));
    }

    #[test]
    fn other_backends_and_other_vnis_are_ignored() {
        let mut peers = peers(None);
        assert_eq!(peers.update("w2", Some(&Lease { data: BackendData::HostGw, ..lease(2) })), []);
        let other = BackendData::Vxlan { vni: 7, mac: mac(2) };
        assert_eq!(peers.update("w2", Some(&Lease { data: other, ..lease(2) })), []);
    }

    #[test]
    fn host_gw_is_a_route_through_the_node() {
        let mut peers = Peers::new(Policy { own: lease(1).subnet, reach: Reach::HostGw });
        let plain = Lease { data: BackendData::HostGw, ..lease(2) };
        let route = Entry::Route { subnet: plain.subnet, gateway: plain.public_ip, via: Via::Underlay };
        assert_eq!(peers.update("w2", Some(&plain)), set(vec![route.clone()]));
        assert_eq!(peers.update("w2", None), [Change::Remove(route)]);
    }

    #[test]
    fn a_subnet_that_moved_to_another_node_stays_routed() {
        let mut peers = peers(None);
        peers.update("old", Some(&lease(2)));
        let moved = Lease { public_ip: "10.0.0.99".parse().unwrap(), ..lease(2) };
        peers.update("new", Some(&moved));
        let changes = peers.update("old", None);
        assert!(!changes.iter().any(|c| matches!(c, Change::Remove(Entry::Route { .. } | Entry::Neighbour { .. }))));
    }
}
