//! Between the versions of a kind: built-in kinds know how; a custom one changes its apiVersion alone (strategy None), or is
//! sent to a webhook (`apiextensions-apiserver/pkg/apiserver/conversion`).
//!
//! The store and the watch caches hold objects in the version they were written in. What was converted for a reader is kept
//! by revision, within bounds, for the readers after it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use schema::field::Path;
use schema::go;
use serde_json::{Map, Value, json};
use store::cache::Object;

use super::resource::{Resource, Source};
use crate::access::file::aggregate;
use crate::admission::Gvk;
use crate::app::{App, text};
use crate::audit::parts::{self, Part};
use crate::http::answer::to_json;
use crate::http::status::{ApiError, ApiResult};
use crate::kinds::validate;
use crate::outbound::{self, ClientConfig};

/// What a webhook may take for one review.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The objects of one review; a longer list is several.
const BATCH: usize = 500;
/// So many bytes of converted objects are kept for each definition, twice.
const KEPT: usize = 4 * 1024 * 1024;

/// How the versions of a definition are converted.
pub enum Strategy {
    None,
    Webhook(Box<Webhook>),
}

/// `spec.conversion.webhook`
pub struct Webhook {
    client: Result<ClientConfig, String>,
    /// The first of `conversionReviewVersions` that this server speaks.
    review: Option<&'static str>,
    kept: Mutex<Kept>,
}

/// Converted objects by key, revision and apiVersion; the older half goes when the newer is full.
#[derive(Default)]
struct Kept {
    new: HashMap<(Arc<str>, i64, String), Arc<Value>>,
    old: HashMap<(Arc<str>, i64, String), Arc<Value>>,
    size: usize,
}

impl Kept {
    fn get(&self, key: &(Arc<str>, i64, String)) -> Option<Arc<Value>> {
        self.new.get(key).or_else(|| self.old.get(key)).cloned()
    }

    fn put(&mut self, key: (Arc<str>, i64, String), value: Arc<Value>, size: usize) {
        if self.size + size > KEPT {
            self.old = std::mem::take(&mut self.new);
            self.size = 0;
        }
        if size <= KEPT {
            self.size += size;
            self.new.insert(key, value);
        }
    }
}

impl Strategy {
    /// From a definition's `spec.conversion`.
    #[must_use]
    pub fn parse(conversion: &Value) -> Self {
        if conversion["strategy"] != "Webhook" {
            return Self::None;
        }
        let webhook = &conversion["webhook"];
        let versions = webhook["conversionReviewVersions"].as_array().into_iter().flatten();
        let review = versions.filter_map(Value::as_str).find_map(|version| match version {
            "v1" => Some("apiextensions.k8s.io/v1"),
            "v1beta1" => Some("apiextensions.k8s.io/v1beta1"),
            _ => None,
        });
        let client = ClientConfig::parse(&webhook["clientConfig"]);
        Self::Webhook(Box::new(Webhook { client, review, kept: Mutex::default() }))
    }
}

fn webhook(resource: &Resource) -> Option<&Webhook> {
    match &resource.source {
        Source::Custom(custom) => match &custom.conversion {
            Strategy::Webhook(webhook) => Some(webhook),
            Strategy::None => None,
        },
        Source::BuiltIn(_) => None,
    }
}

/// What is said to who wants to watch what cannot be converted: upstream's cache has not started then.
#[must_use]
pub fn not_ready(resource: &Resource, error: &ApiError) -> ApiError {
    let kind = schema::apply::group_version_kind(&resource.api_version(), &resource.kind);
    let why = format!("storage is (re)initializing: failed to list {kind}: {}", error.message);
    ApiError::too_many_requests(why, 1)
}

/// Whether answers must be converted by somebody else, so that what was written may come back otherwise.
#[must_use]
pub fn is_foreign(resource: &Resource) -> bool {
    webhook(resource).is_some()
}

/// One object (or null) as one of `to`.
///
/// # Errors
/// What the webhook fails with.
pub async fn convert(app: &App, resource: &Resource, mut value: Value, to: &str) -> ApiResult<Value> {
    if value.is_null() {
        return Ok(value);
    }
    match webhook(resource) {
        None => {
            resource.convert(&mut value, to);
            Ok(value)
        }
        Some(webhook) => {
            let mut list = Box::pin(webhook.convert(app, resource, vec![value], to)).await?;
            Ok(list.pop().unwrap_or(Value::Null))
        }
    }
}

/// What is read of a cached object, in the resource's version.
///
/// # Errors
/// See [`convert`].
pub async fn read(app: &App, resource: &Resource, object: &Object) -> ApiResult<Value> {
    let mut list = read_all(app, resource, &[object]).await?;
    Ok(list.pop().unwrap_or(Value::Null))
}

