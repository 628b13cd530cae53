//! Virtual packets through a ruleset that no kernel has: the evaluator behind data-plane tests (as upstream's
//! `pkg/proxy/nftables` has one), for the subset of nft's JSON that our own rulesets are written in. Test support.
//!
//! A batch is applied to a [`Ruleset`] as nft would; [`Ruleset::trace`] sends a packet through the hooks of its way and
//! gives everything that can become of it: a random choice is taken in every way there is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use serde_json::Value;

/// Where a packet comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Another machine or a pod: prerouting, then input or forward.
    Outside,
    /// A process of this node: output.
    Here,
}

/// The first packet of a connection.
#[derive(Clone, Debug)]
pub struct Packet {
    pub origin: Origin,
    pub source: Ipv4Addr,
    pub destination: Ipv4Addr,
    /// `tcp`, `udp` or `sctp`.
    pub protocol: &'static str,
    pub port: u16,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It goes on: to this destination, with its own sender or masqueraded.
    Delivered {
        to: String,
        masqueraded: bool,
    },
    Dropped,
    Rejected,
}

#[derive(Debug, Default)]
struct Chain {
    /// Hook and priority of a base chain.
    hook: Option<(String, i64)>,
    rules: Vec<Vec<Value>>,
}

/// Tables by name, merged: our rulesets share no names.
#[derive(Debug, Default)]
pub struct Ruleset {
    chains: BTreeMap<String, Chain>,
    /// Sets and maps: their elements, with a map's verdicts.
    sets: BTreeMap<String, Vec<(Value, Option<Value>)>>,
    /// This node's own addresses.
    local: BTreeSet<Ipv4Addr>,
}

/// The state of a packet on its way.
struct Way<'a> {
    packet: Packet,
    mark: u64,
    masqueraded: bool,
    local: &'a BTreeSet<Ipv4Addr>,
    choice: usize,
}

enum Verdict {
    Accept,
    Drop,
    Reject,
    /// Back to the caller, or to the base chain's policy.
    Return,
}

/// Choices beyond this many are not looked at.
const MOST_CHOICES: usize = 16;

impl Ruleset {
    /// An empty ruleset on a node with these addresses.
    #[must_use]
    pub fn on(local: impl IntoIterator<Item = Ipv4Addr>) -> Self {
        Self { local: local.into_iter().collect(), ..Self::default() }
    }

    /// Applies a batch.
    ///
    /// # Panics
    /// When the batch refers to what is not there, as nft would refuse it, or is not understood.
    pub fn apply(&mut self, batch: &[Value]) {
        for command in batch {
            let (verb, object) = only(command);
            let (kind, object) = only(object);
            let name = object["name"].as_str().unwrap_or_default().to_owned();
            match (verb, kind) {
                ("add", "table") => {}
                ("delete", "table") => {
                    self.chains.clear();
                    self.sets.clear();
                }
                ("add", "set" | "map") => drop(self.sets.entry(name).or_default()),
                ("delete", "set" | "map") => drop(self.sets.remove(&name).expect("a set that is there")),
                ("add", "chain") => {
                    let hook = object["hook"]
                        .as_str()
                        .map(|hook| (hook.to_owned(), object["prio"].as_i64().expect("a base chain has a priority")));
                    self.chains.entry(name).or_default().hook = hook;
                }
                ("flush", "chain") => self.chains.get_mut(&name).expect("a chain that is there").rules.clear(),
                ("delete", "chain") => drop(self.chains.remove(&name).expect("a chain that is there")),
                ("add", "rule") => {
                    let chain = object["chain"].as_str().expect("a rule has a chain");
                    let rules = &mut self.chains.get_mut(chain).expect("a chain that is there").rules;
                    rules.push(object["expr"].as_array().expect("a rule is a list").clone());
                }
                ("add" | "delete", "element") => {
                    let set = self.sets.get_mut(&name).expect("a set that is there");
                    for element in object["elem"].as_array().expect("elements are a list") {
                        let (key, verdict) = match element {
                            Value::Array(pair) => (pair[0].clone(), Some(pair[1].clone())),
                            key => (key.clone(), None),
                        };
                        set.retain(|(known, _)| *known != key);
                        if verb == "add" {
                            set.push((key, verdict));
                        }
                    }
                }
                other => panic!("the tracer does not know {other:?}"),
            }
        }
    }

