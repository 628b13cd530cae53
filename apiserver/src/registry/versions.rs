//! Who set which field of an object, where its managers wrote in several versions of its API: each sees a change in its own.
//!
//! [`schema::apply`] says which objects it needs in which versions; here they are had, from a webhook if need be, and it is run
//! again.

use schema::Schema;
use schema::apply::{self, ApplyError, Converter, Manager, Missing, Operation, Versioned, Wanted};
use serde_json::{Value, json};

use super::resource::{Resource, Source};
use super::{conversion, create, object, update};
use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};

/// An object in the versions that were asked for. There are few: two or three for each version that somebody wrote in.
struct Versions<'a> {
    call: &'a Call,
    /// What a webhook has made of objects.
    converted: Vec<(Wanted, Result<Value, String>)>,
}

impl<'a> Versions<'a> {
    fn new(call: &'a Call) -> Self {
        Self { call, converted: Vec::new() }
    }

    async fn get(&mut self, wanted: Wanted) {
        let (call, own) = (self.call, self.call.resource.api_version());
        let convert = |object: Value, to: String| async move {
            conversion::convert(&call.app, &call.resource, object, &to).await.map_err(|error| error.message)
        };
        // By way of the version that is written in, as upstream goes.
        let object = match text(&wanted.object, "/apiVersion") == own || wanted.to == own {
            true => Ok(wanted.object.clone()),
            false => convert(wanted.object.clone(), own).await,
        };
        let converted = match object {
            Ok(object) => convert(object, wanted.to.clone()).await,
            Err(why) => Err(why),
        };
        self.converted.push((wanted, converted));
    }
}

impl Converter for Versions<'_> {
    fn convert(&self, object: &Value, to: &str) -> Result<Versioned, Missing> {
        let resource = &self.call.resource;
        let schema = schema_in(resource, to)?;
        let object = if conversion::is_foreign(resource) {
            let known = self.converted.iter().find(|(wanted, _)| wanted.to == to && wanted.object == *object);
            match known {
                None => return Err(Missing::Later(Box::new(Wanted { object: object.clone(), to: to.to_owned() }))),
                Some((_, Err(why))) => return Err(Missing::Failed(why.clone())),
                Some((_, Ok(object))) => object.clone(),
            }
        } else {
            let mut object = object.clone();
            resource.convert(&mut object, to);
            object
        };
        if resource.is_custom() {
            // Who converted it, or nobody, may not know what the other version has.
            apply::fits(&schema, &object).map_err(Missing::Failed)?;
        }
        Ok(Versioned { object, schema })
    }
}

/// The model of a resource's objects in one of its versions, served or not.
fn schema_in(resource: &Resource, api_version: &str) -> Result<Schema, Missing> {
    match &resource.source {
        // Kinds of two groups (Events) are known to each as its own alone.
        Source::BuiltIn(kind) => {
            let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
            let own = (group == resource.group).then(|| schema::builtin(api_version, kind.kind));
            own.flatten().ok_or(Missing::Version)
        }
        Source::Custom(custom) => custom.schema_of(api_version).cloned().ok_or_else(|| {
            Missing::Failed(match api_version.matches('/').count() {
                0 | 1 => format!("request to convert CR to an invalid group/version: {api_version}"),
                _ => format!("unexpected GroupVersion string: {api_version}"),
            })
        }),
    }
}

/// Records the writer of an update in managedFields. Where a version cannot be had, nobody is known to manage anything.
pub async fn track(call: &Call, live: &Value, new: &mut Value) {
    let Some(schema) = call.resource.schema() else { return };
    let manager = create::manager(call, Operation::Update);
    let mut versions = Versions::new(call);
    if let Err(why) = readable(call, &schema, live) {
        return forget(new, &why);
    }
    loop {
        match apply::track_update_among(&versions, &schema, Some(live), new, &manager) {
            Ok(()) => return,
            Err(Missing::Later(wanted)) => versions.get(*wanted).await,
            Err(Missing::Failed(why)) => return forget(new, &why),
            Err(Missing::Version) => return forget(new, "no such version"),
        }
    }
}

fn forget(new: &mut Value, why: &str) {
    tracing::warn!(why, "whose fields are whose cannot be told any more");
    super::object::set(new, "managedFields", Value::Null);
}

/// What was stored under another schema, or made by a webhook, may be no object of its version.
fn readable(call: &Call, schema: &Schema, live: &Value) -> Result<(), String> {
    if !call.resource.is_custom() || call.resource.stored_as_served {
        return Ok(());
    }
    apply::typed(schema, live).map_err(|why| {
        let kind = apply::group_version_kind(&call.resource.api_version(), &call.resource.kind);
        let (namespace, name) = (text(live, "/metadata/namespace"), text(live, "/metadata/name"));
        format!("failed to create typed live object ({namespace}/{name}; {kind}): {why}")
    })
}

/// The live object with `status` applied to it, as by the controller `manager` of upstream's.
///
/// # Errors
/// See [`apply`].
pub async fn with_status(call: &Call, live: &Value, manager: &str, status: Value) -> ApiResult<Value> {
    let api_version = call.resource.api_version();
    let schema = call.resource.schema().ok_or_else(|| ApiError::internal("the resource has no schema"))?;
    let config = json!({
        "apiVersion": api_version, "kind": call.resource.kind, "metadata": { "name": call.info.name }, "status": status,
    });
    let manager = Manager {
        name: manager.to_owned(),
        operation: Operation::Apply,
        api_version,
        subresource: "status".to_owned(),
        time: object::now(),
    };
    apply(call, &schema, Some(live), &config, &manager, true).await
}

/// Server-side apply of a configuration to the call's object.
///
/// # Errors
/// 409 for conflicts, 500 for what cannot be merged.
pub async fn apply(
    call: &Call,
    schema: &Schema,
    live: Option<&Value>,
    config: &Value,
    manager: &Manager,
    force: bool,
) -> ApiResult<Value> {
    let mut versions = Versions::new(call);
    if let Some(Err(why)) = live.map(|live| readable(call, schema, live)) {
        return Err(update::unapplied(ApplyError::Invalid(why)));
    }
    let begun = live.and_then(|live| {
        let mut seen = live.clone();
        update::reset(call, &mut seen);
        apply::begun(schema, live, &seen, manager)
    });
    let live = begun.as_ref().or(live);
    loop {
        match apply::apply_among(&versions, schema, live, config, manager, force) {
            Err(ApplyError::Later(wanted)) => versions.get(*wanted).await,
            done => return done.map_err(update::unapplied),
        }
    }
}
