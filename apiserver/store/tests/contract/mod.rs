//! What every backend must do; each test binary runs it over one backend.
//!
//! Every check works below a prefix of its own, so that they can share a store; none assumes a first revision.

#![allow(dead_code, reason = "each test binary uses its part")]

pub mod model;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use knetsim_store::{Event, KeyValue, Revision, Store, StoreError, WriteOutcome};
use std::sync::Arc;
use std::time::Duration;

type Watch = BoxStream<'static, Result<Event, StoreError>>;

/// All checks but compaction, which spoils the past for the others and comes last.
pub async fn run(store: Arc<dyn Store>) {
    writes_compare_revisions(&*store).await;
    deletes_compare_revisions(&*store).await;
    ranges_page_in_byte_order(&*store).await;
    the_past_can_be_read(&*store).await;
    watches_replay_and_go_on(&*store).await;
    watches_see_only_their_prefix(&*store).await;
    progress_is_told_when_asked_for(&*store).await;
    concurrent_writers_get_one_order(store.clone()).await;
    large_values_are_refused(&*store).await;
    the_future_is_an_error(&*store).await;
    states_end_when_their_time_is_over(&*store).await;
    compaction_forgets(&*store).await;
}

pub async fn put(store: &dyn Store, key: &str, value: &str, expected: Revision) -> Revision {
    match store.put(key, Bytes::copy_from_slice(value.as_bytes()), expected).await.unwrap() {
        WriteOutcome::Done(revision) => revision,
        WriteOutcome::Conflict(found) => panic!("{key} is {found:?}, not at {expected}"),
    }
}

pub async fn delete(store: &dyn Store, key: &str, expected: Revision) -> Revision {
    match store.delete(key, expected).await.unwrap() {
        WriteOutcome::Done(revision) => revision,
        WriteOutcome::Conflict(found) => panic!("{key} is {found:?}, not at {expected}"),
    }
}

fn conflict(outcome: Result<WriteOutcome, StoreError>) -> Option<KeyValue> {
    match outcome.unwrap() {
        WriteOutcome::Conflict(found) => found,
        WriteOutcome::Done(revision) => panic!("written at {revision}"),
    }
}

fn kv(key: &str, value: &str, create_revision: Revision, mod_revision: Revision) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Bytes::copy_from_slice(value.as_bytes()),
        create_revision,
        mod_revision,
        stale: false,
    }
}

/// The next event that is no progress mark.
pub async fn next(watch: &mut Watch) -> Result<Event, StoreError> {
    loop {
        let event = tokio::time::timeout(Duration::from_secs(10), watch.next()).await;
        match event.expect("no event within ten seconds").expect("the watch ended") {
            Ok(Event::Progress { .. }) => {}
            other => return other,
        }
    }
}

/// A state that was written for a while goes by itself, one that was written again does not.
async fn states_end_when_their_time_is_over(store: &dyn Store) {
    let second = Duration::from_secs(1);
    let write = async |key: &str, expected| match store.put_for(key, Bytes::from_static(b"v"), expected, second).await {
        Ok(WriteOutcome::Done(revision)) => revision,
        other => panic!("{key}: {other:?}"),
    };
    let (ends, stays) = ("/registry/expiry/ends", "/registry/expiry/stays");
    let first = write(ends, 0).await;
    let kept = write(stays, 0).await;
    put(store, stays, "again", kept).await;
    assert!(matches!(
        store.put_for(ends, Bytes::from_static(b"w"), first + 7, second).await,
        Ok(WriteOutcome::Conflict(Some(_)))
    ));
    let mut watch = store.watch("/registry/expiry/", kept).await.unwrap();
    loop {
        match next(&mut watch).await.unwrap() {
            Event::Delete { key, previous, .. } => {
                assert_eq!((key.as_str(), previous.map(|kv| kv.mod_revision)), (ends, Some(first)));
                break;
            }
            Event::Put { kv, .. } => assert_eq!(kv.key, stays),
            Event::Progress { .. } => {}
        }
    }
    assert!(store.get(ends, None).await.unwrap().0.is_none());
    assert!(store.get(stays, None).await.unwrap().0.is_some());
}

