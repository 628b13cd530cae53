//! CREATE: decode, default, admit, validate, write.

use std::time::Instant;

use schema::Schema;
use schema::apply::{Manager, Operation};
use schema::field::ErrorList;
use serde_json::Value;

use super::resource::Resource;
use super::write::{Managers, Written, commit_with, load};
use super::{body, conversion, hooks, object};
use crate::access;
use crate::admission::{self, Attributes};
use crate::app::{Call, text};
use crate::http::request_info::integer;
use crate::http::status::{ApiError, ApiResult};
use crate::kinds::update_order::{self, Rules};
use crate::kinds::validate::meta;
use crate::kinds::{NameRule, WarnedAgain};

/// So many names are tried for a `generateName` before the client is told that one exists (upstream: 8).
const NAMES: usize = 8;

/// Creates the object in a request body.
pub async fn create(call: &Call, media: &str, bytes: &[u8]) -> ApiResult<Written> {
    let mut value = body::own(call, media, bytes)?;
    object::set(&mut value, "managedFields", Value::Null);
    create_value(call, value, Origin::Create).await
}

/// What an object is created by.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    Create,
    /// An update of what is not there.
    Update,
    /// The same by server-side apply: its managedFields are already what they shall be.
    Apply,
}

/// Creates `value`.
///
/// # Errors
/// 403 for who may update it, or patch, but not create; and what creates are told.
pub async fn create_value(call: &Call, mut value: Value, origin: Origin) -> ApiResult<Written> {
    let resource = &call.resource;
    place(call, &mut value)?;
    wipe_system_fields(&mut value);
    let sent = admission::shows_outside(call).then(|| {
        let mut sent = value.clone();
        fill(call, &mut sent);
        sent
    });
    drop_status(call, &mut value);
    let unlabelled = resource.strategy.labels_of_template && !has_labels(&value);
    fill(call, &mut value);
    // What admission adds belongs to no manager.
    if origin != Origin::Apply {
        conversion::there_and_back(resource, &mut value);
        track(call, &mut value);
    }
    dedup_owners(call, &mut value, origin == Origin::Apply);
    if let Some(mut sent) = sent {
        sent["metadata"] = std::mem::take(&mut value["metadata"]);
        value = sent;
    }
    let mut attributes = Attributes::create(call, &value);
    if admission::mutate(&attributes, &mut value).await? {
        dedup_owners(call, &mut value, true);
        place(call, &mut value)?;
    }
    let prefix = text(&value, "/metadata/generateName").to_owned();
    let generated = text(&value, "/metadata/name").is_empty() && !prefix.is_empty();
    for attempt in 1.. {
        let mut object = if generated { value.clone() } else { std::mem::take(&mut value) };
        if generated {
            attributes.name = object::generate(&prefix);
            object::set(&mut object, "name", attributes.name.clone().into());
        }
        prepare(call, &mut object, unlabelled);
        let mut errors = hooks::check(call, &object, None).await?;
        // As upstream does it: what cannot be had comes before what is wrong.
        let reserved = hooks::before_create(call, &mut object).await?;
        errors.extend(check(call, &object, None));
        let name = text(&object, "/metadata/name").to_owned();
        if !errors.is_empty() {
            return Err(call.invalid(&name, &errors));
        }
        warn_of_name(call, &name);
        warn(call, &object, None);
        if origin != Origin::Create {
            access::also(call, "create", |attributes, reason| attributes.forbidden_message(reason)).await?;
        }
        admission::validate(&attributes, &object).await?;
        forget(call, &mut object);
        // Told last, by the store; what is not stored keeps it, and what is no version is none.
        let version = text(&object, "/metadata/resourceVersion");
        if !call.dry_run() && integer::<u64>("ParseUint", version).is_ok_and(|version| version != 0) {
            return Err(ApiError::new(500, "", "resourceVersion should not be set on objects to be created"));
        }
        let namespace = text(&object, "/metadata/namespace").to_owned();
        let managers = if origin == Origin::Apply { Managers::Kept } else { Managers::Dropped };
        match commit_with(call, &resource.key(&namespace, &name), object, 0, managers).await {
            Ok(Some(done)) => {
                reserved.keep();
                hooks::after_create(call, &done.value).await?;
                return Ok(done);
            }
            Ok(None) if generated && attempt < NAMES => {}
            Ok(None) if !prefix.is_empty() => {
                return Err(ApiError::no_name_left(&resource.group, &resource.plural, &name));
            }
            Ok(None) => {
                let mut error = ApiError::already_exists(&resource.group, &resource.plural, &name);
                let key = resource.key(&call.info.namespace, &name);
                // That it is there is enough, should it be unreadable.
                if let Ok(Some(there)) = load(call, &key).await
                    && object::is_deleting(&there.value)
                {
                    error.message.insert_str(0, "object is being deleted: ");
                }
                return Err(error);
            }
            Err(error) => return Err(error),
        }
    }
    unreachable!("the loop ends by returning")
}

