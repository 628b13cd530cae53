//! DELETE and DELETECOLLECTION: preconditions, graceful deletion, finalizers, propagation.

use futures::{StreamExt, TryStreamExt};
use jiff::{SignedDuration, Timestamp};
use schema::decode;
use schema::field::{Error, ErrorList, Path};
use schema::{FieldValidation, Schema};
use serde_json::{Value, json};
use store::cache::{List, ListQuery};

use super::write::{ATTEMPTS, Written, commit, load, remove};
use super::{body, hooks, object, options, read};
use crate::admission::{self, Attributes};
use crate::app::{Call, text};
use crate::crd;
use crate::http::request_info::Query;
use crate::http::status::{ApiError, ApiResult};

const ORPHAN: &str = "orphan";
const FOREGROUND: &str = "foregroundDeletion";

/// Who deletes a job without a word about its pods may not expect them to stay.
const PODS_STAY: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove \
    them or set propagationPolicy=Orphan to suppress this warning";

/// `meta/v1 DeleteOptions`
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub grace: Option<i64>,
    pub uid: Option<String>,
    pub revision: Option<String>,
    pub propagation: Option<String>,
    pub dry_run: bool,
    /// All that was said.
    given: Value,
}

impl Options {
    /// From the body where there is one, else from the query.
    ///
    /// # Errors
    /// 400 for a body that is no DeleteOptions, 422 for unknown words and what does not go together.
    pub fn parse(call: &Call, media: &str, bytes: &[u8]) -> ApiResult<Self> {
        let given = if bytes.is_empty() {
            from_query(&call.query)?
        } else {
            let given = from_body(media, bytes);
            if let Some(trail) = &call.trail {
                trail.object(given.as_ref().ok(), logged);
            }
            given?
        };
        let this = Self::read(&given);
        this.check()?;
        if this.dry_run {
            call.only_try();
        }
        Ok(this)
    }

    /// Reads a DeleteOptions, right or wrong.
    #[must_use]
    pub fn read(value: &Value) -> Self {
        let words = |pointer: &str| value.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let orphan = value["orphanDependents"].as_bool();
        let propagation = words("/propagationPolicy");
        Self {
            grace: value["gracePeriodSeconds"].as_i64(),
            uid: words("/preconditions/uid"),
            revision: words("/preconditions/resourceVersion"),
            propagation: propagation.or_else(|| orphan.map(|yes| if yes { "Orphan" } else { "Background" }.to_owned())),
            dry_run: !dry_run(value).is_empty(),
            given: value.clone(),
        }
    }

    /// # Errors
    /// 422 for unknown words and what does not go together.
    pub fn check(&self) -> ApiResult<()> {
        let mut errors = ErrorList::new();
        if let Some(policy) = self.given["propagationPolicy"].as_str() {
            let at = Path::new("propagationPolicy");
            if self.given["orphanDependents"].is_boolean() {
                let detail = "orphanDependents and deletionPropagation cannot be both set";
                errors.push(Error::invalid(&at, policy, detail));
            }
            if !matches!(policy, "Foreground" | "Background" | "Orphan") {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                errors.push(Error::not_supported(&at, policy, &supported));
            }
        }
        options::dry_run(&mut errors, &dry_run(&self.given));
        options::invalid("DeleteOptions", errors)
    }

    /// Whether dependents are to go, said in the older way, whose askers are told with a code that it takes a while.
    #[must_use]
    pub fn cascades(&self) -> bool {
        self.given["orphanDependents"] == false
    }

    /// As admission sees them: with the grace of what ends gracefully, and a namespace's identity.
    fn shown(&self, call: &Call, live: &Value) -> Value {
        let mut shown = self.given.as_object().cloned().unwrap_or_default();
        shown.retain(|_, value| !value.is_null());
        shown.insert("kind".to_owned(), "DeleteOptions".into());
        shown.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
        if call.resource.strategy.graceful && !object::is_deleting(live) {
            shown.insert("gracePeriodSeconds".to_owned(), grace(call, live, self).into());
        }
        if call.resource.is("", "namespaces") {
            let preconditions = shown.entry("preconditions").or_insert_with(|| json!({}));
            preconditions["uid"] = live["metadata"]["uid"].clone();
        }
        Value::Object(shown)
    }
}

