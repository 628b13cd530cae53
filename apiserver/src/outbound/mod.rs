//! Calls to servers outside: admission and conversion webhooks, issuers of tokens. One client a `WebhookClientConfig`, so that connections are
//! reused and each is trusted by its own authorities; all of it is bounded.
//!
//! ```text
//!  ClientConfig ── target ──> https://10.96.3.4:443/path, Host and SNI name.namespace.svc ──> hyper's pool ──> rustls
//!                                                                                                  egress <──┘
//! ```

pub mod answer;
pub mod answers;
mod config;
pub mod egress;
pub mod kubeconfig;
mod redirect;
pub mod resolve;
pub mod reviews;
mod url;

pub use answer::Answer;
pub use config::ClientConfig;
pub use url::Url;

use std::collections::HashMap;
use std::error::Error as _;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, LOCATION, REFERER, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use serde_json::Value;

use crate::app::App;
use crate::options::Options;
use auth::trust::{Identity, Trust};
use egress::{Connector, Dialer, Egress, Network};

/// So many clients are kept; the one used longest ago goes first.
const CLIENTS: usize = 64;
/// An idle connection is closed after this time (Go's default transport).
const IDLE: Duration = Duration::from_secs(90);
const IDLE_PER_HOST: usize = 25;
/// The largest answer that is read.
const ANSWER: usize = 32 * 1024 * 1024;
/// The largest document that is fetched.
const DOCUMENT: usize = 1024 * 1024;
/// Where it is written whom to ask for addresses.
const RESOLVERS: &str = "/etc/resolv.conf";
/// As Go's client.
const REDIRECTIONS: usize = 10;
/// So often a server that says when to come back is asked again (client-go's `maxRetries`).
const RETRIES: u32 = 10;

/// A client with its pool of connections; cloning it shares them.
pub type Http = Client<HttpsConnector<Connector>, Body>;

/// Who is called, and how this server tells one from another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Peer {
    /// PEM; empty: the system's authorities.
    pub ca_bundle: Vec<u8>,
    /// Everyone is believed.
    pub insecure: bool,
    /// The name the certificate must carry where the address says nothing about it.
    pub server_name: Option<String>,
    /// Show the front proxy's certificate.
    pub identify: bool,
    /// Where it is; none: directly.
    pub network: Option<Network>,
}

/// Why a call failed, in Go's words, which users know from upstream.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The server could not be reached, or did not answer in time.
    #[error("Post {url:?}: {why}")]
    Transport { url: String, why: String },
    /// It answered with an error.
    #[error("{0}")]
    Answer(String),
}

/// What is said of an answer that ends before its end.
const BROKEN_OFF: &str = "unexpected error when reading response body. Please retry. Original error: unexpected EOF";

/// The clients in use.
pub struct Clients {
    pool: Mutex<Pool>,
    /// The front proxy's certificate and key.
    identity: Option<(Vec<u8>, Vec<u8>)>,
    pub egress: Egress,
}

#[derive(Default)]
struct Pool {
    by_peer: HashMap<Peer, (Http, u64)>,
    clock: u64,
}

impl Clients {
    /// # Errors
    /// `--proxy-client-cert-file` or `--proxy-client-key-file` cannot be read.
    pub fn load(options: &Options, egress: Egress) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        let identity = match (&options.proxy_client_cert_file, &options.proxy_client_key_file) {
            (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
            _ => None,
        };
        Ok(Self { pool: Mutex::default(), identity, egress })
    }

    /// The client for a peer.
    ///
    /// # Errors
    /// Its authorities cannot be used.
    pub fn of(&self, peer: &Peer) -> anyhow::Result<Http> {
        let mut pool = self.pool.lock();
        pool.clock += 1;
        let clock = pool.clock;
        if let Some((client, used)) = pool.by_peer.get_mut(peer) {
            *used = clock;
            return Ok(client.clone());
        }
        let identity = self.identity.as_ref().filter(|_| peer.identify);
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        let client = client(peer, identity, self.egress.dialer(peer.network))?;
        if pool.by_peer.len() >= CLIENTS {
            let oldest = pool.by_peer.iter().min_by_key(|(_, (_, used))| *used).map(|(peer, _)| peer.clone());
            oldest.and_then(|peer| pool.by_peer.remove(&peer));
        }
        pool.by_peer.insert(peer.clone(), (client.clone(), clock));
        Ok(client)
    }
}

