//! Answers: what a handler hands back, and how it becomes an HTTP response in the representation the client asked for.

use axum::body::Body;
use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compression, write::GzEncoder};
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{Response, StatusCode};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::Arc;
use store::cache::{List, Object};

use super::negotiate::{Accept, Media, Shape};
use super::pieces;
use super::status::{ApiError, ApiResult};
use crate::app::App;
use crate::audit::parts::{self, Part};
use crate::registry::conversion;
use crate::registry::resource::Resource;
use crate::registry::table::{self, Include, Table};

/// Below this size compression costs more than it saves (upstream: 128 KiB).
pub const GZIP_FROM: usize = 128 * 1024;

/// Nobody on the way may keep what depends on who asks, and when.
pub const UNCACHED: HeaderValue = HeaderValue::from_static("no-cache, private");

/// A response with a whole body.
#[must_use]
pub fn bytes(code: u16, content_type: &str, body: Bytes, gzip: bool) -> Response<Body> {
    if gzip && body.len() >= GZIP_FROM {
        return packed(code, content_type, &body);
    }
    of(code, content_type, false, body.into())
}

/// The same, compressed however short it is.
#[must_use]
pub fn packed(code: u16, content_type: &str, body: &[u8]) -> Response<Body> {
    of(code, content_type, true, pack(body).into())
}

