//! The rules against a real kernel: real TCP from pods, from the node and from outside, through virtual addresses.
//!
//! ```text
//! outside 10.0.0.100 ── eth0 10.0.0.11 [node] cni0 11.0.1.1 ──┬─ p1 11.0.1.2
//!                                                              ├─ p2 11.0.1.3
//!                                                              └─ c  11.0.1.9
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kernel::testing::{in_namespace, sh, within};
use serde_json::Value;

use crate::base::Config;
use crate::compile::{EndpointsByPort, Program, compile};
use crate::endpoints::Place;
use crate::model::{Endpoint, Hints, Port, Protocol, ServiceName, ServiceSpec};
use crate::table::Table;

const VIP: &str = "10.96.0.50:80";
const NODE_PORT: &str = "10.0.0.11:30080";

fn topology() {
    sh("ip netns add node; ip netns add outside
        ip link add eth0 netns node type veth peer name eth0 netns outside
        ip -n node addr add 10.0.0.11/24 dev eth0; ip -n outside addr add 10.0.0.100/24 dev eth0
        ip -n node link add cni0 type bridge; ip -n node addr add 11.0.1.1/24 dev cni0
        for l in lo eth0 cni0; do ip -n node link set $l up; done
        for l in lo eth0; do ip -n outside link set $l up; done
        ip -n outside route add default via 10.0.0.11; ip -n node route add default via 10.0.0.100
        pod() {
          ip netns add $1; ip link add eth0 netns $1 type veth peer name v$1 netns node
          ip -n node link set v$1 master cni0; ip -n node link set v$1 type bridge_slave hairpin on; ip -n node link set v$1 up
          ip -n $1 addr add $2/24 dev eth0; ip -n $1 link set lo up; ip -n $1 link set eth0 up
          ip -n $1 route add default via 11.0.1.1
        }
        pod p1 11.0.1.2; pod p2 11.0.1.3; pod c 11.0.1.9
        ip netns exec node sysctl -qw net.ipv4.ip_forward=1
        ip netns exec node sysctl -qw net.bridge.bridge-nf-call-iptables=1");
}

/// A server in `netns` that answers each line with its own name and the client's address as it sees it.
fn server(netns: &'static str) {
    let listener = within(netns, || TcpListener::bind("0.0.0.0:8080").expect("a free port"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut stream = stream;
                let peer = stream.peer_addr().expect("connected").ip();
                while stream.read(&mut [0; 16]).is_ok_and(|n| n > 0) {
                    if stream.write_all(format!("{netns} {peer}").as_bytes()).is_err() {
                        break;
                    }
                }
            });
        }
    });
}

fn ask(stream: &mut TcpStream) -> std::io::Result<String> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"?\n")?;
    let mut answer = [0; 64];
    let n = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..n]).into_owned())
}

fn connect(netns: &str, to: &str) -> std::io::Result<TcpStream> {
    let to: SocketAddr = to.parse().expect("an address");
    within(netns, move || TcpStream::connect_timeout(&to, Duration::from_millis(700)))
}

fn get(netns: &str, to: &str) -> std::io::Result<String> {
    connect(netns, to).and_then(|mut stream| ask(&mut stream))
}

fn spread(netns: &str, to: &str) -> BTreeSet<String> {
    (0..24).map(|_| get(netns, to).expect("an answer")).collect()
}

fn set(texts: &[&str]) -> BTreeSet<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn service() -> ServiceSpec {
    ServiceSpec {
        cluster_ip: "10.96.0.50".parse().unwrap(),
        ports: vec![Port { name: "http".into(), protocol: Protocol::Tcp, port: 80, node_port: Some(30080) }],
        external_ips: vec![],
        load_balancer_ips: vec![],
        source_ranges: vec![],
        internal_local: false,
        external_local: false,
        affinity: None,
        health_check_node_port: None,
    }
}

fn ready(ip: &str, local: bool) -> Endpoint {
    Endpoint {
        ip: ip.parse().unwrap(),
        port: 8080,
        local,
        ready: true,
        serving: true,
        terminating: false,
        hints: Hints::default(),
    }
}

fn program(service: &ServiceSpec, endpoints: &[Endpoint]) -> (ServiceName, Program) {
    let name = ServiceName { namespace: "default".into(), name: "web".into() };
    let endpoints: EndpointsByPort = BTreeMap::from([(("http".to_owned(), Protocol::Tcp), endpoints.to_vec())]);
    let program = compile(&name, service, &endpoints, &config());
    (name, program)
}

fn config() -> Config {
    Config {
        node_port_ips: vec![Ipv4Addr::new(10, 0, 0, 11)],
        cluster_cidr: Some("11.0.0.0/8".parse().unwrap()),
        place: Place::default(),
    }
}

fn apply(batch: Vec<Value>) {
    within("node", move || kernel::nft::apply(&batch).expect("nft takes the batch"));
}

struct Node(Table);

impl Node {
    fn with(service: &ServiceSpec, endpoints: &[Endpoint]) -> Self {
        let mut table = Table::default();
        apply(table.replace(&config(), vec![program(service, endpoints)]));
        Self(table)
    }

    fn set(&mut self, service: &ServiceSpec, endpoints: &[Endpoint]) {
        let (name, program) = program(service, endpoints);
        apply(self.0.update(vec![(name, Some(program))]));
    }
}

