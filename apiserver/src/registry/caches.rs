//! The watch caches, one a store prefix, made when a kind is first used so that an idle server stays small.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use parking_lot::Mutex;
use serde_json::Value;
use store::cache::{At, Indexed, Limits, Object, Past, WatchCache};
use store::{KeyValue, Revision, Store, splice};

use super::pick::Pick;
use super::resource::{Resource, Source};
use crate::http::status::ApiResult;

type Reader = Box<dyn Fn(&Value) -> String + Send + Sync>;

pub struct Caches {
    store: Arc<dyn Store>,
    /// Where the store was when the server began: upstream fills its caches then.
    begin: Revision,
    by_prefix: Mutex<HashMap<String, WatchCache>>,
}

/// What a cache looks at in the objects of a resource, and how it reads each selectable field.
struct Index {
    pick: Pick,
    fields: Vec<(Arc<str>, Reader)>,
}

impl Caches {
    pub fn new(store: Arc<dyn Store>, begin: Revision) -> Self {
        Self { store, begin, by_prefix: Mutex::default() }
    }

    /// The cache of a resource's objects.
    pub fn of(&self, resource: &Resource) -> WatchCache {
        let mut caches = self.by_prefix.lock();
        if let Some(cache) = caches.get(&resource.prefix) {
            return cache.clone();
        }
        let index = Index::new(resource);
        let past = match &resource.source {
            // Upstream has watch caches for all kinds but Events.
            Source::BuiltIn(kind) if kind.registry == "events" => Past::Store,
            _ => Past::Since(self.begin),
        };
        let limits = Limits { past, ..Limits::default() };
        let extract = move |kv: &KeyValue| index.extract(kv);
        let cache = WatchCache::with_limits(self.store.clone(), &resource.prefix, extract, limits);
        caches.insert(resource.prefix.clone(), cache.clone());
        cache
    }

    /// Ends the cache of a resource that is no longer served, or whose selectable fields have changed.
    pub fn forget(&self, prefix: &str) {
        self.by_prefix.lock().remove(prefix);
    }

    /// One object as the cache has it, however old; what admission and authorization look at.
    pub async fn peek(&self, resource: &Resource, namespace: &str, name: &str) -> ApiResult<Option<Arc<Object>>> {
        Ok(self.of(resource).get(&resource.key(namespace, name), At::NotOlderThan(0)).await?.0)
    }

    /// The number of objects of a prefix and their bytes; `None` where nobody has read them yet.
    pub fn size(&self, prefix: &str) -> Option<(usize, usize)> {
        self.by_prefix.lock().get(prefix).map(WatchCache::size)
    }

    /// Whether objects of some kind that somebody has asked for cannot be decrypted.
    pub fn unreadable(&self) -> bool {
        self.by_prefix.lock().values().any(WatchCache::unreadable)
    }

    /// For metrics: prefix and number of objects.
    pub fn sizes(&self) -> Vec<(String, usize)> {
        self.by_prefix.lock().iter().map(|(prefix, cache)| (prefix.clone(), cache.len())).collect()
    }
}

/// What stands at a path, as field selectors compare it; empty where nothing does.
pub fn text_at<'a>(object: &Value, mut path: impl Iterator<Item = &'a str>) -> String {
    match path.try_fold(object, |value, step| value.get(step)) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

impl Index {
    fn new(resource: &Resource) -> Self {
        const ALWAYS: [&str; 3] = ["metadata.name", "metadata.namespace", "metadata.labels"];
        let (paths, fields): (Vec<&str>, _) = match &resource.source {
            Source::BuiltIn(kind) => {
                // Kinds that are stored in one place (both groups' Events) share a cache: it reads the fields of each.
                let kinds = || crate::kinds::all().iter().filter(|other| other.registry == kind.registry);
                let mut fields: Vec<_> = kinds().flat_map(|kind| kind.fields).collect();
                fields.sort_by_key(|(name, _)| *name);
                fields.dedup_by_key(|(name, _)| *name);
                let readers = fields.into_iter().map(|&(name, read)| (Arc::from(name), Box::new(read) as Reader));
                (kinds().flat_map(crate::kinds::Kind::fields_paths).collect(), readers.collect())
            }
            Source::Custom(custom) => {
                let mut names: Vec<&str> =
                    custom.versions.iter().flat_map(|v| &v.selectable).map(String::as_str).collect();
                names.sort_unstable();
                names.dedup();
                let reader = |name: &&str| {
                    let path: Vec<String> = name.split('.').map(str::to_owned).collect();
                    let read = move |object: &Value| text_at(object, path.iter().map(String::as_str));
                    (Arc::from(*name), Box::new(read) as Reader)
                };
                let readers = names.iter().map(reader).collect();
                (names, readers)
            }
        };
        Self { pick: Pick::only(ALWAYS.into_iter().chain(paths).map(|path| path.split('.'))), fields }
    }

    fn extract(&self, kv: &KeyValue) -> anyhow::Result<Indexed> {
        let object = self.pick.read(&kv.value)?;
        let metadata = object["metadata"].as_object().context("the stored value is no object")?;
        let text = |name: &str| metadata.get(name).and_then(Value::as_str).unwrap_or_default().into();
        let labels = metadata.get("labels").and_then(Value::as_object).into_iter().flatten();
        let field = |(name, read): &(Arc<str>, Reader)| (name.clone(), read(&object).into_boxed_str());
        Ok(Indexed {
            namespace: text("namespace"),
            name: text("name"),
            labels: labels
                .map(|(name, value)| (name.as_str().into(), value.as_str().unwrap_or_default().into()))
                .collect(),
            fields: self.fields.iter().map(field).filter(|(_, value)| !value.is_empty()).collect(),
            bytes: splice::stamp(&kv.value, kv.mod_revision).context("the stored object has no metadata")?,
        })
    }
}
