//! UPDATE and PATCH, of objects and of their `status` and `scale`: one loop that loads, changes, admits, validates and
//! writes, and begins anew when somebody else was faster.

use schema::apply::{self, ApplyError, Operation};
use schema::field::{Error, Path};
use schema::patch;
use serde_json::{Value, json};

use super::write::{ATTEMPTS, Loaded, Written, commit, load, remove};
use super::{body, create, hooks, object, scale};
use crate::admission::{self, Attributes};
use crate::app::{Call, text};
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
pub const PATCHES: &str = "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

impl Change {
    /// Reads a PATCH body.
    ///
    /// # Errors
    /// 400 and 415 as upstream.
    pub fn patch(call: &Call, media: &str, bytes: &[u8]) -> ApiResult<Self> {
        let parse = || -> ApiResult<Value> {
            serde_json::from_slice(bytes).map_err(|e| ApiError::bad_request(format!("error decoding patch: {e}")))
        };
        match media {
            "application/json-patch+json" => Ok(Self::Json(parse()?)),
            "application/merge-patch+json" => Ok(Self::Merge(parse()?)),
            "application/strategic-merge-patch+json" if call.resource.is_custom() => Err(ApiError::unsupported_media(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic(parse()?)),
            "application/apply-patch+yaml" | "application/apply-patch+json" => {
                if call.query.text("fieldManager").is_none() {
                    let error = Error::required(&Path::new("fieldManager"), "is required for apply patch");
                    return Err(ApiError::invalid("meta.k8s.io", "PatchOptions", "", &vec![error]));
                }
                let decoded = schema::decode::yaml(bytes, None, schema::FieldValidation::Warn)
                    .map_err(|e| ApiError::bad_request(format!("error decoding YAML: {e}")))?;
                for twice in decoded.warnings {
                    let text = format!("error converting YAML to JSON: {twice}");
                    match body::validation(call)? {
                        schema::FieldValidation::Strict => {
                            return Err(ApiError::bad_request(format!("error strict decoding YAML: {text}")));
                        }
                        schema::FieldValidation::Warn => call.warn(text),
                        schema::FieldValidation::Ignore => {}
                    }
                }
                Ok(Self::Apply { config: decoded.value, force: call.query.flag("force") })
            }
            _ => Err(ApiError::unsupported_media(PATCHES)),
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
    for _ in 0..ATTEMPTS {
        let Some(live) = load(call, &key).await? else {
            return create_instead(call, change).await;
        };
        let mut new = changed(call, change, &live)?;
        let asked = text(&new, "/metadata/resourceVersion").to_owned();
        if asked.is_empty() {
            let free = resource.strategy.unconditional_update || !matches!(change, Change::Put(_));
            if !free && !matches!(call.info.subresource.as_str(), "scale") {
                let error = Error::invalid(
                    &Path::new("metadata").child("resourceVersion"),
                    0,
                    "must be specified for an update",
                );
                return Err(call.invalid(name, &vec![error]));
            }
        } else if asked != live.revision.to_string() {
            return Err(call.modified(name));
        }
        settle(call, &mut new, &live.value)?;
        if !matches!(change, Change::Apply { .. }) {
            create::track(call, Some(&live.value), &mut new);
        }
        // To admission a Scale is a Scale, whatever stands behind it.
        let scaling = call.info.subresource == "scale";
        let view = if scaling { Some(scale::view(call, &live.value)?) } else { None };
        let attributes = Attributes::update(call, view.as_ref().unwrap_or(&live.value));
        if scaling {
            let mut asked = scale::view(call, &new)?;
            admission::mutate(&attributes, &mut asked).await?;
            scale::write(call, &mut new, &asked);
            settle(call, &mut new, &live.value)?;
        } else if admission::mutate(&attributes, &mut new).await? {
            // What no update may change, no plugin may change either.
            settle(call, &mut new, &live.value)?;
        }
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
            if !text(config, "/metadata/uid").is_empty() {
                return Err(call.conflicting_uid(name, text(config, "/metadata/uid"), ""));
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
    let patched = |result: Result<Value, patch::PatchError>| -> ApiResult<Value> {
        let value = result.map_err(|error| patch_error(call, &error))?;
        decoded(call, value)
    };
    let live = &live.value;
    match change {
        Change::Put(value) => Ok(value.clone()),
        Change::Json(body) => patched(patch::json_patch(live, body)),
        Change::Merge(body) => patched(patch::merge_patch(live, body)),
        Change::Strategic(body) => {
            let schema = call.resource.schema().ok_or_else(|| ApiError::unsupported_media(PATCHES))?;
            patched(patch::strategic_merge(&schema, live, body))
        }
        Change::Apply { config, force } => {
            let config = apply_config(call, config)?;
            applied(call, Some(live), &config, *force)
        }
    }
}

/// A patched value against the schema, as fieldValidation wants.
fn decoded(call: &Call, value: Value) -> ApiResult<Value> {
    let resource = &call.resource;
    let Some(schema) = resource.schema() else { return Ok(value) };
    let validation = body::validation(call)?;
    let decoded = schema::decode::value(value, &schema, validation).map_err(|error| {
        let version = resource.api_version();
        body::undecodable(&error, &version, &resource.kind)
    })?;
    for warning in decoded.warnings {
        call.warn(warning);
    }
    let mut value = decoded.value;
    body::identify(&mut value, &resource.api_version(), &resource.kind)?;
    Ok(value)
}

fn apply_config(call: &Call, config: &Value) -> ApiResult<Value> {
    if let Some(schema) = call.resource.schema() {
        // What the model does not know cannot be applied, whatever fieldValidation says.
        apply::declared(&schema, config).map_err(|text| ApiError::new(500, "", text))?;
    }
    let mut config = decoded(call, config.clone())?;
    if config["metadata"]["managedFields"].as_array().is_some_and(|list| !list.is_empty()) {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
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

fn patch_error(call: &Call, error: &patch::PatchError) -> ApiError {
    match error.code {
        422 => {
            let mut status = ApiError::new(422, "Invalid", error.to_string());
            status.details =
                json!({ "name": call.info.name, "group": call.resource.group, "kind": call.resource.kind });
            status
        }
        413 => ApiError::too_large(error),
        _ => ApiError::bad_request(error.to_string()),
    }
}

fn name_mismatch(have: &str, wanted: &str) -> ApiError {
    ApiError::bad_request(format!("the name of the object ({have}) does not match the name on the URL ({wanted})"))
}

/// Identity, system fields, status and spec, defaults, generation.
fn settle(call: &Call, new: &mut Value, old: &Value) -> ApiResult<()> {
    let (resource, info) = (&call.resource, &call.info);
    let strategy = &resource.strategy;
    let name = text(new, "/metadata/name");
    if !name.is_empty() && name != info.name {
        return Err(name_mismatch(name, &info.name));
    }
    let namespace = text(new, "/metadata/namespace");
    if !namespace.is_empty() && namespace != info.namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let uid = text(new, "/metadata/uid");
    if !uid.is_empty() && uid != text(old, "/metadata/uid") {
        return Err(call.conflicting_uid(&info.name, uid, text(old, "/metadata/uid")));
    }
    object::keep_system_fields(new, old);
    // An empty list sent as managedFields resets them; no field at all leaves them to be tracked.
    if new["metadata"]["managedFields"].is_null() {
        object::set(new, "managedFields", old["metadata"]["managedFields"].clone());
    }
    match info.subresource.as_str() {
        "status" | "approval" => keep_spec(new, old, resource.is_custom()),
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

/// A status update changes the status alone (and, for built-in kinds, labels, annotations and the like).
fn keep_spec(new: &mut Value, old: &Value, custom: bool) {
    object::keep_but(new, old, &["metadata", "status"]);
    if custom {
        object::keep_but(&mut new["metadata"], &old["metadata"], &["managedFields"]);
    } else {
        object::keep(&mut new["metadata"], &old["metadata"], "ownerReferences");
    }
}

impl Call {
    fn conflicting_uid(&self, name: &str, wanted: &str, have: &str) -> ApiError {
        let why = format!("Precondition failed: UID in precondition: {wanted}, UID in object meta: {have}");
        ApiError::conflict(&self.resource.group, &self.resource.plural, name, &why)
    }
}
