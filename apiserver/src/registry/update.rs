//! UPDATE and PATCH, of objects and of their `status` and `scale`: one loop that loads, changes, admits, validates and
//! writes, and begins anew when somebody else was faster.

use schema::apply::{self, ApplyError, Operation};
use schema::field::{Error, Path};
use schema::go::quote;
use schema::{FieldValidation, Schema};
use serde_json::{Value, json};

use super::create::Origin;
use super::patch::{self, Configuration, Model, PATCHES, Patch, Sent};
use super::write::{ATTEMPTS, Managers, Written, commit_with, load, remove};
use super::{conversion, create, hooks, object, options, scale, versions};
use crate::admission::{self, Attributes};
use crate::app::{Call, text};
use crate::http::request_info::integer;
use crate::http::status::{ApiError, ApiResult};
use crate::kinds::METADATA;

/// What a request wants to become of an object.
pub enum Change {
    Put(Value),
    /// A merge patch of the server's own.
    Merge(Value),
    Patch(Patch),
    Apply(Configuration),
}

impl From<Sent> for Change {
    fn from(sent: Sent) -> Self {
        match sent {
            Sent::Patch(patch) => Self::Patch(patch),
            Sent::Apply(configuration) => Self::Apply(configuration),
        }
    }
}

/// What came of an update.
pub struct Updated {
    pub object: Written,
    pub created: bool,
}

/// Changes the call's object.
pub async fn update(call: &Call, change: &Change) -> ApiResult<Updated> {
    let resource = &call.resource;
    let key = resource.key(&call.info.namespace, &call.info.name);
    let name = &call.info.name;
    if let Change::Put(value) = change {
        identity(call, value)?;
    }
    let managers = if matches!(change, Change::Apply(_)) { Managers::Kept } else { Managers::Dropped };
    for _ in 0..ATTEMPTS {
        let Some(live) = load(call, &key).await? else {
            return create_instead(call, change).await;
        };
        // To admission a Scale is a Scale, whatever stands behind it.
        let scaling = call.info.subresource == "scale";
        let (mut new, asked) =
            if scaling { scaled(call, change, &live.value).await? } else { mutated(call, change, &live.value).await? };
        check_revision(call, change, &asked, live.revision)?;
        let mut errors = hooks::check(call, &new, Some(&live.value)).await?;
        errors.extend(create::check(call, &new, Some(&live.value)));
        if !errors.is_empty() {
            return Err(call.invalid(name, &errors));
        }
        let reserved = hooks::before_update(call, &mut new, &live.value).await?;
        if scaling {
            let (old, new) = (scale::view(call, &live.value)?, scale::view(call, &new)?);
            admission::validate(&Attributes::update(call, &old), &new).await?;
        } else {
            admission::validate(&Attributes::update(call, &live.value), &new).await?;
        }
        create::warn(call, &new, Some(&live.value));
        create::forget(call, &mut new);
        if live.current && object::same(&new, &live.value) {
            return Ok(Updated { object: live.value.into(), created: false });
        }
        if object::is_deleting(&new) && object::may_vanish(&new) && grace_is_over(&new) {
            if let Some(revision) = remove(call, &key, live.revision).await? {
                object::set(&mut new, "resourceVersion", revision.to_string().into());
                hooks::after_delete(call, &new).await?;
                return Ok(Updated { object: new.into(), created: false });
            }
        } else if let Some(object) = commit_with(call, &key, new, live.revision, managers).await? {
            reserved.keep();
            hooks::after_update(call, &object.value, &live.value).await?;
            return Ok(Updated { object, created: false });
        }
    }
    Err(call.modified(name))
}