/// The namespace of the URL, or an error where the body says another. What is in none must not say that it is in one, and often does.
fn place(call: &Call, value: &mut Value) -> ApiResult<()> {
    let namespace = if call.resource.namespaced { call.info.namespace.as_str() } else { "" };
    let own = text(value, "/metadata/namespace");
    if call.resource.namespaced && namespace.is_empty() {
        return Err(ApiError::bad_request("an empty namespace may not be set during creation"));
    }
    if call.resource.namespaced && !own.is_empty() && own != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    object::set(value, "namespace", if namespace.is_empty() { Value::Null } else { namespace.into() });
    Ok(())
}

/// Takes away what only the server may say.
fn wipe(call: &Call, object: &mut Value) {
    wipe_system_fields(object);
    drop_status(call, object);
}

/// The same of the metadata.
pub fn wipe_system_fields(object: &mut Value) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "uid", "creationTimestamp"] {
        object::set(object, field, Value::Null);
    }
}

fn drop_status(call: &Call, object: &mut Value) {
    let strategy = &call.resource.strategy;
    if strategy.has_status
        && !strategy.status_on_create
        && let Some(map) = object.as_object_mut()
    {
        map.remove("status");
    }
}

/// Drops owners given twice, and says so. `admitted`: it was the plugins that gave them.
pub fn dedup_owners(call: &Call, object: &mut Value, admitted: bool) {
    let twice = object::dedup_owners(object);
    if !twice.is_empty() {
        call.warn(format!(
            ".metadata.ownerReferences contains duplicate entries{}; API server dedups owner references in 1.20+, and may reject \
             such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            if admitted { " after mutating admission happens" } else { "" },
            twice.join(", ")
        ));
    }
}

const TEMPLATE_LABELS: &str = "/spec/template/metadata/labels";

fn has_labels(object: &Value) -> bool {
    object["metadata"]["labels"].as_object().is_some_and(|labels| !labels.is_empty())
}

/// What the server fills in, after the mutating plugins. `unlabelled`: it came without labels, and has its template's.
fn prepare(call: &Call, object: &mut Value, unlabelled: bool) {
    let strategy = &call.resource.strategy;
    let taken =
        unlabelled && (!has_labels(object) || object.pointer(TEMPLATE_LABELS) == Some(&object["metadata"]["labels"]));
    wipe(call, object);
    object::set(object, "uid", uuid::Uuid::new_v4().to_string().into());
    object::set(object, "creationTimestamp", object::now().into());
    if strategy.has_generation {
        object::set(object, "generation", 1.into());
    }
    fill(call, object);
    hooks::sign_with_user(call, object);
    hooks::sync_app_armor(call, object);
    if let Some(prepare) = strategy.prepare_create {
        prepare(object);
        // Preparing may have dropped what was defaulted.
        fill(call, object);
    }
    if taken && let Some(labels) = object.pointer(TEMPLATE_LABELS).cloned() {
        object::set(object, "labels", labels);
    }
}

/// Defaults: the schema's, then what no schema can say, then what Go's encoding always shows.
pub fn fill(call: &Call, object: &mut Value) {
    fill_as(&call.resource, object);
}

/// The defaults of a resource in its version.
pub fn fill_as(resource: &Resource, object: &mut Value) {
    fill_by(resource.schema().as_ref(), resource.strategy.default, object);
}

