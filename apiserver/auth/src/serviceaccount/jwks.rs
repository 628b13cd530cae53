//! The documents by which others can verify our tokens (KEP-1393).

use super::PublicKey;
use serde_json::{Value, json};

/// `/openid/v1/jwks`: the public keys. Its content type is `application/jwk-set+json`.
///
/// # Errors
/// A key cannot be written that way.
pub fn jwks(keys: &[PublicKey]) -> anyhow::Result<Value> {
    let keys = keys.iter().map(PublicKey::jwk).collect::<anyhow::Result<Vec<_>>>()?;
    Ok(json!({ "keys": keys }))
}

/// `/.well-known/openid-configuration`; `jwks_uri` is where [`jwks`] is served.
pub fn openid_configuration(issuer: &str, jwks_uri: &str, keys: &[PublicKey]) -> Value {
    let mut algorithms: Vec<_> = keys.iter().map(PublicKey::algorithm).collect();
    algorithms.sort_unstable();
    algorithms.dedup();
    json!({
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    })
}
