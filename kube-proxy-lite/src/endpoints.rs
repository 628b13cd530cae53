//! Which endpoints a packet may go to (upstream's `pkg/proxy/topology.go`; KEP-1669 for terminating ones, KEP-3015 for
//! those nearby).

use crate::model::Endpoint;

/// Where this proxy is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub node: String,
    /// The node's label `topology.kubernetes.io/zone`.
    pub zone: Option<String>,
}

/// Who of the ready endpoints is meant for this place. Hints count only if every endpoint has them and one is for us, so
/// that no node is ever left without endpoints because of them; the node's own come before the zone's.
fn nearby(ready: Vec<Endpoint>, place: &Place) -> Vec<Endpoint> {
    let for_node = |e: &Endpoint| e.hints.nodes.contains(&place.node);
    let for_zone = |e: &Endpoint| place.zone.as_ref().is_some_and(|zone| e.hints.zones.contains(zone));
    if ready.iter().all(|e| !e.hints.nodes.is_empty()) && ready.iter().any(for_node) {
        return ready.into_iter().filter(for_node).collect();
    }
    if ready.iter().all(|e| !e.hints.zones.is_empty()) && ready.iter().any(for_zone) {
        return ready.into_iter().filter(for_zone).collect();
    }
    ready
}

/// The choice for one Service port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// For traffic policy Cluster.
    pub cluster: Vec<Endpoint>,
    /// For traffic policy Local.
    pub local: Vec<Endpoint>,
}

impl Choice {
    /// Ready endpoints; only if there are none, those that are terminating but still serve. The rule holds for the whole
    /// cluster and for this node apart: a node whose last pod is leaving still serves its own Local traffic.
    #[must_use]
    pub fn among(all: &[Endpoint], place: &Place) -> Self {
        let pick = |wanted: &dyn Fn(&Endpoint) -> bool| all.iter().filter(|e| wanted(e)).cloned().collect::<Vec<_>>();
        let fallback = |ready: Vec<Endpoint>, rest: &dyn Fn(&Endpoint) -> bool| {
            if ready.is_empty() { pick(rest) } else { ready }
        };
        Self {
            cluster: fallback(nearby(pick(&|e| e.ready), place), &|e| e.serving && e.terminating),
            local: fallback(pick(&|e| e.ready && e.local), &|e| e.local && e.serving && e.terminating),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Hints;

    fn endpoint(last: u8, state: &str) -> Endpoint {
        let has = |flag: char| state.contains(flag);
        Endpoint {
            ip: [11, 0, 1, last].into(),
            port: 80,
            local: has('l'),
            ready: has('r'),
            serving: has('r') || has('s'),
            terminating: has('t'),
            hints: Hints::default(),
        }
    }

    /// States in (`l`ocal, `r`eady, `s`erving, `t`erminating), chosen endpoints' numbers out.
    fn check(states: &[&str], cluster: &[u8], local: &[u8]) {
        let all: Vec<_> = (1u8..).zip(states).map(|(n, state)| endpoint(n, state)).collect();
        let numbers = |list: Vec<Endpoint>| list.iter().map(|e| e.ip.octets()[3]).collect::<Vec<_>>();
        let choice = Choice::among(&all, &Place::default());
        assert_eq!((numbers(choice.cluster), numbers(choice.local)), (cluster.to_vec(), local.to_vec()), "{states:?}");
    }

    #[test]
    fn ready_first_then_terminating() {
        check(&["r", "rl"], &[1, 2], &[2]);
        check(&["r", "st", "t", ""], &[1], &[]);
        check(&["st", "t", "stl"], &[1, 3], &[3]);
        check(&["r", "stl"], &[1], &[2]);
        check(&["", "l"], &[], &[]);
        check(&[], &[], &[]);
    }

    /// Endpoints 1, 2 … by their hints ("node/zone"), and who is chosen from n1 in zone z1.
    fn hinted(hints: &[&str], chosen: &[u8]) {
        let list = |word: &str| if word.is_empty() { vec![] } else { vec![word.to_owned()] };
        let all: Vec<_> = (1u8..)
            .zip(hints)
            .map(|(n, hint)| {
                let (node, zone) = hint.split_once('/').expect("node/zone");
                Endpoint { hints: Hints { nodes: list(node), zones: list(zone) }, ..endpoint(n, "r") }
            })
            .collect();
        let choice = Choice::among(&all, &Place { node: "n1".into(), zone: Some("z1".into()) });
        assert_eq!(choice.cluster.iter().map(|e| e.ip.octets()[3]).collect::<Vec<_>>(), chosen, "{hints:?}");
    }

    #[test]
    fn the_node_before_the_zone_before_all() {
        hinted(&["n1/z1", "n2/z1", "n3/z2"], &[1]);
        hinted(&["n2/z1", "n3/z2"], &[1]);
        hinted(&["/z1", "/z2", "/z1"], &[1, 3]);
        // One without a hint, or nobody for us: as if there were none.
        hinted(&["/z1", "/"], &[1, 2]);
        hinted(&["/z2", "/z3"], &[1, 2]);
        hinted(&["n1/", "/"], &[1, 2]);
    }
}
