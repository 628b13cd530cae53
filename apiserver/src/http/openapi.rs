//! /openapi/v2 and /openapi/v3, made on first use and kept until the definitions change.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use component_base::ranges::State;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, EXPIRES, HeaderValue, LOCATION, VARY};
use http::{HeaderMap, Method, Response};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use parking_lot::Mutex;
use schema::openapi::{self, Custom, Resource as Row, Subresource};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::content::{self, Content};
use super::request_info::Query;
use super::{answer, negotiate};
use crate::aggregator;
use crate::app::App;
use crate::registry::resource::{Catalogue, Resource};

/// As it is answered; old clients ask for it with an `@`, which no media type may contain.
const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
const OLD_PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";
const PROTOBUF_V3: &str = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf";
const OLD_PROTOBUF_V3: &str = "application/com.github.proto-openapi.spec.v3@v1.0+protobuf";
const JSON: &str = "application/json";

/// The documents that have been asked for, by path and media type.
#[derive(Default)]
pub struct Documents(Mutex<Kept>);

struct Kept {
    /// Grows with every change of the definitions.
    generation: u64,
    /// When they were changed last, in seconds since the epoch.
    changed: i64,
    documents: HashMap<String, Document>,
}

impl Default for Kept {
    fn default() -> Self {
        Self { generation: 0, changed: Timestamp::now().as_second(), documents: HashMap::new() }
    }
}

/// A document as it is kept: packed, for it is asked for rarely, by clients that mostly unpack it themselves, and would
/// else be the largest thing in an idle server.
#[derive(Clone)]
struct Document {
    packed: Bytes,
    /// Unpacked.
    size: u64,
    /// Of what is told in JSON, whatever the form.
    hash: Arc<str>,
}

/// The bytes of a document to be kept, and the hash of what they tell.
struct Made {
    body: Bytes,
    hash: String,
}

impl Made {
    fn json(document: &Value) -> Self {
        let body = answer::to_json(document);
        let hash = Sha256::digest(&body).iter().map(|byte| format!("{byte:02X}")).collect();
        Self { body, hash }
    }

    fn protobuf(document: &Value, form: fn(&Value) -> Vec<u8>) -> Self {
        Self { body: form(document).into(), ..Self::json(document) }
    }
}

impl Document {
    fn new(made: &Made) -> Self {
        Self { packed: answer::pack(&made.body), size: made.body.len() as u64, hash: made.hash.as_str().into() }
    }

    fn unpacked(&self) -> Bytes {
        let mut body = Vec::new();
        let read = flate2::read::GzDecoder::new(&*self.packed).read_to_end(&mut body);
        read.expect("what was packed here can be unpacked");
        body.into()
    }
}

impl Documents {
    /// The definitions have changed.
    pub fn forget(&self) {
        let mut kept = self.0.lock();
        kept.generation += 1;
        kept.changed = Timestamp::now().as_second();
        kept.documents.clear();
    }

    /// To be asked before the catalogue is read that documents are made of.
    fn generation(&self) -> u64 {
        self.0.lock().generation
    }

    /// When what documents are made of was changed last, in seconds since the epoch.
    fn changed(&self) -> i64 {
        self.0.lock().changed
    }

    /// The document, unless it has to be made.
    fn peek(&self, name: &str) -> Option<Document> {
        self.0.lock().documents.get(name).cloned()
    }

    /// The document, made where it is not kept. What is made of an older catalogue than today's is not kept.
    fn get(&self, name: &str, generation: u64, make: impl FnOnce() -> Made) -> Document {
        if let Some(document) = self.0.lock().documents.get(name) {
            return document.clone();
        }
        let document = Document::new(&make());
        // Made of trees many times its size.
        kernel::memory::trim();
        let mut kept = self.0.lock();
        if kept.generation == generation {
            kept.documents.insert(name.to_owned(), document.clone());
        }
        document
    }
}

/// The first of the forms on offer that the client wishes for.
fn form(headers: &HeaderMap, offers: &[&'static str]) -> Option<&'static str> {
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).filter(|text| !text.is_empty()).unwrap_or("*/*");
    negotiate::ranges(accept).into_iter().find_map(|range| {
        let (kind, form) = range.split(';').next()?.trim().split_once('/')?;
        offers.iter().copied().find(|offer| {
            let (offered, offer) = offer.split_once('/').unwrap_or((offer, ""));
            (kind == "*" || kind == offered) && (form == "*" || form == offer)
        })
    })
}

/// What a request for a document says besides its path.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub method: &'a Method,
    pub query: &'a Query,
    pub headers: &'a HeaderMap,
}

