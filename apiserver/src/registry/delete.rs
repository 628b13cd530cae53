//! DELETE and DELETECOLLECTION: preconditions, graceful deletion, finalizers, propagation.

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use schema::field::{Error, Path};
use serde_json::{Map, Value, json};
use store::cache::{At, List, ListQuery};

use super::selection::Selection;
use super::write::{ATTEMPTS, Written, commit, load, remove};
use super::{body, hooks, object};
use crate::admission::{self, Attributes};
use crate::app::{Call, text};
use crate::http::request_info::Query;
use crate::http::status::{ApiError, ApiResult};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// `meta/v1 DeleteOptions`
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub revision: Option<String>,
    pub propagation: Option<String>,
    pub dry_run: bool,
}

impl Options {
    /// From the body where there is one, else from the query.
    ///
    /// # Errors
    /// 400 for a body that is no DeleteOptions, 422 for unknown words.
    pub fn parse(call: &Call, media: &str, bytes: &[u8]) -> ApiResult<Self> {
        let mut this = Self::from_query(&call.query);
        if !bytes.is_empty() {
            let version = |value: &Value| text(value, "/apiVersion").to_owned();
            let mut value = match media {
                "application/vnd.kubernetes.protobuf" => {
                    schema::protobuf::decode(bytes).map_err(|e| ApiError::bad_request(e.to_string()))?.2
                }
                "application/yaml" => {
                    schema::decode::yaml(bytes, None, schema::FieldValidation::Ignore)
                        .map_err(|e| ApiError::bad_request(e.to_string()))?
                        .value
                }
                "" | "application/json" => serde_json::from_slice(bytes)
                    .map_err(|e| ApiError::bad_request(format!("couldn't get version/kind; json parse error: {e}")))?,
                _ => {
                    return Err(ApiError::unsupported_media(
                        "application/json, application/yaml, application/vnd.kubernetes.protobuf",
                    ));
                }
            };
            // DeleteOptions is registered in every group.
            let have = version(&value);
            body::identify(&mut value, if have.is_empty() { "v1" } else { &have }, "DeleteOptions")?;
            this.merge(&value);
        }
        if this.dry_run {
            call.only_try();
        }
        this.check()
    }

    fn from_query(query: &Query) -> Self {
        let orphan = query
            .text("orphanDependents")
            .map(|_| if query.flag("orphanDependents") { "Orphan" } else { "Background" });
        Self {
            grace: query.number("gracePeriodSeconds"),
            propagation: query.text("propagationPolicy").or(orphan).map(str::to_owned),
            ..Self::default()
        }
    }

    /// Takes over what a DeleteOptions says.
    pub fn merge(&mut self, value: &Value) {
        self.dry_run |= value["dryRun"].as_array().is_some_and(|list| list.iter().any(|word| word == "All"));
        self.grace = value["gracePeriodSeconds"].as_i64().or(self.grace);
        let words = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        self.uid = words("/preconditions/uid");
        self.revision = words("/preconditions/resourceVersion");
        let orphan =
            value["orphanDependents"].as_bool().map(|yes| if yes { "Orphan" } else { "Background" }.to_owned());
        self.propagation = words("/propagationPolicy").or(orphan).or(self.propagation.take());
    }

    /// As admission sees it.
    fn to_value(&self, dry_run: bool) -> Value {
        let mut value = json!({ "kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1" });
        let mut put = |field: &str, what: Value| {
            if !what.is_null() {
                value[field] = what;
            }
        };
        put("gracePeriodSeconds", json!(self.grace));
        put("propagationPolicy", json!(self.propagation));
        let preconditions = json!({ "uid": self.uid, "resourceVersion": self.revision });
        let given = preconditions.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
        let given: Map<String, Value> = given.map(|(field, value)| (field.clone(), value.clone())).collect();
        put("preconditions", if given.is_empty() { Value::Null } else { Value::Object(given) });
        put("dryRun", if dry_run { json!(["All"]) } else { Value::Null });
        value
    }

