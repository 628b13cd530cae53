//! Requests of resources: which there are and what may be done with them, what is read of the request, and how it is answered.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::USER_AGENT;
use http::{Method, Response};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde_json::{Value, json};

use super::logged::IsStatus;
use super::negotiate::{Accept, Media, Shape, content_type, patch_type};
use super::request_info::{Query, RequestInfo};
use super::route::Deadline;
use super::status::{ApiError, ApiResult};
use super::{answer, component_status, discovery, pretty, subresource};
use crate::access::{Notes, review};
use crate::admission::{self, Attributes};
use crate::app::{App, Call};
use crate::audit::Trail;
use crate::registry::delete::Deleted;
use crate::registry::patch::Sent;
use crate::registry::resource::{Resource, Sub};
use crate::registry::table::Include;
use crate::registry::write::Written;
use crate::registry::{body, create, delete, options, read, update, watch};

/// The largest body that is read (upstream: 3 MiB).
const BODY_LIMIT: usize = 3 * 1024 * 1024;

/// Answers a request of a resource of some group and version.
pub async fn answer(
    app: &Arc<App>,
    user: auth::UserInfo,
    request: Request,
    info: RequestInfo,
    query: Query,
    notes: &mut Notes,
) -> ApiResult<Response<Body>> {
    let catalogue = app.catalogue.load_full();
    let resource = match catalogue.get(&info.group, &info.version, &info.resource).cloned() {
        Some(resource) => resource,
        None if catalogue.is_built_in(&info.group) => return Err(ApiError::no_route()),
        None => return Ok(answer::page_not_found()),
    };
    if let Some(refusal) = misplaced(&resource, &info, request.method())? {
        return Ok(refusal);
    }
    // Reviews and the like have no metadata to show.
    let views = resource.has_verb("get") && matches!(info.subresource.as_str(), "" | "status" | "scale");
    let protobuf = schema::protobuf::supports(&resource.api_version(), &resource.kind);
    let streams = matches!(info.subresource.as_str(), "proxy" | "exec" | "attach" | "portforward" | "log");
    if !streams && !resource.is_custom() && !discovery::names_one_of(request.headers(), &discovery::FORMS) {
        let watches = matches!(info.verb, "list" | "watch") && resource.has_verb("watch");
        let watches = if watches {
            ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch"
        } else {
            ""
        };
        return Err(discovery::no_representation(&format!("{}{watches}", discovery::FORMS.join(", "))));
    }
    notes.served = true;
    let accept = if streams { Accept::JSON } else { Accept::parse(request.headers(), protobuf, views)? };
    if info.name.is_empty() || info.verb != "get" {
        suits(accept, &resource, &info, &query)?;
    }
    let mut call = Call::new(app.clone(), user, resource, info);
    if call.resource.is("", "namespaces") {
        // Namespaces are no inhabitants of themselves: to the registry they are cluster-scoped.
        call.info.namespace.clear();
    }
    call.deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
    call.trail = request.extensions().get::<Arc<Trail>>().cloned();
    call.query = query;
    call.accept = accept;
    call.agent = request.headers().get(USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
    let pretty = !streams && call.info.verb != "watch" && pretty::is_wanted(&call.query, request.headers());
    call.accept.gzip &= !pretty;
    if let Some(text) = call.resource.deprecation() {
        call.warn(text);
        notes.deprecated = true;
        let info = &call.info;
        // No deprecated version of those there are is to go in a known release.
        app.metrics.deprecated.set(&[&info.group, "", &info.resource, &info.subresource, &info.version], 1.0);
    }
    let result = dispatch(&call, request).await;
    // What is refused is warned of, too.
    notes.warnings.extend(call.take_warnings());
    notes.webhooks = call.webhooks();
    let response = result?;
    Ok(if pretty { Box::pin(pretty::print(response)).await } else { response })
}

/// Whether the path, which names a resource, is one that upstream serves, and in this way. Custom resources, which upstream serves
/// by a handler of their own, are refused in other words.
fn misplaced(resource: &Resource, info: &RequestInfo, method: &Method) -> ApiResult<Option<Response<Body>>> {
    let custom = resource.is_custom();
    let namespaces = resource.is("", "namespaces");
    // The name is the path's, not one that a selector fixes.
    let collection = info.name.is_empty() || info.is_collection();
    let astray = !namespaces && !resource.namespaced && !info.namespace.is_empty();
    let everywhere = resource.namespaced && info.namespace.is_empty();
    if astray || everywhere && !(collection && resource.has_verb("list")) {
        return if custom { Ok(Some(answer::page_not_found())) } else { Err(ApiError::no_route()) };
    }
    if everywhere && !matches!(info.verb, "list" | "watch") {
        return if custom { Ok(Some(answer::page_not_found())) } else { Err(ApiError::no_method()) };
    }
    let sub = match info.subresource.as_str() {
        "" => None,
        name => Some(resource.sub(name).ok_or_else(|| match custom {
            true => ApiError::not_found(&resource.group, &resource.plural, &info.name),
            false => ApiError::no_route(),
        })?),
    };
    let refused = || match custom {
        true => ApiError::method_not_allowed(&resource.group, &resource.plural, info.verb),
        false => ApiError::no_method(),
    };
    if info.subresource == "proxy" {
        // A proxied server may know methods that no verb stands for.
        let known = |sub: &Sub| sub.verbs.iter().any(|verb| verb == info.verb);
        return if *method == Method::OPTIONS || sub.is_some_and(known) { Ok(None) } else { Err(refused()) };
    }
    if !info.rest.is_empty() && !custom {
        return Err(ApiError::no_route());
    }
    // What is made and never kept has no paths of its own.
    let kept = |verb: &String| matches!(verb.as_str(), "get" | "update" | "patch" | "delete");
    if sub.is_none() && !collection && !resource.verbs.iter().any(kept) {
        return Err(ApiError::no_route());
    }
    let verbs = sub.map_or(&resource.verbs, |sub| &sub.verbs);
    let verb = if info.verb == "watch" && sub.is_some() { "get" } else { info.verb };
    let fits = match verb {
        "create" => sub.is_some() || collection,
        "update" | "patch" => !collection,
        _ => true,
    };
    let head = *method == Method::HEAD && !custom;
    if head || !fits || !verbs.iter().any(|known| known == verb) { Err(refused()) } else { Ok(None) }
}

/// Whether the view that is wished for is one of what will be answered.
///
/// # Errors
/// 406 for a list in place of an object or the other way round, 400 for a Table with an unknown `includeObject`.
pub fn suits(accept: Accept, resource: &Resource, info: &RequestInfo, query: &Query) -> ApiResult<()> {
    let go_type = |kind: &str, custom: &str| match (info.subresource.as_str(), resource.is_custom()) {
        ("scale", true) => "v1.Scale".to_owned(),
        ("scale", false) => "autoscaling.Scale".to_owned(),
        (_, false) => {
            schema::go_types(&resource.api_version(), kind).map_or_else(String::new, |(_, internal)| internal)
        }
        (_, true) => format!("unstructured.{custom}"),
    };
    let text = match (accept.shape, info.verb) {
        (Shape::Table, _) => {
            let word = query.get("includeObject").unwrap_or_default();
            if matches!(word, "" | "Metadata" | "Object" | "None") {
                return Ok(());
            }
            let error = schema::field::Error::invalid(
                &schema::field::Path::new("includeObject"),
                word,
                "must be 'Metadata', 'Object', 'None', or empty",
            );
            return Err(ApiError::bad_request(format!("Unable to convert to Table as requested: {error}")));
        }
        (Shape::Partial { list: false }, "list") => {
            let of = go_type(&resource.list_kind, "UnstructuredList");
            format!("you requested PartialObjectMetadata, but the requested object is a list (*{of})")
        }
        (Shape::Partial { list: true }, "get") => {
            let of = go_type(&resource.kind, "Unstructured");
            format!("you requested PartialObjectMetadataList, but the requested object is not a list (*{of})")
        }
        _ => return Ok(()),
    };
    Err(ApiError::new(406, "NotAcceptable", text))
}

/// The body, not more than is allowed.
pub async fn collect(request: Request) -> ApiResult<Bytes> {
    let trail = request.extensions().get::<Arc<Trail>>().cloned();
    let media = content_type(request.headers());
    match Limited::new(request.into_body(), BODY_LIMIT).collect().await {
        Ok(body) => {
            let bytes = body.to_bytes();
            if let Some(trail) = trail {
                trail.request(&media, &bytes);
            }
            Ok(bytes)
        }
        Err(error) if error.is::<LengthLimitError>() => Err(ApiError::too_large(format_args!("limit is {BODY_LIMIT}"))),
        Err(error) => Err(ApiError::bad_request(format!("the body could not be read: {error}"))),
    }
}

/// A GET of an object is answered here. What takes longer has a future of its own: that of a request is made and moved into a
/// task for each, so it should be small.
async fn dispatch(call: &Call, request: Request) -> ApiResult<Response<Body>> {
    match (call.info.verb, call.info.subresource.as_str()) {
        ("get", "") if !call.resource.prefix.is_empty() => read::get(call).await,
        _ => Box::pin(dispatch_rest(call, request)).await,
    }
}

async fn dispatch_rest(call: &Call, request: Request) -> ApiResult<Response<Body>> {
    let (resource, info) = (&call.resource, &call.info);
    let media = content_type(request.headers());
    let streams = matches!(info.subresource.as_str(), "proxy" | "exec" | "attach" | "portforward" | "log");
    if matches!(info.verb, "create" | "update" | "patch") && !streams {
        options::write(call, if info.verb == "patch" { patch_type(request.headers()) } else { &media })?;
    }
    if !info.subresource.is_empty() {
        let sub = resource.sub(&info.subresource).ok_or_else(ApiError::no_route)?;
        return subresource::answer(call, sub, request).await;
    }
    match info.verb {
        "get" => {
            let found = component_status::get(call).await?;
            suits(call.accept, resource, info, &call.query)?;
            one(call, 200, &found)
        }
        "list" if resource.prefix.is_empty() => {
            let items = component_status::list(call).await?;
            let include = Include::parse(call.query.get("includeObject"));
            let body = answer::unstored(resource, call.accept, include, &items)?;
            Ok(answer::bytes(200, call.accept.content_type(false), body, call.accept.gzip))
        }
        "list" => read::list(call).await,
        "watch" => watch::watch(call, request).await,
        "create" if resource.prefix.is_empty() => {
            let bytes = collect(request).await?;
            let mut body = body::own(call, &media, &bytes)?;
            create::fill(call, &mut body);
            subresource::receive(call, &mut body)?;
            admission::admit(&Attributes::create(call, &body), &mut body).await?;
            let value = if resource.kind == "Binding" {
                subresource::bind(call, &body).await?
            } else {
                let answer = review::answer(call, body).await?;
                match resource.schema() {
                    Some(schema) => schema::written(&schema, &answer).into_owned(),
                    None => answer,
                }
            };
            one(call, 201, &value)
        }
        "create" => {
            let bytes = collect(request).await?;
            written(call, 201, &create::create(call, &media, &bytes).await?)
        }
        "update" => {
            let bytes = collect(request).await?;
            updated(call, &update::Change::Put(body::own(call, &media, &bytes)?)).await
        }
        "patch" => {
            let media = patch_type(request.headers()).to_owned();
            let bytes = collect(request).await?;
            updated(call, &Sent::new(call, &media, bytes)?.into()).await
        }
        "delete" => {
            let bytes = collect(request).await?;
            let options = delete::Options::parse(call, &media, &bytes)?;
            match delete::delete(call, &options).await? {
                Deleted::Last(value) => one(call, 200, &value),
                Deleted::Pending(value) => one(call, if options.cascades() { 202 } else { 200 }, &value),
                Deleted::Gone(status) => plain(call, 200, &status),
            }
        }
        "deletecollection" => {
            let bytes = collect(request).await?;
            let options = delete::Options::parse(call, &media, &bytes)?;
            let list = delete::collection(call, &options).await?;
            let metadata = json!({ "resourceVersion": list.revision.to_string() });
            let include = Include::parse(call.query.get("includeObject"));
            answer::list(&call.app, resource, call.accept, include, list, &metadata).await
        }
        _ => Err(ApiError::no_method()),
    }
}

/// Carries out a change and answers with the object.
pub async fn updated(call: &Call, change: &update::Change) -> ApiResult<Response<Body>> {
    let done = update::update(call, change).await?;
    written(call, if done.created { 201 } else { 200 }, &done.object)
}

/// An object that was written, in the shape asked for: mostly as it was written.
fn written(call: &Call, code: u16, object: &Written) -> ApiResult<Response<Body>> {
    match (&object.json, call.accept) {
        (Some(json), accept @ Accept { shape: Shape::Object, media: Media::Json, .. }) => {
            Ok(answer::bytes(code, accept.content_type(false), answer::line(json.clone()), accept.gzip))
        }
        _ => one(call, code, &object.value),
    }
}

/// One object, in the shape asked for.
pub fn one(call: &Call, code: u16, value: &Value) -> ApiResult<Response<Body>> {
    let body = answer::object(&call.resource, call.accept, Include::parse(call.query.get("includeObject")), value)?;
    Ok(answer::bytes(code, call.accept.content_type(false), body, call.accept.gzip))
}

/// A Scale, in the shape asked for.
pub fn scaled(call: &Call, value: &Value) -> ApiResult<Response<Body>> {
    let include = Include::parse(call.query.get("includeObject"));
    let body = answer::scale(call.resource.is_custom(), call.accept, include, value)?;
    Ok(answer::bytes(200, call.accept.content_type(false), body, call.accept.gzip))
}

/// A value that has no views: a Status, a token.
pub fn plain(call: &Call, code: u16, value: &Value) -> ApiResult<Response<Body>> {
    let (version, kind) = (crate::app::text(value, "/apiVersion"), crate::app::text(value, "/kind"));
    let mut accept = call.accept;
    if accept.media == Media::Protobuf && !schema::protobuf::supports(version, kind) {
        accept = Accept::JSON;
    }
    let body = answer::encode(accept, version, kind, value)?;
    let mut answer = answer::bytes(code, accept.content_type(false), body, accept.gzip);
    if kind == "Status" {
        answer.extensions_mut().insert(IsStatus);
    }
    Ok(answer)
}