    /// Everything that can become of `packet`.
    #[must_use]
    pub fn trace(&self, packet: &Packet) -> BTreeSet<Outcome> {
        (0..MOST_CHOICES).map(|choice| self.walk(packet, choice)).collect()
    }

    fn walk(&self, packet: &Packet, choice: usize) -> Outcome {
        let mut way = Way { packet: packet.clone(), mark: 0, masqueraded: false, local: &self.local, choice };
        let first = if packet.origin == Origin::Here { "output" } else { "prerouting" };
        for hook in [first, "route", "postrouting"] {
            // The route is known only after the destination may have been rewritten.
            let hook = match hook {
                "route" if packet.origin == Origin::Here => continue,
                "route" if self.local.contains(&way.packet.destination) => "input",
                "route" => "forward",
                other => other,
            };
            if hook == "postrouting" && packet.origin == Origin::Outside && self.local.contains(&way.packet.destination)
            {
                continue;
            }
            match self.pass(hook, &mut way) {
                Verdict::Drop => return Outcome::Dropped,
                Verdict::Reject => return Outcome::Rejected,
                Verdict::Accept | Verdict::Return => {}
            }
        }
        let to = format!("{}:{}", way.packet.destination, way.packet.port);
        Outcome::Delivered { to, masqueraded: way.masqueraded }
    }

    fn pass(&self, hook: &str, way: &mut Way<'_>) -> Verdict {
        let mut chains: Vec<_> = self
            .chains
            .iter()
            .filter_map(|(name, chain)| chain.hook.as_ref().filter(|(at, _)| at == hook).map(|(_, prio)| (prio, name)))
            .collect();
        chains.sort();
        for (_, name) in chains {
            match self.run(name, way) {
                Verdict::Accept | Verdict::Return => {}
                ended => return ended,
            }
        }
        Verdict::Accept
    }

