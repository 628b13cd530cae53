//! GET and LIST, both from the watch cache, with upstream's resourceVersion semantics.

use axum::body::Body;
use base64::alphabet::URL_SAFE;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::{DecodeError, Engine};
use http::Response;
use schema::go::quote;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::StoreError;
use store::cache::{At, CacheError, ListQuery};

use super::selection::Selection;
use super::table::Include;
use super::{conversion, options};
use crate::app::Call;
use crate::http::answer;
use crate::http::negotiate::{Media, Shape};
use crate::http::request_info::{Query, integer};
use crate::http::resource::suits;
use crate::http::status::{ApiError, ApiResult};

/// What Go reads tokens by: bits that are left over do not matter.
const BASE64: GeneralPurpose = GeneralPurpose::new(&URL_SAFE, NO_PAD.with_decode_allow_trailing_bits(true));
/// Of the tokens.
const VERSION: &str = "meta.k8s.io/v1";
/// What is said when the pages of a list can no longer be of one revision.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
    new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

/// One object, in the shape the client asked for.
pub async fn get(call: &Call) -> ApiResult<Response<Body>> {
    let resource = &call.resource;
    if call.query.flag("export") {
        return Err(ApiError::bad_request("the export parameter, deprecated since v1.14, is no longer supported"));
    }
    let at = match revision(&call.query)? {
        None => At::Latest,
        Some(revision) => At::NotOlderThan(revision),
    };
    let key = resource.key(&call.info.namespace, &call.info.name);
    let (found, _) = call.app.caches.of(resource).get(&key, at).await?;
    let object = found.ok_or_else(|| call.not_found(&call.info.name))?;
    let accept = call.accept;
    suits(accept, resource, &call.info, &call.query)?;
    let body = match (accept.shape, accept.media) {
        (Shape::Object, Media::Json) => answer::line(conversion::bytes(&call.app, resource, &object).await?),
        (Shape::Object, Media::Protobuf) => {
            let message = answer::message_of(resource, &object)?;
            schema::protobuf::envelope(&resource.api_version(), &resource.kind, &message).into()
        }
        _ => {
            let value = conversion::read(&call.app, resource, &object).await?;
            answer::object(resource, accept, Include::parse(call.query.get("includeObject")), &value)?
        }
    };
    Ok(answer::bytes(200, accept.content_type(false), body, accept.gzip))
}

/// A page of a collection.
pub async fn list(call: &Call) -> ApiResult<Response<Body>> {
    let resource = &call.resource;
    let (selection, at, start, limit) = page(call)?;
    let prefix = resource.range(&call.info.namespace);
    let everything = selection.is_everything();
    let filter = |object: &store::cache::Object| selection.matches(object);
    let late = selection.needs_conversion();
    let mut page = call
        .app
        .caches
        .of(resource)
        .list(ListQuery {
            at,
            prefix: &prefix,
            start: start.as_deref(),
            // How many make a page is known only when the last word on each is.
            limit: if late { 0 } else { limit },
            filter: if everything { None } else { Some(&filter) },
        })
        .await
        .map_err(|error| match (error, &start) {
            // The page's revision is forgotten: the client begins anew, or goes on with what there is now.
            (CacheError::Store(StoreError::Compacted { .. }), Some(start)) => {
                let start = start.strip_prefix(&resource.prefix).unwrap_or(start);
                ApiError {
                    metadata: Some(Box::new(json!({ "continue": Token::encode(Token::NOW, start) }))),
                    ..ApiError::expired(INCONSISTENT)
                }
            }
            (error, _) => ApiError::from(error),
        })?;
    if late {
        page.items = selection.converted(&call.app, resource, page.items).await?;
        if limit > 0 && page.items.len() > limit {
            page.next = Some(page.items[limit].key.to_string());
            page.items.truncate(limit);
        }
    }
    let mut metadata = json!({ "resourceVersion": page.revision.to_string() });
    if let Some(next) = &page.next {
        metadata["continue"] = Token::encode(page.revision, next.strip_prefix(&resource.prefix).unwrap_or(next)).into();
        if everything && page.remaining > 0 {
            metadata["remainingItemCount"] = page.remaining.into();
        }
    }
    answer::list(&call.app, resource, call.accept, Include::parse(call.query.get("includeObject")), page, &metadata)
        .await
}

/// What a list asks for: which objects, of which revision, from where on, and how many at most (0: all).
///
/// # Errors
/// 400 and 422 as upstream.
pub fn page(call: &Call) -> ApiResult<(Selection, At, Option<String>, usize)> {
    let query = &call.query;
    options::list(query)?;
    let selection = Selection::parse(&call.resource, query)?;
    let mut limit = usize::try_from(query.number("limit")?.unwrap_or(0)).unwrap_or(0);
    let (at, start) = position(call, limit)?;
    // Whoever takes what the cache has takes all of it.
    if at == At::NotOlderThan(0) {
        limit = 0;
    }
    Ok((selection, at, start, limit))
}

