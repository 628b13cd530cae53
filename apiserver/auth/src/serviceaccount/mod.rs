//! ServiceAccount tokens: JSON web tokens bound to a ServiceAccount and, usually, a pod.
//!
//! [`Signer`] issues them, [`Verifier`] checks signature, issuer, audience and time without any I/O; [`Verified::bound`] then
//! checks, through a lookup of the caller, that what the token is bound to still exists. Tokens of the older kind, kept in
//! Secrets, are [`LegacyClaims`]. Claims and messages follow upstream
//! (`pkg/serviceaccount`, KEP-1205, KEP-4193).

mod claims;
mod jwks;
mod key;
mod legacy;
#[cfg(test)]
mod tests;
mod token;

pub use claims::{BoundObjects, BoundRef, BoundState, Claims, TokenRequest, Verified};
pub use jwks::{jwks, openid_configuration};
pub use key::{PublicKey, SigningKey};
pub use legacy::{
    INVALID_SINCE_LABEL, Judged, LAST_USED_LABEL, LEGACY_ISSUER, LegacyClaims, SECRET_TYPE, TRACKING_CONFIG_MAP, day,
    last_used,
};
pub use token::{Signer, TokenError, Verifier};

/// The default issuer, and the default audience of the API server itself.
pub const DEFAULT_ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

const USERNAME_PREFIX: &str = "system:serviceaccount:";
const ALL_SERVICE_ACCOUNTS: &str = "system:serviceaccounts";

/// `system:serviceaccount:<namespace>:<name>`.
pub fn username(namespace: &str, name: &str) -> String {
    format!("{USERNAME_PREFIX}{namespace}:{name}")
}

/// A ServiceAccount as a user, without a token that says more of it.
pub fn user(namespace: &str, name: &str) -> crate::UserInfo {
    crate::UserInfo::new(username(namespace, name), groups(namespace)).authenticated()
}

/// Namespace and name of a ServiceAccount's user name.
pub fn split_username(username: &str) -> Option<(&str, &str)> {
    let (namespace, name) = username.strip_prefix(USERNAME_PREFIX)?.split_once(':')?;
    (is_label(namespace) && name.len() <= SUBDOMAIN && name.split('.').all(is_plain)).then_some((namespace, name))
}

/// The most characters of a DNS subdomain, and of a label of it where it stands alone.
const SUBDOMAIN: usize = 253;
const LABEL: usize = 63;

fn is_label(text: &str) -> bool {
    text.len() <= LABEL && is_plain(text)
}

/// Small letters and digits, and hyphens between them.
fn is_plain(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
    !text.is_empty() && text.bytes().all(inner) && !text.starts_with('-') && !text.ends_with('-')
}

/// The groups every ServiceAccount of `namespace` is in.
pub fn groups(namespace: &str) -> Vec<String> {
    vec![ALL_SERVICE_ACCOUNTS.to_owned(), format!("{ALL_SERVICE_ACCOUNTS}:{namespace}")]
}
