//! The rules without a kernel: the documentation's classic policy, one virtual packet a line.

use k8s_openapi::api::core::v1::{Namespace, Pod};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kernel::trace::{Origin, Outcome, Packet, Ruleset};
use kube::runtime::watcher::Event;
use serde_json::{Value, json};

use crate::index::{Index, Update};
use crate::table::Table;

/// The documentation's example.
pub fn classic() -> Value {
    json!({
        "podSelector": { "matchLabels": { "role": "db" } },
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{
            "from": [
                { "ipBlock": { "cidr": "172.17.0.0/16", "except": ["172.17.1.0/24"] } },
                { "namespaceSelector": { "matchLabels": { "project": "myproject" } } },
                { "podSelector": { "matchLabels": { "role": "frontend" } } },
            ],
            "ports": [{ "protocol": "TCP", "port": 6379 }],
        }],
        "egress": [{
            "to": [{ "ipBlock": { "cidr": "10.0.0.0/24" } }],
            "ports": [{ "protocol": "TCP", "port": 3000, "endPort": 32768 }],
        }],
    })
}

fn pod(namespace: &str, name: &str, ip: &str, labels: Value) -> Update {
    let pod: Pod = serde_json::from_value(json!({
        "metadata": { "namespace": namespace, "name": name, "labels": labels },
        "spec": { "nodeName": "node", "containers": [{ "name": "c" }] },
        "status": { "phase": "Running", "podIP": ip },
    }))
    .unwrap();
    Update::Pod(Box::new(Event::Apply(pod)))
}

fn namespace(name: &str, labels: Value) -> Update {
    let made: Namespace = serde_json::from_value(json!({ "metadata": { "name": name, "labels": labels } })).unwrap();
    Update::Namespace(Box::new(Event::Apply(made)))
}

fn policy(name: &str, spec: Value) -> Update {
    let made: NetworkPolicy =
        serde_json::from_value(json!({ "metadata": { "namespace": "default", "name": name }, "spec": spec })).unwrap();
    Update::Policy(Box::new(Event::Apply(made)))
}

fn node(policies: Vec<Update>) -> Ruleset {
    let mut index = Index::new("node");
    let world = [
        namespace("default", json!({})),
        namespace("myproject", json!({ "project": "myproject" })),
        pod("default", "db", "11.0.1.2", json!({ "role": "db" })),
        pod("default", "frontend", "11.0.1.3", json!({ "role": "frontend" })),
        pod("myproject", "project", "11.0.1.4", json!({})),
        pod("default", "stranger", "11.0.1.5", json!({})),
    ];
    for update in world.into_iter().chain(policies) {
        index.apply(update);
    }
    let mut ruleset = Ruleset::default();
    ruleset.apply(&Table::default().replace(index.all()));
    ruleset
}

fn passes(ruleset: &Ruleset, protocol: &'static str, source: &str, destination: &str, port: u16) -> bool {
    let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
    let outcomes = ruleset.trace(&Packet { origin: Origin::Outside, source, destination, protocol, port });
    assert_eq!(outcomes.len(), 1, "nothing is random here");
    matches!(outcomes.first(), Some(Outcome::Delivered { .. }))
}

#[test]
fn the_classic_policy() {
    let ruleset = node(vec![policy("classic", classic())]);
    const DB: &str = "11.0.1.2";
    for (protocol, source, destination, port, wanted) in [
        ("tcp", "172.17.2.1", DB, 6379, true),
        ("tcp", "172.17.1.1", DB, 6379, false),
        ("tcp", "172.18.0.1", DB, 6379, false),
        ("tcp", "11.0.1.4", DB, 6379, true),
        ("tcp", "11.0.1.3", DB, 6379, true),
        ("tcp", "11.0.1.5", DB, 6379, false),
        ("tcp", "11.0.1.3", DB, 6380, false),
        ("udp", "11.0.1.3", DB, 6379, false),
        ("tcp", DB, "10.0.0.7", 3000, true),
        ("tcp", DB, "10.0.0.7", 32768, true),
        ("tcp", DB, "10.0.0.7", 2999, false),
        ("tcp", DB, "10.0.0.7", 32769, false),
        ("tcp", DB, "10.0.1.7", 3000, false),
        ("tcp", DB, "11.0.1.3", 3000, false),
        // Pods that no policy selects are open.
        ("tcp", "11.0.1.5", "11.0.1.3", 6380, true),
    ] {
        assert_eq!(
            passes(&ruleset, protocol, source, destination, port),
            wanted,
            "{protocol} {source} {destination}:{port}"
        );
    }
}

#[test]
fn closed_by_default_and_opened_again() {
    let deny = || policy("deny", json!({ "podSelector": {}, "policyTypes": ["Ingress"] }));
    let closed = node(vec![deny()]);
    assert!(!passes(&closed, "tcp", "11.0.1.3", "11.0.1.5", 80));
    assert!(passes(&closed, "tcp", "11.0.1.3", "11.0.1.4", 80), "another namespace is not meant");
    let open = json!({ "podSelector": {}, "ingress": [{ "from": [{ "podSelector": { "matchLabels": { "role": "frontend" } } }] }] });
    let opened = node(vec![deny(), policy("open", open)]);
    assert!(passes(&opened, "tcp", "11.0.1.3", "11.0.1.5", 80), "policies add up");
    assert!(!passes(&opened, "tcp", "11.0.1.2", "11.0.1.5", 80));
}