/// The same as JSON, the cache's own bytes where they are served as they are stored.
///
/// # Errors
/// See [`convert`].
pub async fn bytes(app: &App, resource: &Resource, object: &Object) -> ApiResult<bytes::Bytes> {
    if resource.stored_as_served {
        return Ok(object.bytes().clone());
    }
    read(app, resource, object).await.map(|value| to_json(&value))
}

/// The same of several, in their order.
///
/// # Errors
/// See [`convert`].
pub async fn read_all(app: &App, resource: &Resource, objects: &[&Object]) -> ApiResult<Vec<Value>> {
    let to = resource.api_version();
    let mut values = Vec::with_capacity(objects.len());
    let mut missing = Vec::new();
    let webhook = webhook(resource);
    for (at, object) in objects.iter().enumerate() {
        let key = || (object.key.clone(), object.mod_revision, to.clone());
        if let Some(kept) = webhook.and_then(|webhook| webhook.kept.lock().get(&key())) {
            values.push((*kept).clone());
            continue;
        }
        let decoded = parts::timed(Part::Decode, || serde_json::from_slice(object.bytes()));
        let mut value: Value = decoded.map_err(ApiError::internal)?;
        if !resource.stored_as_served {
            prune_stored(resource, &mut value);
            if webhook.is_some() && value["apiVersion"] != to.as_str() {
                missing.push(at);
            } else {
                resource.convert(&mut value, &to);
                settle(resource, &mut value);
            }
        }
        values.push(value);
    }
    if let Some(webhook) = webhook {
        for batch in missing.chunks(BATCH) {
            let asked = batch.iter().map(|at| std::mem::take(&mut values[*at])).collect();
            let converted = Box::pin(webhook.convert(app, resource, asked, &to)).await?;
            for (at, mut value) in batch.iter().zip(converted) {
                settle(resource, &mut value);
                let object = objects[*at];
                let key = (object.key.clone(), object.mod_revision, to.clone());
                webhook.kept.lock().put(key, Arc::new(value.clone()), object.bytes().len());
                values[*at] = value;
            }
        }
    }
    Ok(values)
}

/// A custom object loses what the version it is stored in does not have, and gets that version's defaults, before it is
/// converted to another.
pub fn prune_stored(resource: &Resource, value: &mut Value) {
    if let Source::Custom(custom) = &resource.source
        && let Some(schema) = custom.schema_of(text(value, "/apiVersion"))
    {
        schema::prune(schema, value);
        schema::drop_nulls(schema, value);
        schema::apply_defaults(schema, value);
    }
}

/// A built-in object as the version it is stored in has it, and its own again: what one has no field for, annotations carry. So
/// upstream sees all objects, by way of the one version that it has inside.
pub fn there_and_back(resource: &Resource, value: &mut Value) {
    if resource.is_custom() || value["apiVersion"] == resource.storage_api_version.as_str() {
        return;
    }
    let own = value["apiVersion"].as_str().unwrap_or_default().to_owned();
    resource.convert(value, &resource.storage_api_version);
    resource.convert(value, &own);
}

/// A custom object just read, and converted, is pruned where its schema may have changed since it was written. Its defaults are
/// those of the version it is stored in ([`prune_stored`]): only what is sent gets its own version's.
pub fn settle(resource: &Resource, value: &mut Value) {
    if let (Source::Custom(_), Some(schema)) = (&resource.source, resource.schema())
        && !resource.stored_as_served
    {
        schema::prune(&schema, value);
    }
}

impl Webhook {
    /// The objects as ones of `to`; those that are already are not sent.
    async fn convert(&self, app: &App, resource: &Resource, objects: Vec<Value>, to: &str) -> ApiResult<Vec<Value>> {
        let asked: Vec<&Value> = objects.iter().filter(|object| object["apiVersion"] != to).collect();
        let Some(first) = asked.first() else { return Ok(objects) };
        let named = named(&Gvk::of(first));
        let failed = |why: String| ApiError::new(500, "", format!("conversion webhook for {named} {why}"));
        let review = self.review.ok_or_else(|| ApiError::new(500, "", "no supported conversion review versions"))?;
        let client = self.client.as_ref().map_err(|why| failed(format!("failed: {why}")))?;
        let uid = uuid::Uuid::new_v4().to_string();
        let request = json!({ "uid": uid, "desiredAPIVersion": to, "objects": asked });
        let request = json!({ "kind": "ConversionReview", "apiVersion": review, "request": request });
        let answer = outbound::post(app, client, &request, TIMEOUT).await;
        let mut answer = answer.map_err(|error| failed(format!("failed: {error}")))?;
        let converted = converted(review, &uid, &mut answer).map_err(|why| failed(format!("failed: {why}")))?;
        if converted.len() != asked.len() {
            return Err(failed(format!("returned {} objects, expected {}", converted.len(), asked.len())));
        }
        let mut converted = converted.into_iter();
        let mut one = |original: Value| {
            if original["apiVersion"] == to {
                return Ok(original);
            }
            let Some(new) = converted.next() else { return Ok(original) };
            object(&new).map_err(|why| ApiError::new(500, "", why))?;
            checked(&original, new, to).map_err(|why| failed(format!("returned {why}")))
        };
        tracing::debug!(kind = resource.kind, to, "objects were converted by a webhook");
        objects.into_iter().map(&mut one).collect()
    }
}

