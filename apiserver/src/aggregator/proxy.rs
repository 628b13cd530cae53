//! Requests to aggregated servers: passed on as they came, with the user named in headers that this server's certificate
//! vouches for (`kube-aggregator/pkg/apiserver/handler_proxy.go`).

use std::sync::Arc;

use auth::UserInfo;
use axum::body::Body;
use axum::extract::Request;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, UPGRADE};
use http::{Method, Response, StatusCode, Uri, Version};

use super::Remote;
use crate::app::App;
use crate::http::forward::{clean, finish, forget_impersonation};
use crate::http::request_info::Query;
use crate::http::{answer, proxy};
use crate::outbound::{explain, resolve};

/// A backend could lead clients, and this server's credentials, anywhere.
const REDIRECTED: &str = "the backend attempted to redirect this request, which is not permitted";
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");

/// Passes a request on and answers with what comes back; 503 when nobody is there.
pub async fn answer(app: &Arc<App>, remote: &Remote, user: &UserInfo, request: Request) -> Response<Body> {
    if !remote.available {
        return unavailable("service unavailable");
    }
    match forward(app, remote, user, request).await {
        Ok(response) => response,
        Err(why) => {
            tracing::warn!(why, name = remote.name, "a request could not be passed on");
            unavailable(&why)
        }
    }
}

fn unavailable(why: &str) -> Response<Body> {
    answer::text(503, format!("{why}\n"))
}

async fn forward(app: &Arc<App>, remote: &Remote, user: &UserInfo, request: Request) -> Result<Response<Body>, String> {
    let found = resolve::service(app, &remote.namespace, &remote.service, remote.port).await;
    let (host, port) = found.map_err(|error| {
        tracing::debug!(%error, name = remote.name, "an aggregated server has no address");
        "service unavailable".to_owned()
    })?;
    let address = resolve::join(&host, port);
    let (mut parts, body) = request.into_parts();
    let client = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
    let from = parts.extensions.get::<proxy::From>().copied();
    // What belongs to the connection the request came on must not go to the other.
    parts.extensions = http::Extensions::new();
    let path = proxy::rewritten(parts.uri.path());
    let target = match Query::parse(parts.uri.query()).encoded() {
        query if query.is_empty() => path.clone(),
        query => format!("{path}?{query}"),
    };
    parts.uri = format!("https://{address}{target}").parse::<Uri>().map_err(|error| error.to_string())?;
    parts.version = Version::HTTP_11;
    let upgrading = is_upgrade(&parts.headers);
    let upgrade = parts.headers.get(UPGRADE).filter(|_| upgrading).cloned();
    clean(&mut parts.headers);
    forget_impersonation(&mut parts.headers);
    auth::request_header::name_user(&mut parts.headers, user);
    parts.headers.insert(HOST, HeaderValue::from_str(&address).map_err(|error| error.to_string())?);
    proxy::forwarded_for(&mut parts.headers, from);
    if upgrading {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.extend(upgrade.map(|protocol| (UPGRADE, protocol)));
        if matches!(parts.method, Method::POST | Method::PUT | Method::PATCH) {
            parts.headers.entry(CONTENT_LENGTH).or_insert(HeaderValue::from_static("0"));
        }
    } else {
        announce(&mut parts.headers, &address, &path);
    }
    let http = app.clients.of(&remote.peer).map_err(|error| format!("{error:#}"))?;
    let response = http.request(Request::from_parts(parts, body)).await;
    let response = response.map_err(|error| match explain(&error, &address) {
        why if !upgrading => format!("error trying to reach service: {why}"),
        why if why == "EOF" => "unexpected EOF".to_owned(),
        why => why,
    })?;
    let status = response.status();
    if upgrading && status != StatusCode::SWITCHING_PROTOCOLS && status.as_u16() < 400 {
        return Err(format!("invalid upgrade response: status code {}", status.as_u16()));
    }
    if response.status().is_redirection() && response.headers().contains_key(LOCATION) {
        return Ok(answer::bytes(502, "text/plain; charset=utf-8", REDIRECTED.into(), false));
    }
    Ok(finish(app, client, response).await?)
}

/// Whether a connection is to speak another protocol: what `Upgrade` names counts for those that say so.
fn is_upgrade(headers: &HeaderMap) -> bool {
    let asks = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("upgrade"));
    headers.get_all(CONNECTION).iter().any(asks)
}

/// Tells the backend where it was asked for.
fn announce(headers: &mut HeaderMap, address: &str, path: &str) {
    for (name, value) in [(FORWARDED_URI, path), (FORWARDED_HOST, address), (FORWARDED_PROTO, "https")] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_says_that_it_is_to_be_upgraded() {
        for (connection, expected) in [("Upgrade", true), ("keep-alive, upgrade", true), ("close", false)] {
            let headers = HeaderMap::from_iter([
                (CONNECTION, HeaderValue::from_static(connection)),
                (UPGRADE, HeaderValue::from_static("websocket")),
            ]);
            assert_eq!(is_upgrade(&headers), expected, "{connection}");
        }
        assert!(!is_upgrade(&HeaderMap::from_iter([(UPGRADE, HeaderValue::from_static("websocket"))])));
    }
}