/// A client with a pool of its own.
///
/// # Errors
/// The authorities or the identity cannot be used.
pub fn client(peer: &Peer, identity: Option<Identity<'_>>, dialer: Dialer) -> anyhow::Result<Http> {
    connect(peer, identity, dialer, |builder| builder.https_only())
}

/// A client for one peer, to whom one may also speak without TLS.
///
/// # Errors
/// Its authorities, or the identity, cannot be used.
pub fn plain_client(peer: &Peer, identity: Option<Identity<'_>>, dialer: Dialer) -> anyhow::Result<Http> {
    connect(peer, identity, dialer, |builder| builder.https_or_http())
}

type Builder<State> = hyper_rustls::HttpsConnectorBuilder<State>;

fn connect(
    peer: &Peer,
    identity: Option<Identity<'_>>,
    dialer: Dialer,
    schemes: impl FnOnce(
        Builder<hyper_rustls::builderstates::WantsSchemes>,
    ) -> Builder<hyper_rustls::builderstates::WantsProtocols1>,
) -> anyhow::Result<Http> {
    let trust = if peer.insecure { Trust::Anyone } else { Trust::of(&peer.ca_bundle) };
    let tls = auth::trust::client_config(trust, identity)?;
    let builder = schemes(hyper_rustls::HttpsConnectorBuilder::new().with_tls_config(tls));
    // The address is that of a Service; its certificate is for its name.
    let builder = match &peer.server_name {
        Some(name) => {
            let name = rustls::pki_types::ServerName::try_from(name.clone())?;
            builder.with_server_name_resolver(hyper_rustls::FixedServerNameResolver::new(name))
        }
        None => builder,
    };
    // As upstream, HTTP/1.1 alone: many backends behind one address share the load only so.
    let connector = builder.enable_http1().wrap_connector(Connector::new(dialer));
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
        .build(connector))
}

/// Posts a review and reads the answer to it.
///
/// # Errors
/// [`CallError`], also when there is no whole answer within `timeout`.
pub async fn post(app: &App, config: &ClientConfig, review: &Value, timeout: Duration) -> Result<Value, CallError> {
    let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
    let url = config.url(seconds);
    let transport = |why: String| CallError::Transport { url: url.to_string(), why };
    let call = async {
        let mut attempts = 0;
        loop {
            let (status, headers, body) = exchange(app, config, review, seconds).await?;
            let answer = Answer { status, headers: &headers, body: &body };
            match answer.again_after() {
                Some(delay) if attempts < RETRIES => tokio::time::sleep(delay).await,
                _ => break answer.review(review),
            }
            attempts += 1;
        }
    };
    match tokio::time::timeout(timeout, call).await {
        Ok(answered) => answered,
        Err(_) => Err(transport("context deadline exceeded".to_owned())),
    }
}