/// Go's way to write a kind.
fn named(kind: &Gvk) -> String {
    format!("{}/{}, Kind={}", kind.group, kind.version, kind.kind)
}

/// The objects of an answer that is one to our review.
fn converted(review: &str, uid: &str, answer: &mut Value) -> Result<Vec<Value>, String> {
    // v1beta1 was never checked, and servers that speak it rely on that.
    if review.ends_with("/v1") {
        let have = Gvk::of(answer);
        if have != Gvk::new("apiextensions.k8s.io", "v1", "ConversionReview") {
            let wanted = "apiextensions.k8s.io/v1, Kind=ConversionReview";
            return Err(format!("expected webhook response of {wanted}, got {}", named(&have)));
        }
    }
    let response = &mut answer["response"];
    if !response.is_object() {
        return Err("no response provided".to_owned());
    }
    if review.ends_with("/v1") && text(response, "/uid") != uid {
        return Err(format!("expected response.uid={uid:?}, got {:?}", text(response, "/uid")));
    }
    let status = text(response, "/result/status");
    if status != "Success" {
        return Err(match text(response, "/result/message") {
            "" => format!("response.result.status was '{status}', not 'Success'"),
            message => message.to_owned(),
        });
    }
    match response["convertedObjects"].take() {
        Value::Array(list) => Ok(list),
        _ => Ok(Vec::new()),
    }
}

/// Whether something converted is an object at all, in the words of Go's JSON.
fn object(new: &Value) -> Result<(), String> {
    let found = match new {
        Value::Object(_) if text(new, "/kind").is_empty() => {
            return Err(format!("Object 'Kind' is missing in '{new}'"));
        }
        Value::Object(_) => return Ok(()),
        Value::Null => return Err("unexpected end of JSON input".to_owned()),
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
    };
    Err(format!("json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"))
}

/// What the webhook may not have changed is held against the original, and its metadata restored but for labels and
/// annotations. Upstream asks for one object at a time, and says so in what it says.
fn checked(original: &Value, mut new: Value, to: &str) -> Result<Value, String> {
    let (have, wanted) = (Gvk::of(&new), Gvk::of(original));
    if have.api_version() != to {
        let why = format!("invalid groupVersion (expected {to}, received {})", have.api_version());
        return Err(format!("invalid object at index 0: {why}"));
    }
    if have.kind != wanted.kind {
        let why = format!("invalid kind (expected {}, received {})", wanted.kind, have.kind);
        return Err(format!("invalid object at index 0: {why}"));
    }
    for (field, what) in [("name", "name"), ("namespace", "namespace"), ("uid", "UID")] {
        let pointer = format!("/metadata/{field}");
        let (was, is) = (text(original, &pointer), text(&new, &pointer));
        if was != is {
            return Err(format!("invalid object: must have the same {what}: {was} != {is}"));
        }
    }
    new["metadata"] = metadata(original, &new).map_err(|why| format!("invalid metadata: {why}"))?;
    Ok(new)
}

/// The original's metadata with the converted object's labels and annotations.
fn metadata(original: &Value, new: &Value) -> Result<Value, String> {
    let told = match new.get("metadata") {
        None => return Err("missing metadata in converted object".to_owned()),
        Some(Value::Object(told)) => told,
        Some(other) => return Err(format!("invalid metadata of type {} in converted object", go::type_name(other))),
    };
    let mut metadata = original["metadata"].as_object().cloned().unwrap_or_default();
    for field in ["labels", "annotations"] {
        match told.get(field) {
            None | Some(Value::Null) => {
                metadata.remove(field);
            }
            Some(new @ Value::Object(map)) => {
                strings(field, map)?;
                if metadata.get(field) != Some(new) {
                    valid(field, new)?;
                }
                metadata.insert(field.to_owned(), new.clone());
            }
            Some(other) => {
                let of = go::type_name(other);
                return Err(format!("invalid metadata.{field} of type {of} in converted object"));
            }
        }
    }
    Ok(Value::Object(metadata))
}

fn strings(field: &str, map: &Map<String, Value>) -> Result<(), String> {
    match map.iter().find(|(_, value)| !value.is_string()) {
        None => Ok(()),
        Some((key, value)) => {
            let is = go::type_name(value);
            Err(format!("metadata.{field}[{key}] must be a string, but is {is} in converted object"))
        }
    }
}