    fn run(&self, chain: &str, way: &mut Way<'_>) -> Verdict {
        let chain = self.chains.get(chain).unwrap_or_else(|| panic!("there is no chain {chain}"));
        'rules: for rule in &chain.rules {
            for statement in rule {
                let (kind, body) = only(statement);
                let verdict = match kind {
                    "match" if self.matches(body, way) => continue,
                    "match" => continue 'rules,
                    "counter" | "set" => continue,
                    "vmap" => match self.lookup(body, way) {
                        Some(verdict) => verdict,
                        None => continue 'rules,
                    },
                    "mangle" => {
                        way.mark = number(&eval(&body["value"], way));
                        continue;
                    }
                    "dnat" => {
                        way.packet.destination =
                            body["addr"].as_str().and_then(|ip| ip.parse().ok()).expect("an address");
                        way.packet.port = u16::try_from(number(&body["port"])).expect("a port");
                        return Verdict::Accept;
                    }
                    "masquerade" => {
                        way.masqueraded = true;
                        return Verdict::Accept;
                    }
                    _ => statement.clone(),
                };
                let (kind, body) = only(&verdict);
                let target = body["target"].as_str().unwrap_or_default();
                match kind {
                    "accept" => return Verdict::Accept,
                    "drop" => return Verdict::Drop,
                    "reject" => return Verdict::Reject,
                    "return" => return Verdict::Return,
                    "goto" => return self.run(target, way),
                    "jump" => match self.run(target, way) {
                        Verdict::Return => {}
                        ended => return ended,
                    },
                    other => panic!("the tracer does not know the statement {other}"),
                }
            }
        }
        Verdict::Return
    }

    fn matches(&self, body: &Value, way: &Way<'_>) -> bool {
        let left = eval(&body["left"], way);
        let found = self.holds(&left, &body["right"]);
        match body["op"].as_str() {
            Some("==" | "in") => found,
            Some("!=") => !found,
            other => panic!("the tracer does not know the operator {other:?}"),
        }
    }

    fn holds(&self, left: &Value, right: &Value) -> bool {
        if let Some(name) = right.as_str().and_then(|text| text.strip_prefix('@')) {
            let set = self.sets.get(name).unwrap_or_else(|| panic!("there is no set {name}"));
            return set.iter().any(|(key, _)| self.holds(left, key));
        }
        if let Value::Array(list) = right {
            return list.iter().any(|one| self.holds(left, one));
        }
        if let Some(prefix) = right.get("prefix") {
            let mask = u32::MAX.checked_shl(32 - u32::try_from(number(&prefix["len"])).expect("a length")).unwrap_or(0);
            return address(left) & mask == address(&prefix["addr"]) & mask;
        }
        if let Some(range) = right.get("range") {
            return (number(&range[0])..=number(&range[1])).contains(&number(left));
        }
        if let Some(set) = right.get("set") {
            return self.holds(left, set);
        }
        // Numbers and their texts are the same to nft.
        left == right || text(left) == text(right)
    }

    fn lookup(&self, body: &Value, way: &Way<'_>) -> Option<Value> {
        let key = eval(&body["key"], way);
        let data = &body["data"];
        let found = match data.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => {
                let map = self.sets.get(name).unwrap_or_else(|| panic!("there is no map {name}"));
                map.iter().find(|(known, _)| self.holds(&key, known))?.1.clone()
            }
            None => {
                let pairs = data["set"].as_array().expect("a map is a list of pairs");
                Some(pairs.iter().find(|pair| self.holds(&key, &pair[0]))?[1].clone())
            }
        };
        Some(found.expect("a map's element has a verdict"))
    }
}

fn eval(expression: &Value, way: &Way<'_>) -> Value {
    let Value::Object(_) = expression else { return expression.clone() };
    let (kind, body) = only(expression);
    let pair = || (number(&eval(&body[0], way)), number(&eval(&body[1], way)));
    match kind {
        "payload" => match body["field"].as_str() {
            Some("saddr") => way.packet.source.to_string().into(),
            Some("daddr") => way.packet.destination.to_string().into(),
            Some("dport") => way.packet.port.into(),
            other => panic!("the tracer does not know the field {other:?}"),
        },
        "meta" => match body["key"].as_str() {
            Some("l4proto") => way.packet.protocol.into(),
            Some("mark") => way.mark.into(),
            other => panic!("the tracer does not know meta {other:?}"),
        },
        // Only first packets are traced.
        "ct" => "new".into(),
        "fib" => if way.local.contains(&way.packet.source) { "local" } else { "unicast" }.into(),
        "&" => (pair().0 & pair().1).into(),
        "|" => (pair().0 | pair().1).into(),
        "^" => (pair().0 ^ pair().1).into(),
        "numgen" => (way.choice as u64 % number(&body["mod"])).into(),
        "concat" => {
            let parts: Vec<Value> = body.as_array().into_iter().flatten().map(|part| eval(part, way)).collect();
            serde_json::json!({ "concat": parts })
        }
        other => panic!("the tracer does not know the expression {other}"),
    }
}

fn only(object: &Value) -> (&str, &Value) {
    let mut entries = object.as_object().expect("an object").iter();
    let (key, value) = entries.next().expect("one entry");
    (key.as_str(), value)
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn address(value: &Value) -> u32 {
    value.as_str().and_then(|ip| ip.parse::<Ipv4Addr>().ok()).unwrap_or_else(|| panic!("{value} is no address")).into()
}

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Object(_) => {
            let (_, parts) = only(value);
            parts.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(" . ")
        }
        other => other.to_string(),
    }
}
