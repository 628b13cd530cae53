//! The store as the writing verbs see it: load a value, write it if nobody else did.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use store::{StoreError, WriteOutcome, splice};

use super::{conversion, object};
use crate::app::{App, Call};
use crate::audit::parts::{self, Part};
use crate::http::answer::to_json;
use crate::http::status::{ApiError, ApiResult};

/// So often a write that lost a race is computed anew before the client is told of the conflict. Upstream never tells; who
/// loses so often has met more writers than may be in flight.
pub const ATTEMPTS: usize = 1024;

/// An object as it stands in the store, in the version of the call's resource, with its resourceVersion.
pub struct Loaded {
    pub value: Value,
    pub revision: i64,
    /// It is stored as it would be today; if not, a write that changes nothing has something to do.
    pub current: bool,
}

/// An object as it was written, in the version of the call's resource, with its resourceVersion.
pub struct Written {
    pub value: Value,
    /// The same as JSON, the very bytes that a reader gets; `None` where that is not what was stored.
    pub json: Option<Bytes>,
}

impl From<Value> for Written {
    fn from(value: Value) -> Self {
        Self { value, json: None }
    }
}

/// Loads the call's object, `None` when it does not exist.
pub async fn load(call: &Call, key: &str) -> ApiResult<Option<Loaded>> {
    let (found, _) = call.app.store.get(key, None).await?;
    let Some(kv) = found else { return Ok(None) };
    let mut value: Value =
        parts::timed(Part::Decode, || serde_json::from_slice(&kv.value)).map_err(ApiError::internal)?;
    let resource = &call.resource;
    let current = !kv.stale && value["apiVersion"] == resource.storage_api_version.as_str();
    if !resource.stored_as_served {
        conversion::prune_stored(resource, &mut value);
    }
    let mut value = conversion::convert(&call.app, resource, value, &resource.api_version()).await?;
    conversion::settle(resource, &mut value);
    object::set(&mut value, "resourceVersion", kv.mod_revision.to_string().into());
    Ok(Some(Loaded { value, revision: kv.mod_revision, current }))
}

/// What becomes of an object's managers that make it too large to be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Managers {
    /// The write fails: it is about them.
    Kept,
    /// They go (upstream's `isTooLargeError` in its handlers of writes).
    Dropped,
}

/// Writes `value` over `revision` (0: it must not exist). `None`: somebody was faster.
pub async fn commit(call: &Call, key: &str, value: Value, revision: i64) -> ApiResult<Option<Written>> {
    commit_with(call, key, value, revision, Managers::Kept).await
}

/// The same, with a word on `managers` that do not fit.
pub async fn commit_with(
    call: &Call,
    key: &str,
    mut value: Value,
    revision: i64,
    managers: Managers,
) -> ApiResult<Option<Written>> {
    let said = value["metadata"]["resourceVersion"].take();
    object::set(&mut value, "resourceVersion", Value::Null);
    if call.resource.is_custom()
        && let Some(schema) = call.resource.schema()
        && value["apiVersion"] == call.resource.storage_api_version.as_str()
    {
        // What a plugin has said that the schema does not know.
        schema::prune(&schema, &mut value);
    }
    if call.dry_run() {
        if let Some(stored) = stored(call, &value).await? {
            value = back(call, stored).await?;
        }
        if revision != 0 {
            object::set(&mut value, "resourceVersion", revision.to_string().into());
        } else if call.app.store.get(key, None).await?.0.is_some() {
            return Ok(None);
        } else {
            object::set(&mut value, "resourceVersion", said);
        }
        return Ok(Some(value.into()));
    }
    let mut stored = stored(call, &value).await?;
    let mut bytes = to_json(stored.as_ref().unwrap_or(&value));
    let mut written = put(call, key, &bytes, revision).await;
    if managers == Managers::Dropped && matches!(written, Err(StoreError::TooLarge { .. })) {
        for version in [Some(&mut value), stored.as_mut()].into_iter().flatten() {
            object::set(version, "managedFields", Value::Null);
        }
        bytes = to_json(stored.as_ref().unwrap_or(&value));
        written = put(call, key, &bytes, revision).await;
    }
    match written? {
        WriteOutcome::Done(revision) => {
            let json = if stored.is_none() { splice::stamp(&bytes, revision) } else { None };
            if let Some(stored) = stored {
                value = back(call, stored).await?;
            }
            object::set(&mut value, "resourceVersion", revision.to_string().into());
            Ok(Some(Written { value, json }))
        }
        WriteOutcome::Conflict(_) => Ok(None),
    }
}

async fn put(call: &Call, key: &str, bytes: &Bytes, revision: i64) -> Result<WriteOutcome, StoreError> {
    match life(call) {
        Some(life) => call.app.store.put_for(key, bytes.clone(), revision, life).await,
        None => call.app.store.put(key, bytes.clone(), revision).await,
    }
}

/// How long an object is kept that nobody deletes: Events end by themselves (`--event-ttl`).
fn life(call: &Call) -> Option<Duration> {
    let event = call.resource.plural == "events" && matches!(call.resource.group.as_str(), "" | "events.k8s.io");
    let life = call.app.options.event_ttl;
    (event && !life.is_zero()).then_some(life)
}

/// Removes the key if it is still at `revision`; the deletion's revision, or `None`: somebody was faster.
pub async fn remove(call: &Call, key: &str, revision: i64) -> ApiResult<Option<i64>> {
    if call.dry_run() {
        return Ok(Some(revision));
    }
    match call.app.store.delete(key, revision).await? {
        WriteOutcome::Done(revision) => Ok(Some(revision)),
        WriteOutcome::Conflict(_) => Ok(None),
    }
}

/// The storage version of `value`, `None` where it is one already. `value` has no resourceVersion.
async fn stored(call: &Call, value: &Value) -> ApiResult<Option<Value>> {
    let to = &call.resource.storage_api_version;
    if value["apiVersion"] == to.as_str() {
        return Ok(None);
    }
    conversion::convert(&call.app, &call.resource, value.clone(), to).await.map(Some)
}

/// What was written is what a reader would get, which only the stored version and who converts it know.
async fn back(call: &Call, mut stored: Value) -> ApiResult<Value> {
    conversion::prune_stored(&call.resource, &mut stored);
    let version = call.resource.api_version();
    let mut value = conversion::convert(&call.app, &call.resource, stored, &version).await?;
    conversion::settle(&call.resource, &mut value);
    Ok(value)
}

/// An object of a kind of the core group as the store has it now, for what a cache may not have heard of yet.
pub async fn live(app: &App, plural: &str, namespace: &str, name: &str) -> ApiResult<Option<Value>> {
    live_in(app, "", plural, namespace, name).await
}

/// The same of any built-in kind.
pub async fn live_in(app: &App, group: &str, plural: &str, namespace: &str, name: &str) -> ApiResult<Option<Value>> {
    let resource = app.resource(group, plural)?;
    let (found, _) = app.store.get(&resource.key(namespace, name), None).await?;
    found.map(|kv| serde_json::from_slice(&kv.value).map_err(ApiError::internal)).transpose()
}

/// Whether a namespace exists and is not going away, as the cache knows it; `None` when it does not exist.
pub async fn namespace(app: &App, name: &str) -> ApiResult<Option<Value>> {
    let resource = app.resource("", "namespaces")?;
    let cached = app.caches.peek(&resource, "", name).await?;
    if let Some(object) = cached {
        return crate::http::answer::value_of(&resource, &object).map(Some);
    }
    // It may have been made a moment ago: the store decides.
    live(app, "namespaces", "", name).await
}
