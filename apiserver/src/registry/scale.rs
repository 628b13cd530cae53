//! The `scale` subresource: an `autoscaling/v1 Scale` read from, and written to, another object.

use schema::apply::scale::steps;
use schema::apply::{self, Manager, Operation};
use schema::field::{Error, ErrorList, Path, go_number};
use schema::go;
use serde_json::{Map, Value, json};

use super::custom::Scale;
use super::patch::{self, Model};
use super::resource::Source;
use super::update::{self, Change};
use super::{create, jsonpath, object, read, write as storage};
use crate::app::{Call, text};
use crate::http::status::{ApiError, ApiResult};

const VERSION: &str = "autoscaling/v1";
const KIND: &str = "Scale";
/// What stands for replicas that are not there until a change says how many.
const UNSET: i32 = i32::MIN;

/// GET …/scale
pub async fn get(call: &Call) -> ApiResult<Value> {
    read::revision(&call.query)?;
    let key = call.resource.key(&call.info.namespace, &call.info.name);
    let live = storage::load(call, &key).await?.ok_or_else(|| call.not_found(&call.info.name))?;
    if let Some(path) = missing(call, &live.value) {
        return Err(ApiError::internal(format!("the spec replicas field {path:?} does not exist")));
    }
    view(call, &live.value)
}

/// The path of a custom resource's replicas, where it has none.
fn missing<'c>(call: &'c Call, object: &Value) -> Option<&'c str> {
    let path = call.resource.custom()?.version(&call.resource.version)?.scale.as_ref()?.spec_replicas.as_str();
    nested(object, path).is_none().then_some(path)
}

/// What stands at a path of plain fields.
fn nested<'v>(object: &'v Value, path: &str) -> Option<&'v Value> {
    path.trim_start_matches('.').split('.').try_fold(object, |value, step| value.get(step))
}

/// The Scale of an object.
pub fn view(call: &Call, object: &Value) -> ApiResult<Value> {
    let metadata = &object["metadata"];
    let mut scale = json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1",
        "metadata": {
            "name": metadata["name"], "namespace": metadata["namespace"], "uid": metadata["uid"],
            "resourceVersion": metadata["resourceVersion"], "creationTimestamp": metadata["creationTimestamp"],
        },
        "spec": {}, "status": {},
    });
    let number = |path: &str| jsonpath::find(object, path).first().and_then(|v| v.as_i64());
    let (spec, status, selector) = match &call.resource.source {
        Source::BuiltIn(_) => {
            (number(".spec.replicas"), number(".status.replicas"), Some(selector_text(&object["spec"]["selector"])))
        }
        Source::Custom(custom) => {
            let paths = custom.version(&call.resource.version).and_then(|v| v.scale.as_ref());
            let paths = paths.ok_or_else(ApiError::no_route)?;
            let selector = paths.label_selector.as_deref().map(|path| {
                jsonpath::find(object, path).first().and_then(|v| v.as_str()).unwrap_or_default().to_owned()
            });
            (number(&paths.spec_replicas), number(&paths.status_replicas), selector)
        }
    };
    // As Go writes it: none are not worth mentioning.
    if let Some(replicas) = spec.filter(|replicas| *replicas != 0) {
        scale["spec"]["replicas"] = replicas.into();
    }
    scale["status"]["replicas"] = status.unwrap_or(0).into();
    if let Some(selector) = selector.filter(|s| !s.is_empty()) {
        scale["status"]["selector"] = selector.into();
    }
    Ok(scale)
}

/// The numbers a custom resource's `scale` reads must be counts, and its selector a text.
pub fn check(paths: &Scale, object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    for path in [&paths.spec_replicas, &paths.status_replicas] {
        let at = Path::new(path);
        let Some(value) = nested(object, path) else { continue };
        match value.as_i64() {
            None => errors.push(Error::invalid(&at, 0, accessor_error(path, value, "int64"))),
            Some(count) if count < 0 => errors.push(Error::invalid(&at, count, "should be a non-negative integer")),
            Some(count) if count > i64::from(i32::MAX) => {
                errors.push(Error::invalid(&at, count, format!("should be less than or equal to {}", i32::MAX)));
            }
            Some(_) => {}
        }
    }
    if let Some(path) = &paths.label_selector
        && let Some(value) = nested(object, path).filter(|value| !value.is_string())
    {
        errors.push(Error::invalid(&Path::new(path), "", accessor_error(path, value, "string")));
    }
    errors
}

