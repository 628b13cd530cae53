//! Who sent a request: an aggregator's word, a certificate, a bearer token, or nobody.

use std::net::IpAddr;
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use auth::request_header::RequestHeaders;
use auth::serviceaccount::{BoundObjects, BoundState, TokenError};
use auth::x509::ClientAuthority;
use auth::{UserInfo, bootstrap_token};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use rustls::pki_types::{CertificateDer, UnixTime};

use super::legacy;
use super::measured;
use super::notes::Notes;
use crate::app::{App, text};
use crate::http::status::{ApiError, ApiResult};
use crate::options::Options;
use crate::registry::write::live;

/// The authorities whose certificates mean something.
#[derive(Clone)]
pub struct Clients {
    users: ClientAuthority,
    proxies: Option<Proxies>,
    /// Both together: what the handshake tells clients it would like to see.
    pub hint: ClientAuthority,
}

#[derive(Clone)]
struct Proxies {
    authority: ClientAuthority,
    /// Which of them are believed, and in which headers.
    headers: Arc<RequestHeaders>,
}

/// What a connection's certificate says.
#[derive(Clone, Default)]
pub struct Peer {
    presented: Arc<Presented>,
    /// The other end's address.
    pub address: Option<IpAddr>,
}

#[derive(Default)]
struct Presented {
    /// The certificate's user, or why it was refused; `None`: there is no certificate.
    user: Option<Result<UserInfo, String>>,
    /// It is an aggregator's: what it says about users in these headers counts.
    proxy: Option<Arc<RequestHeaders>>,
}

impl Clients {
    /// # Errors
    /// A file cannot be read or holds no certificate.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        let mut all = read(&options.client_ca_file)?;
        let users = ClientAuthority::from_pem(&all)?;
        let proxies = match &options.requestheader_client_ca_file {
            Some(path) => {
                let pem = read(path)?;
                all.push(b'\n');
                all.extend_from_slice(&pem);
                let headers = RequestHeaders {
                    allowed_names: options.requestheader_allowed_names.clone(),
                    username: options.requestheader_username_headers.clone(),
                    uid: options.requestheader_uid_headers.clone(),
                    group: options.requestheader_group_headers.clone(),
                    extra_prefix: options.requestheader_extra_headers_prefix.clone(),
                };
                Some(Proxies { authority: ClientAuthority::from_pem(&pem)?, headers: Arc::new(headers) })
            }
            None => None,
        };
        Ok(Self { users, proxies, hint: ClientAuthority::from_pem(&all)? })
    }

    /// Judges the certificates of a connection, once for all of its requests.
    #[must_use]
    pub fn judge(&self, chain: &[CertificateDer<'_>], address: Option<IpAddr>, now: UnixTime) -> Peer {
        if chain.is_empty() {
            return Peer { address, ..Peer::default() };
        }
        let user = self.users.authenticate(chain, now).map(UserInfo::authenticated).map_err(|e| e.to_string());
        let proxy = self.proxies.as_ref().and_then(|proxies| {
            let proxy = proxies.authority.authenticate(chain, now).ok()?;
            proxies.headers.believes(&proxy.username).then(|| proxies.headers.clone())
        });
        Peer { presented: Arc::new(Presented { user: Some(user), proxy }), address }
    }
}

/// The lookup of what tokens are bound to, from the store itself: a token must work the moment it is issued.
struct Bound<'a>(&'a App);

#[async_trait]
impl BoundObjects for Bound<'_> {
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> anyhow::Result<Option<BoundState>> {
        let Some(object) = live(self.0, resource, namespace, name).await? else { return Ok(None) };
        Ok(Some(BoundState {
            uid: text(&object, "/metadata/uid").to_owned(),
            deletion_timestamp: text(&object, "/metadata/deletionTimestamp").parse().ok(),
        }))
    }
}

/// The user behind a token, and the audiences it is good for (`audiences` empty: the server's own). Each authenticator is
/// asked in turn; one that does not know the token leaves it to the next, and so does one that refuses it.
///
/// # Errors
/// Why the token is refused; for the log and TokenReviews.
pub async fn token(
    app: &Arc<App>,
    token: &str,
    audiences: &[String],
    notes: &mut Notes,
) -> Result<(UserInfo, Vec<String>), String> {
    let now = Timestamp::now();
    let verifier = &app.access.verifier;
    let mut refusals = vec!["invalid bearer token".to_owned()];
    if let Some(user) = app.access.token_file.user(token) {
        match ours(app, audiences) {
            Some(shared) => return Ok((user.clone(), shared)),
            None => refusals.push(FOREIGN.to_owned()),
        }
    }
    match verifier.verify_legacy(token, audiences) {
        Ok((claims, audiences)) => match legacy::user(app, token, &claims, notes).await {
            Ok(user) => return Ok((user, audiences)),
            Err(why) => refusals.push(why),
        },
        Err(TokenError::Foreign) => {}
        Err(error) => refusals.push(error.to_string()),
    }
    match verifier.verify(token, audiences, now) {
        Ok(verified) => match verified.bound(&Bound(app), now).await {
            Ok(user) => {
                if let Some(seconds) = verified.stale(now) {
                    let text = format!("subject: {}, seconds after warning threshold: {seconds}", user.username);
                    notes.annotations.push(("authentication.k8s.io/stale-token", text));
                }
                return Ok((user, verified.audiences));
            }
            Err(error) => refusals.push(error.to_string()),
        },
        Err(TokenError::Foreign) => {}
        Err(error) => refusals.push(error.to_string()),
    }
    if app.options.enable_bootstrap_token_auth
        && let Some((id, secret)) = bootstrap_token::split(token)
    {
        match bootstrap(app, id, secret, now).await {
            Ok(user) => match ours(app, audiences) {
                Some(shared) => return Ok((user, shared)),
                None => refusals.push(FOREIGN.to_owned()),
            },
            Err(why) => refusals.push(why),
        }
    }
    // After the others: it may have to ask its issuer.
    match app.access.issuers.user(app, token, now).await {
        Some(Ok(user)) => match ours(app, audiences) {
            Some(shared) => return Ok((user.authenticated(), shared)),
            None => refusals.push(FOREIGN.to_owned()),
        },
        Some(Err(why)) => refusals.push(why),
        None => {}
    }
    if let Some(webhook) = &app.access.token_webhook {
        match webhook.user(token, audiences, app.access.audiences()).await {
            Ok(Some((user, shared))) => return Ok((user.authenticated(), shared)),
            Ok(None) => {}
            Err(why) => refusals.push(why),
        }
    }
    Err(match &refusals[..] {
        [only] => only.clone(),
        all => format!("[{}]", all.join(", ")),
    })
}

