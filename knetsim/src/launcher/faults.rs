//! Cut links: `knetsim net cut A B` as a desired state, a pure function of the set of cuts.
//!
//! A host is cut off from a network by taking its port down, and where that is the router's port, the router says of what
//! lies behind it that it cannot be reached. Two hosts or clusters are cut off from each other by a rule that drops what one
//! sends to the other without a word, in the bridge where they share one, else in the router.

use std::collections::BTreeSet;

use ipnet::Ipv4Net;

use super::network::wan_port;
use crate::topology::Plan;

/// Two ends, in the order of their names, so that `A B` and `B A` are the same cut.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Cut(pub String, pub String);

/// How a cut is made.
#[derive(Debug, PartialEq, Eq)]
pub enum Means {
    /// A port in the sandbox's own namespace goes down, and the router has lost the way to these networks.
    Port(String, Vec<Ipv4Net>),
    /// Frames between the two are dropped by the bridge.
    Bridge(Ipv4Net, Ipv4Net),
    /// Packets between the two are dropped by the router.
    Router(Ipv4Net, Ipv4Net),
}

impl Cut {
    #[must_use]
    pub fn new(a: &str, b: &str) -> Self {
        if a <= b { Self(a.to_owned(), b.to_owned()) } else { Self(b.to_owned(), a.to_owned()) }
    }

    /// How to make it.
    ///
    /// # Errors
    /// When an end is unknown, or nothing lies between the two.
    pub fn means(&self, plan: &Plan) -> Result<Means, String> {
        let (a, b) = (End::find(&self.0, plan)?, End::find(&self.1, plan)?);
        Ok(match (a, b) {
            (End::Wan, End::Cluster { name, range, pool }) | (End::Cluster { name, range, pool }, End::Wan) => {
                Means::Port(wan_port(name), vec![range, pool])
            }
            (End::Wan, End::Outside { range }) | (End::Outside { range }, End::Wan) => {
                Means::Port("veth-outside".into(), vec![range])
            }
            (End::Node { port, cluster, .. }, End::Cluster { name, .. })
            | (End::Cluster { name, .. }, End::Node { port, cluster, .. })
                if cluster == name =>
            {
                Means::Port(port, Vec::new())
            }
            (End::Node { cluster: x, address: a, .. }, End::Node { cluster: y, address: b, .. })
                if x == y && a != b =>
            {
                Means::Bridge(a, b)
            }
            (a, b) => match (a.range(), b.range()) {
                (Some(a), Some(b)) if a != b => Means::Router(a, b),
                _ => return Err(format!("there is nothing to cut between {} and {}", self.0, self.1)),
            },
        })
    }
}

