//! Is a history linearizable? Each key is a register that is created, compared-and-set, overwritten, deleted and read.
//!
//! The search is that of Wing and Gong with Lowe's memory of visited configurations: put the operations into one order
//! that respects real time (what returned before another was called comes first) and in which every outcome is what the
//! register would have answered. An operation whose outcome nobody saw may have happened at any time after its call, or
//! not at all. Revisions are the store's: within a key they must grow in that order.

use std::collections::{BTreeMap, HashMap, HashSet};

pub type Revision = i64;
/// What a write wrote; every write of a history writes another one.
pub type Id = u64;

/// A key's state as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Seen {
    pub revision: Revision,
    pub id: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Create {
        to: Id,
    },
    /// Only over the state of revision `from`.
    Update {
        from: Revision,
        to: Id,
    },
    /// Over whatever there is.
    Patch {
        to: Id,
    },
    /// Only the state of revision `from`.
    Delete {
        from: Revision,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer was lost, or said that the outcome is unknown.
    Unknown,
    Read(Option<Seen>),
    /// Done; a deletion's revision is not told.
    Done(Option<Revision>),
    /// Refused, for the key exists.
    Exists,
    /// Refused, for the key does not exist.
    Missing,
    /// Refused, for the key is at another revision.
    Conflict,
}

/// One operation as its client saw it; times on one clock.
#[derive(Clone, Debug)]
pub struct Op {
    pub key: String,
    pub action: Action,
    pub outcome: Outcome,
    pub called: u64,
    /// `u64::MAX` with [`Outcome::Unknown`].
    pub returned: u64,
}

/// The register: what is there, and the last revision known to have been given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Register {
    id: Option<Id>,
    revision: Revision,
}

/// Checks every key of a history by itself, which is enough: linearizability is local.
///
/// # Errors
/// The first key that has no valid order, with the operations around where it fails.
pub fn check(history: &[Op]) -> Result<(), String> {
    let mut by_key: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
    for op in history {
        by_key.entry(&op.key).or_default().push(op);
    }
    by_key.into_iter().try_for_each(|(key, mut ops)| {
        ops.sort_by_key(|op| op.called);
        Key::new(ops).and_then(|key| key.search()).map_err(|why| format!("{key}: {why}"))
    })
}

struct Key<'a> {
    ops: Vec<&'a Op>,
    revisions: HashMap<Id, Revision>,
    ids: HashMap<Revision, Id>,
}

impl<'a> Key<'a> {
    fn new(ops: Vec<&'a Op>) -> Result<Self, String> {
        let (mut revisions, mut ids) = (HashMap::new(), HashMap::new());
        for op in &ops {
            let seen = match (op.action, op.outcome) {
                (_, Outcome::Read(Some(seen))) => seen,
                (
                    Action::Create { to } | Action::Update { to, .. } | Action::Patch { to },
                    Outcome::Done(Some(revision)),
                ) => Seen { revision, id: to },
                _ => continue,
            };
            let other = revisions.insert(seen.id, seen.revision).filter(|other| *other != seen.revision);
            let twice = ids.insert(seen.revision, seen.id).filter(|other| *other != seen.id);
            if other.is_some() || twice.is_some() {
                return Err(format!("{seen:?} was also seen as revision {other:?} or with the id {twice:?}"));
            }
        }
        Ok(Self { ops, revisions, ids })
    }

    /// The register after `op`, `None` when it would not have answered so.
    fn step(&self, now: Register, op: &Op) -> Option<Register> {
        let is_at = |from: Revision| now.id.is_some() && self.ids.get(&from).copied() == now.id;
        let written = |id: Id| {
            let known = self.revisions.get(&id).copied();
            let grows = known.is_none_or(|revision| revision > now.revision);
            grows.then_some(Register { id: Some(id), revision: known.unwrap_or(now.revision) })
        };
        match (op.action, op.outcome) {
            (Action::Read, Outcome::Read(seen)) => (seen.map(|seen| seen.id) == now.id).then_some(now),
            (Action::Create { to }, Outcome::Done(_) | Outcome::Unknown) if now.id.is_none() => written(to),
            (Action::Update { from, to }, Outcome::Done(_) | Outcome::Unknown) if is_at(from) => written(to),
            (Action::Patch { to }, Outcome::Done(_) | Outcome::Unknown) if now.id.is_some() => written(to),
            (Action::Delete { from }, Outcome::Done(_) | Outcome::Unknown) if is_at(from) => {
                Some(Register { id: None, ..now })
            }
            (Action::Create { .. }, Outcome::Exists) if now.id.is_some() => Some(now),
            (Action::Update { from, .. } | Action::Delete { from }, Outcome::Conflict)
                if now.id.is_some() && !is_at(from) =>
            {
                Some(now)
            }
            (Action::Update { .. } | Action::Patch { .. } | Action::Delete { .. }, Outcome::Missing)
                if now.id.is_none() =>
            {
                Some(now)
            }
            _ => None,
        }
    }

