//! Who can reach what: a path-vector table, pure.
//!
//! Each router tells each neighbour its own entry and its best entry for every other router, with the path they came
//! by. An entry whose path holds the receiver is useless to it, so there are no loops and nothing counts to infinity.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::config::Site;

/// A link of this router to a neighbour; never reused.
pub type LinkId = u64;

/// What a router says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    pub router: String,
    pub site_id: String,
    pub site: Site,
    /// By address (routing key): the names of its tcpConnectors and tcpListeners.
    pub connectors: BTreeMap<String, BTreeSet<String>>,
    pub listeners: BTreeMap<String, BTreeSet<String>>,
    /// The links it makes itself, by name.
    pub links: BTreeMap<String, LinkFacts>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFacts {
    pub operational: bool,
    /// The neighbour's site while the link is up, and afterwards the last one it had.
    pub remote_site_id: String,
    pub remote_site_name: String,
    /// Why it is not up.
    pub error: String,
}

/// One router as a neighbour tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub facts: Facts,
    /// From the teller (first) to the router itself (last).
    pub path: Vec<String>,
    pub cost: u32,
}

#[derive(Debug)]
struct Neighbour {
    router: String,
    cost: u32,
    entries: Vec<Entry>,
}

/// The best way to another router.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    pub link: LinkId,
    pub cost: u32,
    pub entry: &'a Entry,
}

/// Where a connection for an address should go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A tcpConnector of this router.
    Here,
    Remote {
        router: String,
        link: LinkId,
    },
}

#[derive(Debug, Default)]
pub struct Table {
    local: Facts,
    neighbours: BTreeMap<LinkId, Neighbour>,
}

/// No sensible network is longer; a longer path is refused.
pub const MAX_HOPS: usize = 16;

impl Table {
    pub fn local(&self) -> &Facts {
        &self.local
    }

    /// Changes what this router says of itself. Says whether that changed.
    pub fn set_local(&mut self, change: impl FnOnce(&mut Facts)) -> bool {
        let before = self.local.clone();
        change(&mut self.local);
        before != self.local
    }

    pub fn link_up(&mut self, link: LinkId, router: String, cost: u32) {
        self.neighbours.insert(link, Neighbour { router, cost: cost.max(1), entries: Vec::new() });
    }

    pub fn link_down(&mut self, link: LinkId) {
        self.neighbours.remove(&link);
    }

    /// The neighbour's whole word replaces its last one.
    pub fn learned(&mut self, link: LinkId, entries: Vec<Entry>) {
        let me = &self.local.router;
        if let Some(neighbour) = self.neighbours.get_mut(&link) {
            neighbour.entries = entries;
            neighbour.entries.retain(|entry| !entry.path.contains(me) && entry.path.len() <= MAX_HOPS);
        }
    }

    /// The best route to every router there is a route to. Ties go to the older link, so that routes do not flap.
    pub fn routes(&self) -> BTreeMap<&str, Route<'_>> {
        let mut best: BTreeMap<&str, Route> = BTreeMap::new();
        for (link, neighbour) in &self.neighbours {
            for entry in &neighbour.entries {
                let route = Route { link: *link, cost: entry.cost.saturating_add(neighbour.cost), entry };
                let known = best.entry(&entry.facts.router).or_insert(route);
                if route.cost < known.cost {
                    *known = route;
                }
            }
        }
        best
    }

    /// What to tell the neighbour on `link`.
    pub fn advertisement(&self, link: LinkId) -> Vec<Entry> {
        let neighbour = self.neighbours.get(&link).map_or("", |it| &it.router);
        let me = self.local.router.clone();
        let own = Entry { facts: self.local.clone(), path: vec![me.clone()], cost: 0 };
        let others = self.routes().into_values().filter(|route| !route.entry.path.iter().any(|it| it == neighbour));
        let others = others.map(|route| {
            let path = std::iter::once(me.clone()).chain(route.entry.path.iter().cloned()).collect();
            Entry { facts: route.entry.facts.clone(), path, cost: route.cost }
        });
        std::iter::once(own).chain(others).collect()
    }

    /// Where connections for `address` can go, the cheapest first.
    pub fn destinations(&self, address: &str) -> Vec<Destination> {
        let here = self.local.connectors.contains_key(address).then_some(Destination::Here);
        let mut remote: Vec<_> =
            self.routes().into_iter().filter(|(_, route)| route.entry.facts.connectors.contains_key(address)).collect();
        remote.sort_by_key(|(_, route)| route.cost);
        let remote = remote.into_iter();
        let remote = remote.map(|(router, route)| Destination::Remote { router: router.to_owned(), link: route.link });
        here.into_iter().chain(remote).collect()
    }

    /// Everything known of the network, this router first.
    pub fn network(&self) -> Vec<Facts> {
        let others = self.routes().into_values().map(|route| route.entry.facts.clone());
        std::iter::once(self.local.clone()).chain(others).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, address: Option<&str>) -> Table {
        let mut table = Table::default();
        table.set_local(|facts| {
            facts.router = name.to_owned();
            facts.connectors = address.map(|it| (it.to_owned(), ["c".to_owned()].into())).into_iter().collect();
        });
        table
    }

    /// Exchanges advertisements until nothing changes: `links` are (table, link, table, link).
    fn converge(tables: &mut [Table], links: &[(usize, LinkId, usize, LinkId)]) {
        for _ in 0..MAX_HOPS {
            for &(a, at_a, b, at_b) in links {
                let (from_a, from_b) = (tables[a].advertisement(at_a), tables[b].advertisement(at_b));
                tables[a].learned(at_a, from_b);
                tables[b].learned(at_b, from_a);
            }
        }
    }

    #[test]
    fn an_address_is_found_over_two_hops_and_lost_with_the_link() {
        // a - b - c, the connector at c.
        let mut tables = [table("a", None), table("b", None), table("c", Some("web"))];
        let links = [(0, 1, 1, 1), (1, 2, 2, 1)];
        for &(a, at_a, b, at_b) in &links {
            let (name_a, name_b) = (tables[a].local().router.clone(), tables[b].local().router.clone());
            tables[a].link_up(at_a, name_b, 1);
            tables[b].link_up(at_b, name_a, 1);
        }
        converge(&mut tables, &links);
        assert_eq!(tables[0].destinations("web"), [Destination::Remote { router: "c".into(), link: 1 }]);
        assert_eq!(tables[2].destinations("web"), [Destination::Here]);
        assert_eq!(tables[0].network().len(), 3);
        assert_eq!(tables[0].routes()["c"].cost, 2);
        tables[1].link_down(2);
        tables[2].link_down(1);
        converge(&mut tables, &links[..1]);
        assert!(tables[0].destinations("web").is_empty());
        assert_eq!(tables[0].network().len(), 2);
    }

    #[test]
    fn the_cheaper_of_two_links_is_taken() {
        let mut tables = [table("a", None), table("b", Some("web"))];
        for (link, cost) in [(1, 5), (2, 1)] {
            tables[0].link_up(link, "b".into(), cost);
            tables[1].link_up(link, "a".into(), cost);
        }
        converge(&mut tables, &[(0, 1, 1, 1), (0, 2, 1, 2)]);
        assert_eq!(tables[0].destinations("web"), [Destination::Remote { router: "b".into(), link: 2 }]);
    }
}
