//! AccessGrants: the HTTPS endpoint at which a token's code is exchanged for a Link and its certificate.
//!
//! The endpoint has a CA of its own, kept in a Secret, whose certificate goes into every grant and from there into the
//! token; nothing else need be trusted. The decision is made in the controller's own loop: here is only the transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_rustls::TlsAcceptor;

use crate::api::{AccessGrant, Endpoint};
use crate::certs::{self, Pair};
use crate::router::tls;

/// The longest code anyone may send.
const MAX_BODY: usize = 4096;
/// Connections at a time; others wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// From connecting to the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Somebody wants to redeem a grant.
#[derive(Debug)]
pub struct Request {
    pub uid: String,
    pub code: String,
    /// What the Link and its Secret shall be called: the token's name.
    pub name: Option<String>,
    /// The redeeming site's id.
    pub subject: Option<String>,
    pub answer: oneshot::Sender<Answer>,
}

/// The documents to create, or the refusal.
pub type Answer = Result<String, (StatusCode, String)>;

/// The TLS side of the endpoint.
///
/// # Errors
/// When the pair cannot be used.
pub fn server_config(pair: &Pair) -> anyhow::Result<Arc<ServerConfig>> {
    let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes()).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())?;
    let builder = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions()?;
    Ok(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key)?))
}

/// Serves until the process ends; connections are refused while there is no certificate.
///
/// # Errors
/// When the port cannot be had.
pub async fn spawn(
    address: SocketAddr,
    config: watch::Receiver<Option<Arc<ServerConfig>>>,
    requests: mpsc::Sender<Request>,
) -> std::io::Result<()> {
    let listener = TcpListener::bind(address).await?;
    let app = Router::new().route("/{uid}", any(redeem)).with_state(requests);
    tokio::spawn(runtime::listen::connections(listener, Some(MAX_CONNECTIONS), move |connection, _| {
        let (config, service) = (config.borrow().clone(), TowerToHyperService::new(app.clone()));
        async move {
            let Some(config) = config else { return };
            let serve = async {
                let connection = TlsAcceptor::from(config).accept(connection).await?;
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                builder.serve_connection(TokioIo::new(connection), service).await
            };
            if let Ok(Err(error)) = tokio::time::timeout(TIMEOUT, serve).await {
                tracing::debug!(error, "grant connection failed");
            }
        }
    }));
    Ok(())
}

async fn redeem(
    State(requests): State<mpsc::Sender<Request>>,
    Path(uid): Path<String>,
    method: Method,
    headers: HeaderMap,
    body: Body,
) -> Response {
    if method != Method::POST {
        return (StatusCode::METHOD_NOT_ALLOWED, "Only POST is supported\n").into_response();
    }
    let code = to_bytes(body, MAX_BODY).await.ok().and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let Some(code) = code else {
        return (StatusCode::BAD_REQUEST, "Request body not valid\n").into_response();
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let (answer, receiver) = oneshot::channel();
    let request = Request { uid, code, name: header("name"), subject: header("subject"), answer };
    let busy = (StatusCode::SERVICE_UNAVAILABLE, "Internal error\n");
    if requests.try_send(request).is_err() {
        return busy.into_response();
    }
    match receiver.await {
        Ok(Ok(documents)) => documents.into_response(),
        Ok(Err((status, message))) => (status, format!("{message}\n")).into_response(),
        Err(_) => busy.into_response(),
    }
}

/// Whether `code` redeems `grant` now.
///
/// # Errors
/// Upstream's refusal.
pub fn check(grant: Option<&AccessGrant>, code: &str, now: Timestamp) -> Result<(), (StatusCode, String)> {
    let refusal = |status, message: &str| Err((status, message.to_owned()));
    let Some(status) = grant.and_then(|grant| grant.status.as_ref()) else {
        return refusal(StatusCode::NOT_FOUND, "No such claim");
    };
    let Ok(expiration) = status.expiration_time.parse::<Timestamp>() else {
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, "Corrupted claim");
    };
    if expiration < now {
        return refusal(StatusCode::NOT_FOUND, "No such claim");
    }
    let allowed = grant.map_or(1, |grant| grant.spec.redemptions_allowed.max(1));
    if allowed <= status.redemptions {
        return refusal(StatusCode::NOT_FOUND, "No such access granted");
    }
    if !same(&status.code, code) {
        return refusal(StatusCode::FORBIDDEN, "Redemption of access token refused");
    }
    Ok(())
}

/// Compares without telling by its time how much was right.
fn same(one: &str, two: &str) -> bool {
    one.len() == two.len() && one.bytes().zip(two.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// The Secret and the Link a token becomes, as YAML documents (JSON is YAML).
///
/// # Errors
/// When the site cannot be reached yet, or its CA cannot sign.
pub fn documents(name: &str, subject: &str, ca: &Pair, endpoints: &[Endpoint]) -> Result<String, String> {
    if endpoints.is_empty() {
        return Err("No valid endpoints found for site".to_owned());
    }
    let hosts: Vec<_> = endpoints.iter().map(|endpoint| endpoint.host.clone()).collect();
    let pair = certs::signed(ca, subject, &hosts).map_err(|error| error.to_string())?;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": { "name": name },
        "data": pair.data(),
    });
    let link = json!({
        "apiVersion": "skupper.io/v2alpha1", "kind": "Link", "metadata": { "name": name },
        "spec": { "endpoints": endpoints, "tlsCredentials": name, "cost": 1 },
    });
    Ok(format!("---\n{secret}\n---\n{link}\n"))
}

/// The grant with this uid.
pub fn find<'a>(grants: impl Iterator<Item = &'a Arc<AccessGrant>>, uid: &str) -> Option<&'a Arc<AccessGrant>> {
    let mut grants = grants;
    grants.find(|grant| grant.uid().as_deref() == Some(uid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_is_redeemed_by_its_code_in_time_and_so_often() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut grant = AccessGrant::new("g", crate::api::AccessGrantSpec::default());
        assert_eq!(check(None, "x", now).unwrap_err().0, StatusCode::NOT_FOUND);
        grant.status = Some(crate::api::AccessGrantStatus {
            code: "secret".to_owned(),
            expiration_time: "2026-01-01T00:10:00Z".to_owned(),
            ..Default::default()
        });
        assert!(check(Some(&grant), "secret", now).is_ok());
        assert_eq!(check(Some(&grant), "guess!", now).unwrap_err().0, StatusCode::FORBIDDEN);
        let late = "2026-01-01T00:10:01Z".parse().unwrap();
        assert_eq!(check(Some(&grant), "secret", late).unwrap_err().0, StatusCode::NOT_FOUND);
        grant.status.as_mut().unwrap().redemptions = 1;
        assert_eq!(check(Some(&grant), "secret", now).unwrap_err().1, "No such access granted");
    }
}
