//! Who asks, and may they: certificates, ServiceAccount tokens, impersonation; then the authorizers.

mod authenticate;
pub mod authorizers;
pub mod file;
pub mod legacy;
mod measured;
mod notes;
pub mod oidc;
pub mod policy;
pub mod reloads;
pub mod review;
pub mod token;
mod token_file;
mod token_webhook;
mod tokens;
pub mod typed;

use std::sync::Arc;
use std::time::Instant;

pub use authorizers::{Asked, Outcome};

pub use authenticate::{Clients, Peer, authenticate, token as token_user};
pub use notes::Notes;

use anyhow::Context;
use auth::serviceaccount::{PublicKey, Signer, SigningKey, Verifier};
use auth::{Attributes, Decision, Resource, Target, UserInfo, impersonation};
use http::HeaderMap;
use schema::selector::FieldSelector;

use crate::app::{App, Call};
use crate::audit::Trail;
use crate::http::request_info::{Query, RequestInfo};
use crate::http::status::{ApiError, ApiResult};
use crate::options::Options;
use crate::outbound::egress::Egress;

/// Keys and authorities.
pub struct Access {
    pub clients: Clients,
    pub signer: Signer,
    pub verifier: Verifier,
    pub issuer: String,
    audiences: Vec<String>,
    pub policy: policy::Policy,
    pub authorizers: authorizers::Authorizers,
    pub issuers: oidc::Issuers,
    token_file: token_file::TokenFile,
    token_webhook: Option<token_webhook::TokenWebhook>,
    tokens: tokens::Tokens,
}

impl Access {
    /// # Errors
    /// A file cannot be read or holds no key or certificate.
    pub fn load(options: &Options, egress: &Egress) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        let clients = Clients::load(options)?;
        let path = &options.service_account_signing_key_file;
        let key = SigningKey::from_pem(&read(path)?).with_context(|| format!("use {}", path.display()))?;
        let signer = Signer::new(key, options.service_account_issuer.clone());
        let mut keys = vec![signer.public_key()];
        for path in &options.service_account_key_file {
            let more = PublicKey::all_from_pem(&read(path)?).with_context(|| format!("use {}", path.display()))?;
            keys.extend(more);
        }
        let mut seen = std::collections::HashSet::new();
        keys.retain(|key| seen.insert(key.id().to_owned()));
        let issuer = options.service_account_issuer.clone();
        let audiences =
            if options.api_audiences.is_empty() { vec![issuer.clone()] } else { options.api_audiences.clone() };
        let verifier = Verifier::new(keys, vec![issuer.clone()], audiences.clone());
        let (policy, tokens) = (policy::Policy::default(), tokens::Tokens::default());
        let issuers = oidc::Issuers::load(options, std::slice::from_ref(&issuer), egress)?;
        let authorizers = authorizers::Authorizers::load(options, egress)?;
        let token_file = match &options.token_auth_file {
            Some(path) => token_file::TokenFile::read(path)?,
            None => token_file::TokenFile::default(),
        };
        let token_webhook = token_webhook::TokenWebhook::load(options, egress)?;
        Ok(Self {
            clients,
            signer,
            verifier,
            issuer,
            audiences,
            policy,
            authorizers,
            issuers,
            token_file,
            token_webhook,
            tokens,
        })
    }

    /// What tokens must be for that are to be used here.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }
}

/// The user to act as: the one who asks, or the one they are allowed to impersonate.
pub async fn impersonate(
    app: &Arc<App>,
    user: UserInfo,
    headers: &HeaderMap,
    trail: Option<&Trail>,
) -> ApiResult<UserInfo> {
    let wanted = impersonation::requested(headers).map_err(|e| ApiError::bad_request(e.to_string()))?;
    let Some(wanted) = wanted else { return Ok(user) };
    for check in &wanted.checks {
        let attributes =
            Attributes { user: &user, verb: impersonation::VERB, target: Target::Resource(check.resource()) };
        let decision = decide(app, &attributes).await;
        if !decision.allowed() {
            let why = attributes.forbidden_message(decision.reason());
            return Err(ApiError::forbidden(check.group, check.resource, &check.name, &why));
        }
    }
    if let Some(trail) = trail {
        trail.impersonated(&wanted.user);
    }
    Ok(wanted.user)
}

