//! Answers: what a handler hands back, and how it becomes an HTTP response in the representation the client asked for.

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::{Stream, StreamExt, stream};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WARNING};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use store::cache::{List, Object};

use super::negotiate::{Accept, Media, Shape};
use super::status::{ApiError, ApiResult};
use crate::app::App;
use crate::registry::conversion;
use crate::registry::resource::Resource;
use crate::registry::table::{self, Include};

/// Below this size compression costs more than it saves (upstream: 128 KiB).
const GZIP_FROM: usize = 128 * 1024;
/// The size of the pieces a list is sent in.
const PIECE: usize = 64 * 1024;

/// A response with a whole body.
#[must_use]
pub fn bytes(code: u16, content_type: &str, body: Bytes, gzip: bool) -> Response<Body> {
    let code = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    if gzip && body.len() >= GZIP_FROM {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
        // Writing into a Vec cannot fail.
        if encoder.write_all(&body).is_ok()
            && let Ok(packed) = encoder.finish()
        {
            *response.body_mut() = packed.into();
            return response;
        }
        response.headers_mut().remove(CONTENT_ENCODING);
    }
    *response.body_mut() = body.into();
    response
}

/// A JSON response.
#[must_use]
pub fn json(code: u16, value: &Value) -> Response<Body> {
    bytes(code, "application/json", to_json(value), false)
}

/// A plain text response.
#[must_use]
pub fn text(code: u16, body: impl Into<Bytes>) -> Response<Body> {
    bytes(code, "text/plain; charset=utf-8", body.into(), false)
}

/// JSON bytes of a value, which cannot fail: its keys are strings.
#[must_use]
pub fn to_json(value: &Value) -> Bytes {
    serde_json::to_vec(value).expect("a Value has only string keys").into()
}

/// The error's Status in the client's media type.
#[must_use]
pub fn error(error: &ApiError, media: Media) -> Response<Body> {
    let accept = Accept { media, ..Accept::JSON };
    let status = error.status();
    let (body, kind) = match encode(accept, "v1", "Status", &status) {
        Ok(body) => (body, accept.content_type(false)),
        Err(_) => (to_json(&status), "application/json"),
    };
    let mut response = bytes(error.code, kind, body, false);
    if let Some(seconds) = error.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    response
}