/// What a change and the mutating plugins make of the live object, and the version that its writer means.
async fn mutated(call: &Call, change: &Change, live: &Value) -> ApiResult<(Value, String)> {
    let mut new = changed(call, change, live).await?;
    if let (Change::Put(_), uid, own) = (change, text(&new, "/metadata/uid"), text(live, "/metadata/uid"))
        && !uid.is_empty()
        && uid != own
    {
        let key = call.resource.key(&call.info.namespace, &call.info.name);
        return Err(call.failed_precondition(&key, "UID", (uid, own)));
    }
    identity(call, &new)?;
    let sent = admission::shows_outside(call).then(|| new.clone());
    let mut asked = revision_asked(&new);
    settle(call, change, &mut new, live)?;
    // Upstream looks at what a patch makes once, at the end.
    let patched = !matches!(change, Change::Put(_));
    create::dedup_owners(call, &mut new, patched);
    if !matches!(change, Change::Apply(_)) {
        conversion::there_and_back(&call.resource, &mut new);
        versions::track(call, live, &mut new).await;
    }
    let sent = sent.map(|sent| as_sent(call, sent, &new));
    let outside = sent.is_some();
    let mut shown = sent.unwrap_or_else(|| std::mem::take(&mut new));
    let changed = admission::mutate(&Attributes::update(call, live), &mut shown).await?;
    if changed && outside {
        // What is settled bears the live object's version, and says nothing of the writer's.
        asked = revision_asked(&shown);
    }
    if changed || new.is_null() {
        new = shown;
    }
    if changed {
        namespace_of_url(call, &new)?;
        renamed(call, &new)?;
        // What no update may change, no plugin may change either.
        settle(call, change, &mut new, live)?;
        create::dedup_owners(call, &mut new, true);
    }
    Ok((new, asked))
}

/// The same by way of the object's Scale, which is what plugins see, as it was sent.
async fn scaled(call: &Call, change: &Change, live: &Value) -> ApiResult<(Value, String)> {
    let before = scale::before(call, live)?;
    let mut scale = scale::changed(call, change, live, &before)?;
    admission::mutate(&Attributes::update(call, &before), &mut scale).await?;
    let mut new = scale::merged(call, live, &scale)?;
    let asked = revision_asked(&new);
    settle(call, change, &mut new, live)?;
    Ok((new, asked))
}

/// The version a writer means; what was never stored asks for none in particular.
fn revision_asked(object: &Value) -> String {
    let asked = text(object, "/metadata/resourceVersion");
    if asked == "0" { String::new() } else { asked.to_owned() }
}

/// Whether the object is still the one that is meant.
fn check_revision(call: &Call, change: &Change, asked: &str, have: i64) -> ApiResult<()> {
    let name = &call.info.name;
    if asked.is_empty() {
        // A patch may have taken the version away.
        let sent = matches!(change, Change::Put(_) | Change::Patch(_));
        let free = call.resource.strategy.unconditional_update || !sent;
        if free || call.info.subresource == "scale" {
            return Ok(());
        }
        let at = Path::new("metadata").child("resourceVersion");
        let wrong = vec![Error::invalid(&at, 0, "must be specified for an update")];
        // Upstream names the resource here.
        return Err(ApiError::invalid(&call.resource.group, &call.resource.plural, name, &wrong));
    }
    let asked = integer::<u64>("ParseUint", asked).map_err(|why| ApiError::new(500, "", why))?;
    if asked == have.unsigned_abs() { Ok(()) } else { Err(call.modified(name)) }
}

/// Whether a plugin has given the object another name.
fn renamed(call: &Call, object: &Value) -> ApiResult<()> {
    let (at, name) = (Path::new("metadata").child("name"), text(object, "/metadata/name"));
    if name == call.info.name {
        return Ok(());
    }
    let mut errors = Vec::new();
    if name.is_empty() {
        errors.push(Error::required(&at, "name or generateName is required"));
    }
    errors.push(Error::invalid(&at, name, "field is immutable"));
    Err(call.invalid(name, &errors))
}

/// An object as it was sent, with defaults, and with the managers it gets.
fn as_sent(call: &Call, mut sent: Value, settled: &Value) -> Value {
    if call.resource.namespaced {
        object::set(&mut sent, "namespace", call.info.namespace.as_str().into());
    }
    create::fill(call, &mut sent);
    object::set(&mut sent, "managedFields", settled["metadata"]["managedFields"].clone());
    create::dedup_owners(call, &mut sent, false);
    sent
}

fn grace_is_over(object: &Value) -> bool {
    object["metadata"]["deletionGracePeriodSeconds"].as_i64().unwrap_or(0) == 0
}