/// One review and its answer, wherever the webhook sends on to.
async fn exchange(
    app: &App,
    config: &ClientConfig,
    review: &Value,
    seconds: u64,
) -> Result<(StatusCode, HeaderMap, Bytes), CallError> {
    let failed = |url: &Url, why: String| CallError::Transport { url: url.to_string(), why };
    // What is asked, as errors name it; a Service is reached at another address.
    let mut url = config.url(seconds);
    let client = app.clients.of(&config.peer()).map_err(|error| failed(&url, format!("{error:#}")))?;
    let address = config.resolve(app).await.map_err(|why| failed(&url, why))?;
    let review = crate::http::answer::to_json(review);
    let (mut method, mut referer, mut asked) = (Method::POST, None, 0);
    loop {
        asked += 1;
        let own = url.authority() == config.authority();
        let at = if own { address.clone() } else { url.address() };
        let mut request = Request::builder()
            .method(method.clone())
            .uri(url.at(&at).to_string())
            .header(ACCEPT, HeaderValue::from_static("application/json, */*"))
            .header(USER_AGENT, HeaderValue::from_static("kube-apiserver-admission"));
        if let Some(referer) = &referer {
            request = request.header(REFERER, referer);
        }
        let body = if method == Method::POST {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Body::from(review.clone())
        } else {
            Body::empty()
        };
        if own {
            request = request.header(HOST, config.authority());
        }
        let request = request.body(body).map_err(|error| failed(&url, error.to_string()))?;
        let response = client.request(request).await.map_err(|error| failed(&url, explain(&error, &at)))?;
        let (head, body) = response.into_parts();
        let Some(to) = redirect::location(head.status, &head.headers) else {
            let body =
                Limited::new(body, ANSWER).collect().await.map_err(|error| match error.is::<LengthLimitError>() {
                    true => failed(&url, error.to_string()),
                    false => CallError::Answer(BROKEN_OFF.to_owned()),
                })?;
            return Ok((head.status, head.headers, body.to_bytes()));
        };
        let unread = |why: String| failed(&url, format!("failed to parse Location header {to:?}: {why}"));
        let next = url.join(to).map_err(unread)?;
        if asked == REDIRECTIONS {
            let why = format!("stopped after {REDIRECTIONS} redirects");
            return Err(CallError::Transport { url: to.to_owned(), why });
        }
        if !redirect::keeps_body(head.status) {
            method = Method::GET;
        }
        referer = Some(std::mem::replace(&mut url, next).to_string());
        if url.scheme() != "https" {
            return Err(failed(&url, format!("unsupported protocol scheme {:?}", url.scheme())));
        }
    }
}

/// Asks a peer for something small, naming a user of the server's own to it.
///
/// # Errors
/// Why there is no answer, in Go's words.
pub async fn get(
    app: &App,
    peer: &Peer,
    address: &str,
    path: &str,
    accept: &str,
    user: &auth::UserInfo,
    timeout: Duration,
) -> Result<(StatusCode, HeaderMap, Bytes), String> {
    let url = format!("https://{address}{path}");
    let asked = async {
        let client = app.clients.of(peer).map_err(|error| format!("{error:#}"))?;
        let mut request = Request::get(&url);
        if !accept.is_empty() {
            request = request.header(ACCEPT, accept);
        }
        let mut request = request.body(Body::empty()).map_err(|error| error.to_string())?;
        auth::request_header::name_user(request.headers_mut(), user);
        let response = client.request(request).await.map_err(|error| explain(&error, address))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER).collect().await.map_err(|error| error.to_string())?;
        Ok((head.status, head.headers, body.to_bytes()))
    };
    let asked = match tokio::time::timeout(timeout, asked).await {
        Ok(asked) => asked,
        Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()),
    };
    asked.map_err(|why| format!("Get {url:?}: {why}"))
}

