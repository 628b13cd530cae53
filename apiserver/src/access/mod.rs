//! Who asks, and may they: certificates, ServiceAccount tokens, impersonation; then the authorizers.

pub mod policy;
pub mod review;
pub mod token;
mod tokens;

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use auth::request_header::RequestHeaders;
use auth::serviceaccount::{BoundObjects, BoundState, PublicKey, Signer, SigningKey, Verifier};
use auth::x509::ClientAuthority;
use auth::{Attributes, Decision, Resource, Target, UserInfo, impersonation};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use schema::selector::FieldSelector;

use crate::app::{App, text};
use crate::http::request_info::{Query, RequestInfo};
use crate::http::server::Peer;
use crate::http::status::{ApiError, ApiResult};
use crate::options::Options;

/// Keys and authorities.
pub struct Access {
    pub clients: ClientAuthority,
    /// The authority of front proxies, and the headers they are believed.
    pub front: Option<(ClientAuthority, RequestHeaders)>,
    /// All authorities of clients: what the handshake asks certificates of.
    pub known: ClientAuthority,
    pub signer: Signer,
    pub verifier: Verifier,
    pub issuer: String,
    pub policy: policy::Policy,
    tokens: tokens::Tokens,
}

impl Access {
    /// # Errors
    /// A file cannot be read or holds no key or certificate.
    pub fn load(options: &Options) -> anyhow::Result<Self> {
        let read = |path: &std::path::Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
        let mut authorities = read(&options.client_ca_file)?;
        let clients = ClientAuthority::from_pem(&authorities)?;
        let front = match &options.requestheader_client_ca_file {
            None => None,
            Some(path) => {
                let own = read(path)?;
                authorities.push(b'\n');
                authorities.extend_from_slice(&own);
                let headers = RequestHeaders {
                    allowed_names: options.requestheader_allowed_names.clone(),
                    username: options.requestheader_username_headers.clone(),
                    uid: options.requestheader_uid_headers.clone(),
                    group: options.requestheader_group_headers.clone(),
                    extra_prefix: options.requestheader_extra_headers_prefix.clone(),
                };
                Some((ClientAuthority::from_pem(&own)?, headers))
            }
        };
        let known = ClientAuthority::from_pem(&authorities)?;
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
        let verifier = Verifier::new(keys, vec![issuer.clone()], vec![issuer.clone()]);
        Ok(Self {
            clients,
            front,
            known,
            signer,
            verifier,
            issuer,
            policy: policy::Policy::default(),
            tokens: tokens::Tokens::default(),
        })
    }
}

/// The lookup of what tokens are bound to, from the store itself: a token must work the moment it is issued.
struct Bound<'a>(&'a App);

#[async_trait]
impl BoundObjects for Bound<'_> {
    async fn find(&self, resource: &str, namespace: &str, name: &str) -> anyhow::Result<Option<BoundState>> {
        let resource = self.0.resource("", resource)?;
        let (found, _) = self.0.store.get(&resource.key(namespace, name), None).await?;
        let Some(kv) = found else { return Ok(None) };
        let object: serde_json::Value = serde_json::from_slice(&kv.value)?;
        Ok(Some(BoundState {
            uid: text(&object, "/metadata/uid").to_owned(),
            deletion_timestamp: text(&object, "/metadata/deletionTimestamp").parse().ok(),
        }))
    }
}

/// The user behind a token, and the audiences it is good for.
pub async fn token(app: &App, token: &str, audiences: &[String]) -> Result<(UserInfo, Vec<String>), String> {
    let now = Timestamp::now();
    let verified = app.access.verifier.verify(token, audiences, now).map_err(|e| e.to_string())?;
    let user = verified.bound(&Bound(app), now).await.map_err(|e| e.to_string())?;
    Ok((user, verified.audiences))
}

/// Who sent a request: the user a front proxy names, else that of the certificate, else of the bearer token, else nobody.
pub async fn authenticate(app: &App, peer: &Peer, headers: &HeaderMap) -> ApiResult<UserInfo> {
    if let (true, Some((_, names))) = (peer.front_proxy, &app.access.front)
        && let Some(user) = names.user(headers)
    {
        return Ok(user.authenticated());
    }
    let certificate = peer.user.as_ref().as_ref();
    let bearer = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    match (certificate, bearer) {
        (Some(Ok(user)), _) => Ok(user.clone()),
        (_, Some(bearer)) => {
            let (bearer, now) = (bearer.trim(), std::time::Instant::now());
            if let Some(user) = app.access.tokens.get(bearer, now) {
                return Ok(user);
            }
            let (user, _) = token(app, bearer, &[]).await.map_err(|why| {
                tracing::debug!(why, "a bearer token was refused");
                ApiError::unauthorized()
            })?;
            app.access.tokens.keep(bearer, &user, now);
            Ok(user)
        }
        (Some(Err(why)), None) => {
            tracing::debug!(why, "a client certificate was refused");
            Err(ApiError::unauthorized())
        }
        (None, None) => Ok(UserInfo::anonymous()),
    }
}

/// The user to act as: the one who asks, or the one they are allowed to impersonate.
pub async fn impersonate(app: &Arc<App>, user: UserInfo, headers: &HeaderMap) -> ApiResult<UserInfo> {
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
    app.access.policy.decide(app, attributes, &[]).await
}

/// # Errors
/// 403 with upstream's text when the request is not allowed.
pub async fn authorize(app: &Arc<App>, user: &UserInfo, info: &RequestInfo, query: &Query) -> ApiResult<()> {
    let attributes = attributes(user, info);
    let selector = query.text("fieldSelector").and_then(|text| FieldSelector::parse(text).ok()).unwrap_or_default();
    let equal = selector.requirements.iter().filter(|r| r.equal);
    let fields: Vec<(&str, &str)> = equal.map(|r| (r.field.as_str(), r.value.as_str())).collect();
    let decision = app.access.policy.decide(app, &attributes, &fields).await;
    if decision.allowed() {
        return Ok(());
    }
    let why = attributes.forbidden_message(decision.reason());
    Err(ApiError::forbidden(&info.group, &info.resource, &info.name, &why))
}

/// /.well-known/openid-configuration
#[must_use]
pub fn openid(app: &App) -> http::Response<axum::body::Body> {
    let address = format!("https://{}:{}/openid/v1/jwks", app.options.advertised(), app.options.secure_port);
    let value = auth::serviceaccount::openid_configuration(&app.access.issuer, &address, app.access.verifier.keys());
    crate::http::answer::json(200, &value)
}

/// /openid/v1/jwks
///
/// # Errors
/// A key that cannot be written.
pub fn jwks(app: &App) -> ApiResult<http::Response<axum::body::Body>> {
    let value = auth::serviceaccount::jwks(app.access.verifier.keys()).map_err(ApiError::internal)?;
    Ok(crate::http::answer::bytes(200, "application/jwk-set+json", crate::http::answer::to_json(&value), false))
}
