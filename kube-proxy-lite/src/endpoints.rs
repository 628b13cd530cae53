//! Which endpoints a packet may go to (upstream's `pkg/proxy/topology.go`; KEP-1669 for terminating ones).

use crate::model::Endpoint;

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
    pub fn among(all: &[Endpoint]) -> Self {
        let pick = |wanted: &dyn Fn(&Endpoint) -> bool| all.iter().filter(|e| wanted(e)).cloned().collect::<Vec<_>>();
        let fallback = |ready: Vec<Endpoint>, rest: &dyn Fn(&Endpoint) -> bool| {
            if ready.is_empty() { pick(rest) } else { ready }
        };
        Self {
            cluster: fallback(pick(&|e| e.ready), &|e| e.serving && e.terminating),
            local: fallback(pick(&|e| e.ready && e.local), &|e| e.local && e.serving && e.terminating),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8, state: &str) -> Endpoint {
        let has = |flag: char| state.contains(flag);
        Endpoint {
            ip: [11, 0, 1, last].into(),
            port: 80,
            local: has('l'),
            ready: has('r'),
            serving: has('r') || has('s'),
            terminating: has('t'),
        }
    }

    /// States in (`l`ocal, `r`eady, `s`erving, `t`erminating), chosen endpoints' numbers out.
    fn check(states: &[&str], cluster: &[u8], local: &[u8]) {
        let all: Vec<_> = (1u8..).zip(states).map(|(n, state)| endpoint(n, state)).collect();
        let numbers = |list: Vec<Endpoint>| list.iter().map(|e| e.ip.octets()[3]).collect::<Vec<_>>();
        let choice = Choice::among(&all);
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
}
