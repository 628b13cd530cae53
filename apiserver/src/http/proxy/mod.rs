//! `proxy`: pods, Services and nodes through this server (`pkg/registry/core/{pod,service,node}` `ResourceLocation`,
//! `apimachinery/pkg/util/proxy/upgradeaware.go`).
//!
//! [`transport`] says what changes on the way: links of the backend must lead through this server again.

mod html;
mod location;
mod transport;

pub use transport::{forwarded_for, rewritten};

use axum::body::Body;
use axum::extract::Request;
use http::header::{HOST, LOCATION, UPGRADE};
use http::{HeaderValue, Method, Response, StatusCode};

use super::backend::Backend;
use super::forward::{self, Outgoing};
use super::request_info::{RequestInfo, decode};
use super::status::{ApiError, ApiResult};
use crate::app::Call;
use transport::Transport;

/// Who asks: the address of the connection's other end, as an extension of requests.
#[derive(Clone, Copy, Debug)]
pub struct From(pub std::net::IpAddr);

/// The path at the backend, escaped; empty when the request ends with `proxy`.
#[must_use]
pub fn path(info: &RequestInfo) -> String {
    let mut path = if info.rest.is_empty() { String::new() } else { format!("/{}", info.rest) };
    if info.path.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Passes the call on and answers with what comes back.
///
/// # Errors
/// There is no such backend; nobody answers there (503, or 500 where another protocol was asked for).
pub async fn answer(call: &Call, mut request: Request) -> ApiResult<Response<Body>> {
    let mut backend = match call.resource.plural.as_str() {
        "pods" => location::pod(call).await?,
        "services" => location::service(call).await?,
        _ => location::node(call).await?,
    };
    backend.path = path(&call.info);
    let query = request.uri().query().unwrap_or_default().to_owned();
    let upgrading = request.headers().contains_key(UPGRADE);
    if backend.path.is_empty() && !upgrading && matches!(*request.method(), Method::GET | Method::HEAD) {
        return redirected(&call.info.path, &query);
    }
    let host = host(&request);
    if upgrading {
        let outgoing = Outgoing { query: &query, host };
        return forward::pass(&call.app, &backend, outgoing, request).await.map_err(forward::Problem::dialing);
    }
    let transport = transport_of(&call.info, &backend, &host);
    let from = request.extensions().get::<From>().copied();
    transport.announce(request.headers_mut(), &backend.path, from);
    let outgoing = Outgoing { query: &query, host };
    let response = forward::pass(&call.app, &backend, outgoing, request).await;
    let response =
        response.map_err(|problem| ApiError::unavailable(format!("error trying to reach service: {}", problem.why)))?;
    transport.rewrite(response)
}

/// The host the client spoke to: the backend hears it, too.
fn host(request: &Request) -> String {
    let header = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(str::to_owned);
    header.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default()
}

/// `…/proxy` is `…/proxy/`, so that relative links work (<https://issue.k8s.io/4958>).
fn redirected(path: &str, query: &str) -> ApiResult<Response<Body>> {
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let location = HeaderValue::from_str(&format!("{path}/{query}")).map_err(ApiError::internal)?;
    response.headers_mut().insert(LOCATION, location);
    Ok(response)
}

fn transport_of(info: &RequestInfo, backend: &Backend, host: &str) -> Transport {
    let (path, suffix) = (decode(&info.path), decode(&backend.path));
    let prefix = path.strip_suffix(suffix.as_str()).unwrap_or(&path).to_owned();
    Transport { prefix, backend: backend.address(), asked: host.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_path_is_kept() {
        for (asked, expected) in [
            ("/api/v1/namespaces/a/pods/b/proxy", ""),
            ("/api/v1/namespaces/a/pods/b/proxy/", "/"),
            ("/api/v1/namespaces/a/pods/b/proxy/c", "/c"),
            ("/api/v1/namespaces/a/pods/b/proxy/c/d%20e/", "/c/d%20e/"),
        ] {
            let info = RequestInfo::parse(&Method::GET, asked, false, None);
            assert_eq!(path(&info), expected, "{asked}");
        }
    }
}