fn dry_run(options: &Value) -> Vec<&str> {
    options["dryRun"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// As the audit log has those of a body: in the version that upstream has inside.
fn logged(given: &Value) -> Value {
    let mut given = given.clone();
    body::set_kind(&mut given, "meta.k8s.io/__internal", "DeleteOptions");
    given
}

/// The DeleteOptions of a query.
fn from_query(query: &Query) -> ApiResult<Value> {
    let mut value = json!({});
    if let Some(grace) = query.number("gracePeriodSeconds")? {
        value["gracePeriodSeconds"] = grace.into();
    }
    if query.get("orphanDependents").is_some() {
        value["orphanDependents"] = query.flag("orphanDependents").into();
    }
    if let Some(policy) = query.get("propagationPolicy") {
        value["propagationPolicy"] = policy.into();
    }
    let dry_run: Vec<&str> = query.all("dryRun").collect();
    if !dry_run.is_empty() {
        value["dryRun"] = json!(dry_run);
    }
    Ok(value)
}

/// The DeleteOptions of a body; they may be of any group and version.
fn from_body(media: &str, bytes: &[u8]) -> ApiResult<Value> {
    const SCHEME: &str = "k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme/register.go:27";
    let bad = |text: String| ApiError::bad_request(text);
    let decoded = |schema: Option<&Schema>| match media {
        "" | "application/json" => Ok(decode::json(bytes, schema, FieldValidation::Ignore)),
        "application/yaml" => Ok(decode::yaml(bytes, schema, FieldValidation::Ignore)),
        "application/vnd.kubernetes.protobuf" => {
            let unsaid = ("meta.k8s.io/v1", "DeleteOptions");
            let (version, kind, mut value) =
                schema::protobuf::decode_as(bytes, unsaid).map_err(|error| bad(error.to_string()))?;
            body::set_kind(&mut value, &version, &kind);
            Ok(Ok(decode::Decoded { value, warnings: Vec::new() }))
        }
        _ => Err(ApiError::unsupported_media(body::MEDIA)),
    };
    // What it is comes before what is in it.
    let plain =
        decoded(None)?.map_err(|error| bad(format!("couldn't get version/kind; json parse error: {error}")))?.value;
    let (version, kind) = decode::interpret(&plain).map_err(bad)?;
    if !matches!(kind, "" | "DeleteOptions") {
        let version = if version.is_empty() { "meta.k8s.io/v1" } else { version };
        return Err(bad(format!("no kind {kind:?} is registered for version {version:?} in scheme {SCHEME:?}")));
    }
    if plain.is_null() {
        return Ok(json!({}));
    }
    let schema = schema::builtin("meta.k8s.io/v1", "DeleteOptions");
    Ok(decoded(schema.as_ref())?.map_err(|error| bad(error.to_string()))?.value)
}

/// What is answered to a DELETE.
pub enum Deleted {
    /// Gone: a Status of success.
    Gone(Value),
    /// Gone, of a kind that answers with the object as it was last.
    Last(Value),
    /// Still there (grace period, finalizers).
    Pending(Value),
}

/// Deletes the call's object.
pub async fn delete(call: &Call, options: &Options) -> ApiResult<Deleted> {
    if call.resource.is("batch", "jobs") && options.propagation.is_none() {
        call.warn(PODS_STAY);
    }
    let name = call.info.name.clone();
    let key = call.resource.key(&call.info.namespace, &name);
    for _ in 0..ATTEMPTS {
        let live = load(call, &key).await?.ok_or_else(|| call.not_found(&name))?;
        preconditions(call, &name, options, &live.value)?;
        let fate = doomed(call, &live.value, options);
        // What is ending already ends as it was told to.
        let pending = call.resource.strategy.graceful && matches!(fate, Fate::Unchanged);
        // An eviction is a deletion that has been judged already.
        if call.info.subresource.is_empty() && !pending {
            let attributes = Attributes::delete(call, &live.value, options.shown(call, &live.value));
            admission::admit(&attributes, &mut Value::Null).await?;
        }
        match fate {
            Fate::Unchanged => return Ok(Deleted::Pending(live.value)),
            Fate::Marked(marked) => {
                if let Some(Written { value, .. }) = commit(call, &key, marked, live.revision).await? {
                    hooks::after_update(call, &value, &live.value).await?;
                    return Ok(Deleted::Pending(value));
                }
            }
            Fate::Gone => {
                if let Some(revision) = remove(call, &key, live.revision).await? {
                    let mut value = live.value;
                    if call.resource.strategy.graceful {
                        // Such kinds are marked first, even where nobody is waited for.
                        let again = object::is_deleting(&value);
                        mark(&mut value, 0, again);
                    }
                    if !call.dry_run() {
                        object::set(&mut value, "resourceVersion", revision.to_string().into());
                        hooks::after_delete(call, &value).await?;
                    }
                    return Ok(if returns_object(call) {
                        Deleted::Last(value)
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
    let plural = call.resource.plural.as_str();
    match call.resource.group.as_str() {
        "" => matches!(
            plural,
            "namespaces"
                | "pods"
                | "services"
                | "serviceaccounts"
                | "persistentvolumes"
                | "persistentvolumeclaims"
                | "podtemplates"
                | "resourcequotas"
        ),
        "resource.k8s.io" => true,
        "storage.k8s.io" => plural != "csistoragecapacities",
        _ => false,
    }
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
    let conflict = |what: &str, wanted: &str, have: &str, then: &str| {
        if call.resource.is("", "namespaces") {
            // It is their own deletion that looks at them.
            let why = format!("Precondition failed: {what} in precondition: {wanted}, {what} in object meta: {have}");
            return ApiError::conflict("", &call.resource.plural, name, &why);
        }
        let why = format!(
            "the {what} in the precondition ({wanted}) does not match the {what} in record ({have}). The object might have been \
             {then}"
        );
        // Upstream names the kind here.
        ApiError::conflict(&call.resource.group, &call.resource.kind, name, &why)
    };
    let (uid, revision) = (text(live, "/metadata/uid"), text(live, "/metadata/resourceVersion"));
    match (&options.uid, &options.revision) {
        (Some(wanted), _) if wanted != uid => Err(conflict("UID", wanted, uid, "deleted and then recreated")),
        (_, Some(wanted)) if wanted != revision => Err(conflict("ResourceVersion", wanted, revision, "modified")),
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
    if !deleting && call.resource.is(crd::GROUP, crd::PLURAL) {
        crd::terminate(&mut object);
        return Fate::Marked(object);
    }
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
        // Their own way of deletion knows no grace.
        object::set(&mut object, "deletionGracePeriodSeconds", Value::Null);
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
    let (selection, at, start, limit) = read::page(call)?;
    let filter = |object: &store::cache::Object| selection.matches(object);
    let prefix = resource.range(&call.info.namespace);
    let query = ListQuery { at, prefix: &prefix, start: start.as_deref(), limit, filter: Some(&filter) };
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
