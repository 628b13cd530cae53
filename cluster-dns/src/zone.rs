//! Answers (pure): a question and the records in, what to say out.
//!
//! Follows the Kubernetes DNS specification 1.1.0, and CoreDNS's `kubernetes` plugin where that leaves room: names of
//! endpoints without a hostname, pod names made of any address, SOA and TTL values.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use hickory_proto::rr::rdata::{A, AAAA, CNAME, NS, PTR, SOA, SRV, TXT};
use hickory_proto::rr::{Name, RData, Record, RecordType};

use crate::records::{Entry, Records};

/// Seconds; CoreDNS's default for cluster names. Short, because endpoints come and go.
pub const TTL: u32 = 5;
/// How many CNAMEs within the zone are followed for one question.
const CHAIN: usize = 8;

/// What the zone says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Found {
        answers: Vec<Record>,
        additionals: Vec<Record>,
        /// A CNAME led out of the zone: whoever can ask others should add what this name has.
        beyond: Option<Name>,
    },
    /// The name exists, with no record of this type.
    NoData,
    /// There is no such name.
    NxDomain,
    /// A reverse name of none of our addresses: not ours to deny.
    UnknownAddress,
    /// Outside of the zone.
    NotOurs,
}

/// The cluster's zone.
#[derive(Clone, Debug)]
pub struct Zone {
    origin: Name,
}

/// What a name is, before its type is looked at.
enum Node {
    /// Its addresses, and nothing else.
    Addresses(Vec<IpAddr>),
    Services(Vec<(u16, Name, Vec<IpAddr>)>),
    Alias(Name),
    Text(&'static str),
    Apex,
    /// Exists only because names below it do.
    Empty,
    Missing,
}

impl Zone {
    /// The zone `origin`, `cluster.local.` as a rule.
    ///
    /// # Errors
    /// When it is no domain name.
    pub fn new(origin: &str) -> Result<Self, hickory_proto::ProtoError> {
        let mut origin = Name::from_ascii(origin)?.to_lowercase();
        origin.set_fqdn(true);
        Ok(Self { origin })
    }

    /// The SOA record that goes with denials and answers questions for it.
    #[must_use]
    pub fn soa(&self, serial: u32) -> Record {
        let below = |label: &str| self.below(&[label]).unwrap_or_else(|| self.origin.clone());
        let primary = self.below(&["ns", "dns"]).unwrap_or_else(|| self.origin.clone());
        let soa = SOA::new(primary, below("hostmaster"), serial, 7200, 1800, 86400, TTL);
        Record::from_rdata(self.origin.clone(), TTL, RData::SOA(soa))
    }

    /// Answers a question for `name`, of any case.
    #[must_use]
    pub fn answer(&self, records: &Records, name: &Name, kind: RecordType, serial: u32) -> Answer {
        let name = name.to_lowercase();
        if let Some(ip) = reverse_address(&name) {
            return self.reverse(records, &name, ip, kind);
        }
        if !self.origin.zone_of(&name) {
            return Answer::NotOurs;
        }
        let mut answers = Vec::new();
        let mut at = name;
        for _ in 0..CHAIN {
            match self.find(records, &at) {
                Node::Alias(target) => {
                    answers.push(Record::from_rdata(at, TTL, RData::CNAME(CNAME(target.clone()))));
                    if kind == RecordType::CNAME {
                        return found(answers, Vec::new());
                    }
                    if !self.origin.zone_of(&target) {
                        return Answer::Found { answers, additionals: Vec::new(), beyond: Some(target) };
                    }
                    at = target;
                }
                Node::Missing if answers.is_empty() => return Answer::NxDomain,
                node => {
                    let mut additionals = Vec::new();
                    self.of_kind(node, &at, kind, serial, &mut answers, &mut additionals);
                    return found(answers, additionals);
                }
            }
        }
        found(answers, Vec::new())
    }

    fn of_kind(
        &self,
        node: Node,
        at: &Name,
        kind: RecordType,
        serial: u32,
        answers: &mut Vec<Record>,
        additionals: &mut Vec<Record>,
    ) {
        let record = |data: RData| Record::from_rdata(at.clone(), TTL, data);
        match (node, kind) {
            (Node::Addresses(ips), _) => answers.extend(ips.into_iter().filter_map(|ip| address(at, ip, kind))),
            (Node::Services(services), RecordType::SRV | RecordType::ANY) => {
                // The specification: equal shares, and the addresses along with them.
                let weight = u16::try_from(100 / services.len().max(1)).unwrap_or(1).max(1);
                for (port, target, ips) in services {
                    answers.push(record(RData::SRV(SRV::new(0, weight, port, target.clone()))));
                    additionals.extend(ips.into_iter().filter_map(|ip| address(&target, ip, RecordType::ANY)));
                }
            }
            (Node::Text(text), RecordType::TXT | RecordType::ANY) => {
                answers.push(record(RData::TXT(TXT::new(vec![text.to_owned()]))));
            }
            (Node::Apex, RecordType::SOA | RecordType::ANY) => answers.push(self.soa(serial)),
            (Node::Apex, RecordType::NS) => {
                let server = self.below(&["ns", "dns"]).unwrap_or_else(|| self.origin.clone());
                answers.push(record(RData::NS(NS(server))));
            }
            _ => {}
        }
    }