    fn search(&self) -> Result<(), String> {
        let mut visited = HashSet::new();
        let mut furthest = 0;
        // Which operations are in the order already, and the register after them.
        let mut open = vec![(vec![false; self.ops.len()], Register::default())];
        while let Some((done, register)) = open.pop() {
            let first = done.iter().position(|done| !done).unwrap_or(self.ops.len());
            furthest = furthest.max(done.iter().filter(|done| **done).count());
            let left = || (first..self.ops.len()).filter(|&at| !done[at]);
            // Whoever was called after this cannot come next: somebody had returned before.
            let Some(bound) = left().map(|at| self.ops[at].returned).min().filter(|bound| *bound < u64::MAX) else {
                return Ok(());
            };
            // The last pushed is tried first: what returned early, and at the very end what may never have happened.
            let mut next: Vec<usize> = left().take_while(|&at| self.ops[at].called <= bound).collect();
            next.sort_by_key(|&at| std::cmp::Reverse(self.ops[at].returned));
            for at in next {
                if let Some(register) = self.step(register, self.ops[at]) {
                    let mut done = done.clone();
                    done[at] = true;
                    if visited.insert((done.clone(), register)) {
                        open.push((done, register));
                    }
                }
            }
        }
        let around: Vec<_> = self.ops.iter().skip(furthest.saturating_sub(6)).take(14).collect();
        Err(format!(
            "no order explains more than {furthest} of {} operations; around there: {around:#?}",
            self.ops.len()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(times: (u64, u64), action: Action, outcome: Outcome) -> Op {
        Op { key: "k".into(), action, outcome, called: times.0, returned: times.1 }
    }

    fn read(times: (u64, u64), seen: Option<(Revision, Id)>) -> Op {
        op(times, Action::Read, Outcome::Read(seen.map(|(revision, id)| Seen { revision, id })))
    }

    const NEVER: u64 = u64::MAX;

    #[test]
    fn accepts_what_one_register_could_answer() {
        let create = op((0, 5), Action::Create { to: 1 }, Outcome::Done(Some(10)));
        let update = op((3, 9), Action::Update { from: 10, to: 2 }, Outcome::Done(Some(12)));
        let lost = op((10, NEVER), Action::Patch { to: 3 }, Outcome::Unknown);
        // Overlapping reads may see either state.
        check(&[create.clone(), update.clone(), read((4, 8), Some((10, 1))), read((8, 20), Some((12, 2)))]).unwrap();
        // A write without an answer may have happened, late or never.
        check(&[create.clone(), update.clone(), lost.clone(), read((11, 12), Some((12, 2)))]).unwrap();
        check(&[
            create.clone(),
            update.clone(),
            lost.clone(),
            read((11, 12), Some((12, 2))),
            read((13, 14), Some((15, 3))),
        ])
        .unwrap();
        let gone = op((30, 31), Action::Delete { from: 12 }, Outcome::Done(None));
        let again = op((32, 33), Action::Create { to: 4 }, Outcome::Done(Some(40)));
        check(&[create, update, gone, again, read((50, 51), Some((40, 4)))]).unwrap();
    }

    #[test]
    fn refuses_lost_stale_and_doubled_writes() {
        let create = op((0, 5), Action::Create { to: 1 }, Outcome::Done(Some(10)));
        let update = op((6, 9), Action::Update { from: 10, to: 2 }, Outcome::Done(Some(12)));
        for bad in [
            read((20, 21), None),
            read((20, 21), Some((10, 1))),
            op((20, 21), Action::Update { from: 10, to: 3 }, Outcome::Done(Some(13))),
            op((20, 21), Action::Create { to: 3 }, Outcome::Done(Some(13))),
            op((20, 21), Action::Update { from: 12, to: 3 }, Outcome::Done(Some(11))),
            op((20, 21), Action::Update { from: 12, to: 3 }, Outcome::Conflict),
            op((20, 21), Action::Delete { from: 12 }, Outcome::Missing),
        ] {
            assert!(check(&[create.clone(), update.clone(), bad.clone()]).is_err(), "{bad:?}");
        }
        // A write nobody answered cannot be seen before it was called, nor come and go.
        let lost = op((30, NEVER), Action::Patch { to: 3 }, Outcome::Unknown);
        assert!(check(&[create.clone(), lost.clone(), read((20, 21), Some((15, 3)))]).is_err());
        let there = read((31, 32), Some((15, 3)));
        assert!(check(&[create, lost, there, read((33, 34), Some((10, 1)))]).is_err());
    }
}