fn accessor_error(path: &str, value: &Value, expected: &str) -> String {
    let (shown, given) = (go_text(value), go::type_name(value));
    format!("{path} accessor error: {shown} is of the type {given}, expected {expected}")
}

/// A value as Go's `%v` writes it.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Number(number) if !number.is_i64() => go_number(number.as_f64().unwrap_or_default()),
        Value::Array(list) => format!("[{}]", list.iter().map(go_text).collect::<Vec<_>>().join(" ")),
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}:{}", go_text(value))).collect();
            format!("map[{}]", entries.join(" "))
        }
        other => other.to_string(),
    }
}

/// A LabelSelector (or the plain map of a ReplicationController) as a selector string.
fn selector_text(selector: &Value) -> String {
    let simple = |map: &Map<String, Value>| -> Vec<String> {
        map.iter().filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?))).collect()
    };
    let mut parts = match selector["matchLabels"].as_object() {
        Some(map) => simple(map),
        None if selector.get("matchExpressions").is_none() => selector.as_object().map(simple).unwrap_or_default(),
        None => Vec::new(),
    };
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(expression, "/key");
        let values: Vec<&str> =
            expression["values"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        parts.push(match text(expression, "/operator") {
            "In" => format!("{key} in ({})", values.join(",")),
            "NotIn" => format!("{key} notin ({})", values.join(",")),
            "DoesNotExist" => format!("!{key}"),
            _ => key.to_owned(),
        });
    }
    parts.join(",")
}

/// The Scale as it is there, and who has its replicas.
pub fn before(call: &Call, live: &Value) -> ApiResult<Value> {
    let mut before = view(call, live)?;
    if missing(call, live).is_some() {
        before["spec"]["replicas"] = UNSET.into();
    }
    let managers = apply::scale::to_scale(live, &|version| path_in(call, version).map(steps));
    object::set(&mut before, "managedFields", if managers.is_empty() { Value::Null } else { managers.into() });
    Ok(before)
}

/// What a change makes of the Scale that was there `before`.
pub fn changed(call: &Call, change: &Change, live: &Value, before: &Value) -> ApiResult<Value> {
    let schema = schema::builtin(VERSION, KIND).ok_or_else(|| ApiError::internal("there is no model of a Scale"))?;
    let by = |operation| Manager { api_version: VERSION.to_owned(), ..create::manager(call, operation) };
    let mut scale = match change {
        Change::Put(value) => {
            if let Some(asked) = another(live, value) {
                let key = call.resource.key(&call.info.namespace, &call.info.name);
                return Err(call.failed_precondition(&key, "UID", (asked, text(live, "/metadata/uid"))));
            }
            value.clone()
        }
        Change::Merge(body) => {
            schema::patch::merge_patch(before, body, true).map_err(|error| patch::refused(&error))?
        }
        Change::Patch(patch) => {
            let model = Model { api_version: VERSION, kind: KIND, schema: Some(&schema), custom: false };
            patch.apply(call, before, &model)?
        }
        Change::Apply(configuration) => {
            let config = &configuration.value;
            update::applicable(&schema, config, VERSION, KIND)?;
            if before["metadata"]["managedFields"].is_null() && call.resource.is_custom() {
                return Err(unmanaged());
            }
            let by = by(Operation::Apply);
            let applied = apply::apply(&schema, Some(before), config, &by, configuration.force);
            configuration.complain(call)?;
            let applied = applied.map_err(update::unapplied)?;
            if call.resource.is_custom() && differ(&applied, before) {
                return Err(unconverted(config));
            }
            applied
        }
    };
    schema::normalize(&schema, &mut scale);
    if !matches!(change, Change::Apply(_)) {
        apply::track_update(&schema, Some(before), &mut scale, &by(Operation::Update));
    }
    update::identity(call, &scale)?;
    Ok(scale)
}

/// Whether two Scales differ in more than in whose they are.
fn differ(a: &Value, b: &Value) -> bool {
    let plain = |scale: &Value| {
        let mut scale = scale.clone();
        object::set(&mut scale, "managedFields", Value::Null);
        scale
    };
    plain(a) != plain(b)
}

/// The uid that a Scale says, where it is not that of the object.
fn another<'s>(live: &Value, scale: &'s Value) -> Option<&'s str> {
    Some(text(scale, "/metadata/uid")).filter(|asked| !asked.is_empty() && *asked != text(live, "/metadata/uid"))
}

