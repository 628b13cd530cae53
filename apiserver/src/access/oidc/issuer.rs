//! One issuer at work: the judging of its tokens.
//!
//! ```text
//!  token ── verified (provider's keys, times, audiences) ──> claims ── distributed ones fetched ──> user
//! ```

use std::sync::Arc;

use auth::UserInfo;
use auth::jose::Signed;
use jiff::Timestamp;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::claims::{self, Claims};
use super::distributed::Distributed;
use super::provider::Provider;
use super::validate::{Compiled, Source};
use crate::app::App;

pub struct Issuer {
    compiled: Compiled,
    /// What its tokens may be signed with.
    algorithms: Vec<String>,
    provider: Arc<Provider>,
    /// Only where groups are a claim.
    distributed: Option<Distributed>,
}

impl Issuer {
    #[must_use]
    pub fn new(compiled: Compiled, algorithms: Vec<String>) -> Arc<Self> {
        let provider = Provider::new(&compiled.issuer);
        let distributed = match &compiled.groups {
            Some(Source::Claim { name, .. }) => Some(Distributed::new(name)),
            _ => None,
        };
        Arc::new(Self { compiled, algorithms, provider, distributed })
    }

    /// Whether a token that names this issuer is for it to judge.
    #[must_use]
    pub fn issues(&self, named: &str) -> bool {
        claims::same_issuer(&self.compiled.issuer.url, named)
    }

    /// Discovers the issuer, however long that takes, until `stop`.
    pub fn start(self: &Arc<Self>, app: &Arc<App>, stop: CancellationToken) {
        self.provider.start(app, stop);
    }

    /// Resolves when the issuer has been discovered.
    pub async fn ready(&self) {
        self.provider.ready().await;
    }

    /// Why it is not ready.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.provider.trouble()
    }

    #[must_use]
    pub fn provider(&self) -> &Arc<Provider> {
        &self.provider
    }

    #[must_use]
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    /// The user of a token of this issuer.
    ///
    /// # Errors
    /// Why it is refused.
    pub async fn user(&self, app: &App, token: &str, now: Timestamp) -> Result<UserInfo, String> {
        if !self.provider.initialized() {
            return Err("oidc: authenticator not initialized".to_owned());
        }
        let verified = self.verified(app, &self.provider, token, now).await;
        let mut claims = verified.map_err(|why| format!("oidc: verify token: {why}"))?;
        if let Some(distributed) = &self.distributed {
            let expanded = distributed.expand(self, app, &mut claims, now).await;
            expanded.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        }
        claims::user(&claims, &self.compiled)
    }

    /// The claims of a token that `provider` has signed, now and for our audiences.
    ///
    /// # Errors
    /// Upstream's words (those of go-oidc).
    pub async fn verified(
        &self,
        app: &App,
        provider: &Provider,
        token: &str,
        now: Timestamp,
    ) -> Result<Claims, String> {
        let signed = Signed::parse(token).map_err(|why| format!("oidc: malformed jwt: {why}"))?;
        if !self.algorithms.contains(&signed.algorithm) {
            let known: Vec<String> = self.algorithms.iter().map(|name| format!("{name:?}")).collect();
            return Err(format!(
                "oidc: id token signed with unsupported algorithm, expected [{}] got {:?}",
                known.join(" "),
                signed.algorithm
            ));
        }
        let checked = provider.check_signature(app, &signed).await;
        checked.map_err(|why| format!("failed to verify signature: {why}"))?;
        let claims = match serde_json::from_slice::<Value>(&signed.payload) {
            Ok(Value::Object(claims)) => claims,
            Ok(_) => return Err("oidc: failed to unmarshal claims: they are no object".to_owned()),
            Err(error) => return Err(format!("oidc: failed to unmarshal claims: {error}")),
        };
        claims::check(&claims, provider.url(), &self.compiled.issuer.audiences, now)?;
        Ok(claims)
    }
}
