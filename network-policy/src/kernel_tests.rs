//! The documentation's classic policy against a real kernel, with real TCP.
//!
//! ```text
//! outside 10.0.0.100, 172.17.2.1, 172.17.1.1 ── eth0 [node] cni0 ──┬─ db        11.0.1.2  default, role=db
//!                                                                  ├─ frontend  11.0.1.3  default, role=frontend
//!                                                                  ├─ project   11.0.1.4  in namespace myproject
//!                                                                  └─ stranger  11.0.1.5  default
//! ```

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kernel::testing::{in_namespace, sh, within};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::index::{Index, Update};
use crate::table::Table;
use crate::trace_tests::classic;

fn topology() {
    sh("ip netns add node; ip netns add outside
        ip link add eth0 netns node type veth peer name eth0 netns outside
        ip -n node addr add 10.0.0.11/24 dev eth0
        for a in 10.0.0.100/24 172.17.2.1/32 172.17.1.1/32; do ip -n outside addr add $a dev eth0; done
        ip -n node link add cni0 type bridge; ip -n node addr add 11.0.1.1/24 dev cni0
        for l in lo eth0 cni0; do ip -n node link set $l up; done
        for l in lo eth0; do ip -n outside link set $l up; done
        ip -n outside route add default via 10.0.0.11; ip -n node route add default via 10.0.0.100
        pod() {
          ip netns add $1; ip link add eth0 netns $1 type veth peer name v$1 netns node
          ip -n node link set v$1 master cni0; ip -n node link set v$1 up
          ip -n $1 addr add $2/24 dev eth0; ip -n $1 link set lo up; ip -n $1 link set eth0 up
          ip -n $1 route add default via 11.0.1.1
        }
        pod db 11.0.1.2; pod frontend 11.0.1.3; pod project 11.0.1.4; pod stranger 11.0.1.5
        ip netns exec node sysctl -qw net.ipv4.ip_forward=1
        ip netns exec node sysctl -qw net.bridge.bridge-nf-call-iptables=1");
}

/// Listens on `ports` in `netns`; what is dropped here closes them.
fn listen(netns: &str, ports: &'static [u16]) -> Vec<TcpListener> {
    within(netns, move || ports.iter().map(|port| TcpListener::bind(("0.0.0.0", *port)).unwrap()).collect())
}

/// Whether a connection from `netns` (from `source`, if not its usual address) is made; a drop is seen as silence.
fn reaches(netns: &str, source: Option<&str>, to: &str) -> bool {
    let (to, source): (SocketAddr, _) = (to.parse().unwrap(), source.map(str::to_owned));
    let outcome = within(netns, move || match source {
        None => TcpStream::connect_timeout(&to, Duration::from_millis(300)).map(drop),
        Some(source) => {
            let args = ["0.3", "bash", "-c", "exec 3<>/dev/tcp/$0/$1", &to.ip().to_string(), &to.port().to_string()];
            // bash cannot choose its source address: a route does.
            sh(&format!("ip route replace 11.0.1.0/24 via 10.0.0.11 src {source}"));
            match Command::new("timeout").args(args).status() {
                Ok(status) if status.success() => Ok(()),
                _ => Err(ErrorKind::TimedOut.into()),
            }
        }
    });
    outcome.is_ok()
}

fn pod(namespace: &str, name: &str, ip: &str, labels: Value) -> Update {
    let ports = json!([{ "name": "redis", "containerPort": 6379 }]);
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": { "nodeName": "node", "containers": [{ "name": "c", "ports": ports }] },
        "status": { "phase": "Running", "podIP": ip },
    }))
    .unwrap();
    Update::Pod(Box::new(Event::Apply(pod)))
}

fn namespace(name: &str, labels: Value) -> Update {
    let namespace: Namespace =
        serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap();
    Update::Namespace(Box::new(Event::Apply(namespace)))
}

fn policy(name: &str, spec: Value) -> NetworkPolicy {
    serde_json::from_value(json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec })).unwrap()
}

fn set_policy(name: &str, spec: Value) -> Update {
    Update::Policy(Box::new(Event::Apply(policy(name, spec))))
}

struct Node {
    index: Index,
    table: Table,
}

