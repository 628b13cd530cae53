//! One issuer at work: its discovery document, its keys, and the judging of tokens.
//!
//! ```text
//!  start ── discover, again and again until it answers ──> jwks_uri
//!  token ── known key? ──> claims ──> user
//!              └─ no: fetch the keys, one fetch for all who wait ─┘
//! ```
//! Nobody but those with a token of this issuer ever waits for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use auth::UserInfo;
use auth::jose::{KeySet, Signed};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claims;
use super::validate::Compiled;
use crate::app::App;
use crate::outbound::{Peer, fetch};

/// How often an issuer that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Keys that are good for less than this are fetched again for a token of an unknown one.
const SOON: Duration = Duration::from_secs(30);
/// No keys are taken to be good for longer, whatever the issuer says.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The keys as last fetched.
#[derive(Clone)]
struct Kept {
    keys: Arc<KeySet>,
    until: Instant,
    /// How often they have been fetched.
    generation: u64,
}

pub struct Issuer {
    compiled: Compiled,
    /// What its tokens may be signed with.
    algorithms: Vec<String>,
    keys_url: OnceLock<String>,
    kept: Mutex<Kept>,
    fetching: tokio::sync::Mutex<()>,
    /// Why it is not ready; `None`: it is.
    trouble: watch::Sender<Option<String>>,
}

impl Issuer {
    #[must_use]
    pub fn new(compiled: Compiled, algorithms: Vec<String>) -> Arc<Self> {
        let kept = Kept { keys: Arc::default(), until: Instant::now(), generation: 0 };
        let why = format!("oidc: authenticator for issuer {:?} is not initialized", compiled.issuer.url);
        Arc::new(Self {
            compiled,
            algorithms,
            keys_url: OnceLock::new(),
            kept: Mutex::new(kept),
            fetching: tokio::sync::Mutex::default(),
            trouble: watch::Sender::new(Some(why)),
        })
    }

    /// Whether a token that names this issuer is for it to judge.
    #[must_use]
    pub fn issues(&self, named: &str) -> bool {
        claims::same_issuer(&self.compiled.issuer.url, named)
    }

