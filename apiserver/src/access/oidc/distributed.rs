//! Claims that another server tells (OpenID Connect Core 1.0, 5.6.2): a token with very many groups names where they are
//! instead.
//!
//! ```text
//!  _claim_names: groups ──> s    _claim_sources: s ──> endpoint, access_token
//!  endpoint ── GET ──> another token ── its issuer's keys, times, our audiences ──> the claim
//! ```
//! As upstream, of the groups' claim alone; and whoever that token names as its issuer is asked for keys, for the endpoint is
//! named by an issuer that we believe.

use std::sync::Arc;

use auth::jose::issuer_of;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;

use super::claims::{Claims, SOURCES, field, text_or_empty};
use super::config;
use super::issuer::Issuer;
use super::provider::{Provider, TIMEOUT, peer};
use crate::app::App;
use crate::outbound::fetch;

/// So many issuers of such claims are kept; the one used longest ago goes first.
const PROVIDERS: usize = 16;

pub struct Distributed {
    claim: String,
    /// The one used last comes first.
    providers: Mutex<Vec<Arc<Provider>>>,
}

/// Where a claim is.
#[derive(Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub url: String,
    /// Empty: none is shown.
    pub access_token: String,
}

/// Where a claim that the token does not have itself is to be fetched; `None`: there is none, or nowhere to fetch it.
///
/// # Errors
/// Upstream's words for what says so, but not where.
pub fn endpoint(claims: &Claims, claim: &str) -> Result<Option<Endpoint>, String> {
    if claims.contains_key(claim) {
        return Ok(None);
    }
    let Some(names) = claims.get("_claim_names") else { return Ok(None) };
    let sources = claims.get(SOURCES).ok_or("oidc: no claim sources")?;
    for source in sources.as_object().into_iter().flat_map(|sources| sources.values()) {
        field(source, "JWT", "endpoint.JWT").map_err(|why| format!("oidc: could not parse claim sources: {why}"))?;
    }
    let Some(name) = names.get(claim).and_then(Value::as_str) else { return Ok(None) };
    let missing = || format!("id token _claim_names contained a source {name} missing in _claims_sources");
    let source = sources.get(name).ok_or_else(missing)?;
    let url = text_or_empty(source, "endpoint");
    // Without one the claim may be here already, as a token within this one (`JWT`), which upstream does not read.
    Ok((!url.is_empty()).then(|| Endpoint { url, access_token: text_or_empty(source, "access_token") }))
}

impl Distributed {
    #[must_use]
    pub fn new(claim: &str) -> Self {
        Self { claim: claim.to_owned(), providers: Mutex::default() }
    }

    /// Puts the claim among the others if it is elsewhere.
    ///
    /// # Errors
    /// Upstream's words for why it cannot be had.
    pub async fn expand(&self, issuer: &Issuer, app: &App, claims: &mut Claims, now: Timestamp) -> Result<(), String> {
        let Some(Endpoint { url, access_token }) = endpoint(claims, &self.claim)? else { return Ok(()) };
        let claim = &self.claim;
        let token = get(app, &issuer.compiled().issuer, &url, &access_token).await;
        let token = token.map_err(|why| format!("while getting distributed claim {claim:?}: {why}"))?;
        let token = token.trim();
        let named = issuer_of(token)
            .map_err(|why| format!("getting untrusted issuer from endpoint {url} failed for claim {claim:?}: {why}"))?;
        let provider = self.provider(issuer, &named);
        if !provider.discovered(app).await {
            return Err(format!(
                "verifying untrusted issuer {named} failed: verifier not initialized for issuer: {named:?}"
            ));
        }
        let verified = issuer.verified(app, &provider, token, now).await;
        let mut told = verified.map_err(|why| format!("verify distributed claim token: {why}"))?;
        let value = told.remove(claim).ok_or_else(|| {
            format!("jwt returned by distributed claim endpoint {url:?} did not contain claim: {claim}")
        })?;
        claims.insert(claim.clone(), value);
        Ok(())
    }

    /// Who has the keys of the issuer of this name.
    fn provider(&self, issuer: &Issuer, named: &str) -> Arc<Provider> {
        if issuer.issues(named) {
            return issuer.provider().clone();
        }
        let mut providers = self.providers.lock();
        let known = providers.iter().position(|provider| provider.url() == named).map(|at| providers.remove(at));
        let provider = known.unwrap_or_else(|| {
            let url = named.to_owned();
            Provider::new(&config::Issuer { url, discovery_url: String::new(), ..issuer.compiled().issuer.clone() })
        });
        providers.insert(0, provider.clone());
        providers.truncate(PROVIDERS);
        provider
    }
}

async fn get(app: &App, issuer: &config::Issuer, url: &str, access_token: &str) -> Result<String, String> {
    let bearer = Some(access_token).filter(|token| !token.is_empty());
    let (status, _, body) = fetch(app, &peer(issuer), url, bearer, TIMEOUT).await?;
    if !(200..=226).contains(&status.as_u16()) {
        return Err(format!("error while getting distributed claim JWT: {status}"));
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}