/// Adds `Warning: 299 - "…"` headers.
pub fn warn(response: &mut Response<Body>, warnings: &[String]) {
    for warning in warnings {
        let text = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

/// A value that is no view, in a media type.
pub fn encode(accept: Accept, api_version: &str, kind: &str, value: &Value) -> ApiResult<Bytes> {
    match accept.media {
        Media::Json => Ok(to_json(value)),
        Media::Yaml => serde_saphyr::to_string(value).map(Bytes::from).map_err(ApiError::internal),
        Media::Protobuf => {
            schema::protobuf::encode(api_version, kind, value).map(Bytes::from).map_err(ApiError::internal)
        }
    }
}

/// One object of a resource, in the shape asked for.
pub fn object(resource: &Resource, accept: Accept, include: Include, value: &Value) -> ApiResult<Bytes> {
    match accept.shape {
        Shape::Object => {
            let (version, kind) = (value["apiVersion"].as_str(), value["kind"].as_str());
            encode(accept, version.unwrap_or_default(), kind.unwrap_or_default(), value)
        }
        Shape::Partial => encode(accept, "meta.k8s.io/v1", "PartialObjectMetadata", &table::partial(value)),
        Shape::Table => {
            let metadata = json!({ "resourceVersion": value["metadata"]["resourceVersion"] });
            let rows = std::slice::from_ref(value);
            encode(accept, "meta.k8s.io/v1", "Table", &table::table(resource, rows, &metadata, include, true))
        }
    }
}

/// A cached object of a built-in kind as a value of the resource's version; `registry::conversion` reads those of any.
pub fn value_of(resource: &Resource, object: &Object) -> ApiResult<Value> {
    let mut value: Value = serde_json::from_slice(object.bytes()).map_err(ApiError::internal)?;
    if !resource.stored_as_served {
        resource.convert(&mut value, &resource.api_version());
    }
    Ok(value)
}

/// A list in the shape asked for; JSON is streamed in pieces from the cache's own bytes.
pub async fn list(
    app: &App,
    resource: &Arc<Resource>,
    accept: Accept,
    include: Include,
    list: List,
    metadata: &Value,
) -> ApiResult<Response<Body>> {
    let kind = accept.content_type(false);
    if accept.media == Media::Json && accept.shape == Shape::Object && resource.stored_as_served {
        let size: usize = list.items.iter().map(|item| item.bytes().len() + 1).sum();
        let head = list_head(resource, metadata);
        if size <= PIECE || (accept.gzip && size >= GZIP_FROM) {
            let mut body = BytesMut::with_capacity(size + head.len() + 2);
            body.put_slice(head.as_bytes());
            join(&mut body, &list.items, true);
            body.put_slice(b"]}");
            return Ok(bytes(200, kind, body.freeze(), accept.gzip));
        }
        let mut response = bytes(200, kind, Bytes::new(), false);
        *response.body_mut() = Body::from_stream(pieces(head, list.items).map(Ok::<_, std::convert::Infallible>));
        return Ok(response);
    }
    let items: Vec<&Object> = list.items.iter().map(|item| &**item).collect();
    let values = conversion::read_all(app, resource, &items).await?;
    let body = match (accept.shape, accept.media) {
        (Shape::Table, _) => {
            encode(accept, "meta.k8s.io/v1", "Table", &table::table(resource, &values, metadata, include, true))?
        }
        (Shape::Partial, _) => {
            let items: Vec<Value> = values.iter().map(table::partial).collect();
            let list = json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items });
            encode(accept, "meta.k8s.io/v1", "PartialObjectMetadataList", &list)?
        }
        (Shape::Object, Media::Protobuf) => {
            let version = resource.api_version();
            let message = |value: &Value| schema::protobuf::encode_message(&version, &resource.kind, value);
            let messages = values.iter().map(message).collect::<Result<Vec<_>, _>>().map_err(ApiError::internal)?;
            let items = messages.iter().map(Vec::as_slice);
            schema::protobuf::encode_list(&version, &resource.list_kind, metadata, items)
                .map_err(ApiError::internal)?
                .into()
        }
        (Shape::Object, _) => {
            let version = resource.api_version();
            let list =
                json!({ "kind": resource.list_kind, "apiVersion": version, "metadata": metadata, "items": values });
            encode(accept, &version, &resource.list_kind, &list)?
        }
    };
    Ok(bytes(200, kind, body, accept.gzip))
}

fn list_head(resource: &Resource, metadata: &Value) -> String {
    let (kind, version) = (json!(resource.list_kind), json!(resource.api_version()));
    format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{metadata},\"items\":[")
}

fn join(body: &mut BytesMut, items: &[Arc<Object>], mut first: bool) {
    for item in items {
        if !std::mem::take(&mut first) {
            body.put_u8(b',');
        }
        body.put_slice(item.bytes());
    }
}

/// The body of a large list, copied together piece by piece as the client takes it.
fn pieces(head: String, items: Vec<Arc<Object>>) -> impl Stream<Item = Bytes> + Send {
    let start = (Some(head), items, 0, false);
    stream::unfold(start, |(head, items, from, done)| async move {
        if done {
            return None;
        }
        let mut body = BytesMut::with_capacity(PIECE);
        if let Some(head) = head {
            body.put_slice(head.as_bytes());
        }
        let mut to = from;
        let mut size = 0;
        while to < items.len() && (size == 0 || size + items[to].bytes().len() < PIECE) {
            size += items[to].bytes().len();
            to += 1;
        }
        join(&mut body, &items[from..to], from == 0);
        let done = to == items.len();
        if done {
            body.put_slice(b"]}");
        }
        Some((body.freeze(), (None, items, to, done)))
    })
}
