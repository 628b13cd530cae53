//! Whoever signs tokens: the discovery document and the keys (OpenID Connect Discovery 1.0).
//!
//! ```text
//!  discover ──> jwks_uri
//!  signature ── known key? ──> good
//!                  └─ no: fetch the keys, one fetch for all who wait ─┘
//! ```
//! Nobody but those with a token of this provider ever waits for it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use auth::jose::{KeySet, Signed};
use http::header::CACHE_CONTROL;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config;
use crate::app::App;
use crate::outbound::egress::Network;
use crate::outbound::{Peer, fetch};

/// How often a provider that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(10);
/// How long an answer may take.
pub const TIMEOUT: Duration = Duration::from_secs(30);
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

pub struct Provider {
    url: String,
    /// Where the document is, if not where the standard says.
    discovery_url: String,
    peer: Peer,
    keys_url: OnceLock<String>,
    kept: Mutex<Kept>,
    fetching: tokio::sync::Mutex<()>,
    /// When discovery has failed last, of those that are discovered on demand.
    failed: tokio::sync::Mutex<Option<Instant>>,
    /// Why it is not ready; `None`: it is.
    trouble: watch::Sender<Option<String>>,
}

impl Provider {
    #[must_use]
    pub fn new(issuer: &config::Issuer) -> Arc<Self> {
        let kept = Kept { keys: Arc::default(), until: Instant::now(), generation: 0 };
        let why = format!("oidc: authenticator for issuer {:?} is not initialized", issuer.url);
        Arc::new(Self {
            url: issuer.url.clone(),
            discovery_url: issuer.discovery_url.clone(),
            peer: peer(issuer),
            keys_url: OnceLock::new(),
            kept: Mutex::new(kept),
            fetching: tokio::sync::Mutex::default(),
            failed: tokio::sync::Mutex::default(),
            trouble: watch::Sender::new(Some(why)),
        })
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Discovers it, however long that takes, until `stop`.
    pub fn start(self: &Arc<Self>, app: &Arc<App>, stop: CancellationToken) {
        let (this, app) = (self.clone(), app.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            while let Err(why) = this.discover(&app).await {
                let url = &this.url;
                tracing::warn!(issuer = url, why, "an issuer of tokens cannot be asked");
                let why = format!("oidc: authenticator for issuer {url:?} is not healthy: {why}");
                this.trouble.send_replace(Some(why));
                tokio::time::sleep(AGAIN).await;
            }
            this.trouble.send_replace(None);
        }));
    }

    /// Whether it has been discovered, which is tried now unless that has failed a moment ago; who comes meanwhile waits
    /// for the same.
    pub async fn discovered(&self, app: &App) -> bool {
        if self.initialized() {
            return true;
        }
        let mut failed = self.failed.lock().await;
        if !self.initialized() && failed.is_none_or(|at| at.elapsed() >= AGAIN) {
            *failed = match self.discover(app).await {
                Ok(()) => None,
                Err(why) => {
                    tracing::warn!(issuer = self.url, why, "an issuer of claims cannot be asked");
                    Some(Instant::now())
                }
            };
        }
        self.initialized()
    }

    #[must_use]
    pub fn initialized(&self) -> bool {
        self.keys_url.get().is_some()
    }

    /// Resolves when it has been discovered by [`Provider::start`].
    pub async fn ready(&self) {
        // The sender is ours: it cannot be gone.
        let _ = self.trouble.subscribe().wait_for(Option::is_none).await;
    }

    /// Why it is not ready.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.trouble.borrow().clone()
    }

    async fn get(&self, app: &App, url: &str) -> Result<(HeaderMap, bytes::Bytes), String> {
        let (status, headers, body) = fetch(app, &self.peer, url, None, TIMEOUT).await?;
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
        let url = match self.discovery_url.as_str() {
            "" => format!("{}/.well-known/openid-configuration", self.url.strip_suffix('/').unwrap_or(&self.url)),
            url => url.to_owned(),
        };
        let (_, body) = self.get(app, &url).await?;
        let document: Document = serde_json::from_slice(&body)
            .map_err(|error| format!("oidc: failed to decode provider discovery object: {error}"))?;
        if document.issuer != self.url {
            let (wanted, got) = (&self.url, document.issuer);
            return Err(format!(
                "oidc: issuer did not match the issuer returned by provider, expected {wanted:?} got {got:?}"
            ));
        }
        if document.jwks_uri.is_empty() {
            return Err("provider did not return JWKS URL".to_owned());
        }
        // Whoever was faster has found the same.
        let _ = self.keys_url.set(document.jwks_uri);
        Ok(())
    }

    /// Whether one of its keys has signed a token.
    ///
    /// # Errors
    /// None has, or they cannot be fetched, or it has not been discovered.
    pub async fn check_signature(&self, app: &App, signed: &Signed<'_>) -> Result<(), String> {
        let url = self.keys_url.get().ok_or("the issuer has not been discovered")?;
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

/// How servers of an issuer's are reached and known: in the network and by the authorities it was configured with.
#[must_use]
pub fn peer(issuer: &config::Issuer) -> Peer {
    let ca_bundle = issuer.certificate_authority.clone().into_bytes();
    let network = Network::parse(&issuer.egress_selector_type);
    Peer { ca_bundle, insecure: false, server_name: None, identify: false, network }
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
