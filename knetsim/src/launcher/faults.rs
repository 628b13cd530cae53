//! Cut links: `knetsim net cut A B` as a desired state, a pure function of the set of cuts.
//!
//! A host is cut off from a network by taking its port down; two hosts or clusters are cut off from each other by a rule
//! that drops what one sends to the other, in the bridge where they share one, else in the router.

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
    /// A port in the sandbox's own namespace goes down.
    Port(String),
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
            (End::Wan, End::Cluster { name, .. }) | (End::Cluster { name, .. }, End::Wan) => {
                Means::Port(wan_port(name))
            }
            (End::Wan, End::Outside { .. }) | (End::Outside { .. }, End::Wan) => Means::Port("veth-outside".into()),
            (End::Node { port, cluster, .. }, End::Cluster { name, .. })
            | (End::Cluster { name, .. }, End::Node { port, cluster, .. })
                if cluster == name =>
            {
                Means::Port(port)
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
    Cluster { name: &'a str, range: Ipv4Net },
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
                return Ok(Self::Cluster { name: &cluster.name, range: cluster.underlay });
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

/// The nft script that makes the drops of `cuts`, for the bridge (in the sandbox's own namespace) or the router. One
/// transaction, which replaces what was there.
#[must_use]
pub fn ruleset(cuts: &BTreeSet<Cut>, plan: &Plan, bridge: bool) -> String {
    let family = if bridge { "bridge" } else { "ip" };
    let rules: String = cuts
        .iter()
        .filter_map(|cut| match cut.means(plan).ok()? {
            Means::Bridge(a, b) if bridge => Some((a, b)),
            Means::Router(a, b) if !bridge => Some((a, b)),
            _ => None,
        })
        .flat_map(|(a, b)| [(a, b), (b, a)])
        .map(|(from, to)| format!("ip saddr {from} ip daddr {to} counter drop; "))
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
        let cases = [
            (("c0", "wan"), Means::Port("wan-c0".into())),
            (("wan", "outside"), Means::Port("veth-outside".into())),
            (("c0w1", "c0"), Means::Port("veth-c0w1".into())),
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
    fn drops_go_both_ways_and_only_where_they_belong() {
        let plan = Topology::default().resolve(Store::Embedded).unwrap();
        let cuts = BTreeSet::from([Cut::new("c0", "c1"), Cut::new("c0w1", "c0w2"), Cut::new("c0", "wan")]);
        let router = ruleset(&cuts, &plan, false);
        assert!(router.contains(
            "ip saddr 10.0.0.0/24 ip daddr 10.0.1.0/24 counter drop; ip saddr 10.0.1.0/24 ip daddr 10.0.0.0/24"
        ));
        assert!(!router.contains("10.0.0.11"));
        assert!(ruleset(&cuts, &plan, true).contains("ip saddr 10.0.0.12/32 ip daddr 10.0.0.11/32 counter drop"));
    }
}
