//! UPDATE and PATCH, of objects and of their `status` and `scale`: one loop that loads, changes, admits, validates and
//! writes, and begins anew when somebody else was faster.

use schema::apply::{self, ApplyError, Operation};
use schema::field::{Error, Path};
use schema::go::{self, quote};
use schema::patch;
use serde_json::{Value, json};

use super::write::{ATTEMPTS, Loaded, Written, commit, load, remove};
use super::{body, create, hooks, object, options, scale};
use crate::admission::{self, Attributes};
use crate::app::{Call, text};
use crate::http::request_info::integer;
use crate::http::status::{ApiError, ApiResult};

/// What a request wants to become of an object.
pub enum Change {
    Put(Value),
    Json(Value),
    Merge(Value),
    Strategic(Value),
    Apply { config: Value, force: bool },
}

/// The kinds of a patch body.
const CUSTOM_PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";
pub const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

impl Change {
    /// Reads a PATCH body.
    ///
    /// # Errors
    /// 400 and 415 as upstream.
    pub fn patch(call: &Call, media: &str, bytes: &[u8]) -> ApiResult<Self> {
        let parse = || -> ApiResult<Value> {
            let prefix = if media == "application/strategic-merge-patch+json" { "" } else { "error decoding patch: " };
            serde_json::from_slice(bytes).map_err(|error| {
                let why = schema::decode::syntax_error(bytes).unwrap_or_else(|| error.to_string());
                ApiError::bad_request(format!("{prefix}{why}"))
            })
        };
        match media {
            "application/json-patch+json" => Ok(Self::Json(parse()?)),
            "application/merge-patch+json" => Ok(Self::Merge(parse()?)),
            "application/strategic-merge-patch+json" if call.resource.is_custom() => {
                Err(ApiError::unsupported_media(CUSTOM_PATCHES))
            }
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(parse()?)),
            "application/apply-patch+yaml" | "application/apply-patch+json" => {
                let decoded =
                    schema::decode::yaml(bytes, None, options::validation(call)).map_err(|error| match error {
                        schema::decode::DecodeError::Strict(twice) => ApiError::bad_request(format!(
                            "error strict decoding YAML: error converting YAML to JSON: {}",
                            twice.join(", ")
                        )),
                        error => ApiError::bad_request(format!("error decoding YAML: {error}")),
                    })?;
                for twice in decoded.warnings {
                    call.warn(twice);
                }
                let config = decoded.value;
                if !config.is_object() && !config.is_null() {
                    let why = schema::decode::unfit(&config, "map[string]interface {}");
                    return Err(ApiError::bad_request(format!(
                        "error decoding YAML: error unmarshaling JSON: while decoding JSON: {why}"
                    )));
                }
                Ok(Self::Apply { config, force: call.query.flag("force") })
            }
            _ if call.resource.is_custom() => Err(ApiError::unsupported_media(CUSTOM_PATCHES)),
            // Upstream's REST library refuses what no route takes.
            _ => Err(ApiError {
                details: json!({}),
                ..ApiError::new(415, "UnsupportedMediaType", "415: Unsupported Media Type")
            }),
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
    for _ in 0..ATTEMPTS {
        let Some(live) = load(call, &key).await? else {
            return create_instead(call, change).await;
        };
        let mut new = changed(call, change, &live)?;
        if let (Change::Put(_), uid, own) = (change, text(&new, "/metadata/uid"), text(&live.value, "/metadata/uid"))
            && !uid.is_empty()
            && uid != own
        {
            return Err(call.failed_precondition(&key, "UID", (uid, own)));
        }
        identity(call, &new)?;
        // To admission a Scale is a Scale, whatever stands behind it.
        let scaling = call.info.subresource == "scale";
        let sent = (!scaling && admission::shows_outside(call)).then(|| new.clone());
        let mut asked = revision_asked(&new);
        settle(call, &mut new, &live.value)?;
        create::dedup_owners(call, &mut new, false);
        if !matches!(change, Change::Apply { .. }) {
            create::track(call, Some(&live.value), &mut new);
        }
        let view = if scaling { Some(scale::view(call, &live.value)?) } else { None };
        let attributes = Attributes::update(call, view.as_ref().unwrap_or(&live.value));
        if scaling {
            let mut shown = scale::view(call, &new)?;
            admission::mutate(&attributes, &mut shown).await?;
            scale::write(call, &mut new, &shown);
            settle(call, &mut new, &live.value)?;
        } else {
            let sent = sent.map(|sent| as_sent(call, sent, &new));
            let outside = sent.is_some();
            let mut shown = sent.unwrap_or_else(|| std::mem::take(&mut new));
            let changed = admission::mutate(&attributes, &mut shown).await?;
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
                settle(call, &mut new, &live.value)?;
                create::dedup_owners(call, &mut new, true);
            }
        }
        check_revision(call, change, &asked, live.revision)?;
        let errors = create::check(call, &new, Some(&live.value));
        if !errors.is_empty() {
            return Err(call.invalid(name, &errors));
        }
        let reserved = hooks::before_update(call, &mut new, &live.value).await?;
        if scaling {
            admission::validate(&attributes, &scale::view(call, &new)?).await?;
        } else {
            admission::validate(&attributes, &new).await?;
        }
        create::warn(call, &new);
        if live.current && object::same(&new, &live.value) {
            return Ok(Updated { object: live.value.into(), created: false });
        }
        if object::is_deleting(&new) && object::may_vanish(&new) && grace_is_over(&new) {
            if let Some(revision) = remove(call, &key, live.revision).await? {
                object::set(&mut new, "resourceVersion", revision.to_string().into());
                hooks::after_delete(call, &new).await?;
                return Ok(Updated { object: new.into(), created: false });
            }
        } else if let Some(object) = commit(call, &key, new, live.revision).await? {
            reserved.keep();
            hooks::after_update(call, &object.value, &live.value).await?;
            return Ok(Updated { object, created: false });
        }
    }
    Err(call.modified(name))
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
        let free = call.resource.strategy.unconditional_update || !matches!(change, Change::Put(_));
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
            create::create_value(call, value, false).await?
        }
        Change::Apply { config, force } => {
            let uid = text(config, "/metadata/uid");
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(ApiError::conflict(&call.resource.group, &call.resource.plural, name, &why));
            }
            let config = apply_config(call, config)?;
            let value = applied(call, None, &config, *force)?;
            create::create_value(call, value, true).await?
        }
        _ => return Err(missing()),
    };
    Ok(Updated { object, created: true })
}