/// The object does not exist: some requests create it.
async fn create_instead(call: &Call, change: &Change) -> ApiResult<Updated> {
    let name = &call.info.name;
    let missing = || call.not_found(name);
    if !call.info.subresource.is_empty() {
        return Err(missing());
    }
    let object = match change {
        Change::Put(value) if call.resource.strategy.create_on_update => {
            let mut value = value.clone();
            if !text(&value, "/metadata/resourceVersion").is_empty() {
                return Err(missing());
            }
            object::set(&mut value, "managedFields", Value::Null);
            create::create_value(call, value, Origin::Update).await?
        }
        Change::Apply(configuration) => {
            let mut value = applied(call, None, configuration).await?;
            object::set(&mut value, "resourceVersion", Value::Null);
            let uid = text(&configuration.value, "/metadata/uid");
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(ApiError::conflict(&call.resource.group, &call.resource.plural, name, &why));
            }
            create::create_value(call, value, Origin::Apply).await?
        }
        _ => return Err(missing()),
    };
    Ok(Updated { object, created: true })
}

/// The object as the change would have it, before the server has its say.
async fn changed(call: &Call, change: &Change, live: &Value) -> ApiResult<Value> {
    let (api_version, kind, schema) = (call.resource.api_version(), &call.resource.kind, call.resource.schema());
    match change {
        Change::Put(value) => Ok(value.clone()),
        Change::Merge(body) => {
            let patched = schema::patch::merge_patch(live, body, true).map_err(|error| patch::refused(&error))?;
            decoded(call, patched).map_err(ApiError::internal)
        }
        Change::Patch(patch) => {
            let custom = call.resource.is_custom();
            patch.apply(call, live, &Model { api_version: &api_version, kind, schema: schema.as_ref(), custom })
        }
        Change::Apply(configuration) => applied(call, Some(live), configuration).await,
    }
}

/// A patched value against the schema, as fieldValidation wants, or what is wrong with it.
fn decoded(call: &Call, value: Value) -> Result<Value, String> {
    let Some(schema) = call.resource.schema() else { return Ok(value) };
    let decoded =
        schema::decode::value(value, &schema, options::validation(call)).map_err(|error| error.to_string())?;
    for warning in decoded.warnings {
        call.warn(warning);
    }
    Ok(decoded.value)
}

fn apply_config(call: &Call, config: &Value) -> ApiResult<Value> {
    if let Some(schema) = call.resource.schema() {
        applicable(&schema, config, &call.resource.api_version(), &call.resource.kind)?;
    }
    let mut config = match call.resource.schema() {
        // Values of built-in kinds are applied as they are written, and read when all is merged.
        Some(schema) if !call.resource.is_custom() => apply::said(&schema, config),
        _ => config.clone(),
    };
    reset(call, &mut config);
    Ok(config)
}

/// Whether something can be applied to an object of a kind: it says that it is one, of fields that the kind has, and leaves to
/// the server whose they are.
///
/// # Errors
/// 400, and 500 for what the model does not know, whatever fieldValidation says.
pub fn applicable(schema: &Schema, config: &Value, api_version: &str, kind: &str) -> ApiResult<()> {
    same_kind(config, api_version, kind)?;
    // What are no managers is told as any other field of a wrong type.
    let managers = &config["metadata"]["managedFields"];
    if managers.is_array() && apply::typed(schema, &json!({ "metadata": { "managedFields": managers } })).is_ok() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    apply::declared(schema, config).map_err(|text| ApiError::new(500, "", text))
}

/// An applied configuration says what it is.
fn same_kind(config: &Value, api_version: &str, kind: &str) -> ApiResult<()> {
    let mut have = (text(config, "/apiVersion"), text(config, "/kind"));
    if have.0.matches('/').count() > 1 {
        have = ("", "");
    }
    if have == (api_version, kind) {
        return Ok(());
    }
    let version = if have.0.is_empty() { "/" } else { have.0 };
    let known = apply::group_version_kind(version, have.1);
    Err(ApiError::bad_request(format!("invalid object type: {known}")))
}