fn valid(field: &str, map: &Value) -> Result<(), String> {
    let (mut errors, path) = (Vec::new(), Path::new("metadata"));
    match field {
        "labels" => validate::meta::labels(&mut errors, &path.child("labels"), map),
        _ => validate::meta::annotations(&mut errors, &path.child("annotation"), map),
    }
    if errors.is_empty() { Ok(()) } else { Err(aggregate(&errors)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn original() -> Value {
        json!({ "apiVersion": "g.io/v1", "kind": "Foo", "metadata": { "name": "a", "namespace": "n", "uid": "u",
            "labels": { "x": "y" }, "resourceVersion": "7" }, "spec": { "old": 1 } })
    }

    #[test]
    fn only_labels_and_annotations_of_the_metadata_may_change() {
        let mut new = original();
        new["apiVersion"] = "g.io/v2".into();
        new["metadata"] =
            json!({ "name": "a", "namespace": "n", "uid": "u", "labels": { "z": "1" }, "finalizers": ["f"] });
        let got = checked(&original(), new.clone(), "g.io/v2").unwrap();
        assert_eq!(got["metadata"]["labels"], json!({ "z": "1" }));
        assert_eq!((got["metadata"]["resourceVersion"].clone(), got["metadata"].get("finalizers")), ("7".into(), None));
        let wrong = |change: &dyn Fn(&mut Value)| {
            let mut new = new.clone();
            change(&mut new);
            checked(&original(), new, "g.io/v2").unwrap_err()
        };
        for (change, expected) in [
            (
                json!({ "apiVersion": "g.io/v3" }),
                "invalid object at index 0: invalid groupVersion (expected g.io/v2, received g.io/v3)",
            ),
            (json!({ "kind": "Bar" }), "invalid object at index 0: invalid kind (expected Foo, received Bar)"),
            (json!({ "metadata": { "uid": "w" } }), "invalid object: must have the same UID: u != w"),
            (
                json!({ "metadata": { "labels": { "z": 1 } } }),
                "invalid metadata: metadata.labels[z] must be a string, but is int64 in converted object",
            ),
            (
                json!({ "metadata": { "labels": [] } }),
                "invalid metadata: invalid metadata.labels of type []interface {} in converted object",
            ),
        ] {
            assert_eq!(wrong(&|object| *object = schema::patch::merge_patch(object, &change, true).unwrap()), expected);
        }
        let told = wrong(&|object| object["metadata"]["annotations"] = json!({ "A B": "" }));
        assert!(
            told.starts_with("invalid metadata: metadata.annotation: Invalid value: \"A B\": name part must"),
            "{told}"
        );
    }

    #[test]
    fn what_is_no_object_is_told_as_go_tells_it() {
        let unread =
            |what: &str| Err(format!("json: cannot unmarshal {what} into Go value of type map[string]interface {{}}"));
        for (new, expected) in [
            (json!({ "kind": "Foo" }), Ok(())),
            (json!({ "a": 1 }), Err(r#"Object 'Kind' is missing in '{"a":1}'"#.to_owned())),
            (Value::Null, Err("unexpected end of JSON input".to_owned())),
            (json!("x"), unread("string")),
            (json!([]), unread("array")),
            (json!(1), unread("number")),
            (json!(true), unread("bool")),
        ] {
            assert_eq!(object(&new), expected, "{new}");
        }
    }

    #[test]
    fn answers() {
        let good = json!({ "kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1",
            "response": { "uid": "u", "result": { "status": "Success" }, "convertedObjects": [{}] } });
        let of = |change: &dyn Fn(&mut Value)| {
            let mut answer = good.clone();
            change(&mut answer);
            converted("apiextensions.k8s.io/v1", "u", &mut answer)
        };
        assert_eq!(of(&|_| ()), Ok(vec![json!({})]));
        assert_eq!(of(&|a| a["response"] = Value::Null), Err("no response provided".to_owned()));
        let failed = of(&|a| a["response"]["result"] = json!({ "status": "Failure" }));
        assert_eq!(failed, Err("response.result.status was 'Failure', not 'Success'".to_owned()));
        let told = of(&|a| a["response"]["result"] = json!({ "status": "Failure", "message": "why" }));
        assert_eq!(told, Err("why".to_owned()));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut kept = Kept::default();
        for revision in 0..100 {
            kept.put(("k".into(), revision, "v".to_owned()), Arc::new(Value::Null), KEPT / 10);
        }
        assert!(kept.new.len() + kept.old.len() <= 20);
        assert!(kept.get(&("k".into(), 99, "v".to_owned())).is_some());
        assert!(kept.get(&("k".into(), 1, "v".to_owned())).is_none());
    }
}
