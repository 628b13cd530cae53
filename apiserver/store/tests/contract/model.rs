//! Random operations against a model that keeps every state of the whole store.

use super::next;
use bytes::Bytes;
use knetsim_store::{Event, KeyValue, Revision, Store, StoreError, WriteOutcome};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub enum Op {
    /// The second number picks the expected revision: the right one mostly.
    Put(u8, u8),
    Delete(u8, u8),
    /// Reads at a revision so far back.
    Range(u8, u8),
    Get(u8, u8),
    /// Forgets so much of what could be forgotten, in percent.
    Compact(u8),
}

pub fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        6 => (0..6_u8, 0..8_u8).prop_map(|(key, luck)| Op::Put(key, luck)),
        3 => (0..6_u8, 0..8_u8).prop_map(|(key, luck)| Op::Delete(key, luck)),
        2 => (0..30_u8, 0..4_u8).prop_map(|(back, limit)| Op::Range(back, limit)),
        1 => (0..6_u8, 0..30_u8).prop_map(|(key, back)| Op::Get(key, back)),
        1 => (0..100_u8).prop_map(Op::Compact),
    ];
    proptest::collection::vec(op, 1..120)
}

type States = BTreeMap<String, KeyValue>;

/// Runs `ops` below `prefix`, comparing every answer, and at the end a watch over all of it.
pub async fn check(store: Arc<dyn Store>, prefix: &str, ops: Vec<Op>) {
    let begin = store.revision().await.unwrap();
    let mut history: BTreeMap<Revision, States> = BTreeMap::from([(begin, States::new())]);
    let mut events: Vec<(Revision, String, Option<KeyValue>, Option<KeyValue>)> = Vec::new();
    let mut oldest = begin;
    let mut live = store.watch(prefix, begin).await.unwrap();
    let key_of = |key: u8| format!("{prefix}{}", key / 2 * 10 + key);

    for (step, op) in ops.into_iter().enumerate() {
        let newest = *history.keys().last().unwrap();
        let back = |back: u8| (newest - Revision::from(back)).max(begin);
        match op {
            Op::Put(key, luck) | Op::Delete(key, luck) => {
                let key = key_of(key);
                let mut states = history[&newest].clone();
                let before = states.get(&key).cloned();
                let right = before.as_ref().map_or(0, |kv| kv.mod_revision);
                let expected = if luck == 0 { right.max(1) - 1 } else { right };
                let value = matches!(op, Op::Put(..)).then(|| Bytes::from(format!("{step}")));
                let outcome = match &value {
                    Some(value) => store.put(&key, value.clone(), expected).await.unwrap(),
                    None => store.delete(&key, expected).await.unwrap(),
                };
                match outcome {
                    WriteOutcome::Conflict(found) => {
                        assert!(expected != right || (value.is_none() && before.is_none()), "an unexpected conflict");
                        assert_eq!(found, before);
                    }
                    WriteOutcome::Done(revision) => {
                        assert_eq!(expected, right);
                        assert!(revision > newest);
                        let after = value.map(|value| KeyValue {
                            key: key.clone(),
                            value,
                            create_revision: before.as_ref().map_or(revision, |kv| kv.create_revision),
                            mod_revision: revision,
                            stale: false,
                        });
                        match &after {
                            Some(kv) => drop(states.insert(key.clone(), kv.clone())),
                            None => drop(states.remove(&key)),
                        }
                        events.push((revision, key, before, after));
                        history.insert(revision, states);
                    }
                }
            }
            Op::Range(steps, limit) => {
                let at = back(steps);
                let range = store.range(prefix, None, limit.into(), Some(at)).await;
                if at < oldest {
                    assert!(matches!(range, Err(StoreError::Compacted { .. })), "{range:?}");
                    continue;
                }
                let range = range.unwrap();
                let states: Vec<_> = history.range(..=at).last().unwrap().1.values().cloned().collect();
                assert_eq!(range.count, states.len() as u64);
                let shown = if limit == 0 { states.len() } else { states.len().min(limit.into()) };
                assert_eq!(range.items, states[..shown]);
                assert_eq!(range.more, shown < states.len());
            }
            Op::Get(key, steps) => {
                let (key, at) = (key_of(key), back(steps));
                let found = store.get(&key, Some(at)).await;
                if at < oldest {
                    assert!(matches!(found, Err(StoreError::Compacted { .. })), "{found:?}");
                } else {
                    assert_eq!(found.unwrap().0.as_ref(), history.range(..=at).last().unwrap().1.get(&key));
                }
            }
            Op::Compact(percent) => {
                let target = oldest + (newest - oldest) * Revision::from(percent) / 100;
                if target > oldest {
                    store.compact(target).await.unwrap();
                    oldest = target;
                }
            }
        }
    }
    let mut replay = store.watch(prefix, oldest).await.unwrap();
    for (revision, key, before, after) in events {
        let mut watches = vec![&mut live];
        if revision > oldest {
            watches.push(&mut replay);
        }
        for watch in watches {
            match next(watch).await.unwrap() {
                Event::Put { kv, previous } => assert_eq!((Some(kv), previous), (after.clone(), before.clone())),
                Event::Delete { key: deleted, revision: at, previous } => {
                    assert_eq!((deleted, at, previous), (key.clone(), revision, before.clone()));
                    assert_eq!(after, None);
                }
                Event::Progress { .. } => unreachable!("left out by next"),
            }
        }
    }
}
