//! The watch cache over the embedded backend.

mod contract;

use contract::{delete, put};
use knetsim_store::cache::{
    At, CacheError, CacheEvent, Change, Indexed, Limits, ListQuery, Object, Past, Piece, Watch, WatchCache,
};
use knetsim_store::embedded::{Embedded, Options};
use knetsim_store::{KeyValue, Revision, Store, StoreError, splice};
use std::sync::Arc;
use std::time::Duration;

const PREFIX: &str = "/registry/pods/";

fn extract(kv: &KeyValue) -> anyhow::Result<Indexed> {
    let object: serde_json::Value = serde_json::from_slice(&kv.value)?;
    let text = |pointer| object.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
    Ok(Indexed {
        namespace: text("/metadata/namespace").into(),
        name: text("/metadata/name").into(),
        labels: vec![("app".into(), text("/metadata/labels/app").into())],
        fields: vec![("spec.nodeName".into(), text("/spec/nodeName").into())],
        bytes: splice::stamp(&kv.value, kv.mod_revision).ok_or_else(|| anyhow::anyhow!("no metadata"))?,
    })
}

struct Fixture {
    store: Arc<dyn Store>,
    cache: WatchCache,
    _dir: tempfile::TempDir,
}

fn fixture(limits: Limits) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let cache = WatchCache::with_limits(store.clone(), PREFIX, extract, limits);
    Fixture { store, cache, _dir: dir }
}

fn key(name: &str) -> String {
    format!("{PREFIX}default/{name}")
}

fn pod(name: &str, app: &str) -> String {
    format!(
        r#"{{"kind":"Pod","metadata":{{"name":"{name}","namespace":"default","labels":{{"app":"{app}"}}}},"spec":{{"nodeName":"n1"}}}}"#
    )
}

impl Fixture {
    async fn put(&self, name: &str, app: &str, expected: Revision) -> Revision {
        put(&*self.store, &key(name), &pod(name, app), expected).await
    }

    async fn names(&self, query: ListQuery<'_>) -> Vec<String> {
        self.cache.list(query).await.unwrap().items.iter().map(|object| object.name().to_owned()).collect()
    }
}

fn all(at: At) -> ListQuery<'static> {
    ListQuery { at, prefix: PREFIX, start: None, limit: 0, filter: None }
}

async fn next(watch: &mut Watch) -> Vec<Arc<CacheEvent>> {
    tokio::time::timeout(Duration::from_secs(10), watch.next()).await.expect("no event").unwrap()
}