/// The attributes of a request.
#[must_use]
pub fn attributes<'a>(user: &'a UserInfo, info: &'a RequestInfo) -> Attributes<'a> {
    let target = if info.is_resource {
        Target::Resource(Resource {
            group: &info.group,
            resource: &info.resource,
            subresource: &info.subresource,
            namespace: &info.namespace,
            name: &info.name,
        })
    } else {
        Target::Path(&info.path)
    };
    Attributes { user, verb: info.verb, target }
}

/// Asks the authorizers in turn.
pub async fn decide(app: &Arc<App>, attributes: &Attributes<'_>) -> Decision {
    decide_asked(app, attributes, &Asked::default()).await.decision
}

/// The same, with what else is known of the request, and what went wrong.
pub async fn decide_asked(app: &Arc<App>, attributes: &Attributes<'_>, asked: &Asked<'_>) -> Outcome {
    app.access.authorizers.decide(app, attributes, asked).await
}

/// Whether who makes a call may do something else to the same object, too: some requests come to more than their verb says.
///
/// # Errors
/// 403 in the words that `words` has for the attributes and the authorizer's reason, 500 where nobody could decide.
pub async fn also(call: &Call, verb: &'static str, words: impl Fn(&Attributes<'_>, &str) -> String) -> ApiResult<()> {
    let info = &call.info;
    let attributes = Attributes { verb, ..attributes(&call.user, info) };
    let Outcome { decision, error } =
        decide_asked(&call.app, &attributes, &Asked { version: &info.version, fields: &[] }).await;
    match error {
        _ if decision.allowed() => Ok(()),
        Some(error) => Err(ApiError::internal(error)),
        None => {
            let why = words(&attributes, decision.reason());
            Err(ApiError::forbidden(&info.group, &info.resource, &info.name, &why))
        }
    }
}

/// # Errors
/// 403 with upstream's text when the request is not allowed.
pub async fn authorize(
    app: &Arc<App>,
    user: &UserInfo,
    info: &RequestInfo,
    query: &Query,
    trail: Option<&Trail>,
) -> ApiResult<()> {
    let attributes = attributes(user, info);
    let selector = query.text("fieldSelector").and_then(|text| FieldSelector::parse(text).ok()).unwrap_or_default();
    let equal = selector.requirements.iter().filter(|r| r.equal);
    let fields: Vec<(&str, &str)> = equal.map(|r| (r.field.as_str(), r.value.as_str())).collect();
    let asked = Asked { version: &info.version, fields: &fields };
    let started = Instant::now();
    let outcome = decide_asked(app, &attributes, &asked).await;
    measured::authorization(&app.metrics, &outcome, started.elapsed());
    let Outcome { decision, error } = outcome;
    if let Some(error) = error.filter(|_| !decision.allowed()) {
        if let Some(trail) = trail {
            trail.annotate("authorization.k8s.io/reason", "internal error");
        }
        return Err(ApiError::internal(error));
    }
    if let Some(trail) = trail {
        trail.annotate("authorization.k8s.io/decision", if decision.allowed() { "allow" } else { "forbid" });
        trail.annotate("authorization.k8s.io/reason", decision.reason());
    }
    if decision.allowed() {
        return Ok(());
    }
    let why = attributes.forbidden_message(decision.reason());
    Err(ApiError::forbidden(&info.group, &info.resource, &info.name, &why))
}

/// /.well-known/openid-configuration
#[must_use]
pub fn openid(app: &App) -> http::Response<axum::body::Body> {
    let here = || format!("https://{}/openid/v1/jwks", app.options.external_address());
    let address = app.options.service_account_jwks_uri.clone().unwrap_or_else(here);
    let value = auth::serviceaccount::openid_configuration(&app.access.issuer, &address, app.access.verifier.keys());
    published(crate::http::answer::json(200, &value))
}

/// /openid/v1/jwks
///
/// # Errors
/// A key that cannot be written.
pub fn jwks(app: &App) -> ApiResult<http::Response<axum::body::Body>> {
    let value = auth::serviceaccount::jwks(app.access.verifier.keys()).map_err(ApiError::internal)?;
    let body = crate::http::answer::to_json(&value);
    Ok(published(crate::http::answer::bytes(200, "application/jwk-set+json", body, false)))
}

/// What whoever checks tokens may keep for an hour.
fn published(mut response: http::Response<axum::body::Body>) -> http::Response<axum::body::Body> {
    let value = http::HeaderValue::from_static("public, max-age=3600");
    response.headers_mut().insert(http::header::CACHE_CONTROL, value);
    response
}
