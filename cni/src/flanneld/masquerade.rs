//! The node's masquerade and forward rules, in flannel's own nftables table `ip flannel-ipv4` (same chains, same order as
//! its nftables mode). The table is replaced whole: the rules depend only on the configuration and the own subnet.

use ipnet::Ipv4Net;
use serde_json::{Value, json};

const TABLE: &str = "flannel-ipv4";
/// kube-proxy masquerades what it marks so; doing it here as well would translate twice.
const MASQUERADE_MARK: u32 = 0x4000;

/// The batch that leaves exactly our rules in our table; `masquerade` is the flag `--ip-masq`.
#[must_use]
pub fn rules(network: Ipv4Net, subnet: Ipv4Net, masquerade: bool) -> Vec<Value> {
    let chain = |name: &str, kind: &str, hook: &str, priority: i32| {
        json!({ "add": { "chain": {
            "family": "ip", "table": TABLE, "name": name, "type": kind, "hook": hook, "prio": priority,
        } } })
    };
    let rule = |chain: &str, expr: Vec<Value>| json!({ "add": { "rule": { "family": "ip", "table": TABLE, "chain": chain, "expr": expr } } });
    let (accept, ret) = (json!({ "accept": null }), json!({ "return": null }));
    let masq = json!({ "masquerade": { "flags": ["fully-random"] } });
    let mut batch = vec![
        json!({ "add": { "table": { "family": "ip", "name": TABLE } } }),
        json!({ "delete": { "table": { "family": "ip", "name": TABLE } } }),
        json!({ "add": { "table": { "family": "ip", "name": TABLE } } }),
        chain("forward", "filter", "forward", 0),
        rule("forward", vec![address("saddr", "==", network), accept.clone()]),
        rule("forward", vec![address("daddr", "==", network), accept]),
    ];
    if masquerade {
        let multicast: Ipv4Net = "224.0.0.0/4".parse().expect("a literal network");
        let mark = json!({ "match": { "op": "==", "left": { "meta": { "key": "mark" } }, "right": MASQUERADE_MARK } });
        batch.extend([
            chain("postrtg", "nat", "postrouting", 100),
            rule("postrtg", vec![mark, ret.clone()]),
            rule("postrtg", vec![address("saddr", "==", subnet), address("daddr", "==", network), ret.clone()]),
            rule("postrtg", vec![address("saddr", "==", network), address("daddr", "==", subnet), ret.clone()]),
            rule("postrtg", vec![address("saddr", "!=", subnet), address("daddr", "==", network), ret]),
            rule("postrtg", vec![address("saddr", "==", network), address("daddr", "!=", multicast), masq.clone()]),
            rule("postrtg", vec![address("saddr", "!=", network), address("daddr", "==", network), masq]),
        ]);
    }
    batch
}

fn address(field: &str, op: &str, net: Ipv4Net) -> Value {
    json!({ "match": {
        "op": op,
        "left": { "payload": { "protocol": "ip", "field": field } },
        "right": { "prefix": { "addr": net.network(), "len": net.prefix_len() } },
    } })
}
