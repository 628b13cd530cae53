//! Words of nft's JSON (`libnftables-json(5)`) that our rules are made of.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde_json::{Value, json};

use crate::model::Protocol;

pub fn ip_saddr() -> Value {
    json!({ "payload": { "protocol": "ip", "field": "saddr" } })
}

pub fn ip_daddr() -> Value {
    json!({ "payload": { "protocol": "ip", "field": "daddr" } })
}

pub fn l4proto() -> Value {
    json!({ "meta": { "key": "l4proto" } })
}

pub fn dport() -> Value {
    json!({ "payload": { "protocol": "th", "field": "dport" } })
}

pub fn mark() -> Value {
    json!({ "meta": { "key": "mark" } })
}

pub fn matches(op: &str, left: Value, right: Value) -> Value {
    json!({ "match": { "op": op, "left": left, "right": right } })
}

pub fn is(left: Value, right: Value) -> Value {
    matches("==", left, right)
}

pub fn prefix(net: Ipv4Net) -> Value {
    if net.prefix_len() == 32 {
        return json!(net.addr());
    }
    json!({ "prefix": { "addr": net.network(), "len": net.prefix_len() } })
}

pub fn new_connections() -> Value {
    json!({ "match": { "op": "in", "left": { "ct": { "key": "state" } }, "right": "new" } })
}

/// Traffic that a process of this node sends.
pub fn from_this_host() -> Value {
    is(json!({ "fib": { "result": "type", "flags": ["saddr"] } }), json!("local"))
}

pub fn counter() -> Value {
    json!({ "counter": { "packets": 0, "bytes": 0 } })
}

pub fn jump(chain: &str) -> Value {
    json!({ "jump": { "target": chain } })
}

pub fn goto(chain: &str) -> Value {
    json!({ "goto": { "target": chain } })
}

pub fn drop() -> Value {
    json!({ "drop": null })
}

/// A verdict by lookup: `key` is the concatenation of `parts`.
pub fn vmap(parts: Vec<Value>, data: Value) -> Value {
    let key = if parts.len() == 1 { parts.into_iter().next().unwrap_or_default() } else { json!({ "concat": parts }) };
    json!({ "vmap": { "key": key, "data": data } })
}

/// One of `chains`, each as likely as the others.
pub fn one_of(chains: &[String]) -> Value {
    let branches: Vec<Value> = chains.iter().enumerate().map(|(n, chain)| json!([n, goto(chain)])).collect();
    let random = json!({ "numgen": { "mode": "random", "mod": chains.len(), "offset": 0 } });
    vmap(vec![random], json!({ "set": branches }))
}

pub fn dnat(ip: Ipv4Addr, port: u16, protocol: Protocol) -> Vec<Value> {
    vec![is(l4proto(), json!(protocol.as_str())), json!({ "dnat": { "addr": ip, "port": port } })]
}

/// Notes the sender in a set with a timeout, or renews it.
pub fn remember_sender(set: &str) -> Value {
    json!({ "set": { "op": "update", "elem": ip_saddr(), "set": format!("@{set}") } })
}
