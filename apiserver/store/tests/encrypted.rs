//! Values encrypted below those who ask: the contract, what is stored, and what is told of values that cannot be read.

mod contract;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

use bytes::Bytes;
use contract::{delete, put};
use futures::StreamExt;
use knetsim_store::cache::{At, CacheError, Indexed, ListQuery, WatchCache};
use knetsim_store::embedded::{Embedded, Options};
use knetsim_store::encrypt::{
    AtRest, Direction, Encrypted, Entry, Envelope, Failure, Fetch, Gcm, Plain, SeededGcm, Transformer, Witness,
};
use knetsim_store::relocated::Relocated;
use knetsim_store::{Event, KeyValue, Store, WriteOutcome, splice};
use parking_lot::Mutex;

/// Keys of AES-GCM, of which the first is written with.
struct Keys(Mutex<Transformer>);

impl Keys {
    fn new(keys: &[u8]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Self::transformer(keys))))
    }

    fn set(&self, keys: &[u8]) {
        *self.0.lock() = Self::transformer(keys);
    }

    fn transformer(keys: &[u8]) -> Transformer {
        let entry = |key: &u8| {
            let transformer = Transformer::Gcm(Gcm::new(&[*key; 32]).unwrap());
            Entry { prefix: format!("k8s:enc:aesgcm:v1:{key}:").into_bytes(), transformer }
        };
        Transformer::OneOf(keys.iter().map(entry).collect(), "no matching prefix found")
    }
}

struct Blind;

impl Witness for Blind {
    fn saw(&self, _: Direction, _: Option<&[u8]>, _: Duration, _: bool) {}
}

impl AtRest for Keys {
    fn fetch(&self, _: &str, stored: &Bytes) -> Option<Fetch> {
        self.0.lock().fetch(stored).map(|(_, fetch)| fetch)
    }

    fn read(&self, key: &str, stored: Bytes) -> Result<Plain, Failure> {
        self.0.lock().read(stored, key, &Blind)
    }

    fn write(&self, key: &str, value: &Bytes) -> Result<Bytes, Failure> {
        self.0.lock().write(value, key, &Blind)
    }
}

/// The store below, and the one that encrypts.
fn stores(dir: &tempfile::TempDir, keys: &Arc<Keys>) -> (Arc<dyn Store>, Arc<dyn Store>) {
    let below: Arc<dyn Store> = Arc::new(Embedded::open(dir.path(), Options::default()).unwrap());
    (below.clone(), Arc::new(Encrypted::new(below, keys.clone())))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_holds() {
    let dir = tempfile::tempdir().unwrap();
    let (below, store) = stores(&dir, &Keys::new(&[1]));
    contract::run(store.clone()).await;
    put(&*Relocated::at("/clusters/a", store), "/registry/pods/a", "secret", 0).await;
    let stored = below.range("/", None, 0, None).await.unwrap().items;
    assert!(stored.iter().any(|kv| kv.key == "/clusters/a/pods/a"));
    assert!(stored.iter().all(|kv| kv.value.starts_with(b"k8s:enc:aesgcm:v1:1:")), "{stored:?}");
}

/// Keys that somebody else decrypts, one by one: a value is stored behind the number of its key.
struct Foreign {
    ciphers: Mutex<BTreeMap<u8, Arc<SeededGcm>>>,
    /// The key to write with.
    current: AtomicU8,
    /// How often somebody was asked, and whether he does not answer.
    asked: AtomicU8,
    silent: AtomicBool,
}

impl Foreign {
    fn cipher(number: u8) -> Arc<SeededGcm> {
        Arc::new(SeededGcm::new(&[number; 32]).unwrap())
    }
}

impl Envelope for Foreign {
    fn fetch(self: Arc<Self>, stored: &[u8]) -> Option<Fetch> {
        let number = *stored.first()?;
        if self.ciphers.lock().contains_key(&number) {
            return None;
        }
        Some(Box::pin(async move {
            tokio::task::yield_now().await;
            self.asked.fetch_add(1, Ordering::Relaxed);
            if self.silent.load(Ordering::Relaxed) {
                return Err(Failure::new("nobody answers"));
            }
            self.ciphers.lock().insert(number, Self::cipher(number));
            Ok(())
        }))
    }

    fn open(&self, stored: &[u8], key: &str) -> Result<Plain, Failure> {
        let cipher = self.ciphers.lock().get(&stored[0]).cloned().ok_or_else(|| Failure::new("unknown"))?;
        let stale = stored[0] != self.current.load(Ordering::Relaxed);
        Ok(Plain { value: cipher.open(&stored[1..], key)?.into(), stale })
    }

    fn seal(&self, value: &[u8], key: &str) -> Result<Vec<u8>, Failure> {
        let number = self.current.load(Ordering::Relaxed);
        Ok([&[number], &Self::cipher(number).seal(value, key)?[..]].concat())
    }
}

/// Whatever reads waits for the keys, and asks once for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_are_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::new(&[1]);
    let foreign =
        Arc::new(Foreign { ciphers: Mutex::default(), current: 1.into(), asked: 0.into(), silent: false.into() });
    let entry = Entry { prefix: b"k8s:enc:kms:v2:a:".to_vec(), transformer: Transformer::Envelope(foreign.clone()) };
    *keys.0.lock() = Transformer::OneOf(vec![entry], "no matching prefix found");
    let (below, store) = stores(&dir, &keys);
    contract::run(store.clone()).await;
    assert_eq!(foreign.asked.load(Ordering::Relaxed), 1);

    let (prefix, key) = ("/registry/foreign/", "/registry/foreign/a");
    foreign.current.store(2, Ordering::Relaxed);
    let first = put(&*store, key, "v", 0).await;
    foreign.current.store(3, Ordering::Relaxed);
    let second = put(&*store, key, "w", first).await;
    assert!(below.get(key, None).await.unwrap().0.unwrap().value.starts_with(b"k8s:enc:kms:v2:a:\x03"));
    foreign.silent.store(true, Ordering::Relaxed);
    assert_eq!(store.get(key, None).await.unwrap_err().to_string(), "nobody answers");
    let listed = store.range(prefix, None, 0, None).await.unwrap_err().to_string();
    assert_eq!(listed, format!("unable to transform key {key:?}: nobody answers"));
    assert!(matches!(store.put(key, Bytes::new(), first).await, Ok(WriteOutcome::Conflict(None))));
    foreign.silent.store(false, Ordering::Relaxed);
    let forget = || foreign.ciphers.lock().clear();
    let value = |kv: Option<KeyValue>| kv.unwrap().value;
    forget();
    assert_eq!(value(store.get(key, None).await.unwrap().0), "w");
    forget();
    assert_eq!(store.range(prefix, None, 0, None).await.unwrap().items[0].value, "w");
    forget();
    assert!(
        matches!(store.put(key, Bytes::new(), first).await, Ok(WriteOutcome::Conflict(Some(kv))) if kv.value == "w")
    );
    forget();
    let mut watch = store.watch(prefix, first).await.unwrap();
    let Ok(Event::Put { kv, previous }) = contract::next(&mut watch).await else { panic!("no put") };
    assert_eq!((kv.mod_revision, kv.value, value(previous)), (second, Bytes::from("w"), Bytes::from("v")));
}