/// Reads a small document of somebody else's, whose redirections are followed as long as they stay with https. A `bearer`
/// token goes along within the first host's domain.
///
/// # Errors
/// Why there is no answer, in Go's words.
pub async fn fetch(
    app: &App,
    peer: &Peer,
    url: &str,
    bearer: Option<&str>,
    timeout: Duration,
) -> Result<(StatusCode, HeaderMap, Bytes), String> {
    let fetching = async {
        let client = app.clients.of(peer).map_err(|error| format!("{error:#}"))?;
        let mut at = url.to_owned();
        let mut bearer = bearer.map(credentials).transpose()?;
        let mut first = None;
        for _ in 0..REDIRECTIONS {
            let request = Request::get(&at).header(ACCEPT, HeaderValue::from_static("application/json, */*"));
            let mut request = request.body(Body::empty()).map_err(|error| error.to_string())?;
            let host = request.uri().host().unwrap_or_default().to_owned();
            if !within(&host, first.get_or_insert_with(|| host.clone())) {
                bearer = None;
            }
            if let Some(bearer) = &bearer {
                request.headers_mut().insert(AUTHORIZATION, bearer.clone());
            }
            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let address = if request.uri().port().is_some() { authority.clone() } else { format!("{authority}:443") };
            let response = client.request(request).await.map_err(|error| explain(&error, &address))?;
            let (head, body) = response.into_parts();
            let to =
                head.headers.get(LOCATION).and_then(|to| to.to_str().ok()).filter(|_| head.status.is_redirection());
            match to {
                Some(path) if path.starts_with('/') => at = format!("https://{authority}{path}"),
                Some(to) => to.clone_into(&mut at),
                None => {
                    let body = Limited::new(body, DOCUMENT).collect().await.map_err(|error| error.to_string())?;
                    return Ok((head.status, head.headers, body.to_bytes()));
                }
            }
        }
        Err(format!("stopped after {REDIRECTIONS} redirects"))
    };
    let fetched = match tokio::time::timeout(timeout, fetching).await {
        Ok(fetched) => fetched,
        Err(_) => Err("context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned()),
    };
    fetched.map_err(|why| format!("Get {url:?}: {why}"))
}

fn credentials(token: &str) -> Result<HeaderValue, String> {
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| "net/http: invalid header field value for \"Authorization\"".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// Whether a host may be told what another one is told: it is the same, or of its domain.
fn within(host: &str, domain: &str) -> bool {
    let Some(rest) = host.strip_suffix(domain) else { return false };
    rest.is_empty() || (rest.ends_with('.') && domain.parse::<IpAddr>().is_err())
}

/// The cause of a failed request in Go's words.
pub fn explain(error: &hyper_util::client::legacy::Error, address: &str) -> String {
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            if let Some(tls) = tls_error(io) {
                return auth::trust::explain(tls);
            }
            let io = innermost(io);
            match io.kind() {
                io::ErrorKind::TimedOut => return format!("dial tcp {address}: i/o timeout"),
                io::ErrorKind::UnexpectedEof => return "EOF".to_owned(),
                kind if refusal(kind).is_some() => return format!("dial tcp {address}: {}", unconnected(io)),
                _ => {}
            }
        }
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return auth::trust::explain(tls);
        }
        last = error.to_string();
        cause = error.source();
    }
    if last.contains("dns error") || last.contains("failed to lookup") {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let servers = std::fs::read_to_string(RESOLVERS).unwrap_or_default();
        return format!("dial tcp: lookup {host} on {}: no such host", name_server(&servers));
    }
    last
}

/// Why a connection could not be made, in Go's words.
pub fn unconnected(error: &io::Error) -> String {
    refusal(error.kind()).map_or_else(|| error.to_string(), |why| format!("connect: {why}"))
}

fn refusal(kind: io::ErrorKind) -> Option<&'static str> {
    Some(match kind {
        io::ErrorKind::ConnectionRefused => "connection refused",
        io::ErrorKind::HostUnreachable => "no route to host",
        io::ErrorKind::NetworkUnreachable => "network is unreachable",
        io::ErrorKind::NotFound => "no such file or directory",
        io::ErrorKind::PermissionDenied => "permission denied",
        _ => return None,
    })
}

/// The first server of a resolver's configuration, whom Go asks, with its port.
fn name_server(configuration: &str) -> String {
    let named = configuration.lines().find_map(|line| line.strip_prefix("nameserver")?.split_whitespace().next());
    resolve::join(named.unwrap_or("127.0.0.1"), 53)
}

/// The I/O error that another one was made of, which is no source of it.
fn innermost(error: &io::Error) -> &io::Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<io::Error>()) {
        Some(inner) => innermost(inner),
        None => error,
    }
}

/// The TLS error an I/O error was made of, however deep.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| tls_error(inner.downcast_ref()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_stay_within_a_domain() {
        for (host, domain, expected) in [
            ("a.org", "a.org", true),
            ("b.a.org", "a.org", true),
            ("ba.org", "a.org", false),
            ("a.org", "b.a.org", false),
            ("a.org.b", "a.org", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("9.127.0.0.1", "127.0.0.1", false),
        ] {
            assert_eq!(within(host, domain), expected, "{host} {domain}");
        }
        assert_eq!(name_server("search a\nnameserver 10.0.0.2 \nnameserver 10.0.0.3\n"), "10.0.0.2:53");
        assert_eq!([name_server("nameserver fd00::1"), name_server("")], ["[fd00::1]:53", "127.0.0.1:53"]);
        assert!(credentials("a\nb").unwrap_err().contains("invalid header field value"));
    }
}