/// Which revision a list wants, and where it begins.
fn position(call: &Call, limit: usize) -> ApiResult<(At, Option<String>)> {
    let query = &call.query;
    if let Some(token) = query.text("continue") {
        let token = Token::decode(token).map_err(|why| {
            ApiError::bad_request(format!("invalid continue token: continue key is not valid: {why}"))
        })?;
        if query.text("resourceVersion").is_some_and(|revision| revision != "0") {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let at = if token.rv == Token::NOW { At::Latest } else { At::Exact(token.rv) };
        return Ok((at, Some(format!("{}{}", call.resource.prefix, token.start))));
    }
    let wanted =
        parse_revision(query).map_err(|why| ApiError::bad_request(format!("invalid resource version: {why}")))?;
    let at = match wanted {
        None => At::Latest,
        Some(revision) if query.text("resourceVersionMatch") == Some("Exact") => At::Exact(revision),
        // Who asks for pieces of a revision means that one, unless the match says otherwise.
        Some(revision) if revision > 0 && limit > 0 && query.text("resourceVersionMatch").is_none() => {
            At::Exact(revision)
        }
        Some(revision) => At::NotOlderThan(revision),
    };
    Ok((at, None))
}

/// The `resourceVersion` parameter of a GET or a watch; `None` when absent or empty.
///
/// # Errors
/// 500 when it is no number: upstream has no better code for it.
pub fn revision(query: &Query) -> ApiResult<Option<i64>> {
    parse_revision(query).map_err(|why| ApiError::new(500, "", why))
}

fn parse_revision(query: &Query) -> Result<Option<i64>, String> {
    let parse = |text: &str| -> Result<i64, String> {
        let number: Result<u64, String> = integer("ParseUint", text);
        let wrong = |why: &str| format!("resourceVersion: Invalid value: {}: {why}", quote(text));
        number.map_err(|why| wrong(&why)).map(|number| i64::try_from(number).unwrap_or(i64::MAX))
    };
    query.text("resourceVersion").map(parse).transpose()
}

/// The `continue` token; opaque to clients.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    /// In place of a revision: whatever is newest.
    const NOW: i64 = -1;

    fn encode(rv: i64, start: &str) -> String {
        let token = Self { v: VERSION.to_owned(), rv, start: start.to_owned() };
        let json = serde_json::to_vec(&token).expect("strings and a number are always JSON");
        BASE64.encode(json)
    }

    /// # Errors
    /// What is wrong with it, in upstream's words.
    fn decode(text: &str) -> Result<Self, String> {
        let json = BASE64.decode(text).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                // Go names the beginning of the group that is too short.
                _ => text.len() / 4 * 4,
            };
            format!("illegal base64 data at input byte {at}")
        })?;
        let token: Option<Self> = serde_json::from_slice(&json).map_err(|error| error.to_string())?;
        let Self { v, rv, start } = token.unwrap_or_default();
        match () {
            () if v != VERSION => Err(format!("server does not recognize this encoded version {v}")),
            () if rv == 0 => Err(format!("incorrect encoded start resourceVersion (version {VERSION})")),
            () if start.is_empty() => Err(format!("encoded start key empty (version {VERSION})")),
            // A key that climbs out of the resource's own prefix would show other resources.
            () if start.strip_prefix('/').unwrap_or(&start).split('/').any(|part| matches!(part, "" | "." | "..")) => {
                Err(start)
            }
            () => Ok(Self { v, rv, start: start.strip_prefix('/').map_or(start.clone(), str::to_owned) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_judged() {
        let judge = |json: &str| Token::decode(&BASE64.encode(json)).map(|token| token.start);
        let of = |start: &str| Token::decode(&Token::encode(7, start)).map(|token| (token.rv, token.start));
        assert_eq!(of("l/c2"), Ok((7, "l/c2".to_owned())));
        assert_eq!(judge(r#"{"v":"meta.k8s.io/v1","rv":-1,"start":"/x"}"#).as_deref(), Ok("x"));
        for (json, why) in [
            ("{}", "server does not recognize this encoded version "),
            ("null", "server does not recognize this encoded version "),
            (r#"{"v":"v1"}"#, "server does not recognize this encoded version v1"),
            (
                r#"{"v":"meta.k8s.io/v1","start":"a"}"#,
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (r#"{"v":"meta.k8s.io/v1","rv":3}"#, "encoded start key empty (version meta.k8s.io/v1)"),
            (r#"{"v":"meta.k8s.io/v1","rv":3,"start":"../x"}"#, "../x"),
        ] {
            assert_eq!(judge(json), Err(why.to_owned()), "{json}");
        }
        for text in ["x", "!"] {
            assert_eq!(Token::decode(text).err().as_deref(), Some("illegal base64 data at input byte 0"));
        }
    }
}