/// Takes from a configuration, or an object, what the endpoint does not write (upstream's `GetResetFields`), so that nobody comes
/// to own it: the status on the object itself, everything else on its status, metadata that it leaves as it is included.
pub(super) fn reset(call: &Call, config: &mut Value) {
    let Some(fields) = config.as_object_mut() else { return };
    match call.info.subresource.as_str() {
        "status" => {
            fields.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status"));
            let kept = if call.resource.is_custom() { METADATA } else { call.resource.strategy.status_keeps };
            if let Some(Value::Object(metadata)) = fields.get_mut("metadata") {
                metadata.retain(|name, _| !kept.contains(&name.as_str()));
            }
        }
        _ if call.resource.strategy.has_status => {
            fields.remove("status");
        }
        _ => {}
    }
}

async fn applied(call: &Call, live: Option<&Value>, configuration: &Configuration) -> ApiResult<Value> {
    let schema = call.resource.schema().ok_or_else(|| ApiError::unsupported_media(PATCHES))?;
    let config = apply_config(call, &configuration.value)?;
    let manager = create::manager(call, Operation::Apply);
    let mut applied = versions::apply(call, &schema, live, &config, &manager, configuration.force).await?;
    if live.is_none() && call.resource.strategy.status_on_create {
        // Nobody's, and yet written.
        applied["status"] = configuration.value["status"].clone();
    }
    applied = read_merged(call, &schema, applied, &configuration.value)?;
    configuration.complain(call)?;
    // Which it is counts when it is known what it is; one that is made says its name, as one of a PUT does.
    identity(call, &applied)?;
    if call.resource.namespaced {
        object::set(&mut applied, "namespace", call.info.namespace.clone().into());
    }
    Ok(applied)
}

/// What was merged, as an object of its kind. Of a custom resource that is its metadata; the rest is for its validation.
///
/// # Errors
/// 500 for values that are none of their field's, 400 where they are of a custom resource's metadata.
fn read_merged(call: &Call, schema: &Schema, merged: Value, config: &Value) -> ApiResult<Value> {
    schema::decode::restored(merged, schema, FieldValidation::Ignore).map(|decoded| decoded.value).map_err(|why| {
        let (kind, version) = (&call.resource.kind, &call.resource.version);
        if call.resource.is_custom() {
            let text = format!("{kind} in version {} cannot be handled as a {kind}: {why}", quote(version));
            return ApiError::bad_request(text);
        }
        let kind = apply::group_version_kind(&call.resource.api_version(), kind);
        // As the configuration says it, if it does.
        let (namespace, name) = (text(config, "/metadata/namespace"), &call.info.name);
        ApiError::new(500, "", format!(
            "failed to convert new object ({namespace}/{name}; {kind}) to proper version: unable to convert unstructured object to \
             {kind}: {why}"
        ))
    })
}

/// What is said of a configuration that was not applied: 409 for conflicts, 500 for what cannot be merged.
#[must_use]
pub fn unapplied(error: ApplyError) -> ApiError {
    match &error {
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|c| json!({ "reason": "FieldManagerConflict", "message": c.message, "field": c.field }))
                .collect();
            ApiError { details: json!({ "causes": causes }), ..ApiError::new(409, "Conflict", error.to_string()) }
        }
        // Upstream's error has no code of its own, which makes it a 500 without a reason.
        ApplyError::Invalid(_) | ApplyError::Later(_) => ApiError::new(500, "", error.to_string()),
    }
}

/// Whether an object that is to be written is the one of the URL.
///
/// # Errors
/// 400 where it is another.
pub fn identity(call: &Call, object: &Value) -> ApiResult<()> {
    namespace_of_url(call, object)?;
    let wanted = &call.info.name;
    match text(object, "/metadata/name") {
        "" => Err(undeterminable(wanted)),
        name if name != wanted => Err(name_mismatch(name, wanted)),
        _ => Ok(()),
    }
}