enum End<'a> {
    Wan,
    Outside { range: Ipv4Net },
    Cluster { name: &'a str, range: Ipv4Net, pool: Ipv4Net },
    Node { cluster: &'a str, port: String, address: Ipv4Net },
}

impl<'a> End<'a> {
    fn find(name: &str, plan: &'a Plan) -> Result<Self, String> {
        match name {
            "wan" => return Ok(Self::Wan),
            "outside" => return Ok(Self::Outside { range: plan.outside.trunc() }),
            _ => {}
        }
        for cluster in &plan.clusters {
            if cluster.name == name {
                let (range, pool) = (cluster.underlay, cluster.load_balancer_pool);
                return Ok(Self::Cluster { name: &cluster.name, range, pool });
            }
            if let Some(node) = cluster.nodes.iter().find(|node| node.name == name) {
                return Ok(Self::Node { cluster: &cluster.name, port: node.port(), address: node.address.into() });
            }
        }
        let clusters = plan.clusters.iter().map(|c| c.name.as_str());
        let nodes = plan.clusters.iter().flat_map(|c| c.nodes.iter().map(|n| n.name.as_str()));
        let known: Vec<_> = ["wan", "outside"].into_iter().chain(clusters).chain(nodes).collect();
        Err(format!("there is no {name:?}; there are {}", known.join(", ")))
    }

    fn range(&self) -> Option<Ipv4Net> {
        match self {
            Self::Wan => None,
            Self::Outside { range } | Self::Cluster { range, .. } => Some(*range),
            Self::Node { address, .. } => Some(*address),
        }
    }
}

/// The nft script that makes the rules of `cuts`, for the bridge (in the sandbox's own namespace) or the router. One
/// transaction, which replaces what was there.
///
/// That a network is unreachable is said by a rule, though Linux could withdraw the routes of a link without carrier: what
/// it then tells a sender is limited to five reports and one more a second (`net.ipv4.route.error_burst`), whatever a
/// namespace wishes.
#[must_use]
pub fn ruleset(cuts: &BTreeSet<Cut>, plan: &Plan, bridge: bool) -> String {
    let family = if bridge { "bridge" } else { "ip" };
    let drop = |from: Ipv4Net, to: Ipv4Net| format!("ip saddr {from} ip daddr {to} counter drop; ");
    let reject = |to: &Ipv4Net| format!("ip daddr {to} counter reject with icmp net-unreachable; ");
    let rules: String = cuts
        .iter()
        .filter_map(|cut| cut.means(plan).ok())
        .map(|means| match means {
            Means::Bridge(a, b) if bridge => drop(a, b) + &drop(b, a),
            Means::Router(a, b) if !bridge => drop(a, b) + &drop(b, a),
            Means::Port(_, behind) if !bridge => behind.iter().map(reject).collect(),
            _ => String::new(),
        })
        .collect();
    format!(
        "add table {family} knetsim-cuts; delete table {family} knetsim-cuts; \
         table {family} knetsim-cuts {{ chain forward {{ type filter hook forward priority 0; {rules}}}; }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Store, Topology};

    #[test]
    fn every_pair_of_ends() {
        let plan = Topology::default().resolve(Store::Embedded).unwrap();
        let net = |text: &str| text.parse::<Ipv4Net>().unwrap();
        let pool = plan.clusters[0].load_balancer_pool;
        let cases = [
            (("c0", "wan"), Means::Port("wan-c0".into(), vec![net("10.0.0.0/24"), pool])),
            (("wan", "outside"), Means::Port("veth-outside".into(), vec![net("10.0.254.0/24")])),
            (("c0w1", "c0"), Means::Port("veth-c0w1".into(), Vec::new())),
            (("c0w2", "c0w1"), Means::Bridge(net("10.0.0.11/32"), net("10.0.0.12/32"))),
            (("c1", "c0"), Means::Router(net("10.0.0.0/24"), net("10.0.1.0/24"))),
            (("c0w1", "c1"), Means::Router(net("10.0.0.11/32"), net("10.0.1.0/24"))),
            (("outside", "c0"), Means::Router(net("10.0.0.0/24"), net("10.0.254.0/24"))),
        ];
        for ((a, b), means) in cases {
            assert_eq!(Cut::new(a, b).means(&plan).unwrap(), means, "{a} {b}");
            assert_eq!(Cut::new(a, b), Cut::new(b, a));
        }
        assert!(Cut::new("c0", "c0").means(&plan).is_err());
        assert!(
            Cut::new("c0", "mars")
                .means(&plan)
                .unwrap_err()
                .contains("there is no \"mars\"; there are wan, outside, c0")
        );
    }

    #[test]
    fn rules_go_both_ways_and_only_where_they_belong() {
        let plan = Topology::default().resolve(Store::Embedded).unwrap();
        let cuts = BTreeSet::from([Cut::new("c0", "c1"), Cut::new("c0w1", "c0w2"), Cut::new("c0", "wan")]);
        let router = ruleset(&cuts, &plan, false);
        assert!(router.contains(
            "ip saddr 10.0.0.0/24 ip daddr 10.0.1.0/24 counter drop; ip saddr 10.0.1.0/24 ip daddr 10.0.0.0/24"
        ));
        assert!(!router.contains("10.0.0.11"));
        assert!(router.contains("ip daddr 10.0.0.0/24 counter reject with icmp net-unreachable;"));
        let bridge = ruleset(&cuts, &plan, true);
        assert!(bridge.contains("ip saddr 10.0.0.12/32 ip daddr 10.0.0.11/32 counter drop"));
        assert!(!bridge.contains("reject"));
    }
}
