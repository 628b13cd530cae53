//! The committed state of the table, and the batch to the next one (pure).

use std::collections::{BTreeMap, BTreeSet};

use runtime::listing::Key;
use serde_json::{Value, json};

use crate::compile::Program;

pub const TABLE: &str = "knetsim-network-policy";

/// Who a [`Program`] belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// Before pods: pods' chains jump to policies'.
    Policy(Key),
    Pod(Key),
}

/// What the kernel holds after the last committed batch.
#[derive(Debug, Default)]
pub struct Table {
    programs: BTreeMap<Unit, Program>,
}

fn command(verb: &str, kind: &str, name: &str, more: Value) -> Value {
    let mut object = json!({ "family": "inet", "table": TABLE, "name": name });
    if let (Value::Object(object), Value::Object(more)) = (&mut object, more) {
        object.extend(more);
    }
    json!({ verb: { kind: object } })
}

fn rule(chain: &str, expr: &[Value]) -> Value {
    json!({ "add": { "rule": { "family": "inet", "table": TABLE, "chain": chain, "expr": expr } } })
}

/// The fixed part: replaces the whole table.
fn base() -> Vec<Value> {
    let table = |verb: &str| json!({ verb: { "table": { "family": "inet", "name": TABLE } } });
    let map = |name: &str| command("add", "map", name, json!({ "type": "ipv4_addr", "map": "verdict" }));
    let lookup = |field: &str, map: &str| json!({ "vmap": { "key": { "payload": { "protocol": "ip", "field": field } }, "data": map } });
    let established = json!({ "match": {
        "op": "in", "left": { "ct": { "key": "state" } }, "right": ["established", "related"],
    } });
    let accept = json!({ "accept": null });
    let hook = json!({ "type": "filter", "hook": "forward", "prio": 0 });
    vec![
        table("add"),
        table("delete"),
        table("add"),
        map("ingress-pods"),
        map("egress-pods"),
        command("add", "chain", "ingress-check", json!({})),
        command("add", "chain", "forward", hook),
        rule("ingress-check", &[lookup("daddr", "@ingress-pods")]),
        rule("ingress-check", std::slice::from_ref(&accept)),
        rule("forward", &[established, accept]),
        rule("forward", &[lookup("saddr", "@egress-pods")]),
        rule("forward", &[json!({ "goto": { "target": "ingress-check" } })]),
    ]
}

impl Table {
    /// The batch that replaces the whole table.
    pub fn replace(&mut self, programs: Vec<(Unit, Program)>) -> Vec<Value> {
        self.programs.clear();
        let mut batch = base();
        batch.extend(self.update(programs.into_iter().map(|(unit, program)| (unit, Some(program))).collect()));
        batch
    }

    /// The batch that makes `changes`; what did not change is not in it.
    pub fn update(&mut self, changes: Vec<(Unit, Option<Program>)>) -> Vec<Value> {
        let empty = Program::default();
        let mut steps = Steps::default();
        for (unit, new) in &changes {
            let old = self.programs.get(unit).unwrap_or(&empty);
            steps.differ(old, new.as_ref().unwrap_or(&empty));
        }
        for (unit, new) in changes {
            match new {
                Some(program) => drop(self.programs.insert(unit, program)),
                None => drop(self.programs.remove(&unit)),
            }
        }
        steps.finish()
    }
}

/// The chain an element led to before the batch, and the one it leads to after it.
type Move = (Option<String>, Option<String>);

/// One transaction in the making, in the order in which references allow it.
#[derive(Default)]
struct Steps {
    create: Vec<Value>,
    fill: Vec<Value>,
    elements: BTreeMap<(&'static str, String), Move>,
    flush: Vec<Value>,
    delete: Vec<Value>,
}

impl Steps {
    fn differ(&mut self, old: &Program, new: &Program) {
        let none = BTreeSet::new();
        for (name, (kind, elements)) in &new.sets {
            let before = old.sets.get(name).map(|(_, elements)| elements);
            if before.is_none() {
                self.create.push(command("add", "set", name, json!({ "type": kind })));
            }
            let before = before.unwrap_or(&none);
            self.fill.extend(members("delete", name, before.difference(elements)));
            self.fill.extend(members("add", name, elements.difference(before)));
        }
        for chain in new.chains.keys().filter(|chain| !old.chains.contains_key(*chain)) {
            self.create.push(command("add", "chain", chain, json!({})));
        }
        for (chain, rules) in &new.chains {
            match old.chains.get(chain) {
                Some(present) if present == rules => continue,
                Some(_) => self.fill.push(command("flush", "chain", chain, json!({}))),
                None => {}
            }
            self.fill.extend(rules.iter().map(|expr| rule(chain, expr)));
        }
        // An address may pass from one pod to another within a batch: what counts is what it led to first and last.
        for (key, chain) in &old.elements {
            self.elements.entry(key.clone()).or_default().0 = Some(chain.clone());
        }
        for (key, chain) in &new.elements {
            self.elements.entry(key.clone()).or_default().1 = Some(chain.clone());
        }
        for chain in old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)) {
            self.flush.push(command("flush", "chain", chain, json!({})));
            self.delete.push(command("delete", "chain", chain, json!({})));
        }
        for set in old.sets.keys().filter(|set| !new.sets.contains_key(*set)) {
            self.delete.push(command("delete", "set", set, json!({})));
        }
    }

    fn finish(self) -> Vec<Value> {
        let element = |verb: &str, (map, address): &(&'static str, String), chain: &str| {
            let elem = json!([[address, { "goto": { "target": chain } }]]);
            command(verb, "element", map, json!({ "elem": elem }))
        };
        let changed = || self.elements.iter().filter(|(_, (before, after))| before != after);
        let removed =
            changed().filter_map(|(key, (before, _))| before.as_ref().map(|chain| element("delete", key, chain)));
        let added = changed().filter_map(|(key, (_, after))| after.as_ref().map(|chain| element("add", key, chain)));
        let elements: Vec<Value> = removed.chain(added).collect();
        [self.create, self.fill, elements, self.flush, self.delete].concat()
    }
}

fn members<'a>(verb: &str, set: &str, elements: impl Iterator<Item = &'a String>) -> Option<Value> {
    let elem: Vec<Value> =
        elements.map(|text| serde_json::from_str(text).expect("elements were written as JSON")).collect();
    (!elem.is_empty()).then(|| command(verb, "element", set, json!({ "elem": elem })))
}
