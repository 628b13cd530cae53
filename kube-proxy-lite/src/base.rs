//! The table's fixed part: hooks, dispatch chains, and the empty maps that Services fill.
//!
//! Names are upstream's (`pkg/proxy/nftables`), so that what is written about kube-proxy's table is true of ours. The
//! way of a packet:
//!
//! ```text
//! prerouting/output, filter (before DNAT):  firewall-check ── source ranges of load balancers
//! prerouting/output, nat:                   services ── map service-ips ──> service-… ──> endpoint-… (dnat)
//!                                                     └ map service-nodeports ──> external-… ──> service-…
//! input/forward/output, filter (after):     no-endpoint-* ── reject or drop; unknown ports of cluster IPs ── reject
//! postrouting, nat:                         masquerading ── what is marked 0x4000
//! ```
//!
//! All but the dispatch looks only at a connection's first packet: later ones follow conntrack, so that an established
//! connection outlives its endpoint's removal from the map.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use crate::endpoints::Place;
use crate::expr::*;

pub const TABLE: &str = "kube-proxy";
pub const MARK_CHAIN: &str = "mark-for-masquerade";
pub const REJECT_CHAIN: &str = "reject-chain";
/// Upstream's `--iptables-masquerade-bit` 14; flanneld's rules step aside for it.
const MASQUERADE_MARK: u32 = 0x4000;

/// What does not change while the proxy runs.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Addresses of this node that answer node ports.
    pub node_port_ips: Vec<Ipv4Addr>,
    /// `--cluster-cidr`: whoever is outside of it and uses a cluster IP is masqueraded. None: nobody is.
    pub cluster_cidr: Option<Ipv4Net>,
    /// Where this proxy is: endpoints may be meant for some places only.
    pub place: Place,
}

/// A command on something within our table.
pub fn command(verb: &str, kind: &str, name: &str, more: Value) -> Value {
    let mut object = json!({ "family": "ip", "table": TABLE, "name": name });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    json!({ verb: { kind: object } })
}

/// Adds a rule to `chain`.
pub fn rule(chain: &str, expr: Vec<Value>) -> Value {
    json!({ "add": { "rule": { "family": "ip", "table": TABLE, "chain": chain, "expr": expr } } })
}

/// The batch that replaces our table, whatever it holds, by the fixed part alone.
pub fn replace_table(config: &Config) -> Vec<Value> {
    let table = |verb: &str| json!({ verb: { "table": { "family": "ip", "name": TABLE } } });
    let mut batch = vec![table("add"), table("delete"), table("add")];
    let address = json!({ "type": "ipv4_addr" });
    let destination = json!({ "type": ["ipv4_addr", "inet_proto", "inet_service"], "map": "verdict" });
    let local_port = json!({ "type": ["inet_proto", "inet_service"], "map": "verdict" });
    batch.push(command("add", "set", "cluster-ips", address.clone()));
    batch.push(command("add", "set", "nodeport-ips", address));
    for name in ["service-ips", "no-endpoint-services", "firewall-ips"] {
        batch.push(command("add", "map", name, destination.clone()));
    }
    for name in ["service-nodeports", "no-endpoint-nodeports"] {
        batch.push(command("add", "map", name, local_port.clone()));
    }
    if !config.node_port_ips.is_empty() {
        batch.push(command("add", "element", "nodeport-ips", json!({ "elem": config.node_port_ips })));
    }
    let (hooks, rules) = (hooks(), rules());
    batch.extend(hooks.iter().map(|(name, more)| command("add", "chain", name, more.clone())));
    let mut plain: Vec<&str> = rules.iter().map(|(chain, _)| *chain).collect();
    plain.dedup();
    let is_hook = |name: &str| hooks.iter().any(|(hook, _)| *hook == name);
    batch.extend(plain.into_iter().filter(|name| !is_hook(name)).map(|name| command("add", "chain", name, json!({}))));
    batch.extend(rules.into_iter().map(|(chain, expr)| rule(chain, expr)));
    batch
}

/// Base chains. -110 and -90 are just before and after destination NAT (-100), as upstream has them.
fn hooks() -> [(&'static str, Value); 8] {
    let hook = |kind: &str, hook: &str, priority: i32| json!({ "type": kind, "hook": hook, "prio": priority });
    [
        ("filter-prerouting", hook("filter", "prerouting", -110)),
        ("filter-input", hook("filter", "input", 0)),
        ("filter-forward", hook("filter", "forward", 0)),
        ("filter-output", hook("filter", "output", -110)),
        ("filter-output-post-dnat", hook("filter", "output", -90)),
        ("nat-prerouting", hook("nat", "prerouting", -100)),
        ("nat-output", hook("nat", "output", -100)),
        ("nat-postrouting", hook("nat", "postrouting", 100)),
    ]
}

/// The rules of the fixed chains, in order, grouped by chain.
fn rules() -> Vec<(&'static str, Vec<Value>)> {
    let check = |chain: &str| vec![new_connections(), jump(chain)];
    let by_destination = |map: &str| vec![vmap(vec![ip_daddr(), l4proto(), dport()], json!(map))];
    let by_local_port =
        |map: &str| vec![is(ip_daddr(), json!("@nodeport-ips")), vmap(vec![l4proto(), dport()], json!(map))];
    let set_mark = |op: &str| json!({ "mangle": { "key": mark(), "value": { op: [mark(), MASQUERADE_MARK] } } });
    let unmarked = is(json!({ "&": [mark(), MASQUERADE_MARK] }), json!(0));
    vec![
        // Targets first: a verdict may only name a chain that is there already.
        (MARK_CHAIN, vec![set_mark("|")]),
        (REJECT_CHAIN, vec![counter(), json!({ "reject": null })]),
        ("masquerading", vec![unmarked, json!({ "return": null })]),
        ("masquerading", vec![set_mark("^")]),
        ("masquerading", vec![counter(), json!({ "masquerade": { "flags": ["fully-random"] } })]),
        ("services", by_destination("@service-ips")),
        ("services", by_local_port("@service-nodeports")),
        ("service-endpoints-check", by_destination("@no-endpoint-services")),
        ("nodeport-endpoints-check", by_local_port("@no-endpoint-nodeports")),
        ("firewall-check", by_destination("@firewall-ips")),
        ("cluster-ips-check", vec![is(ip_daddr(), json!("@cluster-ips")), goto(REJECT_CHAIN)]),
        ("filter-prerouting", check("firewall-check")),
        ("filter-input", check("nodeport-endpoints-check")),
        ("filter-input", check("service-endpoints-check")),
        ("filter-forward", check("service-endpoints-check")),
        ("filter-forward", check("cluster-ips-check")),
        ("filter-output", check("service-endpoints-check")),
        ("filter-output", check("firewall-check")),
        ("filter-output-post-dnat", check("cluster-ips-check")),
        ("nat-prerouting", vec![jump("services")]),
        ("nat-output", vec![jump("services")]),
        ("nat-postrouting", vec![jump("masquerading")]),
    ]
}