fn version(object: &Object) -> String {
    let value: serde_json::Value = serde_json::from_slice(object.bytes()).unwrap();
    value["metadata"]["resourceVersion"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn reads_see_every_answered_write() {
    let fixture = fixture(Limits::default());
    assert_eq!(fixture.names(all(At::Latest)).await, Vec::<String>::new());
    for round in 0..50 {
        let name = format!("p{round:02}");
        let revision = fixture.put(&name, "a", 0).await;
        let (found, at) = fixture.cache.get(&key(&name), At::Latest).await.unwrap();
        let found = found.unwrap();
        assert!(at >= revision);
        assert_eq!((found.mod_revision, version(&found)), (revision, revision.to_string()));
        // A write elsewhere moves the revision of a consistent list, though nothing here has changed.
        let elsewhere = put(&*fixture.store, &format!("/registry/other/{round}"), "{}", 0).await;
        let list = fixture.cache.list(all(At::Latest)).await.unwrap();
        assert_eq!((list.items.len(), list.revision), (round + 1, elsewhere));
    }
    let found = fixture.cache.get(&key("p07"), At::NotOlderThan(0)).await.unwrap().0.unwrap();
    assert_eq!(
        (found.field("spec.nodeName"), found.field("metadata.name"), found.label("app")),
        (Some("n1"), Some("p07"), Some("a"))
    );
    assert_eq!(fixture.cache.get(&key("none"), At::Latest).await.unwrap().0.map(|object| object.mod_revision), None);
}

#[tokio::test]
async fn a_past_before_the_ring_is_the_stores() {
    let fixture = fixture(Limits { min: 1, max: 1, ..Limits::default() });
    let mut last = 0;
    for name in ["a", "b", "c", "d", "e"] {
        last = fixture.put(name, if name == "b" { "y" } else { "x" }, 0).await;
    }
    // All are changed: nothing of the past is left in the ring.
    for name in ["a", "b", "c", "d"] {
        let (object, _) = fixture.cache.get(&key(name), At::Latest).await.unwrap();
        fixture.put(name, "changed", object.unwrap().mod_revision).await;
    }
    let (e, _) = fixture.cache.get(&key("e"), At::Latest).await.unwrap();
    delete(&*fixture.store, &key("e"), e.unwrap().mod_revision).await;
    assert_eq!(fixture.names(all(At::Latest)).await, ["a", "b", "c", "d"]);
    let now = fixture.cache.list(all(At::Latest)).await.unwrap();
    assert_eq!(fixture.cache.size(), (4, now.items.iter().map(|object| object.bytes().len()).sum()));

    let past = all(At::Exact(last));
    let list = fixture.cache.list(past).await.unwrap();
    let found: Vec<_> = list.items.iter().map(|object| (object.name(), object.label("app").unwrap())).collect();
    assert_eq!(found, [("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"), ("e", "x")]);
    assert_eq!((list.revision, list.next, list.remaining), (last, None, 0));

    let page = fixture.cache.list(ListQuery { limit: 2, ..past }).await.unwrap();
    assert_eq!((page.items.len(), page.next.as_deref(), page.remaining), (2, Some(&*key("c")), 3));
    let start = page.next.unwrap();
    let page = fixture.cache.list(ListQuery { limit: 3, start: Some(&start), ..past }).await.unwrap();
    assert_eq!((page.items.len(), page.next, page.remaining), (3, None, 0));

    let filter = |object: &Object| object.label("app") == Some("x");
    let filtered = ListQuery { limit: 2, filter: Some(&filter), ..past };
    let page = fixture.cache.list(filtered).await.unwrap();
    assert_eq!((fixture.names(filtered).await, page.next.as_deref()), (vec!["a".into(), "c".into()], Some(&*key("d"))));

    fixture.store.compact(last + 1).await.unwrap();
    let forgotten = fixture.cache.list(past).await.unwrap_err();
    assert!(matches!(forgotten, CacheError::Store(StoreError::Compacted { requested, .. }) if requested == last));
}

#[tokio::test]
async fn pages_are_of_one_revision() {
    let fixture = fixture(Limits::default());
    let mut last = 0;
    for name in ["a", "b", "c", "d", "e"] {
        last = fixture.put(name, "x", 0).await;
    }
    let page = fixture.cache.list(ListQuery { limit: 2, ..all(At::Latest) }).await.unwrap();
    assert_eq!((page.items.len(), page.next.as_deref(), page.remaining, page.revision), (2, Some(&*key("c")), 3, last));

    // Between the pages: one deleted, one changed, one added.
    let (c, _) = fixture.cache.get(&key("c"), At::Latest).await.unwrap();
    let c = c.unwrap().mod_revision;
    delete(&*fixture.store, &key("c"), c).await;
    fixture.put("d", "changed", c + 1).await;
    fixture.put("cc", "x", 0).await;

    let start = page.next.unwrap();
    let query = ListQuery { start: Some(&start), limit: 2, ..all(At::Exact(page.revision)) };
    let second = fixture.cache.list(query).await.unwrap();
    let names: Vec<_> = second.items.iter().map(|object| (object.name(), object.label("app").unwrap())).collect();
    assert_eq!((names, second.revision), (vec![("c", "x"), ("d", "x")], last));
    let start = second.next.unwrap();
    let third = fixture.cache.list(ListQuery { start: Some(&start), limit: 2, ..all(At::Exact(last)) }).await.unwrap();
    assert_eq!((third.items.len(), third.next, third.remaining), (1, None, 0));
    assert_eq!(fixture.names(all(At::Latest)).await, ["a", "b", "cc", "d", "e"]);
    let changed = |object: &Object| object.label("app") == Some("changed");
    assert_eq!(fixture.names(ListQuery { filter: Some(&changed), ..all(At::Latest) }).await, ["d"]);
    assert_eq!(fixture.names(ListQuery { prefix: "/registry/pods/kube-system/", ..all(At::Latest) }).await, [""; 0]);
}

#[tokio::test]
async fn watches_begin_in_the_past_and_share_events() {
    let fixture = fixture(Limits::default());
    fixture.cache.filled().await;
    let begin = fixture.cache.revision();
    let first = fixture.put("a", "x", 0).await;
    let second = fixture.put("a", "y", first).await;
    let mut early = fixture.cache.watch(begin).await.unwrap();
    let mut late = fixture.cache.watch(first).await.unwrap();
    let third = delete(&*fixture.store, &key("a"), second).await;

    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(next(&mut early).await);
    }
    let summary: Vec<_> = seen.iter().map(|event| (event.change, event.revision, version(&event.object))).collect();
    assert_eq!(
        summary,
        [
            (Change::Added, first, first.to_string()),
            (Change::Modified, second, second.to_string()),
            (Change::Deleted, third, third.to_string()),
        ]
    );
    assert_eq!(seen[1].old.as_ref().unwrap().label("app"), Some("x"));
    assert_eq!(version(&seen[1].old_as_deleted().unwrap()), second.to_string());
    assert_eq!(seen[2].object.label("app"), Some("y"));
    assert!(seen[0].old.is_none());

    let mut others = Vec::new();
    while others.len() < 2 {
        others.extend(next(&mut late).await);
    }
    assert!(Arc::ptr_eq(&others[0], &seen[1]), "watchers share one event");
    let encoded = seen[1].encoded(3, || "once".into());
    assert_eq!(others[0].encoded(3, || unreachable!("made already")), encoded);
    assert_eq!(early.revision(), Some(third));
    let elsewhere = put(&*fixture.store, "/registry/other/a", "{}", 0).await;
    assert_eq!(fixture.cache.sync().await.unwrap(), elsewhere);
    assert_eq!(early.revision(), Some(elsewhere), "a bookmark may be newer than the last event");
}

#[tokio::test]
async fn a_watch_of_the_present_misses_nothing() {
    let fixture = fixture(Limits::default());
    fixture.put("a", "x", 0).await;
    let (list, mut watch) = fixture.cache.list_and_watch(all(At::Latest)).await.unwrap();
    assert_eq!(list.items.len(), 1);
    let revision = fixture.put("b", "x", 0).await;
    assert_eq!(next(&mut watch).await[0].revision, revision);
}

#[tokio::test]
async fn watchers_of_one_form_share_what_one_of_them_made() {
    let fixture = fixture(Limits::default());
    let before = fixture.put("p0", "a", 0).await;
    let mut watches = Vec::new();
    for _ in 0..4 {
        watches.push(fixture.cache.watch(before).await.unwrap());
    }
    fixture.put("p1", "a", 0).await;
    fixture.put("p2", "a", 0).await;
    // Once one has been told of both, so are all.
    let mut first = fixture.cache.watch(before).await.unwrap();
    let mut told = 0;
    while told < 2 {
        told += next(&mut first).await.len();
    }
    let (mut made, mut places) = (0, Vec::new());
    for (watch, form) in watches.iter_mut().zip(["names", "names", "names", "others"]) {
        let join = |events: &[Arc<CacheEvent>]| {
            made += 1;
            let bytes = events.iter().map(|event| event.object.name()).collect::<String>().into();
            Piece { bytes, sizes: events.iter().map(|event| event.object.name().len()).collect() }
        };
        let piece = watch.next_joined(form, join).await.unwrap();
        assert_eq!(piece.bytes, "p1p2", "each event once and in order");
        assert_eq!(piece.sizes[..], [2, 2]);
        assert_eq!(watch.revision(), Some(before + 2));
        places.push(piece.bytes.as_ptr());
    }
    let shared: Vec<bool> = places.iter().map(|place| *place == places[0]).collect();
    assert_eq!((shared, made), (vec![true, true, true, false], 2), "made once for each form");
}

#[tokio::test]
async fn a_watch_may_begin_with_a_revision_to_come_but_no_list() {
    let fixture = fixture(Limits::default());
    fixture.cache.filled().await;
    let begin = fixture.cache.sync().await.unwrap();
    let mut early = fixture.cache.watch(begin + 2).await.unwrap();
    assert_eq!(early.revision(), None);
    for (n, name) in ["p1", "p2", "p3", "p4"].into_iter().enumerate() {
        fixture.put(name, "a", 0).await;
        // One at a time, so that the watcher meets a turn with nothing in it for itself.
        while fixture.cache.sync().await.unwrap() < begin + 1 + n as i64 {}
    }
    let mut names = Vec::new();
    while names.len() < 2 {
        names.extend(next(&mut early).await.iter().map(|event| event.object.name().to_owned()));
    }
    assert_eq!(names, ["p3", "p4"]);
    assert_eq!(early.revision(), Some(begin + 4));
    let at = At::Exact(begin + 99);
    let list =
        fixture.cache.list(ListQuery { at, prefix: fixture.cache.prefix(), start: None, limit: 0, filter: None });
    let error = list.await.unwrap_err();
    assert!(matches!(error, CacheError::Store(StoreError::Future { newest, .. }) if newest == begin + 4), "{error}");
}

#[tokio::test]
async fn slow_watchers_and_old_revisions_expire() {
    let limits = Limits { min: 4, max: 8, fresh: Duration::from_secs(3600), ..Limits::default() };
    let fixture = fixture(limits);
    fixture.cache.filled().await;
    let begin = fixture.cache.revision();
    let mut slow = fixture.cache.watch(begin).await.unwrap();
    let mut last = 0;
    for round in 0..20 {
        last = fixture.put("a", &round.to_string(), last).await;
    }
    fixture.cache.sync().await.unwrap();
    assert!(matches!(slow.next().await, Err(CacheError::Expired { .. })));
    assert!(matches!(fixture.cache.watch(begin).await, Err(CacheError::Expired { .. })));
    assert!(matches!(fixture.cache.watch(last - 9).await, Err(CacheError::Expired { .. })));
    // A list, which nobody has to be told of later, is the store's.
    assert_eq!(fixture.cache.list(all(At::Exact(last - 9))).await.unwrap().items[0].label("app"), Some("10"));
    let mut within = fixture.cache.watch(last - 8).await.unwrap();
    assert_eq!(next(&mut within).await.len(), 8);
    assert_eq!(fixture.cache.list(all(At::Exact(last - 8))).await.unwrap().items[0].label("app"), Some("11"));
    // What the store has compacted is over, also where the ring would still have it.
    fixture.store.compact(last - 2).await.unwrap();
    let compacted = fixture.cache.list(all(At::Exact(last - 3))).await;
    assert!(matches!(compacted, Err(CacheError::Store(StoreError::Compacted { .. }))), "{compacted:?}");
    assert_eq!(fixture.cache.list(all(At::Exact(last - 2))).await.unwrap().items[0].label("app"), Some("17"));
}

#[tokio::test]
async fn the_future_times_out() {
    let fixture = fixture(Limits { catch_up: Duration::from_millis(20), ..Limits::default() });
    fixture.cache.filled().await;
    let future = fixture.cache.revision() + 1000;
    let refused = fixture.cache.list(all(At::NotOlderThan(future))).await.map(|_| ());
    assert!(matches!(refused, Err(CacheError::TooLarge { requested, .. }) if requested == future), "{refused:?}");
}

#[tokio::test]
async fn broken_values_are_left_out() {
    let fixture = fixture(Limits::default());
    put(&*fixture.store, &key("bad"), "no json", 0).await;
    let good = fixture.put("good", "x", 0).await;
    assert_eq!(fixture.names(all(At::Latest)).await, ["good"]);
    put(&*fixture.store, &key("good"), "[]", good).await;
    assert_eq!(fixture.names(all(At::Latest)).await, [""; 0]);
}

/// Where that is asked for: events from before the cache was there, then those of its ring, each once and in order.
#[tokio::test]
async fn a_watch_may_begin_in_a_past_that_only_the_store_remembers() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let before = put(&*store, &key("a"), &pod("a", "1"), 0).await;
    let mut at = Vec::new();
    at.push(put(&*store, &key("a"), &pod("a", "2"), before).await);
    at.push(put(&*store, &key("b"), &pod("b", "1"), 0).await);
    at.push(delete(&*store, &key("a"), at[0]).await);
    // Nothing of this prefix says that the past is over.
    put(&*store, "/registry/other/x", "{}", 0).await;
    let expected = |at: &[Revision]| {
        let told = [("a", Change::Modified), ("b", Change::Added), ("a", Change::Deleted), ("b", Change::Modified)];
        told.into_iter().zip(at).map(|((name, change), at)| (name.to_owned(), change, *at)).collect::<Vec<_>>()
    };
    let seen = async |watch: &mut Watch, count: usize| {
        let mut seen = Vec::new();
        while seen.len() < count {
            let events = next(watch).await;
            seen.extend(events.iter().map(|event| (event.object.name().to_owned(), event.change, event.revision)));
        }
        seen
    };

    let strict = WatchCache::new(store.clone(), PREFIX, extract);
    assert!(matches!(strict.watch(before).await, Err(CacheError::Expired { .. })));

    let limits = Limits { past: Past::Store, ..Limits::default() };
    let cache = WatchCache::with_limits(store.clone(), PREFIX, extract, limits);
    let mut watch = cache.watch(before).await.unwrap();
    assert_eq!(watch.revision(), Some(before), "a bookmark must not be ahead of what was told");
    assert_eq!(seen(&mut watch, 3).await, expected(&at));
    at.push(put(&*store, &key("b"), &pod("b", "2"), at[1]).await);
    assert_eq!(seen(&mut watch, 1).await, expected(&at)[3..]);

    // Joined, and with news while the past is told.
    let mut watch = cache.watch(before).await.unwrap();
    let names = |events: &[Arc<CacheEvent>]| {
        let names: String = events.iter().map(|event| event.object.name()).collect();
        Piece { bytes: names.into(), sizes: Arc::default() }
    };
    let mut told = String::new();
    while told.len() < 5 {
        if told.len() == 1 {
            put(&*store, &key("c"), &pod("c", "1"), 0).await;
        }
        let piece = tokio::time::timeout(Duration::from_secs(10), watch.next_joined("names", names)).await;
        told.push_str(std::str::from_utf8(&piece.expect("no event").unwrap().bytes).unwrap());
    }
    assert_eq!(told, "ababc");

    store.compact(at[3]).await.unwrap();
    let mut watch = cache.watch(before).await.unwrap();
    let end = watch.next().await;
    assert!(matches!(end, Err(CacheError::Expired { requested, .. }) if requested == before), "{end:?}");
}

/// A cache that nobody has asked for yet is as good as one that was there from the beginning, until its ring moves on.
#[tokio::test]
async fn a_late_cache_knows_what_an_early_one_would() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    let before = put(&*store, &key("a"), &pod("a", "1"), 0).await;
    let begin = put(&*store, "/registry/other/x", "{}", 0).await;
    let mut last = put(&*store, &key("a"), &pod("a", "2"), before).await;
    let limits = Limits { past: Past::Since(begin), min: 4, max: 4, ..Limits::default() };
    let cache = WatchCache::with_limits(store.clone(), PREFIX, extract, limits);
    let mut watch = cache.watch(begin).await.unwrap();
    assert_eq!(next(&mut watch).await[0].revision, last);
    assert!(matches!(cache.watch(before).await, Err(CacheError::Expired { .. })), "before the beginning");
    for round in 0..9 {
        last = put(&*store, &key("a"), &pod("a", &round.to_string()), last).await;
    }
    cache.sync().await.unwrap();
    assert!(matches!(cache.watch(begin).await, Err(CacheError::Expired { .. })), "the ring has moved on");
}