/// Whether an object is of the URL's namespace, as far as it says so.
///
/// # Errors
/// 400 where it is of another.
pub fn namespace_of_url(call: &Call, object: &Value) -> ApiResult<()> {
    let namespace = text(object, "/metadata/namespace");
    // Upstream takes it off objects that are in none.
    if call.resource.namespaced && !namespace.is_empty() && namespace != call.info.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    Ok(())
}

/// An object that does not say its name.
pub fn undeterminable(wanted: &str) -> ApiError {
    ApiError::bad_request(format!(
        "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
    ))
}

fn name_mismatch(have: &str, wanted: &str) -> ApiError {
    ApiError::bad_request(format!("the name of the object ({have}) does not match the name on the URL ({wanted})"))
}

/// Identity, system fields, status and spec, defaults, generation.
fn settle(call: &Call, change: &Change, new: &mut Value, old: &Value) -> ApiResult<()> {
    let (resource, info) = (&call.resource, &call.info);
    let strategy = &resource.strategy;
    // An empty list sent as managedFields resets them, as a single empty entry does, which is not normalised away, but for custom
    // resources, where it is none; no field at all leaves them to be tracked. Of what was applied nobody may be left.
    match &new["metadata"]["managedFields"] {
        Value::Null if matches!(change, Change::Apply(_)) || info.subresource == "scale" => {}
        Value::Array(list) if list.is_empty() && resource.is_custom() => object::set(new, "managedFields", Value::Null),
        Value::Null => object::set(new, "managedFields", old["metadata"]["managedFields"].clone()),
        Value::Array(list) if list.is_empty() => object::set(new, "managedFields", json!([{}])),
        _ => {}
    }
    if matches!(info.subresource.as_str(), "status" | "approval") {
        keep_spec(new, old, resource.is_custom(), strategy.status_keeps);
    }
    object::keep_system_fields(new, old);
    match info.subresource.as_str() {
        "" | "scale" | "resize" | "ephemeralcontainers" if strategy.has_status => object::keep(new, old, "status"),
        "finalize" => {
            let finalizers = new["spec"]["finalizers"].clone();
            let metadata = new["metadata"]["finalizers"].clone();
            let asked = new["metadata"].clone();
            *new = old.clone();
            new["metadata"] = asked;
            object::set(new, "finalizers", metadata);
            new["spec"]["finalizers"] = finalizers;
        }
        _ => {}
    }
    create::fill(call, new);
    if let Some((_, prepare)) = strategy.prepare_path.iter().find(|(name, _)| *name == info.subresource) {
        prepare(new, old);
    } else if info.subresource != "status"
        && info.subresource != "finalize"
        && let Some(prepare) = strategy.prepare_update
    {
        prepare(new, old);
        create::fill(call, new);
    }
    let changed = |schema: Option<&Schema>| match schema.filter(|_| !strategy.generation_counts_empty) {
        Some(schema) => object::spec_differs(&schema::stored(schema, new), old),
        None => object::spec_differs(new, old),
    };
    if strategy.has_generation && changed(resource.schema().as_ref()) {
        let generation = old["metadata"]["generation"].as_i64().unwrap_or(0) + 1;
        object::set(new, "generation", generation.into());
    }
    Ok(())
}

/// A status update changes the status alone (and, of many built-in kinds, labels, annotations and the like).
fn keep_spec(new: &mut Value, old: &Value, custom: bool, kept: &[&str]) {
    object::keep_but(new, old, &["metadata", "status"]);
    if custom {
        object::keep_but(&mut new["metadata"], &old["metadata"], &["managedFields"]);
    } else {
        for field in kept {
            object::keep(&mut new["metadata"], &old["metadata"], field);
        }
    }
}

impl Call {
    /// What the store says of an object that is another one, or another version of it, than was asked for.
    pub fn failed_precondition(&self, key: &str, what: &str, (wanted, have): (&str, &str)) -> ApiError {
        // A dry run stops before the prefix of all keys is put before this one.
        let key = key.strip_prefix("/registry").filter(|_| self.dry_run()).unwrap_or(key);
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             {what} in precondition: {wanted}, {what} in object meta: {have}"
        );
        ApiError::conflict(&self.resource.group, &self.resource.plural, &self.info.name, &why)
    }
}