    fn find(&self, records: &Records, name: &Name) -> Node {
        let depth = usize::from(name.num_labels().saturating_sub(self.origin.num_labels()));
        let labels: Vec<String> =
            name.iter().take(depth).map(|label| String::from_utf8_lossy(label).into_owned()).collect();
        // From the zone downwards: the last label first.
        let path: Vec<&str> = labels.iter().rev().map(String::as_str).collect();
        match path.as_slice() {
            [] => Node::Apex,
            ["dns-version"] => Node::Text("1.1.0"),
            ["svc" | "pod" | "dns"] => Node::Empty,
            ["svc", namespace, rest @ ..] => self.service(records, namespace, rest),
            ["pod", namespace] if records.has_namespace(namespace) => Node::Empty,
            ["pod", _, dashed] => pod_address(dashed).map_or(Node::Missing, |ip| Node::Addresses(vec![ip])),
            _ => Node::Missing,
        }
    }

    fn service(&self, records: &Records, namespace: &str, path: &[&str]) -> Node {
        let Some((service, rest)) = path.split_first() else {
            return if records.has_namespace(namespace) { Node::Empty } else { Node::Missing };
        };
        let key = (namespace.to_owned(), (*service).to_owned());
        let Some(entry) = records.service(&key) else { return Node::Missing };
        let full = |more: &[&str]| self.below(&[more, &[*service, namespace, "svc"]].concat());
        let endpoints = || records.endpoints(&key);
        let port = |name: &str, protocol: &str| {
            Some((name.strip_prefix('_')?.to_owned(), protocol.strip_prefix('_')?.to_owned()))
        };
        match (entry, rest) {
            (Entry::External(target), []) => {
                let target = Name::from_str(target).map(|mut name| {
                    name.set_fqdn(true);
                    name
                });
                target.map_or(Node::Empty, Node::Alias)
            }
            (Entry::Cluster { ips, .. }, []) => Node::Addresses(ips.clone()),
            (Entry::Cluster { ips, ports }, [protocol, name]) => {
                let found = port(name, protocol).and_then(|port| ports.get(&port)).zip(full(&[]));
                found.map_or(Node::Missing, |(number, target)| Node::Services(vec![(*number, target, ips.clone())]))
            }
            (Entry::Cluster { ports, .. }, [protocol])
                if ports.keys().any(|(_, p)| protocol.strip_prefix('_') == Some(p)) =>
            {
                Node::Empty
            }
            // With no ready endpoint the name is still there: NODATA, not NXDOMAIN, so that nobody caches its absence.
            (Entry::Headless, []) => Node::Addresses(endpoints().map(|endpoint| endpoint.ip).collect()),
            (Entry::Headless, [protocol, name]) => {
                let Some(port) = port(name, protocol) else { return Node::Missing };
                let serving = endpoints().filter_map(|endpoint| {
                    let number = *endpoint.ports.get(&port)?;
                    Some((number, full(&[endpoint.hostname.as_str()])?, vec![endpoint.ip]))
                });
                let serving: Vec<_> = serving.collect();
                if serving.is_empty() { Node::Missing } else { Node::Services(serving) }
            }
            (Entry::Headless, [label]) => {
                let ips: Vec<IpAddr> = endpoints().filter(|e| e.hostname == **label).map(|e| e.ip).collect();
                let protocol = |p: &str| label.strip_prefix('_') == Some(p);
                if !ips.is_empty() {
                    Node::Addresses(ips)
                } else if endpoints().any(|endpoint| endpoint.ports.keys().any(|(_, p)| protocol(p))) {
                    Node::Empty
                } else {
                    Node::Missing
                }
            }
            _ => Node::Missing,
        }
    }

    fn reverse(&self, records: &Records, name: &Name, ip: IpAddr, kind: RecordType) -> Answer {
        let targets = records.names(ip).filter_map(|((namespace, service), hostname)| {
            let path: Vec<&str> = hostname.into_iter().chain([service.as_str(), namespace.as_str(), "svc"]).collect();
            self.below(&path)
        });
        let records: Vec<Record> =
            targets.map(|target| Record::from_rdata(name.clone(), TTL, RData::PTR(PTR(target)))).collect();
        match (records.is_empty(), kind) {
            (true, _) => Answer::UnknownAddress,
            (false, RecordType::PTR | RecordType::ANY) => found(records, Vec::new()),
            (false, _) => Answer::NoData,
        }
    }

    /// `labels` below the zone; none if they make no valid name.
    fn below(&self, labels: &[&str]) -> Option<Name> {
        let mut name =
            Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?.append_name(&self.origin).ok()?;
        name.set_fqdn(true);
        Some(name)
    }
}

fn found(answers: Vec<Record>, additionals: Vec<Record>) -> Answer {
    if answers.is_empty() { Answer::NoData } else { Answer::Found { answers, additionals, beyond: None } }
}

fn address(name: &Name, ip: IpAddr, kind: RecordType) -> Option<Record> {
    let data = match (ip, kind) {
        (IpAddr::V4(ip), RecordType::A | RecordType::ANY) => RData::A(A(ip)),
        (IpAddr::V6(ip), RecordType::AAAA | RecordType::ANY) => RData::AAAA(AAAA(ip)),
        _ => return None,
    };
    Some(Record::from_rdata(name.clone(), TTL, data))
}

/// `11-0-1-2` → 11.0.1.2.
fn pod_address(dashed: &str) -> Option<IpAddr> {
    let v4 = dashed.replace('-', ".").parse::<Ipv4Addr>().map(IpAddr::V4);
    v4.or_else(|_| dashed.replace('-', ":").parse::<Ipv6Addr>().map(IpAddr::V6)).ok()
}

/// The address a complete reverse name speaks of.
fn reverse_address(name: &Name) -> Option<IpAddr> {
    let net = name.parse_arpa_name().ok()?;
    (net.prefix_len() == net.max_prefix_len()).then(|| net.addr())
}