/// The object as the change would have it, before the server has its say.
fn changed(call: &Call, change: &Change, live: &Loaded) -> ApiResult<Value> {
    if call.info.subresource == "scale" {
        return scale::changed(call, change, &live.value);
    }
    let live = &live.value;
    let (api_version, kind) = (call.resource.api_version(), &call.resource.kind);
    let patched = || match change {
        Change::Json(body) => patch::json_patch(live, body).map_err(|error| patch_error(&error)),
        Change::Merge(body) => patch::merge_patch(live, body).map_err(|error| patch_error(&error)),
        Change::Put(value) => Ok(value.clone()),
        Change::Strategic(body) => {
            let schema = call.resource.schema().ok_or_else(|| ApiError::unsupported_media(PATCHES))?;
            patch::strategic_merge(&schema, live, body).map_err(|error| patch_error(&error))
        }
        Change::Apply { config, force } => applied(call, Some(live), &apply_config(call, config)?, *force),
    };
    let mut value = patched()?;
    match change {
        Change::Put(_) | Change::Apply { .. } => return Ok(value),
        Change::Strategic(body) => {
            // To upstream this patch is of the kind's fields; what the object says it is does not count.
            body::set_kind(&mut value, &api_version, kind);
            return decoded(call, value).map_err(|why| {
                let value = patched().unwrap_or_default();
                let restored = call.resource.schema().and_then(|schema| schema::decode::restore_error(&value, &schema));
                unfit_patch(go::plain(body), restored.unwrap_or(why))
            });
        }
        Change::Json(_) | Change::Merge(_) => {}
    }
    let unfit = |why: String| {
        // Most patches are good ones: what was to be read is made again where it is to be shown.
        unfit_patch(patched().unwrap_or_default().to_string(), why)
    };
    let said = (text(&value, "/apiVersion"), text(&value, "/kind"));
    match call.resource.is_custom() {
        // A status is taken from whatever it stands in.
        true if call.info.subresource == "status" => {}
        true if said.0 != api_version => {
            let error = Error::invalid(&Path::new("apiVersion"), said.0, format!("must be {api_version}"));
            return Err(call.invalid(&call.info.name, &vec![error]));
        }
        true => body::other_custom_kind(&value, said.1, &api_version, kind)?,
        false => {
            let version = if said.0.is_empty() { &api_version } else { said.0 };
            let said = if said.1.is_empty() { kind } else { said.1 };
            if let Some(why) = body::no_conversion((version, said), (&api_version, kind)) {
                return Err(unfit(why));
            }
        }
    }
    body::set_kind(&mut value, &api_version, kind);
    decoded(call, value).map_err(unfit)
}