pub async fn answer(app: &App, path: &str, asked: Asked<'_>) -> Response<Body> {
    let generation = app.documents.generation();
    let catalogue = app.catalogue.load_full();
    match path.strip_prefix("/openapi/v3") {
        Some("") => index(app, &catalogue, asked),
        Some(name) => v3_document(app, generation, &catalogue, name.trim_start_matches('/'), asked),
        None if path == "/openapi/v2" => v2_document(app, generation, &catalogue, asked.headers, asked.method).await,
        None => answer::page_not_found(),
    }
}

fn vary(mut response: Response<Body>, by: &'static [&'static str]) -> Response<Body> {
    for name in by {
        response.headers_mut().append(VARY, HeaderValue::from_static(name));
    }
    response
}

async fn v2_document(
    app: &App,
    generation: u64,
    catalogue: &Catalogue,
    headers: &HeaderMap,
    method: &Method,
) -> Response<Body> {
    const BY: &[&str] = &["Accept-Encoding", "Accept"];
    // Old clients name the other form differently.
    let Some(wish) = form(headers, &[JSON, OLD_PROTOBUF_V2, PROTOBUF_V2]) else { return vary(empty(406), BY) };
    let protobuf = wish != JSON;
    let (name, kind) = if protobuf { ("v2 protobuf", PROTOBUF_V2) } else { ("v2", wish) };
    let document = match app.documents.peek(name) {
        Some(document) => document,
        None => {
            let remote = aggregator::openapi::v2(app).await;
            app.documents.get(name, generation, || {
                let mut document = openapi::v2(&rows(catalogue));
                remote.into_iter().for_each(|other| aggregator::openapi::merge(&mut document, other));
                if protobuf { Made::protobuf(&document, openapi::v2_protobuf) } else { Made::json(&document) }
            })
        }
    };
    vary(respond(app, &document, &document.hash, kind, method, headers), BY)
}

fn v3_document(
    app: &App,
    generation: u64,
    catalogue: &Catalogue,
    name: &str,
    Asked { method, query, headers }: Asked<'_>,
) -> Response<Body> {
    const BY: &[&str] = &["Accept"];
    let Some(hash) = hash(catalogue, name) else { return empty(404) };
    // Upstream answers nothing to who wishes for nothing that it understands.
    if headers.get(ACCEPT).is_some_and(|accept| !accept.is_empty() && !accept.as_bytes().contains(&b'/')) {
        return empty(200);
    }
    let Some(wish) = form(headers, &[JSON, PROTOBUF_V3, OLD_PROTOBUF_V3]) else { return vary(empty(406), BY) };
    let kind = if wish == JSON { JSON } else { PROTOBUF_V3 };
    let asked = query.text("hash");
    if asked.is_some_and(|asked| asked != hash) {
        let mut response = answer::bytes(301, kind, Bytes::new(), false);
        for (header, value) in [(LOCATION, address(name, &hash)), (ETAG, format!("\"{hash}\""))] {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(header, value);
            }
        }
        return vary(response, BY);
    }
    let document = v3(app, generation, catalogue, name, kind);
    let mut response = respond(app, &document, &hash, kind, method, headers);
    if asked.is_some() {
        // The address carries the hash, so the answer never changes.
        let headers = response.headers_mut();
        if headers.contains_key(ETAG) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
        }
        let year = Timestamp::now().to_zoned(TimeZone::UTC).saturating_add(Span::new().years(1));
        if let Ok(value) = HeaderValue::from_str(&year.strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()) {
            headers.insert(EXPIRES, value);
        }
    }
    vary(response, BY)
}

fn empty(code: u16) -> Response<Body> {
    let mut response = answer::bytes(code, "", Bytes::new(), false);
    response.headers_mut().remove(CONTENT_TYPE);
    response
}

fn group_version(name: &str) -> Option<(&str, &str)> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

fn respond(
    app: &App,
    document: &Document,
    hash: &str,
    kind: &'static str,
    method: &Method,
    headers: &HeaderMap,
) -> Response<Body> {
    let tag = format!("\"{hash}\"");
    let state = State { size: document.size, modified: app.documents.changed(), tag: Some(&tag) };
    let packed = (*method != Method::HEAD && negotiate::takes_gzip(headers)).then(|| document.packed.clone());
    content::serve(method, headers, &Content { kind, state, whole: &|| document.unpacked(), packed })
}

/// The document of a name that has a hash.
fn v3(app: &App, generation: u64, catalogue: &Catalogue, name: &str, kind: &str) -> Document {
    app.documents.get(&format!("v3/{name} {kind}"), generation, || {
        let document = match (group_version(name), name.strip_prefix("apis/")) {
            (Some((group, version)), _) => {
                let rows: Vec<Row> = catalogue.of(group, version).into_iter().map(|r| row(r)).collect();
                Some(openapi::v3(group, version, &rows))
            }
            (None, Some(group)) => Some(openapi::v3_group(group)),
            (None, None) if name == "api" => Some(openapi::v3_group("")),
            (None, None) => openapi::v3_other(name),
        };
        let document = document.unwrap_or_default();
        if kind == JSON { Made::json(&document) } else { Made::protobuf(&document, openapi::v3_protobuf) }
    })
}