const FOREIGN: &str = "the token is not for these audiences";

/// The audiences of a token that says nothing about them: it is for the API server.
fn ours(app: &App, wanted: &[String]) -> Option<Vec<String>> {
    let own = app.access.audiences();
    let shared: Vec<String> =
        own.iter().filter(|audience| wanted.is_empty() || wanted.contains(audience)).cloned().collect();
    (!shared.is_empty()).then_some(shared)
}

async fn bootstrap(app: &App, id: &str, secret: &str, now: Timestamp) -> Result<UserInfo, String> {
    let name = bootstrap_token::secret_name(id);
    let found = live(app, "secrets", bootstrap_token::NAMESPACE, &name).await.map_err(|error| error.to_string())?;
    let object = found.ok_or("there is no such bootstrap token")?;
    bootstrap_token::user(&object, id, secret, now).map_err(str::to_owned)
}

/// Who sent a request. An aggregator's word counts first, then the certificate, then the bearer token; who shows none of
/// them is anonymous, but who shows one that is refused is not let in.
///
/// # Errors
/// 401.
pub async fn authenticate(
    app: &Arc<App>,
    peer: &Peer,
    path: &str,
    headers: &HeaderMap,
    notes: &mut Notes,
) -> ApiResult<UserInfo> {
    let started = std::time::Instant::now();
    let outcome = identify(app, peer, path, headers, notes).await;
    let shown = peer.presented.user.is_some() || headers.contains_key(AUTHORIZATION);
    measured::authentication(&app.metrics, &outcome, shown, started.elapsed());
    outcome
}

async fn identify(
    app: &Arc<App>,
    peer: &Peer,
    path: &str,
    headers: &HeaderMap,
    notes: &mut Notes,
) -> ApiResult<UserInfo> {
    let Presented { user, proxy } = &*peer.presented;
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = value.and_then(|value| bearer(value, &mut notes.warnings));
    if let Some(user) = proxy.as_ref().and_then(|names| names.user(headers)) {
        return Ok(user.authenticated());
    }
    if let Some(Ok(user)) = user {
        return Ok(user.clone());
    }
    if let Some(bearer) = bearer {
        let now = std::time::Instant::now();
        if let Some(user) = app.access.tokens.get(bearer, now) {
            return Ok(user);
        }
        let (user, _) = Box::pin(token(app, bearer, &[], notes)).await.map_err(|why| {
            tracing::debug!(why, "a bearer token was refused");
            ApiError::unauthorized()
        })?;
        if notes.is_empty() {
            // What there is to say of a token is to be said each time.
            app.access.tokens.keep(bearer, &user, now);
        }
        return Ok(user);
    }
    if let Some(Err(why)) = user {
        tracing::debug!(why, "a client certificate was refused");
        return Err(ApiError::unauthorized());
    }
    let anonymous = app.access.issuers.anonymous(path).unwrap_or(app.options.anonymous_auth.unwrap_or(true));
    if anonymous { Ok(UserInfo::anonymous()) } else { Err(ApiError::unauthorized()) }
}

/// The token of an Authorization header, if it is one of that kind; a token after more than one space is none.
fn bearer<'v>(value: &'v str, warnings: &mut Vec<String>) -> Option<&'v str> {
    let (scheme, token) = value.trim().split_once(' ')?;
    let token = token.split(' ').next().filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    if token.is_empty() {
        warnings.push(
            "the provided Authorization header contains extra space before the bearer token, and is ignored".to_owned(),
        );
        return None;
    }
    Some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorization_headers() {
        for (value, token, warned) in [
            ("Bearer abc", Some("abc"), 0),
            ("bearer abc", Some("abc"), 0),
            ("Bearer abc def", Some("abc"), 0),
            ("Bearer  abc", None, 1),
            ("Basic  abc", None, 0),
            ("Bearer", None, 0),
            ("Bearer ", None, 0),
            ("Basic abc", None, 0),
            ("Bearerabc", None, 0),
        ] {
            let mut warnings = Vec::new();
            assert_eq!((bearer(value, &mut warnings), warnings.len()), (token, warned), "{value:?}");
        }
    }
}
