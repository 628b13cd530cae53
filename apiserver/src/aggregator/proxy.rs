//! Requests to aggregated servers: passed on as they came, with the user named in headers that this server's certificate
//! vouches for (`kube-aggregator/pkg/apiserver/handler_proxy.go`).

use std::sync::Arc;

use auth::UserInfo;
use axum::body::Body;
use axum::extract::Request;
use http::header::{CONNECTION, HOST, HeaderValue, UPGRADE};
use http::{Response, Uri, Version};

use super::Remote;
use crate::app::App;
use crate::http::answer;
use crate::http::forward::{clean, finish, forget_impersonation};
use crate::outbound::{explain, resolve};

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
    // What belongs to the connection the request came on must not go to the other.
    parts.extensions = http::Extensions::new();
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    parts.uri = format!("https://{address}{target}").parse::<Uri>().map_err(|error| error.to_string())?;
    parts.version = Version::HTTP_11;
    let upgrade = parts.headers.get(UPGRADE).cloned();
    clean(&mut parts.headers);
    forget_impersonation(&mut parts.headers);
    auth::request_header::name_user(&mut parts.headers, user);
    parts.headers.insert(HOST, HeaderValue::from_str(&address).map_err(|error| error.to_string())?);
    if let Some(protocol) = &upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    let http = app.clients.of(&remote.peer).map_err(|error| format!("{error:#}"))?;
    let response = http.request(Request::from_parts(parts, body)).await;
    let response = response.map_err(|error| format!("error trying to reach service: {}", explain(&error, &address)))?;
    Ok(finish(app, client, response)?)
}
