//! Requests to aggregated servers: passed on as they came, with the user named in headers that this server's certificate
//! vouches for (`kube-aggregator/pkg/apiserver/handler_proxy.go`).

use std::sync::Arc;

use auth::UserInfo;
use axum::body::Body;
use axum::extract::Request;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, UPGRADE};
use http::{Response, Uri, Version};

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
    let upgrade = parts.headers.get(UPGRADE).cloned();
    clean(&mut parts.headers);
    forget_impersonation(&mut parts.headers);
    auth::request_header::name_user(&mut parts.headers, user);
    parts.headers.insert(HOST, HeaderValue::from_str(&address).map_err(|error| error.to_string())?);
    proxy::forwarded_for(&mut parts.headers, from);
    if let Some(protocol) = &upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    } else {
        announce(&mut parts.headers, &address, &path);
    }
    let http = app.clients.of(&remote.peer).map_err(|error| format!("{error:#}"))?;
    let response = http.request(Request::from_parts(parts, body)).await;
    let response = response.map_err(|error| format!("error trying to reach service: {}", explain(&error, &address)))?;
    if response.status().is_redirection() && response.headers().contains_key(LOCATION) {
        return Ok(answer::bytes(502, "text/plain; charset=utf-8", REDIRECTED.into(), false));
    }
    Ok(finish(app, client, response).await?)
}

/// Tells the backend where it was asked for.
fn announce(headers: &mut HeaderMap, address: &str, path: &str) {
    for (name, value) in [(FORWARDED_URI, path), (FORWARDED_HOST, address), (FORWARDED_PROTO, "https")] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
}