    fn check(self) -> ApiResult<Self> {
        if let Some(policy) = &self.propagation
            && !matches!(policy.as_str(), "Foreground" | "Background" | "Orphan")
        {
            let supported = ["Foreground", "Background", "Orphan", "nil"];
            let error = Error::not_supported(&Path::new("propagationPolicy"), policy.as_str(), &supported);
            return Err(ApiError::invalid("meta.k8s.io", "DeleteOptions", "", &vec![error]));
        }
        Ok(self)
    }
}

/// What is answered to a DELETE.
pub enum Deleted {
    /// Gone: a Status of success.
    Gone(Value),
    /// Still there (grace period, finalizers), or a kind that answers with the object.
    Object(Value),
}

/// Deletes the call's object.
pub async fn delete(call: &Call, options: &Options) -> ApiResult<Deleted> {
    let name = call.info.name.clone();
    let key = call.resource.key(&call.info.namespace, &name);
    for _ in 0..ATTEMPTS {
        let live = load(call, &key).await?.ok_or_else(|| call.not_found(&name))?;
        preconditions(call, &name, options, &live.value)?;
        // An eviction is a deletion that has been judged already.
        if call.info.subresource.is_empty() {
            let attributes = Attributes::delete(call, &live.value, options.to_value(call.dry_run()));
            admission::admit(&attributes, &mut Value::Null).await?;
        }
        match doomed(call, &live.value, options) {
            Fate::Unchanged => return Ok(Deleted::Object(live.value)),
            Fate::Marked(marked) => {
                if let Some(Written { value, .. }) = commit(call, &key, marked, live.revision).await? {
                    hooks::after_update(call, &value, &live.value).await?;
                    return Ok(Deleted::Object(value));
                }
            }
            Fate::Gone => {
                if let Some(revision) = remove(call, &key, live.revision).await? {
                    let mut value = live.value;
                    if !call.dry_run() {
                        object::set(&mut value, "resourceVersion", revision.to_string().into());
                        hooks::after_delete(call, &value).await?;
                    }
                    return Ok(if returns_object(call) {
                        Deleted::Object(value)
                    } else {
                        Deleted::Gone(success(call, &value))
                    });
                }
            }
        }
    }
    Err(call.modified(&name))
}

/// Kinds whose storage answers a deletion with the object (upstream's `ReturnDeletedObject`).
fn returns_object(call: &Call) -> bool {
    call.resource.group.is_empty()
        && matches!(
            call.resource.plural.as_str(),
            "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
        )
}

fn success(call: &Call, object: &Value) -> Value {
    let mut details = json!({ "name": text(object, "/metadata/name"), "kind": call.resource.plural, "uid": text(object, "/metadata/uid") });
    if !call.resource.group.is_empty() {
        details["group"] = call.resource.group.clone().into();
    }
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details })
}

/// Whether the options are about this very object.
///
/// # Errors
/// 409 when they are not.
pub fn preconditions(call: &Call, name: &str, options: &Options, live: &Value) -> ApiResult<()> {
    let conflict = |what: &str, wanted: &str, have: &str| {
        let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {have}");
        ApiError::conflict(&call.resource.group, &call.resource.plural, name, &why)
    };
    let (uid, revision) = (text(live, "/metadata/uid"), text(live, "/metadata/resourceVersion"));
    match (&options.uid, &options.revision) {
        (Some(wanted), _) if wanted != uid => Err(conflict("UID", wanted, uid)),
        (_, Some(wanted)) if wanted != revision => Err(conflict("ResourceVersion", wanted, revision)),
        _ => Ok(()),
    }
}

enum Fate {
    Unchanged,
    Marked(Value),
    Gone,
}