#[tokio::test]
async fn values_of_other_keys_are_stale() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::new(&[1]);
    let (_, store) = stores(&dir, &keys);
    let first = put(&*store, "/registry/pods/a", "v", 0).await;
    let stale = async || store.get("/registry/pods/a", None).await.unwrap().0.unwrap().stale;
    assert!(!stale().await);
    keys.set(&[2, 1]);
    assert!(stale().await);
    assert!(store.range("/registry/", None, 0, None).await.unwrap().items[0].stale);
    put(&*store, "/registry/pods/a", "v", first).await;
    assert!(!stale().await);
}

#[tokio::test]
async fn what_cannot_be_read_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::new(&[1]);
    let (_, store) = stores(&dir, &keys);
    let good = put(&*store, "/registry/pods/a", "v", 0).await;
    keys.set(&[2]);
    let (why, key) = ("no matching prefix found", "/registry/pods/a");
    let listed = format!("unable to transform key {key:?}: {why}");
    assert_eq!(store.get(key, None).await.unwrap_err().to_string(), why);
    assert_eq!(store.range("/registry/pods/", None, 0, None).await.unwrap_err().to_string(), listed);
    // It is there all the same, and can be removed by who knows its revision.
    assert!(matches!(store.put(key, Bytes::new(), 0).await, Ok(WriteOutcome::Conflict(None))));
    let mut watch = store.watch("/registry/", good - 1).await.unwrap();
    assert_eq!(watch.next().await.unwrap().unwrap_err().to_string(), listed);
    assert!(watch.next().await.is_none());
    delete(&*store, key, good).await;
    let mut watch = store.watch("/registry/", good).await.unwrap();
    assert!(matches!(watch.next().await, Some(Ok(Event::Delete { previous: None, .. }))));
}

fn extract(kv: &KeyValue) -> anyhow::Result<Indexed> {
    let bytes = splice::stamp(&kv.value, kv.mod_revision).ok_or_else(|| anyhow::anyhow!("no metadata"))?;
    let name = kv.key.rsplit('/').next().unwrap_or_default().into();
    Ok(Indexed { namespace: "".into(), name, labels: Vec::new(), fields: Vec::new(), bytes })
}

fn all(at: At, prefix: &str) -> ListQuery<'_> {
    ListQuery { at, prefix, start: None, limit: 0, filter: None }
}

#[tokio::test]
async fn a_cache_is_not_filled_with_a_part() {
    const OBJECT: &str = r#"{"metadata":{}}"#;
    let dir = tempfile::tempdir().unwrap();
    let keys = Keys::new(&[1]);
    let (_, store) = stores(&dir, &keys);
    put(&*store, "/registry/pods/a/bad", OBJECT, 0).await;
    keys.set(&[2]);
    put(&*store, "/registry/pods/b/good", OBJECT, 0).await;
    let cache = WatchCache::new(store.clone(), "/registry/pods/", extract);
    // A list of what is newest, and single objects, are the store's.
    let listed = cache.list(all(At::Latest, "/registry/pods/")).await.unwrap_err().to_string();
    assert_eq!(listed, "unable to transform key \"/registry/pods/a/bad\": no matching prefix found");
    assert_eq!(cache.list(all(At::Latest, "/registry/pods/b/")).await.unwrap().items.len(), 1);
    assert!(cache.get("/registry/pods/b/good", At::NotOlderThan(0)).await.unwrap().0.is_some());
    assert!(cache.get("/registry/pods/a/bad", At::NotOlderThan(0)).await.is_err());
    // What only a cache can say is not said, and at once.
    let of_cache = cache.list(all(At::NotOlderThan(0), "/registry/pods/b/")).await;
    assert!(matches!(&of_cache, Err(CacheError::Unreadable(why)) if **why == listed), "{of_cache:?}");
    assert!(matches!(cache.watch(0).await, Err(CacheError::Unreadable(_))));
    // With the keys it fills by itself.
    keys.set(&[2, 1]);
    tokio::time::timeout(Duration::from_secs(10), cache.filled()).await.expect("a filled cache");
    assert_eq!(cache.list(all(At::NotOlderThan(0), "/registry/pods/")).await.unwrap().items.len(), 2);
}