impl Node {
    fn start() -> Self {
        let mut node = Self { index: Index::new("node"), table: Table::default() };
        for update in [
            namespace("default", json!({})),
            namespace("myproject", json!({ "project": "myproject" })),
            pod("default", "db", "11.0.1.2", json!({ "role": "db" })),
            pod("default", "frontend", "11.0.1.3", json!({ "role": "frontend" })),
            pod("myproject", "project", "11.0.1.4", json!({})),
            pod("default", "stranger", "11.0.1.5", json!({})),
        ] {
            node.index.apply(update);
        }
        let batch = node.table.replace(node.index.all());
        within("node", move || kernel::nft::apply(&batch).expect("nft takes the batch"));
        node
    }

    /// Applies the update; returns how many commands it took.
    fn update(&mut self, update: Update) -> usize {
        self.index.apply(update);
        let batch = self.table.update(self.index.changes());
        let commands = batch.len();
        within("node", move || kernel::nft::apply(&batch).expect("nft takes the batch"));
        commands
    }
}

#[test]
fn the_classic_policy() {
    in_namespace("kernel_tests::the_classic_policy", || {
        topology();
        let _db = listen("db", &[6379, 6380]);
        let _outside = listen("outside", &[2999, 3000, 32768]);
        let _stranger = listen("stranger", &[80]);
        let mut node = Node::start();
        let (redis, other) = ("11.0.1.2:6379", "11.0.1.2:6380");
        assert!(reaches("stranger", None, other), "nothing is isolated until a policy selects it");

        node.update(set_policy("classic", classic()));
        let check = |from: &str, source: Option<&str>, to: &str, expected: bool| {
            assert_eq!(reaches(from, source, to), expected, "{from} {source:?} -> {to}");
        };
        check("frontend", None, redis, true);
        check("frontend", None, other, false);
        check("project", None, redis, true);
        check("stranger", None, redis, false);
        check("outside", None, redis, false);
        check("outside", Some("172.17.2.1"), redis, true);
        check("outside", Some("172.17.1.1"), redis, false);
        check("node", None, other, true);
        sh("ip -n outside route del 11.0.1.0/24");
        check("db", None, "10.0.0.100:3000", true);
        check("db", None, "10.0.0.100:32768", true);
        check("db", None, "10.0.0.100:2999", false);
        check("db", None, "11.0.1.5:80", false);
        check("frontend", None, "11.0.1.5:80", true);

        // A pod that gets the label is a peer by one element of one set; no rule changes.
        let commands = node.update(pod("default", "stranger", "11.0.1.5", json!({ "role": "frontend" })));
        assert_eq!(commands, 1);
        check("stranger", None, redis, true);
        node.update(namespace("myproject", json!({})));
        check("project", None, redis, false);

        node.update(Update::Policy(Box::new(Event::Delete(policy("classic", classic())))));
        check("project", None, other, true);
        let rules = within("node", || sh("nft list table inet knetsim-network-policy"));
        assert!(!rules.contains("classic") && !rules.contains("11.0.1"), "nothing is left of the policy: {rules}");
    });
}

#[test]
fn default_deny_keeps_what_is_established_and_policies_add_up() {
    in_namespace("kernel_tests::default_deny_keeps_what_is_established_and_policies_add_up", || {
        topology();
        let db = listen("db", &[6379, 6380]);
        let mut node = Node::start();
        let mut established = within("frontend", || TcpStream::connect("11.0.1.2:6380").unwrap());
        let (mut served, _) = db[1].accept().unwrap();
        served.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        node.update(set_policy("deny", json!({ "podSelector": {}, "policyTypes": ["Ingress", "Egress"] })));
        assert!(!reaches("frontend", None, "11.0.1.2:6379"));
        std::io::Write::write_all(&mut established, b"here").unwrap();
        std::io::Read::read_exact(&mut served, &mut [0; 4]).expect("an established connection goes on");

        // Both sides have to allow it: the sender's egress and the receiver's ingress. By port name, too.
        let named = json!({ "podSelector": { "matchLabels": { "role": "db" } }, "ingress": [{ "ports": [{ "port": "redis" }] }] });
        node.update(set_policy("in", named));
        assert!(!reaches("frontend", None, "11.0.1.2:6379"));
        let out = json!({
            "podSelector": { "matchLabels": { "role": "frontend" } }, "policyTypes": ["Egress"],
            "egress": [{ "to": [{ "podSelector": { "matchLabels": { "role": "db" } } }], "ports": [{ "port": "redis" }] }],
        });
        node.update(set_policy("out", out));
        assert!(reaches("frontend", None, "11.0.1.2:6379"));
        assert!(!reaches("frontend", None, "11.0.1.2:6380"));
        assert!(!reaches("stranger", None, "11.0.1.2:6379"));
    });
}