async fn writes_compare_revisions(store: &dyn Store) {
    let key = "/registry/cas/a";
    assert_eq!(store.get(key, None).await.unwrap().0, None);
    let before = store.revision().await.unwrap();
    assert!(before >= 1);
    let first = put(store, key, "one", 0).await;
    assert!(first > before);
    assert_eq!(conflict(store.put(key, Bytes::from_static(b"x"), 0).await), Some(kv(key, "one", first, first)));
    let second = put(store, key, "two", first).await;
    assert!(second > first);
    assert_eq!(conflict(store.put(key, Bytes::from_static(b"x"), first).await), Some(kv(key, "two", first, second)));
    assert_eq!(conflict(store.put("/registry/cas/none", Bytes::from_static(b"x"), first).await), None);
    let (found, revision) = store.get(key, None).await.unwrap();
    assert_eq!(found, Some(kv(key, "two", first, second)));
    assert!(revision >= second);
    assert!(store.revision().await.unwrap() >= second);
    assert_eq!(store.get("/registry/cas/", None).await.unwrap().0, None, "a get takes no prefixes");
}

async fn deletes_compare_revisions(store: &dyn Store) {
    let key = "/registry/delete/a";
    assert_eq!(conflict(store.delete(key, 0).await), None, "nothing to delete");
    assert_eq!(conflict(store.delete(key, 5).await), None);
    let first = put(store, key, "one", 0).await;
    assert_eq!(conflict(store.delete(key, first - 1).await), Some(kv(key, "one", first, first)));
    let deleted = delete(store, key, first).await;
    assert!(deleted > first);
    assert_eq!(store.get(key, None).await.unwrap().0, None);
    let again = put(store, key, "new", 0).await;
    assert_eq!(store.get(key, None).await.unwrap().0, Some(kv(key, "new", again, again)), "a new incarnation");
}

async fn ranges_page_in_byte_order(store: &dyn Store) {
    let prefix = "/registry/range/";
    for name in ["b/2", "a/1", "ab/1", "b/1", "a-b/1"] {
        put(store, &format!("{prefix}{name}"), name, 0).await;
    }
    put(store, "/registry/range0", "behind the prefix", 0).await;
    put(store, "/registry/rang", "before the prefix", 0).await;
    let keys = |items: &[KeyValue]| items.iter().map(|kv| kv.key[prefix.len()..].to_owned()).collect::<Vec<_>>();

    let all = store.range(prefix, None, 0, None).await.unwrap();
    assert_eq!(keys(&all.items), ["a-b/1", "a/1", "ab/1", "b/1", "b/2"]);
    assert_eq!((all.more, all.count), (false, 5));
    assert_eq!(&all.items[1].value[..], b"a/1");

    let page = store.range(prefix, None, 2, None).await.unwrap();
    assert_eq!((keys(&page.items), page.more, page.count), (vec!["a-b/1".into(), "a/1".into()], true, 5));
    let start = format!("{}\0", page.items[1].key);
    let page = store.range(prefix, Some(&start), 3, Some(page.revision)).await.unwrap();
    assert_eq!(keys(&page.items), ["ab/1", "b/1", "b/2"]);
    assert_eq!((page.more, page.count), (false, 3));
    let from = store.range(prefix, Some("/registry/range/b/"), 0, None).await.unwrap();
    assert_eq!(keys(&from.items), ["b/1", "b/2"]);
    let before = store.range(prefix, Some("/registry/"), 0, None).await.unwrap();
    assert_eq!(before.count, 5, "a start before the prefix does not widen it");
    let empty = store.range("/registry/nothing/", None, 0, None).await.unwrap();
    assert!(empty.items.is_empty() && !empty.more && empty.count == 0 && empty.revision > 0);
}

async fn the_past_can_be_read(store: &dyn Store) {
    let prefix = "/registry/past/";
    let (a, b, c) = (format!("{prefix}a"), format!("{prefix}b"), format!("{prefix}c"));
    let a1 = put(store, &a, "a1", 0).await;
    let b1 = put(store, &b, "b1", 0).await;
    let a2 = put(store, &a, "a2", a1).await;
    let b2 = delete(store, &b, b1).await;
    let c1 = put(store, &c, "c1", 0).await;
    let b3 = put(store, &b, "b3", 0).await;
    let at = async |revision| store.range(prefix, None, 0, Some(revision)).await.unwrap();

    assert_eq!(at(a1).await.items, [kv(&a, "a1", a1, a1)]);
    assert_eq!(at(b1).await.items, [kv(&a, "a1", a1, a1), kv(&b, "b1", b1, b1)]);
    assert_eq!(at(a2).await.items, [kv(&a, "a2", a1, a2), kv(&b, "b1", b1, b1)]);
    assert_eq!(at(b2).await.items, [kv(&a, "a2", a1, a2)]);
    assert_eq!(at(b3).await.items, [kv(&a, "a2", a1, a2), kv(&b, "b3", b3, b3), kv(&c, "c1", c1, c1)]);
    assert_eq!(at(a2).await.revision, a2);
    let page = store.range(prefix, Some(&b), 1, Some(a2)).await.unwrap();
    assert_eq!((page.items, page.more, page.count), (vec![kv(&b, "b1", b1, b1)], false, 1));
    assert_eq!(store.get(&a, Some(b1)).await.unwrap().0, Some(kv(&a, "a1", a1, a1)));
    assert_eq!(store.get(&b, Some(b2)).await.unwrap().0, None);
    assert_eq!(store.get(&c, Some(b2)).await.unwrap().0, None);
}