#[test]
fn a_virtual_address_reaches_all_endpoints_and_follows_them() {
    in_namespace("kernel_tests::a_virtual_address_reaches_all_endpoints_and_follows_them", || {
        topology();
        server("p1");
        server("p2");
        let (p1, p2) = (ready("11.0.1.2", true), ready("11.0.1.3", true));
        let mut node = Node::with(&service(), &[p1.clone(), p2.clone()]);

        assert_eq!(spread("c", VIP), set(&["p1 11.0.1.9", "p2 11.0.1.9"]), "a pod's own address is kept");
        assert_eq!(spread("node", VIP).len(), 2, "processes of the node, too");
        assert_eq!(spread("outside", NODE_PORT), set(&["p1 11.0.1.1", "p2 11.0.1.1"]), "masqueraded");

        // An endpoint that leaves: its connections go on, new ones go elsewhere.
        let mut established = (0..32).map(|_| connect("c", VIP).unwrap()).collect::<Vec<_>>();
        node.set(&service(), std::slice::from_ref(&p2));
        assert_eq!(spread("c", VIP), set(&["p2 11.0.1.9"]));
        let answers: BTreeSet<_> = established.iter_mut().map(|stream| ask(stream).unwrap()).collect();
        assert_eq!(answers.len(), 2, "connections to p1 live on");

        node.set(&service(), std::slice::from_ref(&p1));
        assert_eq!(get("p1", VIP).unwrap(), "p1 11.0.1.1", "hairpin: a pod that is its own only backend");

        let rules = within("node", || sh("nft list table ip kube-proxy"));
        assert!(rules.contains("10.96.0.50 . tcp . 80 : goto service-"), "{rules}");
        assert!(!rules.contains("11.0.1.3"), "nothing is left of the endpoint that went: {rules}");
        assert!(rules.contains("counter packets 1 bytes 60"), "counters rise: {rules}");

        apply(node.0.update(vec![(program(&service(), &[]).0, None)]));
        let rules = within("node", || sh("nft list table ip kube-proxy"));
        assert!(!rules.contains("web") && !rules.contains("10.96.0.50"), "nothing is left of the Service: {rules}");
    });
}

#[test]
fn without_endpoints_it_refuses_at_once() {
    in_namespace("kernel_tests::without_endpoints_it_refuses_at_once", || {
        topology();
        server("p1");
        let mut node = Node::with(&service(), &[]);
        let refused =
            |from: &str, to: &str| assert_eq!(connect(from, to).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        refused("c", VIP);
        refused("node", VIP);
        refused("outside", NODE_PORT);
        node.set(&service(), &[ready("11.0.1.2", true)]);
        assert_eq!(get("c", VIP).unwrap(), "p1 11.0.1.9");
        refused("c", "10.96.0.50:81");
    });
}

#[test]
fn local_traffic_policy_keeps_the_clients_address_and_drops_elsewhere() {
    in_namespace("kernel_tests::local_traffic_policy_keeps_the_clients_address_and_drops_elsewhere", || {
        topology();
        server("p1");
        server("p2");
        let (here, there) = (ready("11.0.1.2", true), ready("11.0.1.3", false));
        let local = ServiceSpec { external_local: true, ..service() };
        let mut node = Node::with(&local, &[here, there.clone()]);
        assert_eq!(spread("outside", NODE_PORT), set(&["p1 10.0.0.100"]));
        assert_eq!(spread("c", NODE_PORT).len(), 2, "pods get all endpoints");
        node.set(&local, std::slice::from_ref(&there));
        assert_ne!(
            connect("outside", NODE_PORT).unwrap_err().kind(),
            ErrorKind::ConnectionRefused,
            "dropped, not refused"
        );
        assert_eq!(get("c", VIP).unwrap(), "p2 11.0.1.9");
    });
}

#[test]
fn affinity_sticks_to_one_endpoint() {
    in_namespace("kernel_tests::affinity_sticks_to_one_endpoint", || {
        topology();
        server("p1");
        server("p2");
        let sticky = ServiceSpec { affinity: Some(60), ..service() };
        let both = [ready("11.0.1.2", true), ready("11.0.1.3", true)];
        let mut node = Node::with(&sticky, &both);
        let first = spread("c", VIP);
        assert_eq!(first.len(), 1);
        // The chosen one goes: the client moves, and stays there.
        let other = if first.contains("p1 11.0.1.9") { &both[1..] } else { &both[..1] };
        node.set(&sticky, other);
        assert_ne!(spread("c", VIP), first);
        node.set(&ServiceSpec { affinity: Some(90), ..service() }, &both);
        assert_eq!(spread("c", VIP).len(), 1, "another timeout");
        node.set(&service(), &both);
        assert_eq!(spread("c", VIP).len(), 2, "affinity switched off");
    });
}

#[test]
fn load_balancer_addresses_obey_their_source_ranges() {
    in_namespace("kernel_tests::load_balancer_addresses_obey_their_source_ranges", || {
        topology();
        server("p1");
        let lb = |ranges: &str| ServiceSpec {
            load_balancer_ips: vec!["10.254.254.1".parse().unwrap()],
            external_ips: vec!["192.0.2.7".parse().unwrap()],
            source_ranges: ranges.split(',').map(|range| range.parse().unwrap()).collect(),
            ..service()
        };
        let endpoints = [ready("11.0.1.2", true)];
        let mut node = Node::with(&lb("10.0.0.0/24,192.0.2.0/24"), &endpoints);
        assert!(get("outside", "10.254.254.1:80").is_ok());
        assert!(get("outside", "192.0.2.7:80").is_ok());
        node.set(&lb("198.51.100.0/24"), &endpoints);
        assert!(get("outside", "10.254.254.1:80").is_err());
        assert!(get("outside", "192.0.2.7:80").is_ok(), "ranges are for the load balancer's address only");
    });
}
