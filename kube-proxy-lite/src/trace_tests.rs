//! The rules without a kernel: the canonical ruleset of one Service, and virtual packets through many.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use kernel::trace::{Origin, Outcome, Packet, Ruleset};

use crate::base::Config;
use crate::compile::compile;
use crate::endpoints::Place;
use crate::model::{Endpoint, Hints, Port, Protocol, ServiceName, ServiceSpec};
use crate::table::Table;

const POD: &str = "11.0.2.9";
const OUTSIDE: &str = "10.0.254.2";
const NODE: &str = "10.0.0.11";

fn config() -> Config {
    Config {
        node_port_ips: vec![NODE.parse().unwrap()],
        cluster_cidr: Some("11.0.0.0/8".parse().unwrap()),
        place: Place { node: "c0w1".into(), zone: None },
    }
}

fn service() -> ServiceSpec {
    ServiceSpec {
        cluster_ip: "10.96.0.50".parse().unwrap(),
        ports: vec![Port { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
        external_ips: vec![],
        load_balancer_ips: vec!["10.254.254.2".parse().unwrap()],
        source_ranges: vec![],
        internal_local: false,
        external_local: false,
        affinity: None,
        health_check_node_port: None,
    }
}

fn endpoint(ip: &str, local: bool) -> Endpoint {
    let ip = ip.parse().unwrap();
    Endpoint { ip, port: 8080, local, ready: true, serving: true, terminating: false, hints: Hints::default() }
}

fn batch(service: &ServiceSpec, endpoints: &[Endpoint]) -> Vec<serde_json::Value> {
    let name = ServiceName { namespace: "ns".into(), name: "web".into() };
    let endpoints = BTreeMap::from([(("http".to_owned(), Protocol::Tcp), endpoints.to_vec())]);
    Table::default().replace(&config(), vec![(name.clone(), compile(&name, service, &endpoints, &config()))])
}

/// What becomes of a packet from `source` to `to`, in short: `-> destination`, with `masq` behind it, or a refusal.
fn trace(service: &ServiceSpec, endpoints: &[Endpoint], source: &str, to: &str) -> Vec<String> {
    let mut ruleset = Ruleset::on([NODE.parse().unwrap(), Ipv4Addr::new(11, 0, 1, 1)]);
    ruleset.apply(&batch(service, endpoints));
    let (destination, port) = to.split_once(':').unwrap();
    let origin = if source == NODE { Origin::Here } else { Origin::Outside };
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let packet = Packet { origin, source, destination, protocol: "tcp", port: port.parse().unwrap() };
    let told = ruleset.trace(&packet).into_iter().map(|outcome| match outcome {
        Outcome::Delivered { to, masqueraded: false } => format!("-> {to}"),
        Outcome::Delivered { to, masqueraded: true } => format!("-> {to} masq"),
        Outcome::Dropped => "dropped".to_owned(),
        Outcome::Rejected => "rejected".to_owned(),
    });
    told.collect()
}

#[test]
fn the_canonical_ruleset_of_a_service() {
    let lines: Vec<String> = batch(&ServiceSpec { affinity: Some(60), ..service() }, &[endpoint("11.0.1.2", true)])
        .iter()
        .map(ToString::to_string)
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn packets_find_their_way() {
    let (here, there) = (endpoint("11.0.1.2", true), endpoint("11.0.2.3", false));
    let both = [here.clone(), there.clone()];
    let local = ServiceSpec { external_local: true, ..service() };
    let fenced = ServiceSpec { source_ranges: vec!["192.0.2.0/24".parse().unwrap()], ..service() };
    let inner = ServiceSpec { internal_local: true, ..service() };
    let (vip, node_port, balanced) = ("10.96.0.50:80", "10.0.0.11:30080", "10.254.254.2:80");
    let plain = service();
    type Case<'a> = (&'a str, &'a ServiceSpec, &'a [Endpoint], &'a str, &'a str, &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        ("a pod keeps its address", &plain, &both, POD, vip, &["-> 11.0.1.2:8080", "-> 11.0.2.3:8080"]),
        ("so does the node", &plain, &both[..1], NODE, vip, &["-> 11.0.1.2:8080 masq"]),
        ("who is no pod is masqueraded", &plain, &both[..1], OUTSIDE, vip, &["-> 11.0.1.2:8080 masq"]),
        ("a pod reaches itself by way of the node", &plain, &both[..1], "11.0.1.2", vip, &["-> 11.0.1.2:8080 masq"]),
        ("another port of the address", &plain, &both, POD, "10.96.0.50:81", &["rejected"]),
        ("somewhere else", &plain, &both, POD, "192.0.2.1:80", &["-> 192.0.2.1:80"]),
        ("a node port", &plain, &both[1..], OUTSIDE, node_port, &["-> 11.0.2.3:8080 masq"]),
        ("another node's port", &plain, &both, OUTSIDE, "10.0.0.12:30080", &["-> 10.0.0.12:30080"]),
        ("a balancer's address", &plain, &both[1..], OUTSIDE, balanced, &["-> 11.0.2.3:8080 masq"]),
        ("nobody there", &plain, &[], POD, vip, &["rejected"]),
        ("nobody there, by node port", &plain, &[], OUTSIDE, node_port, &["rejected"]),
        ("Local keeps the client's address", &local, &both, OUTSIDE, node_port, &["-> 11.0.1.2:8080"]),
        ("Local without a pod here drops", &local, &both[1..], OUTSIDE, node_port, &["dropped"]),
        ("Local is for the outside only", &local, &both[1..], POD, balanced, &["-> 11.0.2.3:8080"]),
        ("internal Local", &inner, &both, POD, vip, &["-> 11.0.1.2:8080"]),
        ("internal Local without a pod here drops", &inner, &both[1..], POD, vip, &["dropped"]),
        ("outside of the source ranges", &fenced, &both, OUTSIDE, balanced, &["dropped"]),
        ("in the source ranges", &fenced, &both[..1], "192.0.2.7", balanced, &["-> 11.0.1.2:8080 masq"]),
    ];
    for (what, service, endpoints, source, to, wanted) in cases {
        assert_eq!(trace(service, endpoints, source, to), *wanted, "{what}");
    }
}