    /// Discovers the issuer, however long that takes, until `stop`.
    pub fn start(self: &Arc<Self>, app: &Arc<App>, stop: CancellationToken) {
        let (this, app) = (self.clone(), app.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Err(why) = this.discover(&app).await {
                tracing::warn!(issuer = this.compiled.issuer.url, why, "an issuer of tokens cannot be asked");
                let url = &this.compiled.issuer.url;
                let why = format!("oidc: authenticator for issuer {url:?} is not healthy: {why}");
                this.trouble.send_replace(Some(why));
                tokio::time::sleep(AGAIN).await;
            }
            this.trouble.send_replace(None);
        }));
    }

    /// Resolves when the issuer has been discovered.
    pub async fn ready(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.trouble.subscribe().wait_for(Option::is_none).await;
    }

    /// Why it is not ready.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    fn peer(&self) -> Peer {
        let ca_bundle = self.compiled.issuer.certificate_authority.clone().into_bytes();
        Peer { ca_bundle, insecure: false, server_name: None, identify: false }
    }

    async fn get(&self, app: &App, url: &str) -> Result<(HeaderMap, bytes::Bytes), String> {
        let (status, headers, body) = fetch(app, &self.peer(), url, TIMEOUT).await?;
        if status != StatusCode::OK {
            let text = String::from_utf8_lossy(&body[..body.len().min(512)]);
            return Err(format!("{status}: {}", text.trim_end()));
        }
        Ok((headers, body))
    }

    async fn discover(&self, app: &App) -> Result<(), String> {
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Document {
            issuer: String,
            jwks_uri: String,
        }
        let issuer = &self.compiled.issuer;
        let url = match issuer.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", issuer.url.strip_suffix('/').unwrap_or(&issuer.url)),
            url => url.to_owned(),
        };
        let (_, body) = self.get(app, &url).await?;
        let document: Document = serde_json::from_slice(&body)
            .map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
        if document.issuer != issuer.url {
            let (wanted, got) = (&issuer.url, document.issuer);
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {wanted:?} got {got:?}"
            ));
        }
        if document.jwks_uri.is_empty() {
            return Err("provider did not return JWKS URL".to_owned());
        }
        // Only this task sets it, and only once.
        let _ = self.keys_url.set(document.jwks_uri);
        Ok(())
    }

    /// The user of a token of this issuer.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn user(&self, app: &App, token: &str, now: Timestamp) -> Result<UserInfo, String> {
        let url = self.keys_url.get().ok_or("oidc: authenticator not initialized")?;
        let verify = |why: String| format!("oidc: verify token: {why}");
        let signed = Signed::parse(token).map_err(|why| verify(format!("oidc: malformed jwt: {why}")))?;
        if !self.algorithms.contains(&signed.algorithm) {
            let known: Vec<String> = self.algorithms.iter().map(|name| format!("{name:?}")).collect();
            return Err(verify(format!(
                "oidc: id token signed with unsupported algorithm, expected [{}] got {:?}",
                known.join(" "),
                signed.algorithm
            )));
        }
        self.check_signature(app, url, &signed)
            .await
            .map_err(|why| verify(format!("failed to verify signature: {why}")))?;
        let claims = match serde_json::from_slice::<Value>(&signed.payload) {
            Ok(Value::Object(claims)) => claims,
            Ok(_) => return Err(verify("oidc: failed to unmarshal claims: they are no object".to_owned())),
            Err(error) => return Err(verify(format!("oidc: failed to unmarshal claims: {error}"))),
        };
        claims::check(&claims, &self.compiled, now).map_err(verify)?;
        claims::user(&claims, &self.compiled)
    }

    async fn check_signature(&self, app: &App, url: &str, signed: &Signed<'_>) -> Result<(), String> {
        let known = self.kept.lock().clone();
        // Also keys whose time is over: an issuer may be away for a while.
        if known.keys.verifies(signed) {
            return Ok(());
        }
        let wrong = || Err("failed to verify id token signature".to_owned());
        if known.until > Instant::now() + SOON {
            return wrong();
        }
        let keys = self.fetched(app, url, known.generation).await.map_err(|why| format!("fetching keys {why}"))?;
        if keys.verifies(signed) { Ok(()) } else { wrong() }
    }

    /// Keys fetched after those of `generation`; who comes while they are under way waits for the same.
    async fn fetched(&self, app: &App, url: &str, generation: u64) -> Result<Arc<KeySet>, String> {
        let _turn = self.fetching.lock().await;
        let kept = self.kept.lock().clone();
        if kept.generation > generation {
            return Ok(kept.keys);
        }
        let (headers, body) = self.get(app, url).await.map_err(|why| format!("oidc: get keys failed: {why}"))?;
        let keys = KeySet::parse(&body).map_err(|why| format!("oidc: failed to decode keys: {why}"))?;
        let keys = Arc::new(keys);
        let until = Instant::now() + good_for(&headers);
        *self.kept.lock() = Kept { keys: keys.clone(), until, generation: kept.generation + 1 };
        Ok(keys)
    }
}

/// How long an answer may be kept, by its `Cache-Control`.
fn good_for(headers: &HeaderMap) -> Duration {
    let value = headers.get(CACHE_CONTROL).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut age = Duration::ZERO;
    for word in value.split(',').map(|word| word.trim().to_ascii_lowercase()) {
        match word.split_once('=') {
            Some(("max-age", seconds)) => age = Duration::from_secs(seconds.trim_matches('"').parse().unwrap_or(0)),
            None if word == "no-store" || word == "no-cache" => return Duration::ZERO,
            _ => {}
        }
    }
    age.min(LONGEST)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cache_control() {
        for (value, seconds) in [
            ("max-age=60", 60),
            ("public, Max-Age=\"5\"", 5),
            ("max-age=60, no-cache", 0),
            ("no-store", 0),
            ("", 0),
            ("max-age=999999999", 24 * 3600),
        ] {
            let headers = HeaderMap::from_iter([(CACHE_CONTROL, HeaderValue::from_static(value))]);
            assert_eq!(good_for(&headers), Duration::from_secs(seconds), "{value}");
        }
    }
}