/// The object with the replicas of its changed Scale.
pub fn merged(call: &Call, live: &Value, scale: &Value) -> ApiResult<Value> {
    let replicas = scale["spec"]["replicas"].as_i64().unwrap_or(0);
    if let Some(path) = missing(call, live).filter(|_| replicas == i64::from(UNSET)) {
        return Err(ApiError::bad_request(format!("the spec replicas field {path:?} cannot be empty")));
    }
    // Those of custom resources are judged with the resource.
    if replicas < 0 && !call.resource.is_custom() {
        let error =
            Error::invalid(&Path::new("spec").child("replicas"), replicas, "must be greater than or equal to 0");
        return Err(ApiError::invalid("autoscaling", KIND, &call.info.name, &vec![error]));
    }
    if let Some(asked) = another(live, scale) {
        let uid = text(live, "/metadata/uid");
        let why = format!("Precondition failed: UID in precondition: {asked}, UID in object meta: {uid}");
        let resource = format!("{}/scale", call.resource.plural);
        return Err(ApiError::conflict(&call.resource.group, &resource, &call.info.name, &why));
    }
    let mut new = live.clone();
    if let Some(path) = path_in(call, &call.resource.version) {
        write_path(&mut new, path, replicas.into());
    }
    let places = |version: &str| path_in(call, version).map(steps);
    apply::scale::to_object(&mut new, scale, &call.resource.api_version(), &places);
    // The Scale's resourceVersion is the object's: what the client sent is what it has seen.
    let seen = scale["metadata"]["resourceVersion"].clone();
    object::set(&mut new, "resourceVersion", seen);
    Ok(new)
}

/// What is applied to a custom resource's Scale upstream takes for an object of the resource, and finds no version to write it in:
/// the managers of what was there before,
fn unmanaged() -> ApiError {
    misplaced("failed to create manager for existing fields: failed to convert live object", "/")
}

/// and what has become of it.
fn unconverted(config: &Value) -> ApiError {
    let (namespace, name) = (text(config, "/metadata/namespace"), text(config, "/metadata/name"));
    misplaced("failed to convert new object", &format!("{namespace}/{name}"))
}

fn misplaced(what: &str, place: &str) -> ApiError {
    let version = apply::group_version_kind(VERSION, KIND);
    let why = format!("request to convert CR to an invalid group/version: {VERSION}");
    ApiError::new(500, "", format!("{what} ({place}; {version}) to proper version: {why}"))
}

/// Where an object has its replicas in a version of its API; `None` where it has none.
fn path_in<'a>(call: &'a Call, api_version: &str) -> Option<&'a str> {
    match &call.resource.source {
        Source::BuiltIn(_) => Some(".spec.replicas"),
        Source::Custom(custom) => {
            let version = api_version.rsplit('/').next().unwrap_or_default();
            custom.version(version)?.scale.as_ref().map(|scale| scale.spec_replicas.as_str())
        }
    }
}

/// A Scale as Go writes one in which less is said.
pub fn fill(scale: &mut Value) {
    for part in ["metadata", "spec", "status"] {
        if !scale[part].is_object() {
            scale[part] = json!({});
        }
    }
    if scale["status"]["replicas"].is_null() {
        scale["status"]["replicas"] = 0.into();
    }
}

fn write_path(object: &mut Value, path: &str, value: Value) {
    let mut at = object;
    for step in path.trim_start_matches('.').split('.') {
        if !at.is_object() {
            *at = Value::Object(Map::new());
        }
        at = &mut at[step];
    }
    *at = value;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_scale() {
        let paths = Scale {
            spec_replicas: ".spec.n".to_owned(),
            status_replicas: ".status.n".to_owned(),
            label_selector: Some(".status.s".to_owned()),
        };
        for (object, expected) in [
            (json!({}), vec![]),
            (json!({ "spec": { "n": 1 }, "status": { "n": 0, "s": "a=b" } }), vec![]),
            (
                json!({ "spec": { "n": 1.0 } }),
                vec![".spec.n: Invalid value: 0: .spec.n accessor error: 1 is of the type float64, expected int64"],
            ),
            (json!({ "spec": { "n": -1 } }), vec![".spec.n: Invalid value: -1: should be a non-negative integer"]),
            (
                json!({ "spec": { "n": "1" }, "status": { "s": 5 } }),
                vec![
                    ".spec.n: Invalid value: 0: .spec.n accessor error: 1 is of the type string, expected int64",
                    ".status.s: Invalid value: \"\": .status.s accessor error: 5 is of the type int64, expected string",
                ],
            ),
        ] {
            let told: Vec<String> = check(&paths, &object).iter().map(ToString::to_string).collect();
            assert_eq!(told, expected, "{object}");
        }
    }
}