/// The same by a schema, and by what it cannot say.
pub fn fill_by(schema: Option<&Schema>, default: Option<fn(&mut Value)>, object: &mut Value) {
    if let Some(schema) = schema {
        schema::apply_defaults(schema, object);
    }
    if let Some(default) = default {
        default(object);
    }
    if let Some(schema) = schema {
        schema::normalize(schema, object);
    }
}

/// Groups whose finalizers may be called anything that is a qualified name.
const FREE_FINALIZERS: [&str; 6] = [
    crate::crd::GROUP,
    "admissionregistration.k8s.io",
    "apiregistration.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "policy",
];

/// What a reader would not see is forgotten: a custom resource's nulls, which apply configurations and policies may say, and that a
/// whole number was said as a float; the emptiness of what a built-in object was given empty. A link of old goes when it is stored.
pub fn forget(call: &Call, object: &mut Value) {
    if !call.dry_run() {
        object::set(object, "selfLink", Value::Null);
    }
    let Some(schema) = call.resource.schema() else { return };
    if call.resource.is_custom() {
        schema::drop_nulls(&schema, object);
        schema::decode::whole_numbers(object);
    } else {
        schema::forget_empty(&schema, object);
    }
}

/// Everything that can be wrong with an object on its way in, told in upstream's order and as often.
pub fn check(call: &Call, new: &Value, old: Option<&Value>) -> ErrorList {
    let (resource, strategy) = (&call.resource, &call.resource.strategy);
    let Some(old) = old else {
        let own = || {
            let mut errors = check_own(call, new, None);
            errors.extend(strategy.validate_create.into_iter().flat_map(|validate| validate(new)));
            errors
        };
        if update_order::metadata_last(&resource.group, &resource.plural) {
            return Some(own()).filter(|errors| !errors.is_empty()).unwrap_or_else(|| check_meta(call, new));
        }
        let mut errors = check_meta(call, new);
        errors.extend(own());
        return errors;
    };
    let mut errors = meta::create(new, resource.namespaced, NameRule::PathSegment);
    errors.extend(meta::update(new, old));
    for rules in update_order::own(&resource.group, &resource.plural, &call.info.subresource, resource.is_custom()) {
        errors.extend(match rules {
            Rules::Meta => check_meta(call, new),
            Rules::MetaChange => {
                let mut errors = meta::update(new, old);
                finalizers(call, new, &mut errors);
                errors
            }
            Rules::Own => check_own(call, new, Some(old)),
            Rules::Change => match strategy.update_rule(&call.info.subresource) {
                Some(validate) => validate(new, old),
                None => ErrorList::new(),
            },
        });
    }
    errors
}

/// The metadata by itself.
fn check_meta(call: &Call, new: &Value) -> ErrorList {
    let resource = &call.resource;
    let mut errors = meta::create(new, resource.namespaced, resource.strategy.name);
    finalizers(call, new, &mut errors);
    errors
}

fn finalizers(call: &Call, new: &Value, errors: &mut ErrorList) {
    let resource = &call.resource;
    let foreign = FREE_FINALIZERS.contains(&resource.group.as_str()) || resource.is("", "events");
    if !resource.is_custom() && !foreign {
        meta::built_in_finalizers(errors, new);
    }
}

/// The object by itself; what is not changed may be forgiven.
fn check_own(call: &Call, new: &Value, old: Option<&Value>) -> ErrorList {
    let mut errors = ErrorList::new();
    if let Some(schema) = call.resource.schema() {
        errors.extend(match old {
            Some(old) if call.info.subresource == "status" => schema::validate_status(&schema, new, old),
            _ => schema::validate_update(&schema, new, old),
        });
    }
    if let Some(version) = call.resource.custom().and_then(|custom| custom.version(&call.resource.version)) {
        errors.extend(version.scale.iter().flat_map(|paths| super::scale::check(paths, new)));
        errors.extend(schema::crd::embedded::check(
            &schema::field::Path::default(),
            new,
            &version.open_api,
            false,
            &meta::embedded_resource,
        ));
    }
    rules(call, new, old, &mut errors);
    if let Some(validate) = call.resource.strategy.validate {
        errors.extend(validate(new));
    }
    errors
}

