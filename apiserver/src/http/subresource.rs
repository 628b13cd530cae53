//! Paths below an object.

use axum::body::Body;
use axum::extract::Request;
use http::Response;
use schema::field::{Error, ErrorList, Path};
use serde_json::{Value, json};

use super::eviction;
use super::kubelet;
use super::negotiate::{content_type, patch_type};
use super::resource::{collect, one, plain, scaled, suits, updated};
use super::status::{ApiError, ApiResult};
use crate::access::review::OTHER_NAMESPACE;
use crate::access::token;
use crate::admission::{self, Attributes};
use crate::app::{Call, text};
use crate::registry::patch::Sent;
use crate::registry::resource::Sub;
use crate::registry::update::Change;
use crate::registry::{body, create, object, read, scale, update, write};
use schema::apply::{Manager, Operation};

pub async fn answer(call: &Call, sub: &Sub, request: Request) -> ApiResult<Response<Body>> {
    let media = content_type(request.headers());
    let resource = &call.resource;
    match (sub.name.as_str(), call.info.verb) {
        ("exec" | "attach" | "portforward" | "log" | "proxy", _) => kubelet::answer(call, request).await,
        ("approval" | "status" | "resize" | "ephemeralcontainers", "get") => read::get(call).await,
        ("scale", "get") => {
            let found = scale::get(call).await?;
            suits(call.accept, resource, &call.info, &call.query)?;
            scaled(call, &found)
        }
        ("scale", "update" | "patch") => {
            let patch = patch_type(request.headers()).to_owned();
            let bytes = collect(request).await?;
            let change = if call.info.verb == "patch" {
                Sent::new(call, &patch, bytes)?.into()
            } else {
                let schema = schema::builtin("autoscaling/v1", "Scale");
                Change::Put(body::object(call, &media, &bytes, schema.as_ref(), "autoscaling/v1", "Scale")?)
            };
            let done = crate::registry::update::update(call, &change).await?;
            scaled(call, &scale::view(call, &done.object.value)?)
        }
        ("binding", "create") => {
            let bytes = collect(request).await?;
            let schema = schema::builtin("v1", "Binding");
            let mut binding = body::object(call, &media, &bytes, schema.as_ref(), "v1", "Binding")?;
            receive(call, &mut binding)?;
            admission::admit(&Attributes::create(call, &binding), &mut binding).await?;
            plain(call, 201, &bind(call, &binding).await?)
        }
        ("eviction", "create") => {
            let bytes = collect(request).await?;
            let schema = schema::builtin("policy/v1", "Eviction");
            let said = serde_json::from_slice::<Value>(&bytes).unwrap_or_default();
            let version = if text(&said, "/apiVersion") == OLD_EVICTION { OLD_EVICTION } else { "policy/v1" };
            let mut eviction = body::object(call, &media, &bytes, schema.as_ref(), version, "Eviction")?;
            receive(call, &mut eviction)?;
            admission::admit(&Attributes::create(call, &eviction), &mut eviction).await?;
            plain(call, 201, &eviction::evict(call, &eviction).await?)
        }
        ("token", "create") => {
            let bytes = collect(request).await?;
            let version = "authentication.k8s.io/v1";
            let schema = schema::builtin(version, "TokenRequest");
            let mut request = body::object(call, &media, &bytes, schema.as_ref(), version, "TokenRequest")?;
            if let Some(schema) = &schema {
                schema::apply_defaults(schema, &mut request);
            }
            token::prepare(&mut request);
            receive(call, &mut request)?;
            token::show(&mut request);
            let attributes = Attributes::create(call, &request);
            admission::mutate(&attributes, &mut request).await?;
            token::name(call, &mut request).await?;
            admission::validate(&attributes, &request).await?;
            plain(call, 201, &token::issue(call, request).await?)
        }
        (_, "update") => {
            let bytes = collect(request).await?;
            updated(call, &Change::Put(body::own(call, &media, &bytes)?)).await
        }
        (_, "patch") => {
            let patch = patch_type(request.headers()).to_owned();
            let bytes = collect(request).await?;
            updated(call, &Sent::new(call, &patch, bytes)?.into()).await
        }
        _ => one(call, 405, &Value::Null).and(Err(ApiError::no_method())),
    }
}