/// Whoever opens the store anew, as a server does that is started again, finds the past that was there.
pub async fn the_past_survives_a_restart(open: impl AsyncFn() -> Arc<dyn Store>) {
    let prefix = "/registry/restart/";
    let (a, b) = (format!("{prefix}a"), format!("{prefix}b"));
    let store = open().await;
    let a1 = put(&*store, &a, "a1", 0).await;
    let b1 = put(&*store, &b, "b1", 0).await;
    let a2 = put(&*store, &a, "a2", a1).await;
    let b2 = delete(&*store, &b, b1).await;
    drop(store);

    let store = open().await;
    let c1 = put(&*store, &format!("{prefix}c"), "c1", 0).await;
    let at = async |revision| store.range(prefix, None, 0, Some(revision)).await.unwrap().items;
    assert_eq!(at(b1).await, [kv(&a, "a1", a1, a1), kv(&b, "b1", b1, b1)]);
    assert_eq!(at(b2).await, [kv(&a, "a2", a1, a2)]);
    let page = store.range(prefix, Some(&b), 1, Some(a2)).await.unwrap();
    assert_eq!((page.items, page.more), (vec![kv(&b, "b1", b1, b1)], false), "a list goes on where it was");
    let mut watch = store.watch(prefix, a1).await.unwrap();
    for revision in [b1, a2, b2, c1] {
        let at = match next(&mut watch).await.unwrap() {
            Event::Put { kv, .. } => kv.mod_revision,
            Event::Delete { revision, .. } | Event::Progress { revision } => revision,
        };
        assert_eq!(at, revision);
    }
}

async fn watches_replay_and_go_on(store: &dyn Store) {
    let prefix = "/registry/watch/";
    let (a, b) = (format!("{prefix}a"), format!("{prefix}b"));
    let a1 = put(store, &a, "a1", 0).await;
    let a2 = put(store, &a, "a2", a1).await;
    let mut watch = store.watch(prefix, a1).await.unwrap();
    let mut whole = store.watch(prefix, a1 - 1).await.unwrap();
    let a3 = delete(store, &a, a2).await;
    let b1 = put(store, &b, "b1", 0).await;

    let Ok(Event::Put { kv: found, previous }) = next(&mut whole).await else { panic!("no put") };
    assert_eq!((found, previous), (kv(&a, "a1", a1, a1), None));
    for watch in [&mut watch, &mut whole] {
        let Ok(Event::Put { kv: found, previous }) = next(watch).await else { panic!("no put") };
        assert_eq!((found, previous), (kv(&a, "a2", a1, a2), Some(kv(&a, "a1", a1, a1))));
        let Ok(Event::Delete { key, revision, previous }) = next(watch).await else { panic!("no delete") };
        assert_eq!((key, revision, previous), (a.clone(), a3, Some(kv(&a, "a2", a1, a2))));
        let Ok(Event::Put { kv: found, previous }) = next(watch).await else { panic!("no put") };
        assert_eq!((found, previous), (kv(&b, "b1", b1, b1), None));
    }
}

async fn watches_see_only_their_prefix(store: &dyn Store) {
    let now = store.revision().await.unwrap();
    let mut watch = store.watch("/registry/only/", now).await.unwrap();
    put(store, "/registry/onl", "x", 0).await;
    put(store, "/registry/only", "x", 0).await;
    put(store, "/registry/only-not/a", "x", 0).await;
    let wanted = put(store, "/registry/only/a", "x", 0).await;
    let Ok(Event::Put { kv, .. }) = next(&mut watch).await else { panic!("no put") };
    assert_eq!((kv.key.as_str(), kv.mod_revision), ("/registry/only/a", wanted));
}