/// The schemas of a group and version, by name; null where nothing of them is served.
pub fn schemas(app: &App, group: &str, version: &str) -> Value {
    let generation = app.documents.generation();
    let catalogue = app.catalogue.load_full();
    if catalogue.of(group, version).is_empty() {
        return Value::Null;
    }
    let name = if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") };
    let document = v3(app, generation, &catalogue, &name, JSON);
    let mut document: Value = serde_json::from_slice(&document.unpacked()).unwrap_or_default();
    document["components"]["schemas"].take()
}

/// The hash of a document, where there is one of that name. Documents are not made for this: it is of the rows they follow
/// from.
fn hash(catalogue: &Catalogue, name: &str) -> Option<String> {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(name);
    match (group_version(name), name.strip_prefix("apis/")) {
        (Some((group, version)), _) => {
            let rows = catalogue.of(group, version);
            if rows.is_empty() {
                return None;
            }
            rows.into_iter().for_each(|resource| hash.update(format!("{:?}", row(resource))));
        }
        // Custom resources have no document about their group.
        (None, Some(group)) if catalogue.is_built_in(group) => {}
        (None, None) if name == "api" || openapi::OTHERS.contains(&name) => {}
        _ => return None,
    }
    Some(hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect())
}

fn address(name: &str, hash: &str) -> String {
    format!("/openapi/v3/{name}?hash={hash}")
}

/// The addresses of all documents, each with the hash of what is behind it.
fn index(app: &App, catalogue: &Catalogue, Asked { method, headers, .. }: Asked<'_>) -> Response<Body> {
    let groups = catalogue.groups.iter().flat_map(|group| {
        let root = if group.name.is_empty() { "api".to_owned() } else { format!("apis/{}", group.name) };
        let versions = group.versions.iter().map(|version| format!("{root}/{version}")).collect::<Vec<_>>();
        std::iter::once(root).chain(versions)
    });
    let names = groups.chain(openapi::OTHERS.map(str::to_owned));
    let path = |name: String| {
        let address = address(&name, &hash(catalogue, &name)?);
        Some((name, json!({ "serverRelativeURL": address })))
    };
    let mut paths: Map<String, Value> = names.filter_map(path).collect();
    aggregator::openapi::index(app, &mut paths);
    let Made { body: text, hash } = Made::json(&json!({ "paths": paths }));
    // Upstream's has only a time, which is always now: who asks again within the second has the old one. Here a definition is
    // served sooner than that, and so the index has a tag, which is asked for first.
    let tag = format!("\"{hash}\"");
    let state = State { size: text.len() as u64, modified: Timestamp::now().as_second(), tag: Some(&tag) };
    // So upstream's looks to Go, which guesses.
    let kind = "text/plain; charset=utf-8";
    let content = Content { kind, state, whole: &|| text.clone(), packed: None };
    let mut response = content::serve(method, headers, &content);
    // Where nobody guesses a kind nothing is told of any.
    if response.status() == http::StatusCode::PRECONDITION_FAILED {
        response.headers_mut().remove(CONTENT_TYPE);
    }
    response
}

fn rows(catalogue: &Catalogue) -> Vec<Row> {
    let all = catalogue.groups.iter().flat_map(|g| g.versions.iter().map(move |v| (g, v)));
    all.flat_map(|(g, v)| catalogue.of(&g.name, v)).map(|r| row(r)).collect()
}

fn row(resource: &Resource) -> Row {
    Row {
        group: resource.group.clone(),
        version: resource.version.clone(),
        kind: resource.kind.clone(),
        plural: resource.plural.clone(),
        namespaced: resource.namespaced,
        verbs: resource.verbs.clone(),
        subresources: resource
            .subresources
            .iter()
            .map(|sub| Subresource {
                name: sub.name.clone(),
                group: if sub.version.is_empty() { resource.group.clone() } else { sub.group.clone() },
                version: if sub.version.is_empty() { resource.version.clone() } else { sub.version.clone() },
                kind: sub.kind.clone(),
                verbs: sub.verbs.clone(),
            })
            .collect(),
        custom: resource.custom().and_then(|definition| definition.version(&resource.version)).map(|version| Custom {
            schema: version.open_api.clone(),
            preserve_unknown: version.preserve_unknown,
            list_kind: resource.list_kind.clone(),
            selectable: version.selectable.clone(),
        }),
    }
}
