//! Signing and verifying tokens.

use super::claims::{Claims, TokenRequest, Verified};
use super::key::{PublicKey, SigningKey};
use super::legacy::{LEGACY_ISSUER, LegacyClaims};
use super::split_username;
use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// How far clocks may be apart, in seconds (upstream's JWT library: one minute).
const LEEWAY: i64 = 60;
/// A longer token is none of ours.
const MAX_TOKEN: usize = 64 * 1024;

/// Why a token is refused.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not a token of this issuer; another authenticator may know it.
    #[error("the token is not one of a service account")]
    Foreign,
    #[error("go-jose/go-jose: error in cryptographic primitive")]
    Signature,
    #[error("the token cannot be read: {0}")]
    Malformed(String),
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotYet,
    #[error("token audiences {} is invalid for the target audiences {}", quoted(.token), quoted(.wanted))]
    Audience { token: Vec<String>, wanted: Vec<String> },
    /// What it is bound to has been deleted.
    #[error("service account token has been invalidated")]
    Invalidated,
    /// Its account is not there, or is another of the same name.
    #[error("{0}")]
    Account(String),
    #[error("{kind} UID ({found}) does not match service account {kind} ref claim ({claimed})")]
    Replaced { kind: &'static str, found: String, claimed: String },
    #[error("{0}")]
    Refused(String),
    #[error("looking up what the token is bound to failed: {0}")]
    Lookup(#[source] anyhow::Error),
}

/// A list as Go quotes it (`%q`).
fn quoted(list: &[String]) -> String {
    let texts: Vec<String> = list.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(" "))
}

#[derive(Serialize, Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: String,
}

/// Issues tokens.
pub struct Signer {
    key: SigningKey,
    issuer: String,
}

impl Signer {
    pub fn new(key: SigningKey, issuer: impl Into<String>) -> Self {
        Self { key, issuer: issuer.into() }
    }

    /// A signed token and its claims.
    ///
    /// # Errors
    /// Signing failed.
    pub fn issue(&self, request: TokenRequest, now: Timestamp) -> anyhow::Result<(String, Claims)> {
        let claims = Claims::new(request, &self.issuer, uuid::Uuid::new_v4().to_string(), now);
        Ok((self.sign(&claims)?, claims))
    }

    /// A signed token to be kept in a Secret.
    ///
    /// # Errors
    /// Signing failed.
    pub fn issue_legacy(&self, claims: &LegacyClaims) -> anyhow::Result<String> {
        self.sign(claims)
    }

    fn sign(&self, claims: &impl Serialize) -> anyhow::Result<String> {
        let public = self.key.public_key();
        let header = Header { alg: public.algorithm().into(), kid: public.id().into() };
        let encode = |json: serde_json::Result<Vec<u8>>| json.map(|json| URL_SAFE_NO_PAD.encode(json));
        let mut token = encode(serde_json::to_vec(&header)).context("encode a token")?;
        token.push('.');
        token.push_str(&encode(serde_json::to_vec(claims)).context("encode a token")?);
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(signature));
        Ok(token)
    }

    /// The public half, for a [`Verifier`].
    pub fn public_key(&self) -> PublicKey {
        self.key.public_key()
    }
}

/// Checks tokens; several keys and issuers may be valid while they are being exchanged.
pub struct Verifier {
    keys: Vec<PublicKey>,
    issuers: Vec<String>,
    audiences: Vec<String>,
}

impl Verifier {
    /// `audiences` are the API server's own: what a token must be for when nothing else is asked for.
    pub fn new(keys: Vec<PublicKey>, issuers: Vec<String>, audiences: Vec<String>) -> Self {
        Self { keys, issuers, audiences }
    }

    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// A token as sent in `Authorization: Bearer`. `audiences`: what it must be for, empty for the API server itself.
    ///
    /// # Errors
    /// [`TokenError::Foreign`] when it is no token of ours, else why it is refused.
    pub fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Verified, TokenError> {
        let payload = self.open(token, |issuer| self.issuers.iter().any(|own| own == issuer))?;
        let claims: Claims =
            serde_json::from_slice(&payload).map_err(|error| TokenError::Malformed(error.to_string()))?;
        self.check_claims(claims, audiences, now)
    }

