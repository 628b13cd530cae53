//! GET and LIST, both from the watch cache, with upstream's resourceVersion semantics.

use axum::body::Body;
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use http::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::StoreError;
use store::cache::{At, CacheError, ListQuery};

use super::conversion;
use super::selection::Selection;
use super::table::Include;
use crate::app::Call;
use crate::http::answer;
use crate::http::negotiate::{Media, Shape};
use crate::http::request_info::Query;
use crate::http::status::{ApiError, ApiResult};

/// What is said when the pages of a list can no longer be of one revision.
const INCONSISTENT: &str = "The provided continue parameter is too old to display a consistent list result. You can start a \
    new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the \
    results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or \
    deleted between the time the first chunk was returned and now may show up in the list.";

/// One object, in the shape the client asked for.
pub async fn get(call: &Call) -> ApiResult<Response<Body>> {
    let resource = &call.resource;
    let at = match revision(&call.query)? {
        None => At::Latest,
        Some(revision) => At::NotOlderThan(revision),
    };
    let key = resource.key(&call.info.namespace, &call.info.name);
    let (found, _) = call.app.caches.of(resource).get(&key, at).await?;
    let object = found.ok_or_else(|| call.not_found(&call.info.name))?;
    let accept = call.accept;
    let body = match (accept.shape, accept.media) {
        (Shape::Object, Media::Json) => conversion::bytes(&call.app, resource, &object).await?,
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
    let query = &call.query;
    let selection = Selection::parse(resource, query)?;
    let limit = usize::try_from(query.number("limit").unwrap_or(0)).unwrap_or(0);
    let (at, start) = position(call)?;
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
                ApiError { proceed: Some(Token::encode(Token::NOW, start)), ..ApiError::expired(INCONSISTENT) }
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
    answer::list(&call.app, resource, call.accept, Include::parse(query.get("includeObject")), page, &metadata).await
}

/// Which revision a list wants, and where it begins.
fn position(call: &Call) -> ApiResult<(At, Option<String>)> {
    let query = &call.query;
    let wanted = revision(query)?;
    let matching = query.text("resourceVersionMatch");
    if let Some(token) = query.text("continue") {
        if wanted.is_some_and(|revision| revision != 0) {
            return Err(ApiError::bad_request("specifying resource version is not allowed when using continue"));
        }
        let token = Token::decode(token)
            .ok_or_else(|| ApiError::bad_request(format!("continue key is not valid: {token:?}")))?;
        let at = if token.rv == Token::NOW { At::Latest } else { At::Exact(token.rv) };
        return Ok((at, Some(format!("{}{}", call.resource.prefix, token.start))));
    }
    let at = match (wanted, matching) {
        (None, None) => At::Latest,
        (None, Some(_)) => {
            return Err(list_invalid(
                "resourceVersionMatch",
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        (Some(0), Some("Exact")) => {
            return Err(list_invalid(
                "resourceVersionMatch",
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
        (Some(revision), Some("Exact")) => At::Exact(revision),
        (Some(revision), None | Some("NotOlderThan")) => At::NotOlderThan(revision),
        (Some(_), Some(other)) => {
            return Err(ApiError::bad_request(format!(
                "resourceVersionMatch: Unsupported value: {other:?}: supported values: \"Exact\", \"NotOlderThan\""
            )));
        }
    };
    Ok((at, None))
}

fn list_invalid(field: &str, detail: &str) -> ApiError {
    let error = schema::field::Error::forbidden(&schema::field::Path::new(field), detail);
    ApiError::invalid("meta.k8s.io", "ListOptions", "", &vec![error])
}

/// The `resourceVersion` parameter; `None` when absent or empty.
///
/// # Errors
/// 400 when it is no number.
pub fn revision(query: &Query) -> ApiResult<Option<i64>> {
    let parse = |text: &str| {
        text.parse::<u64>().ok().and_then(|number| i64::try_from(number).ok()).ok_or_else(|| {
            ApiError::bad_request(format!(
                "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
            ))
        })
    };
    query.text("resourceVersion").map(parse).transpose()
}

/// The `continue` token; opaque to clients.
#[derive(Serialize, Deserialize)]
struct Token {
    v: String,
    rv: i64,
    start: String,
}

impl Token {
    /// In place of a revision: whatever is newest.
    const NOW: i64 = -1;

    fn encode(rv: i64, start: &str) -> String {
        let token = Self { v: "meta.k8s.io/v1".to_owned(), rv, start: start.to_owned() };
        let json = serde_json::to_vec(&token).expect("strings and a number are always JSON");
        BASE64_URL_SAFE_NO_PAD.encode(json)
    }

    fn decode(text: &str) -> Option<Self> {
        let json = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let token: Self = serde_json::from_slice(&json).ok()?;
        // A key that climbs out of the resource's own prefix would show other resources.
        (token.v == "meta.k8s.io/v1" && (token.rv > 0 || token.rv == Self::NOW) && !token.start.contains(".."))
            .then_some(token)
    }
}
