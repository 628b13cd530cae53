//! Values encrypted below those who ask: the contract, what is stored, and what is told of values that cannot be read.

mod contract;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use contract::{delete, put};
use futures::StreamExt;
use knetsim_store::cache::{At, CacheError, Indexed, ListQuery, WatchCache};
use knetsim_store::embedded::{Embedded, Options};
use knetsim_store::encrypt::{AtRest, Direction, Encrypted, Entry, Failure, Gcm, Plain, Transformer, Witness};
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
