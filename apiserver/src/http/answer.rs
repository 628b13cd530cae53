//! Answers: what a handler hands back, and how it becomes an HTTP response in the representation the client asked for.

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use futures::stream;
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
        *response.body_mut() = pack(&body).into();
        return response;
    }
    *response.body_mut() = body.into();
    response
}

/// The bytes, compressed with gzip.
#[must_use]
pub fn pack(body: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.expect("writing into memory cannot fail").into()
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

/// A cached object's protobuf message (so of a built-in kind), encoded once for all who ask.
///
/// # Errors
/// The kind has no protobuf form.
pub fn message_of(resource: &Resource, object: &Object) -> ApiResult<Bytes> {
    let encode = || -> ApiResult<Bytes> {
        let value = value_of(resource, object)?;
        let message = schema::protobuf::encode_message(&resource.api_version(), &resource.kind, &value);
        message.map(Bytes::from).map_err(ApiError::internal)
    };
    // What is kept with the object is its stored version's.
    if resource.stored_as_served { object.encoded(encode).cloned() } else { encode() }
}

/// A list in the shape asked for; objects are streamed in pieces from the cache's own bytes.
pub async fn list(
    app: &App,
    resource: &Arc<Resource>,
    accept: Accept,
    include: Include,
    list: List,
    metadata: &Value,
) -> ApiResult<Response<Body>> {
    let kind = accept.content_type(false);
    match (accept.shape, accept.media) {
        (Shape::Object, Media::Json) => {
            let items = if resource.stored_as_served {
                list.items.iter().map(|item| item.bytes().clone()).collect()
            } else {
                values(app, resource, &list).await?.iter().map(to_json).collect()
            };
            let between = |out: &mut BytesMut, _: &Bytes, first: bool| {
                if !first {
                    out.put_u8(b',');
                }
            };
            Ok(pieces(kind, accept.gzip, list_head(resource, metadata).into(), items, between, b"]}"))
        }
        (Shape::Object, Media::Protobuf) => {
            let items = list.items.iter().map(|item| message_of(resource, item)).collect::<ApiResult<Vec<_>>>()?;
            let lengths = items.iter().map(Bytes::len);
            let version = resource.api_version();
            let mut frame = schema::protobuf::ListFrame::new(&version, &resource.list_kind, metadata, lengths)
                .map_err(ApiError::internal)?;
            let (head, tail) = (std::mem::take(&mut frame.head), frame.tail);
            let before = move |out: &mut BytesMut, item: &Bytes, _| out.put_slice(&frame.prefix(item.len()));
            Ok(pieces(kind, accept.gzip, head, items, before, tail))
        }
        (shape, _) => {
            let values = values(app, resource, &list).await?;
            let version = resource.api_version();
            let (version, name, value) = match shape {
                Shape::Table => {
                    let table = table::table(resource, &values, metadata, include, true);
                    ("meta.k8s.io/v1", "Table", table)
                }
                Shape::Partial => {
                    const KIND: &str = "PartialObjectMetadataList";
                    let items: Vec<Value> = values.iter().map(table::partial).collect();
                    let list =
                        json!({ "kind": KIND, "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items });
                    ("meta.k8s.io/v1", KIND, list)
                }
                Shape::Object => {
                    let name = resource.list_kind.as_str();
                    let list = json!({ "kind": name, "apiVersion": version, "metadata": metadata, "items": values });
                    (version.as_str(), name, list)
                }
            };
            Ok(bytes(200, kind, encode(accept, version, name, &value)?, accept.gzip))
        }
    }
}

/// The objects of a list in the resource's version.
async fn values(app: &App, resource: &Resource, list: &List) -> ApiResult<Vec<Value>> {
    let items: Vec<&Object> = list.items.iter().map(|item| &**item).collect();
    conversion::read_all(app, resource, &items).await
}

fn list_head(resource: &Resource, metadata: &Value) -> String {
    let (kind, version) = (json!(resource.list_kind), json!(resource.api_version()));
    format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{metadata},\"items\":[")
}

/// A body of shared items, each after what `before` puts in front of it: in one piece when it is small or to be
/// compressed, else copied together piece by piece as the client takes it.
fn pieces(
    kind: &str,
    gzip: bool,
    head: Vec<u8>,
    items: Vec<Bytes>,
    before: impl Fn(&mut BytesMut, &Bytes, bool) + Send + Sync + 'static,
    tail: &'static [u8],
) -> Response<Body> {
    let size: usize = items.iter().map(|item| item.len() + 8).sum();
    let append = move |out: &mut BytesMut, items: &[Bytes], mut first: bool| {
        for item in items {
            before(out, item, std::mem::take(&mut first));
            out.put_slice(item);
        }
    };
    if size <= PIECE || (gzip && size >= GZIP_FROM) {
        let mut body = BytesMut::with_capacity(size + head.len() + tail.len());
        body.put_slice(&head);
        append(&mut body, &items, true);
        body.put_slice(tail);
        return bytes(200, kind, body.freeze(), gzip);
    }
    let mut from = Some(0);
    let stream = std::iter::from_fn(move || {
        let begin = from?;
        let (mut to, mut size) = (begin, 0);
        while to < items.len() && (size == 0 || size + items[to].len() < PIECE) {
            size += items[to].len() + 8;
            to += 1;
        }
        let mut body = BytesMut::with_capacity(size + head.len() + tail.len());
        if begin == 0 {
            body.put_slice(&head);
        }
        append(&mut body, &items[begin..to], begin == 0);
        from = (to < items.len()).then_some(to);
        if from.is_none() {
            body.put_slice(tail);
        }
        Some(Ok::<_, std::convert::Infallible>(body.freeze()))
    });
    let mut response = bytes(200, kind, Bytes::new(), false);
    *response.body_mut() = Body::from_stream(stream::iter(stream));
    response
}
