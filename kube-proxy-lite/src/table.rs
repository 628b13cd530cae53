//! The committed state of the table, and the batch that moves it to a new one (pure).
//!
//! A batch touches only the Services that changed: its size does not depend on how many others there are. Two Services
//! may claim the same key (an external IP, say); the first by name has it, and when it goes the next one gets it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use crate::base::{self, Config, TABLE, command, rule};
use crate::compile::{Key, Program, Target};
use crate::model::ServiceName;

/// What the kernel holds after the last committed batch.
#[derive(Debug, Default)]
pub struct Table {
    programs: HashMap<ServiceName, Program>,
    claims: HashMap<Key, BTreeMap<ServiceName, Target>>,
}

impl Table {
    /// The batch that replaces the whole table by `programs`.
    pub fn replace(&mut self, config: &Config, programs: Vec<(ServiceName, Program)>) -> Vec<Value> {
        *self = Self::default();
        let mut batch = base::replace_table(config);
        batch.extend(self.update(programs.into_iter().map(|(name, program)| (name, Some(program))).collect()));
        batch
    }

    /// The batch that makes `changes` (none: the Service is gone). The state moves on: apply the batch, or
    /// [`Table::replace`] everything.
    pub fn update(&mut self, changes: Vec<(ServiceName, Option<Program>)>) -> Vec<Value> {
        let mut batch = Batch::default();
        for (name, new) in changes {
            let old = self.programs.remove(&name).unwrap_or_default();
            let empty = Program::default();
            let wanted = new.as_ref().unwrap_or(&empty);
            batch.chains_and_sets(&old, wanted);
            for key in old.elements.keys().chain(wanted.elements.keys().filter(|key| !old.elements.contains_key(key))) {
                self.claim(&name, key, wanted.elements.get(key), &mut batch);
            }
            if let Some(program) = new {
                self.programs.insert(name, program);
            }
        }
        batch.finish()
    }

    fn claim(&mut self, name: &ServiceName, key: &Key, target: Option<&Target>, batch: &mut Batch) {
        let claims = self.claims.entry(key.clone()).or_default();
        let before = claims.values().next().cloned();
        match target {
            Some(target) => claims.insert(name.clone(), target.clone()),
            None => claims.remove(name),
        };
        let after = claims.values().next().cloned();
        if claims.is_empty() {
            self.claims.remove(key);
        }
        batch.elements.entry(key.clone()).or_insert((before, None)).1 = after;
    }
}

/// One transaction in the making. References are made after what they refer to, and undone before it.
#[derive(Default)]
struct Batch {
    create: Vec<Value>,
    fill: Vec<Value>,
    /// Key → target before the batch, target after.
    elements: BTreeMap<Key, (Option<Target>, Option<Target>)>,
    flush: Vec<Value>,
    delete: Vec<Value>,
}

impl Batch {
    fn chains_and_sets(&mut self, old: &Program, new: &Program) {
        for (set, timeout) in &new.affinity_sets {
            if !old.affinity_sets.contains_key(set) {
                // "dynamic" is unknown to the JSON of nft 1.0.6; a set with a timeout takes updates from packets anyway.
                let kind = json!({ "type": "ipv4_addr", "flags": ["timeout"], "timeout": timeout });
                self.create.push(command("add", "set", set, kind));
            }
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
            self.fill.extend(rules.iter().map(|expr| rule(chain, expr.clone())));
        }
        for chain in old.chains.keys().filter(|chain| !new.chains.contains_key(*chain)) {
            self.flush.push(command("flush", "chain", chain, json!({})));
            self.delete.push(command("delete", "chain", chain, json!({})));
        }
        for set in old.affinity_sets.keys().filter(|set| !new.affinity_sets.contains_key(*set)) {
            self.delete.push(command("delete", "set", set, json!({})));
        }
    }

    fn finish(self) -> Vec<Value> {
        let changed = || self.elements.iter().filter(|(_, (before, after))| before != after);
        // A key's new target needs the old element gone first.
        let removed =
            changed().filter_map(|(key, (before, _))| before.as_ref().map(|target| element("delete", key, target)));
        let added = changed().filter_map(|(key, (_, after))| after.as_ref().map(|target| element("add", key, target)));
        let elements: Vec<Value> = removed.chain(added).collect();
        [self.create, self.fill, elements, self.flush, self.delete].concat()
    }
}

fn element(verb: &str, key: &Key, target: &Target) -> Value {
    let mut parts: Vec<Value> = key.ip.iter().map(|ip| json!(ip)).collect();
    if let Some((protocol, port)) = key.port {
        parts.extend([json!(protocol.as_str()), json!(port)]);
    }
    let value = if parts.len() == 1 { parts.remove(0) } else { json!({ "concat": parts }) };
    let elem = match target {
        Target::Member => value,
        Target::Chain(chain) => json!([value, { "goto": { "target": chain } }]),
        Target::Drop => json!([value, { "drop": null }]),
    };
    json!({ verb: { "element": { "family": "ip", "table": TABLE, "name": key.set, "elem": [elem] } } })
}