/// A patch after which the object could not be read any more, with what was to be read.
fn unfit_patch(shown: String, why: String) -> ApiError {
    ApiError::invalid("", "", "", &vec![Error::invalid(&Path::new("patch"), shown, why)])
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
    let (api_version, kind) = (call.resource.api_version(), &call.resource.kind);
    same_kind(config, &api_version, kind)?;
    if let Some(schema) = call.resource.schema() {
        // What the model does not know cannot be applied, whatever fieldValidation says.
        apply::declared(&schema, config).map_err(|text| ApiError::new(500, "", text))?;
    }
    if config["metadata"]["managedFields"].is_array() {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    let mut config = decoded(call, config.clone()).map_err(|why| {
        let version = quote(&call.resource.version);
        ApiError::bad_request(format!("{kind} in version {version} cannot be handled as a {kind}: {why}"))
    })?;
    namespace_of_url(call, &config)?;
    let name = text(&config, "/metadata/name");
    if !name.is_empty() && name != call.info.name {
        return Err(name_mismatch(name, &call.info.name));
    }
    object::set(&mut config, "name", call.info.name.clone().into());
    if call.resource.namespaced {
        object::set(&mut config, "namespace", call.info.namespace.clone().into());
    }
    reset(call, &mut config);
    Ok(config)
}

/// An applied configuration says what it is.
///
/// # Errors
/// 400 where that is something else, or nothing.
pub fn same_kind(config: &Value, api_version: &str, kind: &str) -> ApiResult<()> {
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

/// Takes from an applied configuration what the endpoint does not write (upstream's `GetResetFields`), so that nobody comes
/// to own it: the status on the object itself, everything else on its status.
fn reset(call: &Call, config: &mut Value) {
    let Some(fields) = config.as_object_mut() else { return };
    match call.info.subresource.as_str() {
        "status" => fields.retain(|name, _| matches!(name.as_str(), "apiVersion" | "kind" | "metadata" | "status")),
        _ if call.resource.strategy.has_status => {
            fields.remove("status");
        }
        _ => {}
    }
}

fn applied(call: &Call, live: Option<&Value>, config: &Value, force: bool) -> ApiResult<Value> {
    let schema = call.resource.schema().ok_or_else(|| ApiError::unsupported_media(PATCHES))?;
    let manager = create::manager(call, Operation::Apply);
    apply::apply(&schema, live, config, &manager, force).map_err(|error| match &error {
        ApplyError::Conflicts(conflicts) => {
            let causes: Vec<Value> = conflicts
                .iter()
                .map(|c| json!({ "reason": "FieldManagerConflict", "message": c.message, "field": c.field }))
                .collect();
            ApiError { details: json!({ "causes": causes }), ..ApiError::new(409, "Conflict", error.to_string()) }
        }
        // Upstream's error has no code of its own, which makes it a 500 without a reason.
        ApplyError::Invalid(text) => ApiError::new(500, "", text.clone()),
    })
}

/// What is said of a patch that cannot be applied.
pub fn patch_error(error: &patch::PatchError) -> ApiError {
    match error.code {
        // Upstream keeps the reason to itself.
        422 => ApiError {
            details: json!({}),
            ..ApiError::new(422, "Invalid", "the server rejected our request due to an error in our request")
        },
        413 => ApiError::too_large(error),
        500 => ApiError::new(500, "", error.to_string()),
        _ => ApiError::bad_request(error.to_string()),
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
        "" => Err(ApiError::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        ))),
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

fn name_mismatch(have: &str, wanted: &str) -> ApiError {
    ApiError::bad_request(format!("the name of the object ({have}) does not match the name on the URL ({wanted})"))
}

/// Identity, system fields, status and spec, defaults, generation.
fn settle(call: &Call, new: &mut Value, old: &Value) -> ApiResult<()> {
    let (resource, info) = (&call.resource, &call.info);
    let strategy = &resource.strategy;
    object::keep_system_fields(new, old);
    // An empty list sent as managedFields resets them; no field at all leaves them to be tracked.
    if new["metadata"]["managedFields"].is_null() {
        object::set(new, "managedFields", old["metadata"]["managedFields"].clone());
    }
    match info.subresource.as_str() {
        "status" | "approval" => keep_spec(new, old, resource.is_custom(), strategy.status_keeps),
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
    if strategy.has_generation && object::spec_differs(new, old) {
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
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: \
             {what} in precondition: {wanted}, {what} in object meta: {have}"
        );
        ApiError::conflict(&self.resource.group, &self.resource.plural, &self.info.name, &why)
    }
}