/// A response with a body that is compressed already, or not.
#[must_use]
pub fn of(code: u16, content_type: &str, packed: bool, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(content_type) {
        headers.insert(CONTENT_TYPE, value);
    }
    headers.insert(CACHE_CONTROL, UNCACHED);
    if packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
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
    let mut response = bytes(code, "text/plain; charset=utf-8", body.into(), false);
    response.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// What Go's own server says of a path that nobody serves.
#[must_use]
pub fn page_not_found() -> Response<Body> {
    text(404, "404 page not found\n")
}

/// JSON bytes of a value, those of built-in kinds in upstream's order.
#[must_use]
pub fn to_json(value: &Value) -> Bytes {
    schema::json::to_vec(value).into()
}

/// JSON that is ended by a line's end, as Go's encoder ends it.
#[must_use]
pub fn line(json: Bytes) -> Bytes {
    parts::timed(Part::Serialize, || {
        let mut text = BytesMut::with_capacity(json.len() + 1);
        text.extend_from_slice(&json);
        text.put_u8(b'\n');
        text.freeze()
    })
}

/// The end of a list.
const END: &[u8] = b"]}\n";

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

/// What is told of a request that took too long: upstream writes it past what negotiates, so that clients find no Status in it
/// (`server/filters/timeout.go`).
pub fn late(error: &ApiError) -> Response<Body> {
    // Nor does it say what it is.
    const KIND: &[u8] = br#""kind":"Status","apiVersion":"v1","#;
    let body = to_json(&error.status());
    let rest = body.strip_prefix(b"{").and_then(|body| body.strip_prefix(KIND)).unwrap_or_default();
    bytes(error.code, "text/plain; charset=utf-8", line([b"{", rest].concat().into()), false)
}

/// A value that is no view, in a media type.
pub fn encode(accept: Accept, api_version: &str, kind: &str, value: &Value) -> ApiResult<Bytes> {
    parts::timed(Part::Serialize, || encoded(accept, api_version, kind, value))
}

fn encoded(accept: Accept, api_version: &str, kind: &str, value: &Value) -> ApiResult<Bytes> {
    match accept.media {
        Media::Json => {
            let mut text = schema::json::to_vec(value);
            text.push(b'\n');
            Ok(text.into())
        }
        Media::Yaml => serde_saphyr::to_string(value).map(Bytes::from).map_err(ApiError::internal),
        Media::Protobuf => {
            // The messages of views are the same in all versions.
            let of = if api_version == accept.view { Accept::JSON.view } else { api_version };
            let message = schema::protobuf::encode_message(of, kind, value).map_err(ApiError::internal)?;
            Ok(schema::protobuf::envelope(api_version, kind, &message).into())
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
        Shape::Partial { .. } => partial(accept, value),
        Shape::Table => table_of_one(accept, &Table::new(resource, include, accept.view), value),
    }
}

/// An object's `scale`, in the shape asked for; `custom`: of a custom resource.
pub fn scale(custom: bool, accept: Accept, include: Include, value: &Value) -> ApiResult<Bytes> {
    match accept.shape {
        Shape::Object => encode(accept, "autoscaling/v1", "Scale", value),
        Shape::Partial { .. } => partial(accept, value),
        Shape::Table => table_of_one(accept, &Table::of_scale(custom, include, accept.view), value),
    }
}

fn partial(accept: Accept, value: &Value) -> ApiResult<Bytes> {
    let partial = parts::timed(Part::Transform, || table::partial(value, accept.view));
    encode(accept, accept.view, "PartialObjectMetadata", &partial)
}

fn table_of_one(accept: Accept, table: &Table, value: &Value) -> ApiResult<Bytes> {
    let metadata = json!({ "resourceVersion": value["metadata"]["resourceVersion"] });
    let of = || table::of(table, std::slice::from_ref(value), &metadata, true, false);
    table_in(accept, parts::timed(Part::Transform, of))
}

/// A cached object of a built-in kind as a value of the resource's version; `registry::conversion` reads those of any.
pub fn value_of(resource: &Resource, object: &Object) -> ApiResult<Value> {
    let decoded = parts::timed(Part::Decode, || serde_json::from_slice(object.bytes()));
    let mut value: Value = decoded.map_err(ApiError::internal)?;
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

/// A Table written as JSON, in the media type asked for; protobuf has none.
fn table_in(accept: Accept, json: Vec<u8>) -> ApiResult<Bytes> {
    if accept.media == Media::Json {
        return Ok(line(json.into()));
    }
    let value: Value = serde_json::from_slice(&json).map_err(ApiError::internal)?;
    encode(accept, accept.view, "Table", &value)
}

/// A list in the shape asked for; what is made of the cache's own bytes is made piece by piece.
pub async fn list(
    app: &App,
    resource: &Arc<Resource>,
    accept: Accept,
    include: Include,
    list: List,
    metadata: &Value,
) -> ApiResult<Response<Body>> {
    let (kind, gzip) = (accept.content_type(false), accept.gzip);
    let version = resource.api_version();
    let cached = resource.stored_as_served;
    match (accept.shape, accept.media) {
        (Shape::Object, Media::Json) => {
            let items: Vec<Bytes> = if cached {
                list.items.iter().map(|item| item.bytes().clone()).collect()
            } else {
                values(app, resource, &list).await?.iter().map(to_json).collect()
            };
            let told = Told::by_list_of(&resource.kind, &version);
            let append = move |out: &mut Vec<u8>, item: Bytes, first| {
                comma(out, first);
                told.item(out, &item);
                Ok(())
            };
            let mut metadata = metadata.clone();
            if resource.is_custom() && metadata["continue"].is_null() {
                // Lists without a type say this always.
                metadata["continue"] = "".into();
            }
            let head = list_head(&resource.list_kind, &version, &metadata);
            pieces::body(kind, gzip, head, items.into_iter(), append, END)
        }
        (Shape::Object, Media::Protobuf) => {
            let items = list.items.iter().map(|item| message_of(resource, item)).collect::<ApiResult<Vec<_>>>()?;
            let lengths = items.iter().map(Bytes::len);
            let mut frame = schema::protobuf::ListFrame::new(&version, &resource.list_kind, metadata, lengths)
                .map_err(ApiError::internal)?;
            let (head, tail) = (std::mem::take(&mut frame.head), frame.tail);
            let append = move |out: &mut Vec<u8>, item: Bytes, _| {
                out.extend_from_slice(&frame.prefix(item.len()));
                out.extend_from_slice(&item);
                Ok(())
            };
            pieces::body(kind, gzip, head, items.into_iter(), append, tail)
        }
        (Shape::Table, Media::Json) => {
            let table = Table::new(resource, include, accept.view);
            let table::Frame { head, tail } = table.frame(metadata, true, list.items.is_empty());
            if cached {
                let append = move |out: &mut Vec<u8>, item: Arc<Object>, first| {
                    comma(out, first);
                    Ok(table.row_of_bytes(out, item.bytes())?)
                };
                return pieces::body(kind, gzip, head, list.items.into_iter(), append, tail);
            }
            let append = move |out: &mut Vec<u8>, item: Value, first| {
                comma(out, first);
                Ok(table.row(out, &item)?)
            };
            let items = values(app, resource, &list).await?;
            pieces::body(kind, gzip, head, items.into_iter(), append, tail)
        }
        (Shape::Table, _) => {
            let values = values(app, resource, &list).await?;
            let table = Table::new(resource, include, accept.view);
            let body = table_in(accept, table::of(&table, &values, metadata, true, values.is_empty()))?;
            Ok(bytes(200, kind, body, gzip))
        }
        (Shape::Partial { .. }, Media::Json) if cached && !list.items.is_empty() => {
            let append = move |out: &mut Vec<u8>, item: Arc<Object>, first| {
                comma(out, first);
                Ok(table::partial_of_bytes(out, item.bytes(), accept.view)?)
            };
            let head = list_head(PARTIAL_LIST, accept.view, metadata);
            pieces::body(kind, gzip, head, list.items.into_iter(), append, END)
        }
        (Shape::Partial { .. }, _) => {
            let items = values(app, resource, &list).await?;
            Ok(bytes(200, kind, partial_list(accept, metadata, &items)?, gzip))
        }
        (Shape::Object, _) => {
            let mut items = values(app, resource, &list).await?;
            if !resource.is_custom() {
                for item in items.iter_mut().filter_map(Value::as_object_mut) {
                    item.remove("kind");
                    item.remove("apiVersion");
                }
            }
            let name = resource.list_kind.as_str();
            let list = json!({ "kind": name, "apiVersion": version, "metadata": metadata, "items": items });
            Ok(bytes(200, kind, encode(accept, &version, name, &list)?, gzip))
        }
    }
}

const PARTIAL_LIST: &str = "PartialObjectMetadataList";

/// The metadata of objects; of none, Go's list is nil.
fn partial_list(accept: Accept, metadata: &Value, items: &[Value]) -> ApiResult<Bytes> {
    let partial = || items.iter().map(|item| table::partial(item, accept.view)).collect::<Vec<_>>();
    let items = parts::timed(Part::Transform, partial);
    let items = if items.is_empty() { Value::Null } else { items.into() };
    let list = json!({ "kind": PARTIAL_LIST, "apiVersion": accept.view, "metadata": metadata, "items": items });
    encode(accept, accept.view, PARTIAL_LIST, &list)
}

/// A list of objects that are stored nowhere, in the shape asked for.
pub fn unstored(resource: &Resource, accept: Accept, include: Include, items: &[Value]) -> ApiResult<Bytes> {
    let metadata = json!({});
    match accept.shape {
        Shape::Table => {
            let table = Table::new(resource, include, accept.view);
            table_in(accept, table::of(&table, items, &metadata, true, items.is_empty()))
        }
        Shape::Partial { .. } => partial_list(accept, &metadata, items),
        Shape::Object => {
            let (version, kind) = (resource.api_version(), resource.list_kind.as_str());
            let list = json!({ "kind": kind, "apiVersion": version, "metadata": metadata, "items": items });
            encode(accept, &version, kind, &list)
        }
    }
}

/// The objects of a list in the resource's version.
async fn values(app: &App, resource: &Resource, list: &List) -> ApiResult<Vec<Value>> {
    let items: Vec<&Object> = list.items.iter().map(|item| &**item).collect();
    conversion::read_all(app, resource, &items).await
}

/// What a list says of its items: those of built-in kinds, as upstream's, do not say it again. Custom resources do.
struct Told(Vec<u8>);

impl Told {
    fn by_list_of(kind: &str, version: &str) -> Self {
        // So begins every object of a built-in kind, and none of a custom one; see `schema::json`.
        Self(format!("{{\"kind\":{},\"apiVersion\":{},", json!(kind), json!(version)).into_bytes())
    }

    fn item(&self, out: &mut Vec<u8>, item: &[u8]) {
        match item.strip_prefix(&*self.0) {
            Some(rest) => {
                out.push(b'{');
                out.extend_from_slice(rest);
            }
            None => out.extend_from_slice(item),
        }
    }
}

fn list_head(kind: &str, version: &str, metadata: &Value) -> Vec<u8> {
    let (kind, version) = (json!(kind), json!(version));
    format!("{{\"kind\":{kind},\"apiVersion\":{version},\"metadata\":{metadata},\"items\":[").into_bytes()
}

fn comma(out: &mut Vec<u8>, first: bool) {
    if !first {
        out.push(b',');
    }
}