/// What a deletion does to an object.
fn doomed(call: &Call, live: &Value, options: &Options) -> Fate {
    let mut object = live.clone();
    let deleting = object::is_deleting(live);
    let finalizers = finalizers(call, live, options);
    let changed = finalizers != object::finalizers(live);
    if changed {
        object::set(&mut object, "finalizers", if finalizers.is_empty() { Value::Null } else { json!(finalizers) });
    }
    let grace = grace(call, live, options);
    if deleting {
        let before = live["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
        // The time left can only be shortened.
        let shorter = grace < before && (options.grace.is_some() || grace == 0);
        if shorter && (grace > 0 || !object::may_vanish(&object)) {
            mark(&mut object, grace, true);
            return Fate::Marked(object);
        }
        return match () {
            () if (before == 0 || shorter) && object::may_vanish(&object) => Fate::Gone,
            () if changed => Fate::Marked(object),
            () => Fate::Unchanged,
        };
    }
    if grace == 0 && object::may_vanish(&object) {
        return Fate::Gone;
    }
    mark(&mut object, grace, false);
    if call.resource.is("", "namespaces") {
        object["status"]["phase"] = "Terminating".into();
    }
    Fate::Marked(object)
}

/// Sets the deletion time; `again`: it is moved to an earlier moment.
fn mark(object: &mut Value, grace: i64, again: bool) {
    let now = Timestamp::now();
    let before = text(object, "/metadata/deletionTimestamp").parse::<Timestamp>().ok();
    let length = object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0);
    // An earlier deletion began at its deletionTimestamp less its grace period.
    let began = if again { before.and_then(|at| at.checked_sub(SignedDuration::from_secs(length)).ok()) } else { None };
    let at = began.unwrap_or(now).checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    object::set(object, "deletionTimestamp", object::stamp(at).into());
    object::set(object, "deletionGracePeriodSeconds", grace.into());
    if let Some(generation) = object["metadata"]["generation"].as_i64().filter(|_| !again) {
        object::set(object, "generation", (generation + 1).into());
    }
}

/// Seconds of grace: only pods have any, and only those that a kubelet may be running.
fn grace(call: &Call, live: &Value, options: &Options) -> i64 {
    if !call.resource.strategy.graceful {
        return 0;
    }
    let finished = matches!(text(live, "/status/phase"), "Succeeded" | "Failed");
    if text(live, "/spec/nodeName").is_empty() || finished {
        return 0;
    }
    let own = live["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    // A negative period is one second, upstream's rule.
    match options.grace.unwrap_or(own) {
        seconds if seconds < 0 => 1,
        seconds => seconds,
    }
}

/// The finalizers that the propagation policy asks for.
fn finalizers(call: &Call, live: &Value, options: &Options) -> Vec<String> {
    let mut list = object::finalizers(live);
    // These kinds orphan by default, for the sake of old clients.
    let orphans = call.resource.is("batch", "jobs") || call.resource.is("", "replicationcontrollers");
    let kept = |name: &str| list.iter().any(|f| f == name);
    let policy = match options.propagation.as_deref() {
        Some(policy) => policy,
        None if kept(ORPHAN) => "Orphan",
        None if kept(FOREGROUND) => "Foreground",
        None if orphans => "Orphan",
        None => "Background",
    };
    list.retain(|name| name != ORPHAN && name != FOREGROUND);
    match policy {
        "Orphan" => list.push(ORPHAN.to_owned()),
        "Foreground" => list.push(FOREGROUND.to_owned()),
        _ => {}
    }
    list
}

/// So many objects of a collection are deleted at once: the store commits together what comes together. (Upstream:
/// `--delete-collection-workers`.)
const AT_ONCE: usize = 16;

/// Deletes all that the selectors choose; what was deleted, as it was.
pub async fn collection(call: &Call, options: &Options) -> ApiResult<List> {
    let resource = &call.resource;
    let selection = Selection::parse(resource, &call.query)?;
    let filter = |object: &store::cache::Object| selection.matches(object);
    let prefix = resource.range(&call.info.namespace);
    let query = ListQuery { at: At::Latest, prefix: &prefix, start: None, limit: 0, filter: Some(&filter) };
    let mut list = call.app.caches.of(resource).list(query).await?;
    list.items = selection.converted(&call.app, resource, list.items).await?;
    let delete_one = |item: std::sync::Arc<store::cache::Object>| async move {
        let one = call.about(item.namespace(), item.name());
        let deleted = delete(&one, options).await;
        one.take_warnings().into_iter().for_each(|warning| call.warn(warning));
        match deleted {
            Ok(_) => Ok(Some(item)),
            // Somebody else deleted it first.
            Err(error) if error.code == 404 => Ok(None),
            Err(error) => Err(error),
        }
    };
    let deleted = futures::stream::iter(std::mem::take(&mut list.items)).map(delete_one).buffered(AT_ONCE);
    list.items = deleted.try_filter_map(|item| std::future::ready(Ok(item))).try_collect().await?;
    Ok(list)
}
