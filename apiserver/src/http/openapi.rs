//! /openapi/v2 and /openapi/v3, made on first use and kept until the definitions change.

use std::collections::HashMap;
use std::io::Read;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_ENCODING, ETAG, HeaderValue, IF_NONE_MATCH};
use http::{HeaderMap, Response};
use parking_lot::Mutex;
use schema::openapi::{self, Resource as Row, Subresource};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::answer;
use super::status::{ApiError, ApiResult};
use crate::aggregator;
use crate::app::App;
use crate::registry::resource::{Catalogue, Resource};

/// As it is answered; clients ask for it with an `@`, which no media type may contain.
const PROTOBUF_V2: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The documents that have been asked for, by path and media type.
#[derive(Default)]
pub struct Documents(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// Grows with every change of the definitions.
    generation: u64,
    documents: HashMap<String, Document>,
}

/// A document as it is kept: packed, for it is asked for rarely, by clients that mostly unpack it themselves, and would
/// else be the largest thing in an idle server.
#[derive(Clone)]
struct Document {
    packed: Bytes,
    hash: Arc<str>,
}

impl Document {
    fn new(body: &[u8]) -> Self {
        let hash: String = Sha256::digest(body).iter().map(|byte| format!("{byte:02X}")).collect();
        Self { packed: answer::pack(body), hash: hash.into() }
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
        kept.documents.clear();
    }

    /// To be asked before the catalogue is read that documents are made of.
    fn generation(&self) -> u64 {
        self.0.lock().generation
    }

    /// The document, unless it has to be made.
    fn peek(&self, name: &str) -> Option<Document> {
        self.0.lock().documents.get(name).cloned()
    }

    /// The document, made where it is not kept. What is made of an older catalogue than today's is not kept.
    fn get(&self, name: &str, generation: u64, make: impl FnOnce() -> Bytes) -> Document {
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

pub async fn answer(app: &App, path: &str, headers: &HeaderMap) -> ApiResult<Response<Body>> {
    let generation = app.documents.generation();
    let catalogue = app.catalogue.load_full();
    let accept = headers.get(ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("*/*");
    let gzip =
        headers.get(http::header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("gzip"));
    let json_wanted = accept.split(',').any(|range| {
        matches!(range.split(';').next().unwrap_or_default().trim(), "application/json" | "*/*" | "application/*" | "")
    });
    if path == "/openapi/v2" {
        // Old clients name the form differently; the first wish decides.
        let protobuf = accept.split(',').next().is_some_and(|range| range.trim().starts_with("application/com.github"));
        let (name, kind) = if protobuf { ("v2 protobuf", PROTOBUF_V2) } else { ("v2", "application/json") };
        if let Some(document) = app.documents.peek(name) {
            return Ok(respond(&document, kind, headers, gzip, false));
        }
        let remote = aggregator::openapi::v2(app).await;
        let document = app.documents.get(name, generation, || {
            let mut document = openapi::v2(&rows(&catalogue));
            remote.into_iter().for_each(|other| aggregator::openapi::merge(&mut document, other));
            if protobuf { openapi::v2_protobuf(&document).into() } else { answer::to_json(&document) }
        });
        return Ok(respond(&document, kind, headers, gzip, false));
    }
    let name = path.trim_start_matches("/openapi/v3").trim_matches('/');
    if name.is_empty() {
        return Ok(answer::json(200, &index(app, &catalogue)));
    }
    if !json_wanted {
        return Err(ApiError::not_acceptable());
    }
    let (group, version) = group_version(name).ok_or_else(ApiError::no_route)?;
    if catalogue.of(group, version).is_empty() {
        return Err(ApiError::no_route());
    }
    let document = v3(app, generation, &catalogue, group, version);
    Ok(respond(&document, "application/json", headers, gzip, true))
}

fn group_version(name: &str) -> Option<(&str, &str)> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

fn respond(document: &Document, kind: &str, headers: &HeaderMap, gzip: bool, immutable: bool) -> Response<Body> {
    let tag = format!("\"{}\"", document.hash);
    let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok()).is_some_and(|have| have == tag);
    let mut response = if known {
        answer::bytes(304, kind, Bytes::new(), false)
    } else if gzip {
        let mut response = answer::bytes(200, kind, document.packed.clone(), false);
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        answer::bytes(200, kind, document.unpacked(), false)
    };
    if let Ok(value) = HeaderValue::from_str(&tag) {
        response.headers_mut().insert(ETAG, value);
    }
    if immutable {
        // The address carries the hash, so the answer never changes.
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    }
    response
}

fn v3(app: &App, generation: u64, catalogue: &Catalogue, group: &str, version: &str) -> Document {
    app.documents.get(&format!("v3/{group}/{version}"), generation, || {
        let rows: Vec<Row> = catalogue.of(group, version).into_iter().map(|r| row(r)).collect();
        answer::to_json(&openapi::v3(group, version, &rows))
    })
}

/// The schemas of a group and version, by name; null where nothing of them is served.
pub fn schemas(app: &App, group: &str, version: &str) -> Value {
    let generation = app.documents.generation();
    let catalogue = app.catalogue.load_full();
    if catalogue.of(group, version).is_empty() {
        return Value::Null;
    }
    let document = v3(app, generation, &catalogue, group, version);
    let mut document: Value = serde_json::from_slice(&document.unpacked()).unwrap_or_default();
    document["components"]["schemas"].take()
}

/// The addresses of all documents, each with a hash of what is behind it. The documents are not made for this: the hash is
/// of the rows they follow from.
fn index(app: &App, catalogue: &Catalogue) -> Value {
    let mut paths = Map::new();
    for group in &catalogue.groups {
        for version in &group.versions {
            let mut hash = Sha256::new();
            hash.update(env!("CARGO_PKG_VERSION"));
            for resource in catalogue.of(&group.name, version) {
                hash.update(format!("{:?}", row(resource)));
            }
            let hash: String = hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
            let name =
                if group.name.is_empty() { format!("api/{version}") } else { format!("apis/{}/{version}", group.name) };
            let address = format!("/openapi/v3/{name}?hash={hash}");
            paths.insert(name, json!({ "serverRelativeURL": address }));
        }
    }
    aggregator::openapi::index(app, &mut paths);
    json!({ "paths": paths })
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
        custom: resource.custom().and_then(|c| Some(c.version(&resource.version)?.open_api.clone())),
    }
}