async fn progress_is_told_when_asked_for(store: &dyn Store) {
    let prefix = "/registry/progress/";
    let now = store.revision().await.unwrap();
    let mut watch = store.watch(prefix, now).await.unwrap();
    let elsewhere = put(store, "/registry/elsewhere/a", "x", 0).await;
    store.request_progress(prefix, elsewhere);
    let reached = async {
        loop {
            match watch.next().await {
                Some(Ok(Event::Progress { revision })) if revision >= elsewhere => return,
                Some(Ok(Event::Progress { .. })) => {}
                other => panic!("{other:?}"),
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), reached).await.expect("no progress within ten seconds");
}

async fn concurrent_writers_get_one_order(store: Arc<dyn Store>) {
    let prefix = "/registry/concurrent/";
    let now = store.revision().await.unwrap();
    let mut watch = store.watch(prefix, now).await.unwrap();
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let store = store.clone();
            tokio::spawn(async move {
                // All fight for one key and each writes one of its own.
                for round in 0..20 {
                    let key = "/registry/concurrent/shared";
                    loop {
                        let current = store.get(key, None).await.unwrap().0.map_or(0, |kv| kv.mod_revision);
                        let value = Bytes::from(format!("{writer}-{round}"));
                        if let WriteOutcome::Done(_) = store.put(key, value, current).await.unwrap() {
                            break;
                        }
                    }
                    put(&*store, &format!("/registry/concurrent/{writer}-{round}"), "own", 0).await;
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let (mut last, mut shared) = (now, None);
    for _ in 0..2 * 8 * 20 {
        let Ok(Event::Put { kv, previous }) = next(&mut watch).await else { panic!("no put") };
        assert!(kv.mod_revision > last, "events are in order");
        last = kv.mod_revision;
        if kv.key.ends_with("shared") {
            assert_eq!(previous, shared, "no write was lost");
            shared = Some(kv);
        }
    }
    assert_eq!(store.range(prefix, None, 0, None).await.unwrap().count, 161);
}

async fn large_values_are_refused(store: &dyn Store) {
    let value = Bytes::from(vec![b'x'; 3 << 20]);
    let refused = store.put("/registry/large/a", value, 0).await;
    assert!(matches!(refused, Err(StoreError::TooLarge { .. })), "{refused:?}");
    let fits = "x".repeat(1 << 20);
    put(store, "/registry/large/b", &fits, 0).await;
    assert_eq!(store.range("/registry/large/", None, 0, None).await.unwrap().items[0].value.len(), 1 << 20);
}

async fn the_future_is_an_error(store: &dyn Store) {
    let future = store.revision().await.unwrap() + 1000;
    let range = store.range("/registry/", None, 1, Some(future)).await;
    assert!(matches!(range, Err(StoreError::Future { .. })), "{range:?}");
    let get = store.get("/registry/x", Some(future)).await;
    assert!(matches!(get, Err(StoreError::Future { .. })), "{get:?}");
    let watch = store.watch("/registry/", future).await;
    assert!(matches!(watch, Err(StoreError::Future { .. })));
}

async fn compaction_forgets(store: &dyn Store) {
    let key = "/registry/compact/a";
    let first = put(store, key, "1", 0).await;
    let second = put(store, key, "2", first).await;
    let third = delete(store, key, second).await;
    let fourth = put(store, key, "4", 0).await;
    store.compact(third).await.unwrap();

    let range = async |revision| store.range("/registry/compact/", None, 0, Some(revision)).await;
    let old = range(second).await;
    assert!(matches!(old, Err(StoreError::Compacted { .. })), "{old:?}");
    assert_eq!(range(third).await.unwrap().items, [], "the compacted revision itself can be read");
    assert_eq!(range(fourth).await.unwrap().items, [kv(key, "4", fourth, fourth)]);
    let old = match store.watch("/registry/compact/", first).await {
        // A backend may notice only on the way.
        Ok(mut watch) => next(&mut watch).await.map(|_| ()),
        Err(error) => Err(error),
    };
    assert!(matches!(old, Err(StoreError::Compacted { .. })), "{old:?}");
    let mut watch = store.watch("/registry/compact/", third).await.unwrap();
    let Ok(Event::Put { kv: found, previous: None }) = next(&mut watch).await else { panic!("no put") };
    assert_eq!(found, kv(key, "4", fourth, fourth));
    let again = store.compact(second).await;
    assert!(matches!(again, Err(StoreError::Compacted { .. })), "{again:?}");
    let future = store.compact(fourth + 1000).await;
    assert!(matches!(future, Err(StoreError::Future { .. })), "{future:?}");
}