/// Evictions of old are the same, and still sent.
const OLD_EVICTION: &str = "policy/v1beta1";
/// What is created below an object is of its namespace, and somebody's.
///
/// # Errors
/// 400 where it says that it is of another namespace.
pub fn receive(call: &Call, body: &mut Value) -> ApiResult<()> {
    match text(body, "/metadata/namespace") {
        _ if !call.resource.namespaced => object::set(body, "namespace", Value::Null),
        "" => object::set(body, "namespace", call.info.namespace.clone().into()),
        own if own != call.info.namespace => return Err(ApiError::bad_request(OTHER_NAMESPACE)),
        _ => {}
    }
    let Some(schema) = schema::builtin(text(body, "/apiVersion"), text(body, "/kind")) else { return Ok(()) };
    let manager = Manager {
        api_version: text(body, "/apiVersion").to_owned(),
        subresource: call.info.subresource.clone(),
        ..create::manager(call, Operation::Update)
    };
    object::set(body, "managedFields", Value::Null);
    schema::apply::track_update(&schema, None, body, &manager);
    Ok(())
}

/// A Status that says so.
pub fn success() -> Value {
    json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 })
}

/// Puts a pod on a node: `pods/binding`, and the old `bindings`.
pub async fn bind(call: &Call, binding: &Value) -> ApiResult<Value> {
    let named = text(binding, "/metadata/name");
    let name = match call.info.name.as_str() {
        "" => named,
        name if name != named => {
            return Err(ApiError::bad_request("name in URL does not match name in Binding object"));
        }
        name => name,
    };
    update::namespace_of_url(call, binding)?;
    target(binding)?;
    if name.is_empty() {
        return Err(ApiError::bad_request("Name parameter required."));
    }
    let node = text(binding, "/target/name");
    let pods = Call::internal(&call.app, "", "pods", &call.info.namespace, name)?;
    let key = pods.resource.key(&call.info.namespace, name);
    for _ in 0..write::ATTEMPTS {
        let live = write::load(&pods, &key).await?.ok_or_else(|| pods.not_found(name))?;
        let mut pod = live.value.clone();
        let conflict = |why: &str| Err(ApiError::conflict("", "pods/binding", name, why));
        let (uid, version) = (text(binding, "/metadata/uid"), text(binding, "/metadata/resourceVersion"));
        let have = (text(&pod, "/metadata/uid"), live.revision.to_string());
        // A binding that is an object of its own has another uid.
        if !uid.is_empty() && uid != have.0 && !call.info.name.is_empty() {
            return Err(pods.failed_precondition(&key, "UID", (uid, have.0)));
        }
        if !version.is_empty() && version != have.1 {
            return Err(pods.failed_precondition(&key, "ResourceVersion", (version, &have.1)));
        }
        if object::is_deleting(&pod) {
            return conflict(&format!("pod {name} is being deleted, cannot be assigned to a host"));
        }
        let current = text(&pod, "/spec/nodeName");
        if !current.is_empty() {
            return conflict(&format!("pod {name} is already assigned to node {current:?}"));
        }
        if pod["spec"]["schedulingGates"].as_array().is_some_and(|gates| !gates.is_empty()) {
            return conflict(&format!("pod {name} has non-empty .spec.schedulingGates"));
        }
        pod["spec"]["nodeName"] = node.into();
        for map in ["annotations", "labels"] {
            for (key, value) in binding["metadata"][map].as_object().into_iter().flatten() {
                if !pod["metadata"][map].is_object() {
                    pod["metadata"][map] = json!({});
                }
                pod["metadata"][map][key] = value.clone();
            }
        }
        // What was hoped for is of no interest any more.
        if let Some(status) = pod["status"].as_object_mut() {
            status.remove("nominatedNodeName");
        }
        scheduled(&mut pod);
        if call.dry_run() {
            return Ok(success());
        }
        if write::commit(&pods, &key, pod, live.revision).await?.is_some() {
            return Ok(success());
        }
    }
    Err(pods.modified(name))
}

/// What a pod is bound to is a node (`ValidatePodBinding`); upstream's error has no code of its own.
fn target(binding: &Value) -> ApiResult<()> {
    let path = Path::new("target");
    let mut errors = ErrorList::new();
    let kind = text(binding, "/target/kind");
    if !matches!(kind, "" | "Node") {
        errors.push(Error::not_supported(&path.child("kind"), kind, &["Node", "<empty>"]));
    }
    if text(binding, "/target/name").is_empty() {
        errors.push(Error::required(&path.child("name"), ""));
    }
    let told: Vec<String> = errors.iter().map(ToString::to_string).collect();
    match told.as_slice() {
        [] => Ok(()),
        [one] => Err(ApiError::new(500, "", one.clone())),
        several => Err(ApiError::new(500, "", format!("[{}]", several.join(", ")))),
    }
}

/// The condition PodScheduled becomes true.
fn scheduled(pod: &mut Value) {
    let mut conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.retain(|c| c["type"] != "PodScheduled");
    conditions.push(json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": object::now(),
    }));
    pod["status"]["conditions"] = Value::Array(conditions);
}