    /// A token that is kept in a Secret, which is for the caller to look up ([`LegacyClaims::judge`]); and the audiences it
    /// is good for.
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub fn verify_legacy(&self, token: &str, audiences: &[String]) -> Result<(LegacyClaims, Vec<String>), TokenError> {
        let payload = self.open(token, |issuer| issuer == LEGACY_ISSUER)?;
        let claims: LegacyClaims =
            serde_json::from_slice(&payload).map_err(|error| TokenError::Malformed(error.to_string()))?;
        // Such a token says nothing about audiences: it is for the API server.
        let shared = self.shared(if claims.aud.is_empty() { &self.audiences } else { &claims.aud }, audiences)?;
        claims.check()?;
        Ok((claims, shared))
    }

    /// The payload of a token of ours whose signature is good.
    fn open(&self, token: &str, ours: impl Fn(&str) -> bool) -> Result<Vec<u8>, TokenError> {
        let mut parts = token.split('.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(TokenError::Foreign);
        };
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Foreign);
        }
        // Before the signature is known to be good nothing is said about the content, except whether it is for us.
        let Some(bytes) = decode(payload) else { return Err(TokenError::Foreign) };
        #[derive(Deserialize)]
        struct Issuer {
            iss: String,
        }
        match serde_json::from_slice::<Issuer>(&bytes) {
            Ok(Issuer { iss }) if ours(&iss) => {}
            _ => return Err(TokenError::Foreign),
        }
        self.check_signature(header, &token[..header.len() + 1 + payload.len()], signature)?;
        Ok(bytes)
    }

    fn check_signature(&self, header: &str, signed: &str, signature: &str) -> Result<(), TokenError> {
        let malformed = |what: &str| TokenError::Malformed(what.to_owned());
        let header = decode(header).ok_or_else(|| malformed("the header is no base64"))?;
        let header: Header =
            serde_json::from_slice(&header).map_err(|error| TokenError::Malformed(error.to_string()))?;
        let signature = decode(signature).ok_or_else(|| malformed("the signature is no base64"))?;
        let named = self.keys.iter().filter(|key| header.kid.is_empty() || key.id() == header.kid);
        // The algorithm is that of the key; what the token claims must agree with it.
        let good = |key: &PublicKey| key.algorithm() == header.alg && key.verifies(signed.as_bytes(), &signature);
        if named.into_iter().any(good) { Ok(()) } else { Err(TokenError::Signature) }
    }

    fn check_claims(&self, claims: Claims, audiences: &[String], now: Timestamp) -> Result<Verified, TokenError> {
        let now = now.as_second();
        if now > claims.exp.saturating_add(LEEWAY) {
            return Err(TokenError::Expired);
        }
        if now < claims.nbf.saturating_sub(LEEWAY) {
            return Err(TokenError::NotYet);
        }
        let private = &claims.kubernetes;
        if split_username(&claims.sub) != Some((&private.namespace, &private.serviceaccount.name)) {
            return Err(TokenError::Malformed("subject and service account differ".into()));
        }
        let audiences = self.shared(&claims.aud, audiences)?;
        Ok(Verified { claims, audiences })
    }

    /// What a token for `token` shall be for (empty: the server itself) and is.
    fn shared(&self, token: &[String], wanted: &[String]) -> Result<Vec<String>, TokenError> {
        let wanted = if wanted.is_empty() { &self.audiences } else { wanted };
        let shared: Vec<_> = wanted.iter().filter(|wanted| token.contains(wanted)).cloned().collect();
        if shared.is_empty() {
            return Err(TokenError::Audience { token: token.to_vec(), wanted: wanted.to_vec() });
        }
        Ok(shared)
    }
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}