/// A custom resource's `x-kubernetes-validations`; what they say of an object that is wrong in its very shape helps nobody.
fn rules(call: &Call, new: &Value, old: Option<&Value>, errors: &mut ErrorList) {
    let custom = call.resource.custom().and_then(|custom| custom.version(&call.resource.version));
    let Some(version) = custom else { return };
    let (metrics, fresh, started) = (&call.app.metrics, !version.has_compiled(), Instant::now());
    let Some(rules) = version.rules() else { return };
    if fresh {
        metrics.cel_compilation.observe(&[], started.elapsed().as_secs_f64());
    }
    use schema::field::{Error, ErrorType};
    let blocks = |error: &Error| {
        use ErrorType::{NotSupported, Required, TooLong, TooMany, TypeInvalid};
        matches!(error.kind, NotSupported | Required | TooLong | TooMany | TypeInvalid)
    };
    if errors.iter().any(blocks) {
        let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                      complete validation";
        errors.push(Error::invalid(&schema::field::Path::default(), Value::Null, detail));
        return;
    }
    let started = Instant::now();
    let outcome = rules.validate(new, old);
    metrics.cel_evaluation.observe(&[], started.elapsed().as_secs_f64());
    errors.extend(outcome.errors);
    for warning in outcome.warnings {
        call.warn(warning);
    }
}

/// Records the writer of a new object in managedFields.
fn track(call: &Call, new: &mut Value) {
    let Some(schema) = call.resource.schema() else { return };
    let strategy = &call.resource.strategy;
    // What a create does not take from the client is nobody's.
    let status = strategy.has_status.then_some("status");
    let unmanaged = status.into_iter().chain(strategy.unmanaged.iter().copied());
    let Some(fields) = new.as_object_mut() else { return };
    let aside: Vec<_> = unmanaged.filter_map(|name| fields.remove_entry(name)).collect();
    schema::apply::track_update(&schema, None, new, &manager(call, Operation::Update));
    new.as_object_mut().into_iter().for_each(|fields| fields.extend(aside.iter().cloned()));
}

/// Who writes, for managedFields.
#[must_use]
pub fn manager(call: &Call, operation: Operation) -> Manager {
    let subresource = match call.info.subresource.as_str() {
        sub @ ("status" | "scale" | "resize" | "ephemeralcontainers" | "approval" | "finalize") => sub.to_owned(),
        _ => String::new(),
    };
    Manager {
        name: call.manager(),
        operation,
        api_version: call.resource.api_version(),
        subresource,
        time: object::now(),
    }
}

fn warn_of_name(call: &Call, name: &str) {
    let Some(what) = call.resource.strategy.named_after else { return };
    let wrong = schema::names::dns1123_label(name);
    if !wrong.is_empty() {
        call.warn(format!(
            "metadata.name: this is used in {what}, which can result in surprising behavior; a DNS label is recommended: [{}]",
            wrong.join(" ")
        ));
    }
}

/// The strategy's warnings; whoever writes the status has not made the object, and is warned of that alone.
pub fn warn(call: &Call, object: &Value, old: Option<&Value>) {
    let warned_again = call.resource.strategy.warned_again;
    let again = match warned_again {
        WarnedAgain::Always => true,
        WarnedAgain::NewGeneration | WarnedAgain::OfTheFormer => {
            let generation = |object: &Value| object["metadata"]["generation"].as_i64();
            old.is_none_or(|old| generation(old) != generation(object))
        }
        WarnedAgain::Never => old.is_none(),
    };
    let strategy = call.resource.strategy;
    let warnings = match call.info.subresource.as_str() {
        "status" => [strategy.status_warnings, None],
        _ => [strategy.warnings.filter(|_| again), strategy.warned_always],
    };
    let of_new = strategy.warned_of_new.filter(|_| call.info.subresource != "status");
    let of_new = of_new.map(|warnings| warnings(object, old)).unwrap_or_default();
    let object = old.filter(|_| warned_again == WarnedAgain::OfTheFormer).unwrap_or(object);
    for warning in warnings.into_iter().flatten().flat_map(|warnings| warnings(object)).chain(of_new) {
        call.warn(warning);
    }
}
