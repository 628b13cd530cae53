//! Stale UDP flows: the kernel goes on translating a flow it knows to an endpoint that is gone, for as long as the client
//! keeps sending. Upstream's `pkg/proxy/conntrack`: whenever UDP endpoints have changed, flows to a Service that lead
//! anywhere but to one of its endpoints are forgotten, and their next packet is balanced anew.
//!
//! TCP needs none of this: a connection to a pod that is gone ends by itself.

use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::process::Command;

/// Where UDP traffic to each Service port may go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// By virtual address (cluster, external, load balancer) and port.
    pub addresses: HashMap<(Ipv4Addr, u16), HashSet<(Ipv4Addr, u16)>>,
    /// By node port.
    pub node_ports: HashMap<u16, HashSet<(Ipv4Addr, u16)>>,
    /// The addresses that node ports are served on.
    pub node_ips: Vec<Ipv4Addr>,
}

impl Served {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty() && self.node_ports.is_empty()
    }

    fn endpoints(&self, destination: (Ipv4Addr, u16)) -> Option<&HashSet<(Ipv4Addr, u16)>> {
        self.addresses
            .get(&destination)
            .or_else(|| self.node_ports.get(&destination.1).filter(|_| self.node_ips.contains(&destination.0)))
    }
}

/// A flow as the kernel knows it: as it was sent, and who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub source: (Ipv4Addr, u16),
    pub destination: (Ipv4Addr, u16),
    pub answers: (Ipv4Addr, u16),
}

impl Flow {
    /// Reads a line of `conntrack -L -p udp`: the addresses and ports of the original direction, then of the reply.
    fn parse(line: &str) -> Option<Self> {
        let all = |key: &'static str| line.split_whitespace().filter_map(move |word| word.strip_prefix(key));
        let (mut sources, mut source_ports) = (all("src="), all("sport="));
        let source = (sources.next()?.parse().ok()?, source_ports.next()?.parse().ok()?);
        let destination = (all("dst=").next()?.parse().ok()?, all("dport=").next()?.parse().ok()?);
        let answers = (sources.next()?.parse().ok()?, source_ports.next()?.parse().ok()?);
        Some(Self { source, destination, answers })
    }
}

/// The flows of a listing that lead somewhere they must not (pure).
#[must_use]
pub fn stale(listing: &str, served: &Served) -> Vec<Flow> {
    let flows = listing.lines().filter_map(Flow::parse);
    flows
        .filter(|flow| served.endpoints(flow.destination).is_some_and(|known| !known.contains(&flow.answers)))
        .collect()
}

/// Forgets stale flows in the calling thread's network namespace. How many there were.
///
/// # Errors
/// When the tool is missing or the kernel refuses the listing.
pub fn clean(served: &Served) -> std::io::Result<usize> {
    let listing = Command::new("conntrack").args(["-L", "-f", "ipv4", "-p", "udp"]).output()?;
    if !listing.status.success() {
        return Err(std::io::Error::other(String::from_utf8_lossy(&listing.stderr).trim().to_owned()));
    }
    let flows = stale(&String::from_utf8_lossy(&listing.stdout), served);
    for Flow { source, destination, .. } in &flows {
        // One that ended by itself meanwhile is no failure.
        Command::new("conntrack")
            .args(["-D", "-f", "ipv4", "-p", "udp", "-s", &source.0.to_string(), "-d", &destination.0.to_string()])
            .args(["--sport", &source.1.to_string(), "--dport", &destination.1.to_string()])
            .output()?;
    }
    Ok(flows.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
udp      17 118 src=11.0.2.5 dst=10.96.0.10 sport=4001 dport=53 src=11.0.1.2 dst=11.0.2.5 sport=53 dport=4001 [ASSURED] mark=0 use=1
udp      17 28 src=11.0.2.5 dst=10.96.0.10 sport=4002 dport=53 src=11.0.1.9 dst=11.0.2.5 sport=53 dport=4002 mark=0 use=1
udp      17 28 src=10.0.254.2 dst=10.0.0.11 sport=7 dport=30053 [UNREPLIED] src=11.0.1.9 dst=11.0.1.1 sport=53 dport=7 mark=0 use=1
udp      17 28 src=11.0.2.5 dst=192.0.2.1 sport=4003 dport=53 src=192.0.2.1 dst=11.0.2.5 sport=53 dport=4003 mark=0 use=1
conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.
";

    #[test]
    fn flows_to_endpoints_that_are_gone_are_stale() {
        let now = HashSet::from([(Ipv4Addr::new(11, 0, 1, 2), 53)]);
        let served = Served {
            addresses: HashMap::from([((Ipv4Addr::new(10, 96, 0, 10), 53), now.clone())]),
            node_ports: HashMap::from([(30053, now)]),
            node_ips: vec![Ipv4Addr::new(10, 0, 0, 11)],
        };
        let ports: Vec<u16> = stale(LISTING, &served).iter().map(|flow| flow.source.1).collect();
        assert_eq!(ports, [4002, 7]);
        // Another machine's port of that number is none of ours.
        let elsewhere = Served { node_ips: vec![Ipv4Addr::new(10, 0, 0, 12)], ..served };
        assert_eq!(stale(LISTING, &elsewhere).len(), 1);
        assert_eq!(stale(LISTING, &Served::default()), []);
    }

    #[test]
    fn the_kernel_forgets_them() {
        const NAME: &str = "conntrack::tests::the_kernel_forgets_them";
        if Command::new("conntrack").arg("--version").output().is_err() {
            return kernel::testing::skip(NAME, "no conntrack (package conntrack)");
        }
        kernel::testing::in_namespace(NAME, || {
            let make = |port: &str, answers: &str| {
                let made = Command::new("conntrack")
                    .args(["-I", "-p", "udp", "-t", "60", "-s", "11.0.2.5", "-d", "10.96.0.10", "--sport", port])
                    .args(["--dport", "53", "-r", answers, "-q", "11.0.2.5", "--reply-port-src", "53"])
                    .args(["--reply-port-dst", port])
                    .output()
                    .unwrap();
                assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
            };
            make("4001", "11.0.1.2");
            make("4002", "11.0.1.9");
            let now = HashSet::from([(Ipv4Addr::new(11, 0, 1, 2), 53)]);
            let addresses = HashMap::from([((Ipv4Addr::new(10, 96, 0, 10), 53), now)]);
            let served = Served { addresses, ..Served::default() };
            assert_eq!(clean(&served).unwrap(), 1);
            assert_eq!(clean(&served).unwrap(), 0, "what leads to an endpoint stays");
            let left = Command::new("conntrack").args(["-L", "-p", "udp"]).output().unwrap();
            assert!(String::from_utf8_lossy(&left.stdout).contains("sport=4001"));
        });
    }
}
